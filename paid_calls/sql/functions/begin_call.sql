-- Decides whether a call may be made now, and records the intent if so. A second question with the
-- same token is about the same call. These are the answers:
--
-- - `go`: the intent is recorded, and the call may be sent.
-- - `done`: the call was made already, with this result.
-- - `in_flight`: another attempt is making the call, so ask again.
-- - `key_blocked`: the key takes no call for `wait_ms`.
-- - `rate_limited`: the key's rates allow no call for `wait_ms`.
-- - `call_blocked`: this call alone may not be made for `wait_ms`.
-- - `renew`: the lease is over, or the limit was lowered, so renew first.
-- - `task_ended`: the task needs the call no more.
-- - `exhausted`: too many calls of this name may have been billed without a result.
CREATE OR REPLACE FUNCTION begin_call(p call_intent) RETURNS call_admission LANGUAGE plpgsql AS $$
DECLARE
    key     provider_keys;
    lease   leases;
    last    calls;
    admission call_admission;
    t       timestamptz;
BEGIN
    SELECT * INTO key FROM provider_keys k WHERE k.provider_key = p.provider_key;
    IF key.calls_per_minute IS NOT NULL OR key.images_per_minute IS NOT NULL THEN
        -- The lock keeps the calls that are counted from changing meanwhile.
        SELECT * INTO key FROM provider_keys k WHERE k.provider_key = p.provider_key FOR NO KEY UPDATE;
    END IF;
    -- The key share conflicts with ending the lease, and not with renewals.
    SELECT * INTO lease FROM leases l WHERE l.lease_id = p.lease_id AND l.worker = p.worker FOR KEY SHARE;
    t := darkroom_now();

    -- The second round sees a call that another attempt inserted at the same moment.
    FOR round IN 1..2 LOOP
        last := deciding_call(p);
        admission := admission_by_call(p, last, t);
        IF admission.admission IS NULL THEN
            admission := admission_by_key(p, key, lease, last, t);
        END IF;
        IF admission.admission IS NOT NULL THEN
            RETURN admission;
        END IF;
        IF last.state = 'open' AND last.token = p.token THEN
            -- The intent is our own, and its answer was lost. So the call is not sent yet.
            UPDATE calls c SET lease_id = p.lease_id, generation = key.generation, begun_at = t,
                               runs_until = t + p.timeout_ms * interval '1 ms'
             WHERE c.call_id = last.call_id;
            RETURN ('go', 0, NULL, NULL)::call_admission;
        END IF;
        IF last.state = 'open' AND NOT give_up_call(last.call_id) THEN
            CONTINUE;
        END IF;
        PERFORM note_losses(p, t);
        INSERT INTO calls (provider_key, lease_id, token, task_id, user_id, plan, name, images_asked, fingerprint,
                           idempotency_key, generation, begun_at, runs_until)
        VALUES (p.provider_key, p.lease_id, p.token, p.task_id, p.user_id, p.plan, p.name, p.images, p.fingerprint,
                p.idempotency_key, key.generation, t, t + p.timeout_ms * interval '1 ms')
        ON CONFLICT (task_id, name, fingerprint) WHERE state = 'open' DO NOTHING;
        IF FOUND THEN
            RETURN ('go', 0, NULL, NULL)::call_admission;
        END IF;
    END LOOP;
    RETURN ('key_blocked', 100, 'other attempts begin the same call', NULL)::call_admission;
END $$;
