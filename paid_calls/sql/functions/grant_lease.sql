-- Renews a lease. Begins a new lease if the worker has none, or if the old one was ended. Returns
-- the number of concurrent calls that are the worker's share now. Leases keep guarantee I5
-- (docs/guarantees.md), which says that at every instant
--     calls in flight ≤ Σ granted of leases not ended + calls executing without one ≤ the limit.
-- Calls that run when the limit is lowered may exceed the new limit.
--
-- A renewal reads the key's leases once and writes one row. A transaction that stays open for
-- hours, such as a backup, keeps every version of these rows, and each further scan would read all
-- of them.
CREATE OR REPLACE FUNCTION grant_lease(p lease_renewal) RETURNS lease_grant LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    key    provider_keys;
    held   leases[];
    own    leases;
    at     tid;
    t      timestamptz;
    free   integer;  -- for all leases; NULL for any number
    target integer;
    before integer;
    dead   bigint[];
    freed  boolean;
BEGIN
    -- One grant of a key runs at a time. Calls begin and end meanwhile, except where they need the
    -- key's lock too.
    key := locked_key(p.provider_key);
    t := darkroom_now();
    -- An id alone may be another worker's, after a failover to a replica that lacks some commits.
    SELECT array_agg(l), (array_agg(l.ctid) FILTER (WHERE l.lease_id = p.lease_id AND l.worker = p.worker))[1]
      INTO held, at FROM leases l WHERE l.provider_key = p.provider_key AND l.ended_at IS NULL;
    dead := end_expired(p, held, t);
    freed := cardinality(dead) > 0;
    IF at IS NULL THEN
        own := begin_lease(p, t);
        SELECT l.ctid INTO at FROM leases l WHERE l.lease_id = own.lease_id;
        -- The calls in flight belong to the worker's earlier lease.
        p.calls := 0;
        p.in_use_bound := 0;
    ELSE
        SELECT l.* INTO own FROM unnest(held) AS l WHERE l.lease_id = p.lease_id;
        IF p.renewal <= own.renewal THEN
            -- Nobody waits for this answer any more.
            RETURN (own.lease_id, 0, key.version, 0, false)::lease_grant;
        END IF;
    END IF;
    before := own.granted;
    own := renewed(own, p, t);
    held := array(SELECT l FROM unnest(held) AS l WHERE l.lease_id <> own.lease_id AND l.lease_id <> ALL (dead)) || own;
    IF raise_limit(key, (SELECT sum(l.demand) FROM unnest(held) AS l), t) THEN
        SELECT * INTO key FROM provider_keys k WHERE k.provider_key = p.provider_key;
        freed := true;
    END IF;
    free := free_for_leases(key, array(SELECT l.lease_id FROM unnest(held) AS l));
    IF free IS NULL THEN
        own.granted := greatest(p.max_calls, p.in_use_bound);
    ELSE
        target := share_left(own, held, free, t);
        own.granted := greatest(target, p.in_use_bound);
        own.starving_since := CASE WHEN own.granted = 0 AND own.demand > 0 THEN coalesce(own.starving_since, t) END;
        freed := freed OR own.granted < before;
    END IF;
    PERFORM record_lease(own, at);
    IF freed AND EXISTS (SELECT FROM unnest(held) AS l WHERE l.lease_id <> own.lease_id AND l.demand > l.granted) THEN
        PERFORM pg_notify('darkroom_limits', p.provider_key);
    END IF;
    RETURN (own.lease_id, target, key.version,
            CASE WHEN key.paused THEN 1000 ELSE ms_until(key.throttled_until, t) END, key.failing >= 5)::lease_grant;
END $$;
