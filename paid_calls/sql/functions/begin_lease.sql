-- Begins a new lease for this worker, and returns the lease.
CREATE OR REPLACE FUNCTION begin_lease(p lease_renewal, t timestamptz) RETURNS leases LANGUAGE sql AS $$
    INSERT INTO leases (provider_key, worker, host, pid, max_calls, begun_at, seen_at, expires_at)
    VALUES (p.provider_key, p.worker, p.host, p.pid, p.max_calls, t, t, t + p.ttl_ms * interval '1 ms')
    RETURNING *
$$;
