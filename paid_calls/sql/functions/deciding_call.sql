-- Returns the call of that name that decides about another one of the same request. A call with a
-- result comes first, then an open one, and then the last one.
CREATE OR REPLACE FUNCTION deciding_call(p call_intent) RETURNS calls LANGUAGE sql AS $$
    SELECT c FROM calls c WHERE c.task_id = p.task_id AND c.name = p.name AND c.fingerprint = p.fingerprint
     ORDER BY c.state IN ('done', 'rejected') AND c.result IS NOT NULL DESC, c.state = 'open' DESC, c.call_id DESC
     LIMIT 1
$$;
