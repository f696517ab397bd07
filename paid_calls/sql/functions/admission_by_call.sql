-- Answers `done`, `task_ended`, `in_flight` or `exhausted` if a reason lies in the call itself;
-- NULL if none does. `key_blocked` without a wait means that another attempt has just ended.
CREATE OR REPLACE FUNCTION admission_by_call(p call_intent, last calls, t timestamptz) RETURNS call_admission
LANGUAGE plpgsql AS $$
DECLARE
    task_state text;
    billed     integer;
BEGIN
    IF last.state IN ('done', 'rejected') AND last.result IS NOT NULL THEN
        RETURN ('done', 0, NULL, last.result)::call_admission;
    END IF;
    SELECT state INTO task_state FROM tasks WHERE task_id = p.task_id;
    IF task_state <> 'running' THEN
        RETURN ('task_ended', 0, 'task `' || p.task_id || '` has ended: ' || task_state, NULL)::call_admission;
    END IF;
    IF last.state = 'open' AND last.token <> p.token AND last.runs_until > t
       AND EXISTS (SELECT FROM leases l WHERE l.lease_id = last.lease_id AND is_living(l)) THEN
        RETURN ('in_flight', ceil(extract(epoch FROM last.runs_until - t) * 1000)::bigint, NULL, NULL)::call_admission;
    END IF;
    SELECT count(*) INTO billed FROM calls c
     WHERE c.task_id = p.task_id AND c.name = p.name AND c.token <> p.token
       AND c.state IN ('open', 'ambiguous', 'unusable');
    IF billed >= p.max_billed_failures AND (last.state IS DISTINCT FROM 'open' OR last.token <> p.token) THEN
        IF last.state = 'open' AND NOT give_up_call(last.call_id) THEN
            RETURN ('key_blocked', 0, 'another attempt has just ended', NULL)::call_admission;
        END IF;
        SELECT c.message INTO last.message FROM calls c
         WHERE c.task_id = p.task_id AND c.name = p.name AND c.message IS NOT NULL ORDER BY c.call_id DESC LIMIT 1;
        RETURN ('exhausted', 0,
                'made ' || billed || ' times without a result, and each may have been billed; the last: '
                || coalesce(last.message, 'no answer'), NULL)::call_admission;
    END IF;
    RETURN NULL;
END $$;
