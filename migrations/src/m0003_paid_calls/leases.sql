-- Leases: a worker's share of a key's calls at once, for a while. They hold I5: at every instant
--     calls in flight ≤ Σ granted of leases that nobody has ended + calls that may run without such a lease ≤ the limit.
--
-- A renewal reads the key's leases once and writes one row: a transaction that stays open for hours (a backup, a report) keeps every
-- version of these rows, and each further scan would read all of them.

-- What a worker says. `calls`: in flight under this lease. `holds`: the most it may have until it hears the answer. `keeps`: the polls it
-- waits with for work, where it has had none of late. `wanted`, `most`: what it could use, could ever use. `renewal` counts up: a renewal that
-- arrives after a later one changes nothing. `cut_off`: it can't reach Temporal, and gets no work.
CREATE TYPE lease_renewal AS (
    provider_key text, worker text, host text, pid integer, lease_id bigint, renewal bigint, calls integer, holds integer, keeps integer,
    wanted integer, most integer, cut_off boolean, ttl_ms integer
);
-- `share` NULL: no limit. `closed_ms`: nobody may call for so long. `probing`: the key is being tried, so renew soon.
CREATE TYPE lease_grant AS (lease_id bigint, share integer, version bigint, closed_ms bigint, probing boolean);

-- Ends the leases of others whose time is over.
--
-- FOR UPDATE waits for a `begin_call` under way and keeps out later ones, so that a count after this sees every call that was begun under them.
CREATE FUNCTION end_leases(p_leases bigint[], t timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM leases l WHERE l.lease_id = ANY (p_leases) ORDER BY l.lease_id FOR UPDATE;
    UPDATE leases l SET ended_at = t WHERE l.lease_id = ANY (p_leases) AND l.ended_at IS NULL;
    DELETE FROM leases l WHERE l.ended_at < t - interval '1 hour';
END $$;

-- One holder's fair share of `p_free`: everybody's level rises until nothing is free (max–min), from what each keeps to what each demands;
-- what is left over by rounding goes to the first in line. NULL in `p_free`: no limit.
CREATE FUNCTION fair_share(p_free integer, p_demands integer[], p_keeps integer[], p_own integer) RETURNS integer
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    level integer := 0;
    above integer := p_free + 1;
    fair  integer[];
    rest  integer;
BEGIN
    IF (SELECT sum(k) FROM unnest(p_keeps) AS k) > p_free THEN
        p_keeps := array_fill(0, ARRAY[cardinality(p_keeps)]);
    END IF;
    WHILE level + 1 < above LOOP
        IF p_free >= (SELECT sum(greatest(k, least(d, (level + above) / 2))) FROM unnest(p_demands, p_keeps) AS each (d, k))
        THEN level := (level + above) / 2;
        ELSE above := (level + above) / 2;
        END IF;
    END LOOP;
    SELECT array_agg(greatest(k, least(d, level)) ORDER BY place) INTO fair
      FROM unnest(p_demands, p_keeps) WITH ORDINALITY AS each (d, k, place);
    rest := p_free - (SELECT sum(f) FROM unnest(fair) AS f);
    FOR i IN 1 .. cardinality(fair) LOOP
        IF rest > 0 AND fair[i] < p_demands[i] AND fair[i] <= level THEN
            fair[i] := fair[i] + 1;
            rest := rest - 1;
        END IF;
    END LOOP;
    RETURN fair[p_own];
END $$;

-- What the others of a key's leases ask of polls that wait for work.
-- `pressed`: a worker's calls fill its share. `hungry`: a worker has no share. `starving`: for as long as a lease.
CREATE TYPE lease_pressure AS (pressed boolean, hungry boolean, starving boolean);

CREATE FUNCTION pressure(p_all leases[], t timestamptz) RETURNS lease_pressure LANGUAGE sql AS $$
    SELECT coalesce(bool_or(l.calls > 0 AND l.calls >= l.granted AND l.wanted > l.granted), false),
           coalesce(bool_or(l.granted = 0 AND l.wanted > 0), false),
           coalesce(bool_or(l.starving_since < t - (l.expires_at - l.seen_at)), false)
      FROM unnest(p_all) AS l
$$;

-- What a lease is weighed with against others. Polls that wait for work give way: all but one to a worker whose calls fill its share, one
-- after the other to a worker without a share, and the last one to a worker that has had none for as long as a lease.
CREATE FUNCTION demand(l leases, others lease_pressure) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN l.keeps = 0 THEN l.wanted
                WHEN others.starving AND l.starving_since IS NULL THEN 0
                WHEN others.pressed THEN least(1, l.wanted)
                WHEN others.hungry AND l.granted > 0 THEN least(greatest(1, l.keeps - 1), l.wanted)
                ELSE l.wanted END
$$;

-- A lease's share of what is free for all of the key's leases.
CREATE FUNCTION share_of(p_own leases, p_all leases[], p_free integer, t timestamptz) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    others  lease_pressure := pressure(p_all, t);
    demands integer[];
    keeps   integer[];
    place   integer;
BEGIN
    SELECT array_agg(l.demand ORDER BY l.place), array_agg(least(l.demand, l.keeps, l.granted) ORDER BY l.place),
           max(l.place) FILTER (WHERE l.lease_id = p_own.lease_id)
      INTO demands, keeps, place
      FROM (SELECT l.lease_id, l.keeps, l.granted, demand(l, others) AS demand,
                   -- Who has calls keeps them: a poll whose share has gone takes work that has to be queued again.
                   row_number() OVER (ORDER BY l.keeps > 0, l.granted = 0, l.starving_since, l.lease_id) AS place
              FROM unnest(p_all) AS l) AS l;
    RETURN fair_share(p_free, demands, keeps, place);
END $$;

-- The lease of this worker, new where there is none (any more).
CREATE FUNCTION begin_lease(p lease_renewal, t timestamptz) RETURNS leases LANGUAGE sql AS $$
    INSERT INTO leases (provider_key, worker, host, pid, most, begun_at, seen_at, expires_at)
    VALUES (p.provider_key, p.worker, p.host, p.pid, p.most, t, t, t + p.ttl_ms * interval '1 ms')
    RETURNING *
$$;

-- Renews a lease, or gives one where there is none (any more), and says how many calls at once are its share now.
CREATE FUNCTION grant_lease(p lease_renewal) RETURNS lease_grant LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    key    provider_keys;
    held   leases[];
    own    leases;
    at     tid;
    dead   bigint[];
    t      timestamptz;
    free   integer;  -- for all leases; NULL: any number
    target integer;
    before integer;
    freed  boolean := false;
BEGIN
    -- One grant of a key at a time; calls begin and end meanwhile.
    SELECT * INTO key FROM provider_keys k WHERE k.provider_key = p.provider_key FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        INSERT INTO provider_keys (provider_key) VALUES (p.provider_key) ON CONFLICT DO NOTHING;
        SELECT * INTO key FROM provider_keys k WHERE k.provider_key = p.provider_key FOR NO KEY UPDATE;
    END IF;
    t := darkroom_now();
    -- An id alone may be another worker's, after a failover to a replica that lacks the last commits.
    SELECT array_agg(l), (array_agg(l.ctid) FILTER (WHERE l.lease_id = p.lease_id AND l.worker = p.worker))[1] INTO held, at
      FROM leases l WHERE l.provider_key = p.provider_key AND l.ended_at IS NULL;
    SELECT array_agg(l.lease_id) INTO dead FROM unnest(held) AS l
     WHERE NOT (l.lease_id IS NOT DISTINCT FROM p.lease_id AND l.worker = p.worker) AND NOT is_living(l);
    IF dead IS NOT NULL THEN
        PERFORM end_leases(dead, t);
        freed := true;
    END IF;
    IF at IS NULL THEN
        own := begin_lease(p, t);
        SELECT l.ctid INTO at FROM leases l WHERE l.lease_id = own.lease_id;
        -- What it held, it held under the other one.
        p.calls := 0;
        p.holds := 0;
    ELSE
        SELECT l.* INTO own FROM unnest(held) AS l WHERE l.lease_id = p.lease_id;
        IF p.renewal <= own.renewal THEN
            -- Nobody listens to this answer.
            RETURN (own.lease_id, 0, key.version, 0, false)::lease_grant;
        END IF;
    END IF;
    before := own.granted;
    own := renewed(own, p, t);
    held := array(SELECT l FROM unnest(held) AS l WHERE l.lease_id <> own.lease_id AND l.lease_id <> ALL (coalesce(dead, '{}'))) || own;

    IF raise_limit(key, (SELECT sum(l.wanted) FROM unnest(held) AS l), t) THEN
        SELECT * INTO key FROM provider_keys k WHERE k.provider_key = p.provider_key;
        freed := true;
    END IF;
    free := free_for_leases(key, array(SELECT l.lease_id FROM unnest(held) AS l));
    IF free IS NULL THEN
        own.granted := greatest(p.most, p.holds);
    ELSE
        target := share_of(own, held, free, t);
        -- Never more than others have left over.
        target := greatest(0, least(target, p.most, free - (SELECT coalesce(sum(l.granted), 0) FROM unnest(held) AS l
                                                             WHERE l.lease_id <> own.lease_id)::integer));
        own.granted := greatest(target, p.holds);
        own.starving_since := CASE WHEN own.granted = 0 AND own.wanted > 0 THEN coalesce(own.starving_since, t) END;
        freed := freed OR own.granted < before;
    END IF;
    -- By its place, since nobody writes to it while the key is locked: no second look through its versions.
    UPDATE leases l
       SET granted = own.granted, wanted = own.wanted, keeps = own.keeps, calls = own.calls, renewal = own.renewal, most = own.most,
           cut_off = own.cut_off, starving_since = own.starving_since, seen_at = own.seen_at, expires_at = own.expires_at
     WHERE l.ctid = at;
    IF freed AND EXISTS (SELECT FROM unnest(held) AS l WHERE l.lease_id <> own.lease_id AND l.wanted > l.granted) THEN
        PERFORM pg_notify('darkroom_limits', p.provider_key);
    END IF;
    RETURN (own.lease_id, target, key.version,
            CASE WHEN key.paused THEN 1000
                 ELSE greatest(0, ceil(extract(epoch FROM key.throttled_until - t) * 1000))::bigint END,
            key.failing >= 5)::lease_grant;
END $$;

-- A lease with what its worker says now. One that is cut off from Temporal gets no work: it wants no more than what it has in flight.
CREATE FUNCTION renewed(l leases, p lease_renewal, t timestamptz) RETURNS leases LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    l.wanted := CASE WHEN p.cut_off THEN p.calls ELSE p.wanted END;
    l.keeps := CASE WHEN p.cut_off THEN 0 ELSE least(p.keeps, p.wanted) END;
    l.calls := p.calls;
    l.renewal := p.renewal;
    l.most := p.most;
    l.cut_off := p.cut_off;
    l.seen_at := t;
    l.expires_at := t + p.ttl_ms * interval '1 ms';
    RETURN l;
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
