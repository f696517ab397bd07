-- Sets the limits that `p_change` names, such as ceiling, floor, calls_per_minute,
-- images_per_minute, orphan_ms and paused. A limit of null is taken away. The orphans' span is
-- learnt if it is null.
CREATE OR REPLACE FUNCTION set_limits(p_key text, p_change jsonb) RETURNS provider_keys LANGUAGE plpgsql AS $$
DECLARE
    before provider_keys;
    after  provider_keys;
BEGIN
    INSERT INTO provider_keys (provider_key) VALUES (p_key) ON CONFLICT DO NOTHING;
    SELECT * INTO before FROM provider_keys WHERE provider_key = p_key FOR NO KEY UPDATE;
    after := before;
    IF p_change ? 'ceiling' THEN
        after.ceiling := (p_change->>'ceiling')::integer;
        -- A limit at its ceiling follows the ceiling. A limit that was cut is only kept below it.
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
       SET ceiling = after.ceiling, floor = after.floor, calls_at_once = after.calls_at_once,
           known_good = after.known_good, step = after.step, cautious = after.cautious,
           calls_per_minute = after.calls_per_minute, images_per_minute = after.images_per_minute,
           paused = after.paused, orphan_ms = after.orphan_ms, generation = after.generation, version = after.version
     WHERE provider_key = p_key;
    IF (after.calls_at_once, after.calls_per_minute, after.images_per_minute)
       IS DISTINCT FROM (before.calls_at_once, before.calls_per_minute, before.images_per_minute) THEN
        PERFORM note_limits(p_key, 'set');
    END IF;
    PERFORM pg_notify('darkroom_limits', p_key);
    RETURN after;
END $$;
