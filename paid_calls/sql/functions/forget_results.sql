-- Empties the results of the calls of a task that has ended, because the task's row answers in
-- their place. Returns how many results there were.
CREATE OR REPLACE FUNCTION forget_results(p_task_id text) RETURNS bigint LANGUAGE sql AS $$
    WITH forgotten AS (UPDATE calls SET result = NULL WHERE task_id = p_task_id AND result IS NOT NULL RETURNING 1)
    SELECT count(*) FROM forgotten
$$;
