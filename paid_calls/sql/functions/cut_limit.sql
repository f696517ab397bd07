-- Notes that a call was refused for the limit. Nobody calls before `p_wait_ms` are over, and the
-- limit is cut once an incident. Calls that began before the limit's last change say nothing about
-- it. A raise that is undone goes back to the limit that was good, and the next raise goes half as
-- far. Otherwise 0.7 of the limit is left.
CREATE OR REPLACE FUNCTION cut_limit(p_key text, p_generation bigint, p_wait_ms integer) RETURNS void
LANGUAGE plpgsql AS $$
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
        on_trial := key.known_good IS NOT NULL
                    AND good_calls(p_key, key.grown_at, key.calls_at_once) < key.calls_at_once;
        cut := greatest(least_limit,
                        CASE WHEN on_trial THEN key.known_good ELSE floor(key.calls_at_once * 0.7)::integer END);
        UPDATE provider_keys
           SET calls_at_once = cut, cautious = on_trial, known_good = NULL, cut_at = t, version = version + 1,
               generation = generation + 1,
               step = CASE WHEN on_trial THEN greatest(1, (key.calls_at_once - cut) / 2) ELSE 1 END
         WHERE provider_key = p_key;
        PERFORM note_limits(p_key, CASE WHEN on_trial THEN 'raise undone' ELSE 'cut' END);
    END IF;
    PERFORM pg_notify('darkroom_limits', p_key);
END $$;
