-- Ends these leases, whose time is over. Deletes leases that ended more than an hour ago.
--
-- FOR UPDATE waits for a `begin_call` under way, and keeps out later ones. So a count after this
-- sees every call that was begun under these leases.
CREATE OR REPLACE FUNCTION end_leases(p_leases bigint[], t timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM leases l WHERE l.lease_id = ANY (p_leases) ORDER BY l.lease_id FOR UPDATE;
    UPDATE leases l SET ended_at = t WHERE l.lease_id = ANY (p_leases) AND l.ended_at IS NULL;
    DELETE FROM leases l WHERE l.ended_at < t - interval '1 hour';
END $$;
