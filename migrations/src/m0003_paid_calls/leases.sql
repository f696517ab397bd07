-- Leases: a worker's share of a key's calls at once, for a while. They hold I5: at every instant
--     calls in flight ≤ Σ granted of leases that nobody has ended + calls that may run without such a lease ≤ the limit.

-- Renews a lease, or gives one where there is none (any more), and says how many calls at once are its share now.
--
-- p_calls: calls in flight under this lease. p_holds: the most it may have until it hears the answer. p_keeps, p_wanted, p_most: what it
-- waits with for work, could use, could ever use. p_renewal counts up: a renewal that arrives after a later one changes nothing.
-- share NULL: no limit. closed_ms: nobody may call for so long.
CREATE FUNCTION grant_lease(
    p_key text, p_worker text, p_host text, p_pid integer, p_lease bigint, p_renewal bigint,
    p_calls integer, p_holds integer, p_keeps integer, p_wanted integer, p_most integer, p_ttl_ms integer
) RETURNS TABLE (lease_id bigint, share integer, version bigint, closed_ms bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    key     provider_keys;
    own     leases;
    t       timestamptz;
    free    integer;  -- for all leases; NULL: any number
    others  integer;  -- granted to others
    level   integer := 0;
    above   integer;
    target  integer;
    kept    boolean;
    freed   boolean := false;
    ended   integer;
BEGIN
    -- One grant of a key at a time; calls begin and end meanwhile.
    SELECT * INTO key FROM provider_keys k WHERE k.provider_key = p_key FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        INSERT INTO provider_keys (provider_key) VALUES (p_key) ON CONFLICT DO NOTHING;
        SELECT * INTO key FROM provider_keys k WHERE k.provider_key = p_key FOR NO KEY UPDATE;
    END IF;
    t := darkroom_now();

    -- After a failover to a replica that lacks the last commits, an id may be another worker's.
    IF NOT EXISTS (SELECT FROM leases l WHERE l.lease_id = p_lease AND l.worker = p_worker) THEN
        p_lease := NULL;
    END IF;
    -- Others whose time is over lose their leases. FOR UPDATE waits for a `begin_call` under way and keeps out later ones, so that the
    -- count below sees every call that was begun under them.
    PERFORM FROM leases l
      WHERE l.provider_key = p_key AND l.ended_at IS NULL AND l.lease_id IS DISTINCT FROM p_lease AND NOT is_living(l)
        FOR UPDATE;
    UPDATE leases l SET ended_at = t
     WHERE l.provider_key = p_key AND l.ended_at IS NULL AND l.lease_id IS DISTINCT FROM p_lease AND NOT is_living(l);
    GET DIAGNOSTICS ended = ROW_COUNT;
    freed := ended > 0;
    DELETE FROM leases l WHERE l.provider_key = p_key AND l.ended_at < t - interval '1 hour';

    SELECT * INTO own FROM leases l
     WHERE l.lease_id = p_lease AND l.worker = p_worker AND l.ended_at IS NULL FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        INSERT INTO leases (provider_key, worker, host, pid, most, begun_at, seen_at, expires_at)
        VALUES (p_key, p_worker, p_host, p_pid, p_most, t, t, t + p_ttl_ms * interval '1 ms')
        RETURNING * INTO own;
        -- What it held, it held under the other one.
        p_calls := 0;
        p_holds := 0;
    ELSIF p_renewal <= own.renewal THEN
        -- Nobody listens to this answer.
        RETURN QUERY SELECT own.lease_id, 0, key.version, 0::bigint;
        RETURN;
    END IF;
    UPDATE leases l
       SET wanted = p_wanted, keeps = least(p_keeps, p_wanted), calls = p_calls, renewal = p_renewal, most = p_most,
           seen_at = t, expires_at = t + p_ttl_ms * interval '1 ms'
     WHERE l.lease_id = own.lease_id;

    IF raise_limit(p_key) THEN
        SELECT * INTO key FROM provider_keys k WHERE k.provider_key = p_key;
        freed := true;
    END IF;
    free := free_for_leases(key);

    IF free IS NULL THEN
        UPDATE leases l SET granted = greatest(p_most, p_holds) WHERE l.lease_id = own.lease_id;
    ELSE
        -- Fair shares: everybody's level rises until nothing is free (max–min), from what each keeps, to what each wants.
        SELECT coalesce(sum(l.keeps), 0) <= free INTO kept
          FROM leases l WHERE l.provider_key = p_key AND l.ended_at IS NULL;
        above := free + 1;
        WHILE level + 1 < above LOOP
            IF free >= (SELECT sum(greatest(CASE WHEN kept THEN l.keeps ELSE 0 END, least(l.wanted, (level + above) / 2)))
                          FROM leases l WHERE l.provider_key = p_key AND l.ended_at IS NULL)
            THEN level := (level + above) / 2;
            ELSE above := (level + above) / 2;
            END IF;
        END LOOP;
        -- What is left over by rounding goes to the oldest leases, one each.
        SELECT s.fair + CASE WHEN s.fair < s.wanted AND s.fair <= level
                             THEN (s.rank <= free - s.total)::integer ELSE 0 END
          INTO target
          FROM (SELECT f.lease_id, f.fair, f.wanted, sum(f.fair) OVER () AS total,
                       row_number() OVER (ORDER BY (f.fair < f.wanted AND f.fair <= level) DESC, f.lease_id) AS rank
                  FROM (SELECT l.lease_id, l.wanted,
                               greatest(CASE WHEN kept THEN l.keeps ELSE 0 END, least(l.wanted, level)) AS fair
                          FROM leases l WHERE l.provider_key = p_key AND l.ended_at IS NULL) AS f) AS s
         WHERE s.lease_id = own.lease_id;
        SELECT coalesce(sum(l.granted), 0) INTO others
          FROM leases l WHERE l.provider_key = p_key AND l.ended_at IS NULL AND l.lease_id <> own.lease_id;
        target := greatest(0, least(target, p_most, free - others));
        UPDATE leases l SET granted = greatest(target, p_holds) WHERE l.lease_id = own.lease_id;
        freed := freed OR greatest(target, p_holds) < own.granted;
        IF freed AND EXISTS (SELECT FROM leases l WHERE l.provider_key = p_key AND l.ended_at IS NULL
                                AND l.lease_id <> own.lease_id AND l.wanted > l.granted) THEN
            PERFORM pg_notify('darkroom_limits', p_key);
        END IF;
    END IF;
    RETURN QUERY SELECT own.lease_id, target, key.version,
        CASE WHEN key.paused THEN 1000
             ELSE greatest(0, ceil(extract(epoch FROM key.throttled_until - t) * 1000))::bigint END;
END $$;

-- A worker that stops gives its lease back.
CREATE FUNCTION release_lease(p_lease bigint, p_worker text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    key text;
BEGIN
    SELECT provider_key INTO key FROM leases WHERE lease_id = p_lease AND worker = p_worker;
    PERFORM FROM provider_keys WHERE provider_key = key FOR NO KEY UPDATE;
    PERFORM FROM leases WHERE lease_id = p_lease AND worker = p_worker FOR UPDATE;
    UPDATE leases SET ended_at = darkroom_now() WHERE lease_id = p_lease AND worker = p_worker AND ended_at IS NULL;
    PERFORM pg_notify('darkroom_limits', key);
END $$;
