-- Returns the end as it goes on record. A request that the provider recognised by its key was
-- billed once.
--
-- A status such as 403 refuses the account or one request, and doesn't say which. The account is
-- refused if no call of the key succeeds. The request is rejected at its third refusal, if a call
-- that began after the first refusal has succeeded. While such a call still runs, nobody knows, and
-- the request is asked for again. A refusal counts only if its call began after the last refusal of
-- the account and after the last failure of the provider. An earlier refusal may have been about
-- the account.
CREATE OR REPLACE FUNCTION end_as_recorded(p call_intent, e call_end, call calls, t timestamptz) RETURNS call_end
LANGUAGE plpgsql AS $$
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
           AND c.failure_kind = e.failure_kind AND k.provider_key = p.provider_key
           AND c.begun_at > coalesce(k.failing_at, '-infinity');
        span := greatest(interval '1 min', 2 * longest_call(p.provider_key));
        works := EXISTS (SELECT FROM calls c WHERE c.provider_key = p.provider_key AND c.state = 'done'
                            AND c.begun_at > t - 3 * span AND c.ended_at > t - span);
        IF works AND refusals >= 2 THEN
            IF EXISTS (SELECT FROM calls c
                        WHERE c.provider_key = p.provider_key AND c.state = 'done' AND c.begun_at > since) THEN
                e.state := 'rejected';
                e.wait_ms := NULL;
            ELSE
                -- A call that is refused, too, ends within two seconds.
                works := EXISTS (SELECT FROM calls c WHERE c.provider_key = p.provider_key AND c.state = 'open'
                                    AND c.begun_at > since AND c.begun_at < t - interval '2 s');
            END IF;
        END IF;
        e.says := CASE WHEN NOT works THEN 'refused' END;
    END IF;
    RETURN e;
END $$;
