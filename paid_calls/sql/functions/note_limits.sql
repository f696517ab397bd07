-- Records the limits of a key after a change, and the reason of the change.
CREATE OR REPLACE FUNCTION note_limits(p_key text, p_why text) RETURNS void LANGUAGE sql AS $$
    INSERT INTO limit_changes (provider_key, at, calls_at_once, calls_per_minute, images_per_minute, why)
    SELECT provider_key, darkroom_now(), calls_at_once, calls_per_minute, images_per_minute, p_why
      FROM provider_keys WHERE provider_key = p_key
$$;
