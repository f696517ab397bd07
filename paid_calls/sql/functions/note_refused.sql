-- Notes that the provider refuses the account. The key stops, and one call tries again every 30 s.
CREATE OR REPLACE FUNCTION note_refused(p_key text, p_why text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    t timestamptz := darkroom_now();
BEGIN
    UPDATE provider_keys
       SET refused = p_why, failing = greatest(failing, 5), failing_at = t, version = version + (failing < 5)::integer,
           throttled_until = greatest(throttled_until, t + interval '30 s')
     WHERE provider_key = p_key;
    PERFORM pg_notify('darkroom_limits', p_key);
END $$;
