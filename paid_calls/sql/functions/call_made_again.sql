-- Inserts the row of a call that is gone, with what its worker knows. Another call of that name
-- means that the call was paid for twice.
CREATE OR REPLACE FUNCTION call_made_again(p call_intent, e call_end, t timestamptz) RETURNS calls LANGUAGE sql AS $$
    INSERT INTO calls (provider_key, lease_id, token, task_id, user_id, plan, name, images_asked, fingerprint,
                       idempotency_key, begun_at, runs_until, state, written_off_at)
    SELECT p.provider_key, p.lease_id, p.token, p.task_id, p.user_id, p.plan, p.name, p.images, p.fingerprint,
           p.idempotency_key, begun_at, begun_at + p.timeout_ms * interval '1 ms', 'ambiguous',
           CASE WHEN e.state IN ('done', 'ambiguous') AND p.idempotency_key IS NULL
                 AND EXISTS (SELECT FROM calls c
                              WHERE c.task_id = p.task_id AND c.name = p.name AND c.state IN ('open', 'done'))
                THEN t END
      FROM (SELECT t - e.elapsed_ms * interval '1 ms' AS begun_at) AS call
    RETURNING *
$$;
