-- Notes that a call failed because the provider is unavailable. The fifth failure in a row without
-- a success stops the key. From then on one call tries again after 1, 2, 4, 5, 5 … s.
CREATE OR REPLACE FUNCTION note_failing(p_key text, p_begun_at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    key provider_keys;
    t   timestamptz := darkroom_now();
BEGIN
    SELECT * INTO key FROM provider_keys WHERE provider_key = p_key FOR NO KEY UPDATE;
    -- Calls that were running when the key was stopped say nothing new.
    IF key.failing >= 5 AND p_begun_at <= key.failing_at THEN
        RETURN;
    END IF;
    key.failing := least(key.failing + 1, 30);
    UPDATE provider_keys
       SET failing = key.failing, failing_at = t, version = version + (key.failing = 5)::integer,
           throttled_until = CASE WHEN key.failing < 5 THEN throttled_until
                                  ELSE greatest(throttled_until,
                                                t + least(5, 2 ^ (key.failing - 5)) * interval '1 s') END
     WHERE provider_key = p_key;
    IF key.failing >= 5 THEN
        PERFORM pg_notify('darkroom_limits', p_key);
    END IF;
END $$;
