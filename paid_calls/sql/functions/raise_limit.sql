-- Raises the limit if work waits for it and the limit has proven good, and returns whether it did.
-- As many calls as the limit must have begun after its last change and succeeded. Each step is
-- twice the one before, at most a quarter of the limit. After a raise that was refused, the next
-- one waits for at least 150 successes, and for 20 times the wait that the refusal cost.
CREATE OR REPLACE FUNCTION raise_limit(key provider_keys, p_wanted bigint, t timestamptz) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    since  timestamptz;
    needed integer;
    raised integer;
BEGIN
    IF key.calls_at_once IS NULL OR p_wanted <= key.calls_at_once OR key.calls_at_once >= key.ceiling
       OR key.paused OR key.failing > 0 OR key.throttled_until > t THEN
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
       SET known_good = key.calls_at_once, calls_at_once = raised, grown_at = t, cautious = false,
           generation = generation + 1, step = least(key.step * 2, greatest(1, raised / 4))
     WHERE provider_key = key.provider_key;
    PERFORM note_limits(key.provider_key, 'raised');
    RETURN true;
END $$;
