-- Gives up a call whose attempt is gone, and which may have been billed. Returns false if the
-- outcome has just come after all.
CREATE OR REPLACE FUNCTION give_up_call(p_call bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE calls SET state = 'ambiguous', message = coalesce(message, 'its worker died, or was away too long')
     WHERE call_id = p_call AND state = 'open';
    RETURN FOUND;
END $$;
