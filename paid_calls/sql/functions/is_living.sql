-- Returns whether a lease's worker counts as alive. An outage of the database kills nobody, because
-- afterwards every worker has time to renew its lease.
CREATE OR REPLACE FUNCTION is_living(lease leases) RETURNS boolean LANGUAGE sql AS $$
    SELECT lease.ended_at IS NULL
       AND (lease.expires_at > darkroom_now()
            OR darkroom_now() < darkroom_up_since() + (lease.expires_at - lease.seen_at))
$$;
