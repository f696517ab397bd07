-- Settles the calls that were in doubt under a key that the provider honours, because a call was
-- answered under that key. The request was billed once, with the answered call.
CREATE OR REPLACE FUNCTION settle_calls(p call_intent, p_call bigint) RETURNS void LANGUAGE sql AS $$
    UPDATE calls c SET state = 'settled', images_billed = 0, cost_usd = 0, written_off_at = NULL
     WHERE c.task_id = p.task_id AND c.name = p.name AND c.idempotency_key = p.idempotency_key AND c.call_id <> p_call
       AND c.state IN ('ambiguous', 'unusable')
$$;
