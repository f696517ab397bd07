-- The limits of a key: set by people, cut and raised by what its calls meet.

-- The only clock: no worker's enters a decision. Functions of their own, so that tests can stop and turn it.
CREATE FUNCTION darkroom_now() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT clock_timestamp()';
CREATE FUNCTION darkroom_up_since() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT pg_postmaster_start_time()';

-- Is a lease's worker to be taken for alive? An outage of the database is nobody's death: after it, everybody has time to renew.
CREATE FUNCTION is_living(lease leases) RETURNS boolean LANGUAGE sql AS $$
    SELECT lease.ended_at IS NULL
       AND (lease.expires_at > darkroom_now()
            OR darkroom_now() < darkroom_up_since() + (lease.expires_at - lease.seen_at))
$$;

-- What the longest of a key's last hundred calls took; NULL where none is known.
CREATE FUNCTION longest_call(p_key text) RETURNS interval LANGUAGE sql AS $$
    SELECT max(last.ended_at - last.begun_at)
      FROM (SELECT ended_at, begun_at FROM calls WHERE provider_key = p_key AND state = 'done' ORDER BY begun_at DESC LIMIT 100) AS last
$$;

-- How long a call that nobody waits for any more uses capacity, from its begin: as set, or twice as long as calls take, 15 s at least. NULL
-- where that is not known: until the call's timeout.
CREATE FUNCTION orphan_span(key provider_keys) RETURNS interval LANGUAGE sql AS $$
    SELECT CASE WHEN key.orphan_ms IS NOT NULL THEN key.orphan_ms * interval '1 ms'
                ELSE (SELECT greatest(interval '15 s', 2 * longest) FROM longest_call(key.provider_key) AS longest WHERE longest IS NOT NULL) END
$$;

-- Calls that may run at the provider and are nobody's any more: of ended leases, or given up by their workers. p_leases: the key's leases that
-- have not ended, which a renewal has read already.
CREATE FUNCTION calls_without_a_lease(key provider_keys, p_leases bigint[]) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    begun timestamptz[];
BEGIN
    SELECT array_agg(calls.begun_at) INTO begun
      FROM calls
     WHERE calls.provider_key = key.provider_key AND calls.state IN ('open', 'ambiguous') AND calls.runs_until > darkroom_now()
       AND (calls.state = 'ambiguous' OR calls.lease_id <> ALL (p_leases));
    IF begun IS NULL THEN
        RETURN 0;
    END IF;
    RETURN (SELECT count(*) FROM unnest(begun) AS at WHERE coalesce(at + orphan_span(key) > darkroom_now(), true));
END $$;

-- While the provider fails again and again: one call tries. While it isn't refused, more do: two after a second, then four, eight …
CREATE FUNCTION probes_allowed(key provider_keys) RETURNS integer LANGUAGE sql AS $$
    SELECT CASE WHEN key.refused IS NOT NULL THEN 1
                ELSE (SELECT 2 ^ least(16, coalesce(floor(extract(epoch FROM darkroom_now() - min(calls.begun_at))), 0))
                        FROM calls
                       WHERE calls.provider_key = key.provider_key AND calls.state = 'open' AND calls.begun_at > key.failing_at
                         AND calls.runs_until > darkroom_now()) END::integer
$$;

-- Calls that workers may have in flight under their leases; NULL: any number.
CREATE FUNCTION free_for_leases(key provider_keys, p_leases bigint[]) RETURNS integer LANGUAGE sql AS $$
    SELECT CASE WHEN key.failing >= 5 THEN least(probes_allowed(key), free) ELSE free END
      FROM (SELECT CASE WHEN key.calls_at_once IS NOT NULL
                        THEN greatest(0, key.calls_at_once - calls_without_a_lease(key, p_leases)) END AS free) AS counted
$$;

-- Notes what a key's limits have become.
CREATE FUNCTION note_limits(p_key text, p_why text) RETURNS void LANGUAGE sql AS $$
    INSERT INTO limit_changes (provider_key, at, calls_at_once, calls_per_minute, images_per_minute, why)
    SELECT provider_key, darkroom_now(), calls_at_once, calls_per_minute, images_per_minute, p_why
      FROM provider_keys WHERE provider_key = p_key
$$;

-- Sets what `p_change` names: ceiling, floor, calls_per_minute, images_per_minute (null: none), orphan_ms (null: learnt), paused.
CREATE FUNCTION set_limits(p_key text, p_change jsonb) RETURNS provider_keys LANGUAGE plpgsql AS $$
DECLARE
    before provider_keys;
    after  provider_keys;
BEGIN
    INSERT INTO provider_keys (provider_key) VALUES (p_key) ON CONFLICT DO NOTHING;
    SELECT * INTO before FROM provider_keys WHERE provider_key = p_key FOR NO KEY UPDATE;
    after := before;
    IF p_change ? 'ceiling' THEN
        after.ceiling := (p_change->>'ceiling')::integer;
        -- A limit that was never cut follows its ceiling; one that was is only kept below it.
        after.calls_at_once := CASE WHEN before.calls_at_once < before.ceiling AND after.ceiling IS NOT NULL
                                    THEN least(before.calls_at_once, after.ceiling) ELSE after.ceiling END;
        after.known_good := NULL;
        after.step := 1;
        after.cautious := false;
        after.generation := before.generation + 1;
    END IF;
    IF p_change ? 'floor' THEN
        after.floor := coalesce((p_change->>'floor')::integer, 1);
    END IF;
    IF after.ceiling IS NOT NULL THEN
        after.calls_at_once := greatest(after.calls_at_once, least(after.floor, after.ceiling));
    END IF;
    IF p_change ? 'calls_per_minute' THEN
        after.calls_per_minute := (p_change->>'calls_per_minute')::integer;
    END IF;
    IF p_change ? 'images_per_minute' THEN
        after.images_per_minute := (p_change->>'images_per_minute')::integer;
    END IF;
    IF p_change ? 'orphan_ms' THEN
        after.orphan_ms := (p_change->>'orphan_ms')::integer;
    END IF;
    IF p_change ? 'paused' THEN
        after.paused := (p_change->>'paused')::boolean;
    END IF;
    after.version := before.version + 1;
    UPDATE provider_keys
       SET ceiling = after.ceiling, floor = after.floor, calls_at_once = after.calls_at_once, known_good = after.known_good,
           step = after.step, cautious = after.cautious, calls_per_minute = after.calls_per_minute, images_per_minute = after.images_per_minute,
           paused = after.paused, orphan_ms = after.orphan_ms, generation = after.generation, version = after.version
     WHERE provider_key = p_key;
    IF (after.calls_at_once, after.calls_per_minute, after.images_per_minute)
       IS DISTINCT FROM (before.calls_at_once, before.calls_per_minute, before.images_per_minute) THEN
        PERFORM note_limits(p_key, 'set');
    END IF;
    PERFORM pg_notify('darkroom_limits', p_key);
    RETURN after;
END $$;

-- Calls of a key that began after a moment and succeeded; counts no further than `p_most`.
CREATE FUNCTION good_calls(p_key text, p_since timestamptz, p_most integer) RETURNS integer LANGUAGE sql AS $$
    SELECT count(*)::integer
      FROM (SELECT FROM calls WHERE provider_key = p_key AND begun_at > p_since AND state = 'done' LIMIT p_most) AS good
$$;

-- A call was refused for the limit: nobody calls before `p_wait_ms` are over, and the limit is cut, once an incident: calls that began
-- before its last change, a cut or a raise, say nothing of it. A refused raise goes back to what was good, and the next one goes half as far; else what is left
-- is 0.7 of the limit.
CREATE FUNCTION cut_limit(p_key text, p_generation bigint, p_wait_ms integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    key   provider_keys;
    t     timestamptz := darkroom_now();
    least_limit integer;
    on_trial boolean;
    cut   integer;
BEGIN
    SELECT * INTO key FROM provider_keys WHERE provider_key = p_key FOR NO KEY UPDATE;
    UPDATE provider_keys
       SET throttled_until = greatest(throttled_until, t + p_wait_ms * interval '1 ms'), throttle_ms = p_wait_ms
     WHERE provider_key = p_key;
    least_limit := greatest(least(key.floor, key.ceiling), least(1, key.ceiling));
    IF key.calls_at_once > least_limit AND p_generation = key.generation THEN
        -- A raise is on trial until as many calls as it allows have succeeded.
        on_trial := key.known_good IS NOT NULL AND good_calls(p_key, key.grown_at, key.calls_at_once) < key.calls_at_once;
        cut := greatest(least_limit, CASE WHEN on_trial THEN key.known_good ELSE floor(key.calls_at_once * 0.7)::integer END);
        UPDATE provider_keys
           SET calls_at_once = cut, cautious = on_trial, known_good = NULL, cut_at = t, version = version + 1, generation = generation + 1,
               step = CASE WHEN on_trial THEN greatest(1, (key.calls_at_once - cut) / 2) ELSE 1 END
         WHERE provider_key = p_key;
        PERFORM note_limits(p_key, CASE WHEN on_trial THEN 'raise refused' ELSE 'cut' END);
    END IF;
    PERFORM pg_notify('darkroom_limits', p_key);
END $$;

-- A call failed by the provider's own word. The fifth in a row without a success stops the key; from then on one call tries again, after
-- 1, 2, 4, 5, 5 … s.
CREATE FUNCTION note_failing(p_key text, p_begun_at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    key provider_keys;
    t   timestamptz := darkroom_now();
BEGIN
    SELECT * INTO key FROM provider_keys WHERE provider_key = p_key FOR NO KEY UPDATE;
    -- Calls that ran when the key was stopped say nothing new.
    IF key.failing >= 5 AND p_begun_at <= key.failing_at THEN
        RETURN;
    END IF;
    key.failing := least(key.failing + 1, 30);
    UPDATE provider_keys
       SET failing = key.failing, failing_at = t, version = version + (key.failing = 5)::integer,
           throttled_until = CASE WHEN key.failing < 5 THEN throttled_until
                                  ELSE greatest(throttled_until, t + least(5, 2 ^ (key.failing - 5)) * interval '1 s') END
     WHERE provider_key = p_key;
    IF key.failing >= 5 THEN
        PERFORM pg_notify('darkroom_limits', p_key);
    END IF;
END $$;

-- The provider refuses the account: the key stops, and one call tries again every 30 s.
CREATE FUNCTION note_refused(p_key text, p_why text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    t timestamptz := darkroom_now();
BEGIN
    UPDATE provider_keys
       SET refused = p_why, failing = greatest(failing, 5), failing_at = t, version = version + (failing < 5)::integer,
           throttled_until = greatest(throttled_until, t + interval '30 s')
     WHERE provider_key = p_key;
    PERFORM pg_notify('darkroom_limits', p_key);
END $$;

-- A call succeeded: a key that was stopped goes on, where the call began after that.
CREATE FUNCTION note_success(p_key text, p_begun_at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE provider_keys SET failing = 0, refused = NULL
     WHERE provider_key = p_key AND failing > 0 AND (failing < 5 OR p_begun_at > failing_at);
    IF FOUND THEN
        PERFORM pg_notify('darkroom_limits', p_key);
    END IF;
END $$;

-- Raises the limit, where work waits for it and what is allowed has proven good: as many calls as the limit began after its last change
-- and succeeded. Steps double; after a raise that was refused, the next waits for 150 successes, and for 20 times what the refusal cost.
CREATE FUNCTION raise_limit(key provider_keys, p_wanted bigint, t timestamptz) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    since  timestamptz;
    needed integer;
    raised integer;
BEGIN
    IF key.calls_at_once IS NULL OR p_wanted <= key.calls_at_once OR key.calls_at_once >= key.ceiling OR key.paused OR key.failing > 0
       OR key.throttled_until > t THEN
        RETURN false;
    END IF;
    since := greatest(key.cut_at, key.grown_at, '-infinity');
    IF key.cautious AND t < since + 20 * key.throttle_ms * interval '1 ms' THEN
        RETURN false;
    END IF;
    needed := CASE WHEN key.cautious THEN greatest(150, key.calls_at_once) ELSE key.calls_at_once END;
    IF good_calls(key.provider_key, since, needed) < needed THEN
        RETURN false;
    END IF;
    raised := least(key.ceiling, key.calls_at_once + key.step);
    UPDATE provider_keys
       SET known_good = key.calls_at_once, calls_at_once = raised, grown_at = t, cautious = false, generation = generation + 1,
           step = least(key.step * 2, greatest(1, raised / 4))
     WHERE provider_key = key.provider_key;
    PERFORM note_limits(key.provider_key, 'raised');
    RETURN true;
END $$;
