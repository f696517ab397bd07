-- Notes what the end of a call tells of its key.
CREATE OR REPLACE FUNCTION note_end(p_key text, call calls, e call_end) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF e.says = 'throttled' THEN
        PERFORM cut_limit(p_key, call.generation, e.wait_ms);
    ELSIF e.says = 'unavailable' THEN
        PERFORM note_failing(p_key, call.begun_at);
    ELSIF e.says = 'refused' THEN
        PERFORM note_refused(p_key, e.message);
    ELSIF e.state IN ('done', 'rejected') AND e.failure_kind IS NULL THEN
        PERFORM note_success(p_key, call.begun_at);
    END IF;
END $$;
