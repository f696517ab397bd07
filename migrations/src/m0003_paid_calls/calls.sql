-- The ledger: one row per paid call, written before it is sent and closed when its outcome is known.
--
-- A call is known by its token, which its worker makes up: an id that the database gives could be given again after a failover to a
-- replica that lacks the last commits, and then name another user's call.

-- The call that is to be made. `fingerprint`: of all that is asked for, the user included; only the same request gets a recorded result.
CREATE TYPE call_intent AS (
    provider_key text, worker text, lease_id bigint, version bigint, token text, task_id text, user_id text, plan text, name text,
    images integer, fingerprint text, idempotency_key text, timeout_ms integer, max_billed_failures integer
);
CREATE TYPE call_verdict AS (verdict text, wait_ms bigint, why text, result jsonb);

-- The call of that name that decides about another of the same request: one that gave a result, else one that runs, else the last.
CREATE FUNCTION deciding_call(p call_intent) RETURNS calls LANGUAGE sql AS $$
    SELECT c FROM calls c WHERE c.task_id = p.task_id AND c.name = p.name AND c.fingerprint = p.fingerprint
     ORDER BY c.state IN ('done', 'rejected') AND c.result IS NOT NULL DESC, c.state = 'open' DESC, c.call_id DESC LIMIT 1
$$;

-- Gives up a call whose attempt is gone: it may have been billed. False where its outcome has just come after all.
CREATE FUNCTION give_up_call(p_call bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE calls SET state = 'ambiguous', message = coalesce(message, 'its worker died, or was away too long')
     WHERE call_id = p_call AND state = 'open';
    RETURN FOUND;
END $$;

-- Reasons that lie in the call itself: `done`, `stop`, `join`, `spent`; no verdict where there is none.
CREATE FUNCTION verdict_of_call(p call_intent, last calls, t timestamptz) RETURNS call_verdict LANGUAGE plpgsql AS $$
DECLARE
    task_state text;
    billed     integer;
BEGIN
    IF last.state IN ('done', 'rejected') AND last.result IS NOT NULL THEN
        RETURN ('done', 0, NULL, last.result)::call_verdict;
    END IF;
    SELECT state INTO task_state FROM tasks WHERE task_id = p.task_id;
    IF task_state <> 'running' THEN
        RETURN ('stop', 0, 'task `' || p.task_id || '` has ended: ' || task_state, NULL)::call_verdict;
    END IF;
    IF last.state = 'open' AND last.token <> p.token AND last.runs_until > t
       AND EXISTS (SELECT FROM leases l WHERE l.lease_id = last.lease_id AND is_living(l)) THEN
        RETURN ('join', ceil(extract(epoch FROM last.runs_until - t) * 1000)::bigint, NULL, NULL)::call_verdict;
    END IF;
    SELECT count(*) INTO billed FROM calls c
     WHERE c.task_id = p.task_id AND c.name = p.name AND c.token <> p.token AND c.state IN ('open', 'ambiguous', 'lost');
    IF billed >= p.max_billed_failures AND (last.state IS DISTINCT FROM 'open' OR last.token <> p.token) THEN
        IF last.state = 'open' AND NOT give_up_call(last.call_id) THEN
            RETURN ('wait', 0, 'another attempt has just ended', NULL)::call_verdict;
        END IF;
        SELECT c.message INTO last.message FROM calls c
         WHERE c.task_id = p.task_id AND c.name = p.name AND c.message IS NOT NULL ORDER BY c.call_id DESC LIMIT 1;
        RETURN ('spent', 0, 'made ' || billed || ' times without a result, and each may have been billed; the last: '
                            || coalesce(last.message, 'no answer'), NULL)::call_verdict;
    END IF;
    RETURN NULL;
END $$;

-- Reasons that lie in the key: `renew`, `wait`, `later`, `rate`; no verdict where there is none.
CREATE FUNCTION verdict_of_key(p call_intent, key provider_keys, lease leases, last calls, t timestamptz) RETURNS call_verdict
LANGUAGE plpgsql AS $$
DECLARE
    wait bigint;
BEGIN
    IF lease.lease_id IS NULL OR lease.ended_at IS NOT NULL OR lease.expires_at <= t OR key.version <> p.version THEN
        RETURN ('renew', 0, NULL, NULL)::call_verdict;
    END IF;
    IF key.paused THEN
        RETURN ('wait', 1000, 'the provider key is paused', NULL)::call_verdict;
    END IF;
    IF key.throttled_until > t THEN
        wait := ceil(extract(epoch FROM key.throttled_until - t) * 1000);
        RETURN ('wait', wait, CASE WHEN key.refused IS NOT NULL THEN 'the provider refuses the account: ' || key.refused
                                   WHEN key.failing >= 5 THEN 'the provider fails again and again'
                                   ELSE 'the provider asked to wait' END, NULL)::call_verdict;
    END IF;
    -- The attempt that was told may have been taken for dead since, and could pass it on to nobody.
    IF last.state = 'failed' AND last.ended_at + last.wait_ms * interval '1 ms' > t THEN
        wait := ceil(extract(epoch FROM last.ended_at - t) * 1000) + last.wait_ms;
        RETURN ('later', wait, 'the provider asked to wait', NULL)::call_verdict;
    END IF;
    wait := rate_wait_ms(p, key, t);
    IF wait > 0 THEN
        RETURN ('rate', wait, 'a minute has as many calls or images as it may', NULL)::call_verdict;
    END IF;
    RETURN NULL;
END $$;

-- How long the key's rates hold this call back. A minute, and the second within which a call that was begun is sent.
CREATE FUNCTION rate_wait_ms(p call_intent, key provider_keys, t timestamptz) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    wait bigint;
BEGIN
    IF key.calls_per_minute IS NULL AND key.images_per_minute IS NULL THEN
        RETURN NULL;
    END IF;
    IF key.calls_per_minute = 0 OR key.images_per_minute < p.images THEN
        RETURN 60000;
    END IF;
    SELECT ceil(extract(epoch FROM max(c.begun_at) + interval '61 s' - t) * 1000) INTO wait
      FROM (SELECT begun_at,
                   row_number() OVER newest AS calls,
                   sum(images_asked) OVER newest AS images
              FROM calls
             WHERE provider_key = p.provider_key AND begun_at > t - interval '61 s' AND state <> 'unsent' AND token <> p.token
            WINDOW newest AS (ORDER BY begun_at DESC, call_id DESC)) AS c
     WHERE c.calls >= key.calls_per_minute OR c.images > key.images_per_minute - p.images;
    RETURN wait;
END $$;

-- May this call be made now? `go`: its intent is recorded, send it. `done`: it was made already, this is its result. `join`: another
-- attempt is making it, ask again. `wait`: not for `wait_ms`. `rate`: the same, for the rate. `later`: the same, for this call alone.
-- `renew`: the lease is over, or the limit was lowered: renew first. `stop`: its task needs it no more. `spent`: as many calls of this name
-- as may be billed without a result were made.
--
-- Twice with one token: one call.
CREATE FUNCTION begin_call(p call_intent) RETURNS call_verdict LANGUAGE plpgsql AS $$
DECLARE
    key     provider_keys;
    lease   leases;
    last    calls;
    verdict call_verdict;
    t       timestamptz;
BEGIN
    SELECT * INTO key FROM provider_keys k WHERE k.provider_key = p.provider_key;
    IF key.calls_per_minute IS NOT NULL OR key.images_per_minute IS NOT NULL THEN
        -- The calls that are counted must not change meanwhile.
        SELECT * INTO key FROM provider_keys k WHERE k.provider_key = p.provider_key FOR NO KEY UPDATE;
    END IF;
    -- A key share: renewals don't conflict with it, ending the lease does.
    SELECT * INTO lease FROM leases l WHERE l.lease_id = p.lease_id AND l.worker = p.worker FOR KEY SHARE;
    t := darkroom_now();

    -- Twice at most: whoever inserts at the same moment is seen in the second round.
    FOR round IN 1..2 LOOP
        last := deciding_call(p);
        verdict := verdict_of_call(p, last, t);
        IF verdict.verdict IS NULL THEN
            verdict := verdict_of_key(p, key, lease, last, t);
        END IF;
        IF verdict.verdict IS NOT NULL THEN
            RETURN verdict;
        END IF;
        IF last.state = 'open' AND last.token = p.token THEN
            -- Our own intent, whose answer was lost: not sent yet.
            UPDATE calls c SET lease_id = p.lease_id, generation = key.generation, begun_at = t, runs_until = t + p.timeout_ms * interval '1 ms'
             WHERE c.call_id = last.call_id;
            RETURN ('go', 0, NULL, NULL)::call_verdict;
        END IF;
        IF last.state = 'open' AND NOT give_up_call(last.call_id) THEN
            CONTINUE;
        END IF;
        PERFORM note_losses(p, t);
        INSERT INTO calls (provider_key, lease_id, token, task_id, user_id, plan, name, images_asked, fingerprint, idempotency_key,
                           generation, begun_at, runs_until)
        VALUES (p.provider_key, p.lease_id, p.token, p.task_id, p.user_id, p.plan, p.name, p.images, p.fingerprint, p.idempotency_key,
                key.generation, t, t + p.timeout_ms * interval '1 ms')
        ON CONFLICT (task_id, name, fingerprint) WHERE state = 'open' DO NOTHING;
        IF FOUND THEN
            RETURN ('go', 0, NULL, NULL)::call_verdict;
        END IF;
    END LOOP;
    RETURN ('wait', 100, 'other attempts begin the same call', NULL)::call_verdict;
END $$;

-- A call is about to be repeated: what was, or may have been, paid under its name is a loss, unless the provider knows it again by its
-- key. What was paid for another request of that name is of no use either.
CREATE FUNCTION note_losses(p call_intent, t timestamptz) RETURNS void LANGUAGE sql AS $$
    UPDATE calls c SET lost_at = t
     WHERE c.task_id = p.task_id AND c.name = p.name AND c.lost_at IS NULL
       AND (c.state = 'ambiguous' AND c.idempotency_key IS NULL
            OR c.fingerprint <> p.fingerprint AND c.state IN ('open', 'done', 'ambiguous'))
$$;

-- How a call ended. `says`: what that tells of the key: `throttled`, `unavailable`, `refused` (the account, in the provider's own words),
-- `status` (401, 403 and the like, in nobody's words). `may_run`: it was not answered, so the provider may work on. `wait_ms`: the provider
-- asks to wait so long. `elapsed_ms`: since it began. For a refusal, `result` is the rejection that it becomes when it is this request's.
CREATE TYPE call_end AS (
    state text, images_billed integer, cost_usd double precision, request_id text, failure_kind text, message text, result jsonb,
    may_run boolean, says text, wait_ms integer, elapsed_ms integer
);

-- Records what became of a call: done, rejected, failed (not billed), ambiguous (may have been billed), lost (billed, as a rule, but of no
-- use), unsent. Returns the state that is on record, `rejected` where a request was refused for the third time. Twice: the same; what is known
-- is never overwritten by what isn't.
--
-- A row that is gone, as after a failover to a replica that lacks it, is made again: its worker knows all of it.
CREATE FUNCTION end_call(p call_intent, e call_end) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    call calls;
    t    timestamptz;
BEGIN
    -- A success touches nothing but its own row, so that calls of one key don't wait for each other, unless the provider failed before.
    -- The key is locked before the call, as everywhere.
    IF e.says IS NOT NULL
       OR e.state IN ('done', 'rejected') AND EXISTS (SELECT FROM provider_keys k WHERE k.provider_key = p.provider_key AND k.failing > 0) THEN
        PERFORM FROM provider_keys k WHERE k.provider_key = p.provider_key FOR NO KEY UPDATE;
    END IF;
    t := darkroom_now();
    SELECT * INTO call FROM calls c WHERE c.token = p.token AND (c.state <> 'unsent' OR e.state = 'unsent') ORDER BY c.call_id DESC LIMIT 1;
    IF NOT FOUND THEN
        call := call_made_again(p, e, t);
    END IF;
    e := end_as_recorded(p, e, call, t);
    UPDATE calls c
       SET state = e.state, ended_at = t, images_billed = e.images_billed, cost_usd = e.cost_usd, request_id = e.request_id,
           failure_kind = e.failure_kind, message = e.message, result = CASE WHEN e.state IN ('done', 'rejected') THEN e.result END,
           wait_ms = e.wait_ms,
           runs_until = CASE WHEN e.may_run THEN c.runs_until ELSE least(c.runs_until, t) END,
           lost_at = CASE WHEN e.state = 'lost' THEN t ELSE c.lost_at END
     WHERE c.call_id = call.call_id
       AND (c.state = 'open' OR c.state IN ('ambiguous', 'settled') AND (e.state <> 'ambiguous' OR c.ended_at IS NULL));
    IF NOT FOUND THEN
        RETURN call.state;
    END IF;
    IF e.state IN ('done', 'rejected') THEN
        PERFORM settle_calls(p, call.call_id);
    END IF;
    PERFORM note_end(p.provider_key, call, e);
    RETURN e.state;
END $$;

-- The end as it goes on record. A request that the provider knew again by its key was billed once.
--
-- A status such as 403 refuses the account or one request, and doesn't say which. It is the account where no call of the key succeeds. It is
-- the request at the third refusal, if a call that began after the first one has succeeded. While such a call still runs, nobody knows: the
-- request is asked for again. Refusals from before the account was last refused don't count, because they may have been the account's.
CREATE FUNCTION end_as_recorded(p call_intent, e call_end, call calls, t timestamptz) RETURNS call_end LANGUAGE plpgsql AS $$
DECLARE
    refusals integer;
    since    timestamptz;
    span     interval;
    works    boolean;
BEGIN
    IF EXISTS (SELECT FROM calls c WHERE c.task_id = p.task_id AND c.name = p.name AND c.state = 'done'
                  AND c.idempotency_key = p.idempotency_key AND c.call_id <> call.call_id) THEN
        e.images_billed := 0;
        e.cost_usd := 0;
    END IF;
    IF e.says = 'status' THEN
        SELECT count(*), min(c.ended_at) INTO refusals, since FROM calls c, provider_keys k
         WHERE c.task_id = p.task_id AND c.name = p.name AND c.state = 'failed' AND c.fingerprint = p.fingerprint
           AND c.failure_kind = e.failure_kind AND k.provider_key = p.provider_key AND c.begun_at > coalesce(k.failing_at, '-infinity');
        span := greatest(interval '1 min', 2 * longest_call(p.provider_key));
        works := EXISTS (SELECT FROM calls c WHERE c.provider_key = p.provider_key AND c.state = 'done'
                            AND c.begun_at > t - 3 * span AND c.ended_at > t - span);
        IF works AND refusals >= 2 THEN
            IF EXISTS (SELECT FROM calls c WHERE c.provider_key = p.provider_key AND c.state = 'done' AND c.begun_at > since) THEN
                e.state := 'rejected';
                e.wait_ms := NULL;
            ELSE
                -- A call that is refused, too, is refused within two seconds.
                works := EXISTS (SELECT FROM calls c WHERE c.provider_key = p.provider_key AND c.state = 'open'
                                    AND c.begun_at > since AND c.begun_at < t - interval '2 s');
            END IF;
        END IF;
        e.says := CASE WHEN NOT works THEN 'refused' END;
    END IF;
    RETURN e;
END $$;

-- The row of a call that is gone, with what its worker knows. Another call of that name means that it was paid twice.
CREATE FUNCTION call_made_again(p call_intent, e call_end, t timestamptz) RETURNS calls LANGUAGE sql AS $$
    INSERT INTO calls (provider_key, lease_id, token, task_id, user_id, plan, name, images_asked, fingerprint, idempotency_key,
                       begun_at, runs_until, state, lost_at)
    SELECT p.provider_key, p.lease_id, p.token, p.task_id, p.user_id, p.plan, p.name, p.images, p.fingerprint, p.idempotency_key,
           begun_at, begun_at + p.timeout_ms * interval '1 ms', 'ambiguous',
           CASE WHEN e.state IN ('done', 'ambiguous') AND p.idempotency_key IS NULL
                 AND EXISTS (SELECT FROM calls c WHERE c.task_id = p.task_id AND c.name = p.name AND c.state IN ('open', 'done')) THEN t END
      FROM (SELECT t - e.elapsed_ms * interval '1 ms' AS begun_at) AS call
    RETURNING *
$$;

-- A call that was answered under a key that the provider honours settles what was in doubt under it: it was billed once, here.
CREATE FUNCTION settle_calls(p call_intent, p_call bigint) RETURNS void LANGUAGE sql AS $$
    UPDATE calls c SET state = 'settled', images_billed = 0, cost_usd = 0, lost_at = NULL
     WHERE c.task_id = p.task_id AND c.name = p.name AND c.idempotency_key = p.idempotency_key AND c.call_id <> p_call
       AND c.state IN ('ambiguous', 'lost')
$$;

-- What the end of a call tells of its key.
CREATE FUNCTION note_end(p_key text, call calls, e call_end) RETURNS void LANGUAGE plpgsql AS $$
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
