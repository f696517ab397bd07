-- Answers `renew`, `key_blocked`, `call_blocked` or `rate_limited` if a reason lies in the lease,
-- the key or the provider's words; NULL if none does.
CREATE OR REPLACE FUNCTION admission_by_key(p call_intent, key provider_keys, lease leases, last calls, t timestamptz)
RETURNS call_admission LANGUAGE plpgsql AS $$
DECLARE
    wait bigint;
BEGIN
    IF lease.lease_id IS NULL OR lease.ended_at IS NOT NULL OR lease.expires_at <= t OR key.version <> p.version THEN
        RETURN ('renew', 0, NULL, NULL)::call_admission;
    END IF;
    IF key.paused THEN
        RETURN ('key_blocked', 1000, 'the provider key is paused', NULL)::call_admission;
    END IF;
    IF key.throttled_until > t THEN
        wait := ceil(extract(epoch FROM key.throttled_until - t) * 1000);
        RETURN ('key_blocked', wait,
                CASE WHEN key.refused IS NOT NULL THEN 'the provider refuses the account: ' || key.refused
                     WHEN key.failing >= 5 THEN 'the provider fails again and again'
                     ELSE 'the provider asked to wait' END, NULL)::call_admission;
    END IF;
    -- The provider gave this call a Retry-After that has not elapsed. We read it from the ledger,
    -- because the attempt that received it may be dead.
    IF last.state = 'failed' AND last.ended_at + last.wait_ms * interval '1 ms' > t THEN
        wait := ceil(extract(epoch FROM last.ended_at - t) * 1000) + last.wait_ms;
        RETURN ('call_blocked', wait, 'the provider asked to wait', NULL)::call_admission;
    END IF;
    wait := rate_wait_ms(p, key, t);
    IF wait > 0 THEN
        RETURN ('rate_limited', wait, 'a minute has as many calls or images as it may', NULL)::call_admission;
    END IF;
    RETURN NULL;
END $$;
