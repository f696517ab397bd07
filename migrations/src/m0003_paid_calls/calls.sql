-- The ledger: one row per paid call, written before it is sent and closed when its outcome is known.

-- May this call be made now? `go`: its intent is recorded, send it. `done`: it was made already, this is its result. `join`: another
-- attempt is making it, ask again. `wait`: not for `wait_ms`. `rate`: the same, for the rate. `later`: the same, for this call alone. `renew`: the lease
-- is over, or the limit was lowered: renew first. `stop`: its task needs it no more.
--
-- Twice with one token: one call.
CREATE FUNCTION begin_call(
    p_key text, p_lease bigint, p_version bigint, p_token text, p_task text, p_name text, p_images integer,
    p_idempotency_key text, p_timeout_ms integer
) RETURNS TABLE (verdict text, call_id bigint, wait_ms bigint, why text, result jsonb) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    key    provider_keys;
    lease  leases;
    task   record;
    last   calls;
    t      timestamptz;
    wait   bigint;
    id     bigint;
BEGIN
    SELECT * INTO key FROM provider_keys k WHERE k.provider_key = p_key;
    IF key.calls_per_minute IS NOT NULL OR key.images_per_minute IS NOT NULL THEN
        -- What is counted must not change meanwhile.
        SELECT * INTO key FROM provider_keys k WHERE k.provider_key = p_key FOR NO KEY UPDATE;
    END IF;
    -- A key share: renewals don't conflict with it, ending the lease does.
    SELECT * INTO lease FROM leases l WHERE l.lease_id = p_lease FOR KEY SHARE;
    t := darkroom_now();
    SELECT tasks.state, tasks.user_id, tasks.plan INTO task FROM tasks WHERE tasks.task_id = p_task;

    -- Twice at most: whoever inserts at the same moment is seen in the second round.
    FOR round IN 1..2 LOOP
        last := NULL;
        SELECT * INTO last FROM calls c WHERE c.task_id = p_task AND c.name = p_name
         ORDER BY c.state IN ('done', 'rejected') DESC, c.state = 'open' DESC, c.call_id DESC LIMIT 1;
        IF last.state IN ('done', 'rejected') THEN
            RETURN QUERY SELECT 'done', last.call_id, 0::bigint, NULL::text, last.result;
            RETURN;
        END IF;
        IF task.state IS DISTINCT FROM 'running' THEN
            RETURN QUERY SELECT 'stop', NULL::bigint, 0::bigint,
                CASE WHEN task.state IS NULL THEN 'there is no task `' || p_task || '`'
                     ELSE 'task `' || p_task || '` has ended: ' || task.state END, NULL::jsonb;
            RETURN;
        END IF;
        IF last.state = 'open' AND last.token <> p_token AND last.runs_until > t
           AND EXISTS (SELECT FROM leases l WHERE l.lease_id = last.lease_id AND is_living(l)) THEN
            RETURN QUERY SELECT 'join', last.call_id,
                ceil(extract(epoch FROM last.runs_until - t) * 1000)::bigint, NULL::text, NULL::jsonb;
            RETURN;
        END IF;
        IF lease.lease_id IS NULL OR lease.ended_at IS NOT NULL OR lease.expires_at <= t OR key.version <> p_version THEN
            RETURN QUERY SELECT 'renew', NULL::bigint, 0::bigint, NULL::text, NULL::jsonb;
            RETURN;
        END IF;
        IF key.paused THEN
            RETURN QUERY SELECT 'wait', NULL::bigint, 1000::bigint, 'the provider key is paused', NULL::jsonb;
            RETURN;
        END IF;
        IF key.throttled_until > t THEN
            wait := ceil(extract(epoch FROM key.throttled_until - t) * 1000);
            RETURN QUERY SELECT 'wait', NULL::bigint, wait,
                CASE WHEN key.failing >= 5 THEN 'the provider fails again and again' ELSE 'the provider asked to wait' END,
                NULL::jsonb;
            RETURN;
        END IF;
        -- Said to an attempt that may have been taken for dead since, and could pass it on to nobody.
        IF last.state = 'failed' AND last.ended_at + last.wait_ms * interval '1 ms' > t THEN
            wait := ceil(extract(epoch FROM last.ended_at - t) * 1000) + last.wait_ms;
            RETURN QUERY SELECT 'later', NULL::bigint, wait, 'the provider asked to wait', NULL::jsonb;
            RETURN;
        END IF;
        -- A minute, and the second within which a call that was begun is sent.
        wait := NULL;
        IF key.calls_per_minute IS NOT NULL OR key.images_per_minute IS NOT NULL THEN
            SELECT ceil(extract(epoch FROM max(c.begun_at) + interval '61 s' - t) * 1000) INTO wait
              FROM (SELECT begun_at,
                           row_number() OVER newest AS calls,
                           sum(images_asked) OVER newest AS images
                      FROM calls
                     WHERE provider_key = p_key AND begun_at > t - interval '61 s' AND state <> 'unsent'
                       AND token <> p_token
                    WINDOW newest AS (ORDER BY begun_at DESC, call_id DESC)) AS c
             WHERE c.calls >= key.calls_per_minute OR c.images > key.images_per_minute - p_images;
            IF key.calls_per_minute = 0 OR key.images_per_minute < p_images THEN
                wait := 60000;
            END IF;
        END IF;
        IF wait > 0 THEN
            RETURN QUERY SELECT 'rate', NULL::bigint, wait, 'a minute has as many calls or images as it may', NULL::jsonb;
            RETURN;
        END IF;

        IF last.state = 'open' AND last.token = p_token THEN
            -- Our own intent, whose answer was lost: not sent yet.
            UPDATE calls c SET lease_id = p_lease, begun_at = t, runs_until = t + p_timeout_ms * interval '1 ms'
             WHERE c.call_id = last.call_id;
            RETURN QUERY SELECT 'go', last.call_id, 0::bigint, NULL::text, NULL::jsonb;
            RETURN;
        END IF;

        -- Repeated without knowing whether it was billed: a possible loss, unless the provider knows it again.
        UPDATE calls c
           SET state = 'ambiguous', lost_at = CASE WHEN c.idempotency_key IS NULL THEN t END,
               message = coalesce(c.message, 'its worker died, or was away too long')
         WHERE c.call_id = last.call_id AND c.state = 'open';
        IF last.state = 'open' AND NOT FOUND THEN
            -- Its outcome has just come after all.
            CONTINUE;
        END IF;
        UPDATE calls c SET lost_at = t
         WHERE c.task_id = p_task AND c.name = p_name AND c.state = 'ambiguous' AND c.lost_at IS NULL
           AND c.idempotency_key IS NULL;

        INSERT INTO calls (provider_key, lease_id, token, task_id, user_id, plan, name, images_asked, idempotency_key,
                           begun_at, runs_until)
        VALUES (p_key, p_lease, p_token, p_task, task.user_id, task.plan, p_name, p_images, p_idempotency_key,
                t, t + p_timeout_ms * interval '1 ms')
        ON CONFLICT (task_id, name) WHERE state = 'open' DO NOTHING
        RETURNING calls.call_id INTO id;
        IF id IS NOT NULL THEN
            RETURN QUERY SELECT 'go', id, 0::bigint, NULL::text, NULL::jsonb;
            RETURN;
        END IF;
    END LOOP;
    RETURN QUERY SELECT 'wait', NULL::bigint, 100::bigint, 'other attempts begin the same call', NULL::jsonb;
END $$;

-- What became of a call: done, rejected, failed (not billed), ambiguous (may have been billed), lost (billed, as a rule, but of no use), unsent. Twice: the same; what is known
-- of it is never overwritten by what isn't.
--
-- p_may_run: it was not answered, so the provider may work on. p_wait_ms: the provider asks to wait so long. p_refused: it refused the call for a limit.
-- p_unavailable: it failed by its own word.
CREATE FUNCTION end_call(
    p_call bigint, p_state text, p_images_billed integer, p_cost_usd double precision, p_request_id text,
    p_failure_kind text, p_message text, p_result jsonb, p_may_run boolean, p_refused boolean, p_wait_ms integer,
    p_unavailable boolean
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    call calls;
    t    timestamptz;
BEGIN
    SELECT * INTO call FROM calls WHERE call_id = p_call;
    -- A success touches nothing but its own row, so that calls of one key don't wait for each other, unless the provider failed before.
    -- The key is locked before the call, as everywhere.
    IF p_refused OR p_unavailable
       OR p_state IN ('done', 'rejected')
          AND EXISTS (SELECT FROM provider_keys WHERE provider_key = call.provider_key AND failing > 0) THEN
        PERFORM FROM provider_keys WHERE provider_key = call.provider_key FOR NO KEY UPDATE;
    END IF;
    t := darkroom_now();
    -- What the provider knew again by its key, it billed once.
    IF EXISTS (SELECT FROM calls c WHERE c.task_id = call.task_id AND c.name = call.name AND c.state = 'done'
                  AND c.idempotency_key = call.idempotency_key AND c.call_id <> p_call) THEN
        p_images_billed := 0;
        p_cost_usd := 0;
    END IF;
    UPDATE calls
       SET state = p_state, ended_at = t, images_billed = p_images_billed, cost_usd = p_cost_usd, request_id = p_request_id,
           failure_kind = p_failure_kind, message = p_message, result = p_result,
           wait_ms = p_wait_ms,
           runs_until = CASE WHEN p_may_run THEN runs_until ELSE least(runs_until, t) END,
           lost_at = CASE WHEN p_state = 'lost' THEN t ELSE lost_at END
     WHERE call_id = p_call AND (state = 'open' OR state = 'ambiguous' AND p_state <> 'ambiguous')
    RETURNING * INTO call;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF p_refused THEN
        PERFORM cut_limit(call.provider_key, call.begun_at, p_wait_ms);
    ELSIF p_unavailable THEN
        PERFORM note_failing(call.provider_key, call.begun_at);
    ELSIF p_state IN ('done', 'rejected') THEN
        UPDATE provider_keys SET failing = 0 WHERE provider_key = call.provider_key AND failing > 0;
        IF FOUND THEN
            PERFORM pg_notify('darkroom_limits', call.provider_key);
        END IF;
    END IF;
END $$;
