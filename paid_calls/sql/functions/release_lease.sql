-- Ends the lease of a worker that stops, and tells the other workers.
CREATE OR REPLACE FUNCTION release_lease(p_lease bigint, p_worker text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    key text;
BEGIN
    SELECT provider_key INTO key FROM leases WHERE lease_id = p_lease AND worker = p_worker;
    PERFORM FROM provider_keys WHERE provider_key = key FOR NO KEY UPDATE;
    PERFORM FROM leases WHERE lease_id = p_lease AND worker = p_worker FOR UPDATE;
    UPDATE leases SET ended_at = darkroom_now() WHERE lease_id = p_lease AND worker = p_worker AND ended_at IS NULL;
    PERFORM pg_notify('darkroom_limits', key);
END $$;
