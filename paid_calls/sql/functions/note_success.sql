-- Notes that a call succeeded. A key that was stopped goes on, if the call began after the stop.
CREATE OR REPLACE FUNCTION note_success(p_key text, p_begun_at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE provider_keys SET failing = 0, refused = NULL
     WHERE provider_key = p_key AND failing > 0 AND (failing < 5 OR p_begun_at > failing_at);
    IF FOUND THEN
        PERFORM pg_notify('darkroom_limits', p_key);
    END IF;
END $$;
