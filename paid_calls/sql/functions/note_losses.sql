-- Writes off the calls of a name that is about to be called again. A call that may have been paid
-- for is a loss, unless the provider recognises its key. A call that may have been paid for with
-- another request of that name is of no use either.
CREATE OR REPLACE FUNCTION note_losses(p call_intent, t timestamptz) RETURNS void LANGUAGE sql AS $$
    UPDATE calls c SET written_off_at = t
     WHERE c.task_id = p.task_id AND c.name = p.name AND c.written_off_at IS NULL
       AND (c.state = 'ambiguous' AND c.idempotency_key IS NULL
            OR c.fingerprint <> p.fingerprint AND c.state IN ('open', 'done', 'ambiguous'))
$$;
