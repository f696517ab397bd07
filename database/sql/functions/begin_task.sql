-- Gives a task its row and its lane, and returns the lane that is on record; NULL if the task has
-- ended.
--
-- _task.lane is the lane of the task's plan. A task gets _own_lane if _tasks_in_lane earlier tasks
-- of its user and plan are running already. Tasks of one user get their rows one after the other,
-- so that the second sees the first. A row that still says `running` after _runs_at_most has lost
-- its workflow, and doesn't count. A second call changes only the number of planned images.
CREATE OR REPLACE FUNCTION begin_task(
    _task tasks, _own_lane text, _own_weight real, _tasks_in_lane integer, _runs_at_most interval,
    OUT lane text, OUT lane_weight real
) LANGUAGE plpgsql AS $$
DECLARE
    lock_class CONSTANT integer := 1818324581; -- "lane"
BEGIN
    PERFORM pg_advisory_xact_lock(lock_class, hashtext(_task.user_id));
    IF _tasks_in_lane <= (
        SELECT count(*) FROM tasks earlier
         WHERE earlier.user_id = _task.user_id AND earlier.plan = _task.plan AND earlier.state = 'running'
           AND earlier.task_id <> _task.task_id AND earlier.created_at > now() - _runs_at_most
    ) THEN
        _task.lane := _own_lane;
        _task.lane_weight := _own_weight;
    END IF;
    INSERT INTO tasks AS recorded (task_id, user_id, plan, input, images_planned, lane, lane_weight)
    VALUES (_task.task_id, _task.user_id, _task.plan, _task.input, _task.images_planned, _task.lane, _task.lane_weight)
        ON CONFLICT (task_id) DO UPDATE SET images_planned = excluded.images_planned WHERE recorded.state = 'running'
    RETURNING recorded.lane, recorded.lane_weight INTO begin_task.lane, begin_task.lane_weight;
END $$;
