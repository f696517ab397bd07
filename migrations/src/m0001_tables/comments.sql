-- Every table and column, described. docs/schema.md is made from these comments.

COMMENT ON TABLE tasks IS
    'One row per task, from the moment at which its input was found good.';
COMMENT ON COLUMN tasks.task_id IS
    'Id of the task, which the app chose.';
COMMENT ON COLUMN tasks.user_id IS
    'User of the task.';
COMMENT ON COLUMN tasks.plan IS
    'Name of the plan.';
COMMENT ON COLUMN tasks.input IS
    'Input of the workflow, which tells a repeated start from another start of the same id.';
COMMENT ON COLUMN tasks.images_planned IS
    'Images that the task was to have; 0 for a task that was cancelled before its plan was known.';
COMMENT ON COLUMN tasks.state IS
    'running, completed (all images), partial (some images, or all prompts rejected), cancelled or failed.';
COMMENT ON COLUMN tasks.missing IS
    'Planned images that were not made, as [{index, prompt_index, reason, message}].';
COMMENT ON COLUMN tasks.failure_kind IS
    'Kind of the failure of a failed task, as in docs/operations.md.';
COMMENT ON COLUMN tasks.failure_message IS
    'Words of the failure, for people.';
COMMENT ON COLUMN tasks.lane IS
    'Temporal''s fairness key of the task''s paid calls; NULL for a task from before there were lanes.';
COMMENT ON COLUMN tasks.lane_weight IS
    'Weight of the lane.';
COMMENT ON COLUMN tasks.created_at IS
    'Time at which the row was made.';
COMMENT ON COLUMN tasks.finished_at IS
    'Time at which the end was recorded; NULL while the task runs.';

COMMENT ON TABLE images IS
    'One row per stored image, whose object exists with this size and hash.';
COMMENT ON COLUMN images.task_id IS
    'Task that the image belongs to.';
COMMENT ON COLUMN images.index IS
    'Place among the planned images, from 0.';
COMMENT ON COLUMN images.prompt_index IS
    'Place of the images prompt among the tasks prompts, from 0.';
COMMENT ON COLUMN images.object_key IS
    'Key of the object. Keys sort by bytes, as in S3''s listings, for `darkroom reconcile`.';
COMMENT ON COLUMN images.size_bytes IS
    'Size of the object in bytes.';
COMMENT ON COLUMN images.content_type IS
    'Media type of the object, image/png, image/jpeg or image/webp.';
COMMENT ON COLUMN images.width IS
    'Width in pixels.';
COMMENT ON COLUMN images.height IS
    'Height in pixels.';
COMMENT ON COLUMN images.sha256 IS
    'SHA-256 of the object in hex.';
COMMENT ON COLUMN images.created_at IS
    'Time at which the row was made, which is the end of the task.';

COMMENT ON TABLE provider_keys IS
    'One account at a provider, the unit that is limited and billed.';
COMMENT ON COLUMN provider_keys.provider_key IS
    'Name of the key, which is provider.key_name of the configuration, or provider.route.';
COMMENT ON COLUMN provider_keys.ceiling IS
    'Largest number of calls in flight over all workers; NULL if only their slots limit them.';
COMMENT ON COLUMN provider_keys.floor IS
    'Limit below which adaptation never cuts, as far as the ceiling allows.';
COMMENT ON COLUMN provider_keys.calls_at_once IS
    'Limit of concurrent calls now, from floor to ceiling, which adapts to the provider.';
COMMENT ON COLUMN provider_keys.calls_per_minute IS
    'Calls that may begin in any minute; NULL for any number.';
COMMENT ON COLUMN provider_keys.images_per_minute IS
    'Images that may be asked for in any minute; NULL for any number.';
COMMENT ON COLUMN provider_keys.paused IS
    'True if no call may begin.';
COMMENT ON COLUMN provider_keys.throttled_until IS
    'Time before which nobody calls, after a 429, a refusal of the account or repeated failures.';
COMMENT ON COLUMN provider_keys.throttle_ms IS
    'Milliseconds of the last 429, which the next raise after a refused one waits for 20 times.';
COMMENT ON COLUMN provider_keys.known_good IS
    'Limit before the last raise, which comes back if the raise fails its trial.';
COMMENT ON COLUMN provider_keys.step IS
    'Size of the next raise.';
COMMENT ON COLUMN provider_keys.cautious IS
    'True if the last raise was refused. The next raise waits for at least 150 successes.';
COMMENT ON COLUMN provider_keys.cut_at IS
    'Time of the last cut.';
COMMENT ON COLUMN provider_keys.grown_at IS
    'Time of the last raise.';
COMMENT ON COLUMN provider_keys.generation IS
    'Number of changes of the limit. A call tells only of the limit under which it began.';
COMMENT ON COLUMN provider_keys.orphan_ms IS
    'Milliseconds from its begin for which an orphan uses capacity; NULL if learnt from the key''s calls.';
COMMENT ON COLUMN provider_keys.failing IS
    'Failures since the last success, counted up to 30. From 5 on, only few calls try the key.';
COMMENT ON COLUMN provider_keys.failing_at IS
    'Time of the last failure.';
COMMENT ON COLUMN provider_keys.refused IS
    'Words with which the provider refuses the account; NULL if it doesn''t. One call tries every 30 s.';
COMMENT ON COLUMN provider_keys.version IS
    'Number of settings, cuts and stops. A worker with an older number renews before it calls.';

COMMENT ON TABLE limit_changes IS
    'Each change of a key''s limit or rates, with the new values and the reason.';
COMMENT ON COLUMN limit_changes.provider_key IS
    'Key whose limit changed.';
COMMENT ON COLUMN limit_changes.at IS
    'Time of the change.';
COMMENT ON COLUMN limit_changes.calls_at_once IS
    'Limit of concurrent calls after the change.';
COMMENT ON COLUMN limit_changes.calls_per_minute IS
    'Rate of calls after the change.';
COMMENT ON COLUMN limit_changes.images_per_minute IS
    'Rate of images after the change.';
COMMENT ON COLUMN limit_changes.why IS
    'set by people, cut after a 429, raised, or raise undone.';

COMMENT ON TABLE leases IS
    'Each worker''s share of a key. The id is a fence, because an ended lease is followed by another id.';
COMMENT ON COLUMN leases.lease_id IS
    'Id of the lease.';
COMMENT ON COLUMN leases.provider_key IS
    'Key that the lease is of.';
COMMENT ON COLUMN leases.worker IS
    'Name of one start of a worker process.';
COMMENT ON COLUMN leases.host IS
    'Machine of the worker, for people.';
COMMENT ON COLUMN leases.pid IS
    'Process id of the worker, for people.';
COMMENT ON COLUMN leases.max_calls IS
    'Calls that the worker could ever have in flight.';
COMMENT ON COLUMN leases.granted IS
    'Calls that the worker may have in flight. Until the lease has ended, nobody else may.';
COMMENT ON COLUMN leases.calls IS
    'Calls in flight at the last renewal.';
COMMENT ON COLUMN leases.demand IS
    'Calls that the worker could have in flight.';
COMMENT ON COLUMN leases.idle_slots IS
    'Slots of a worker whose polls wait for work, taken from it only if there is not enough for all.';
COMMENT ON COLUMN leases.renewal IS
    'Number of the last renewal. A renewal that arrives late changes nothing.';
COMMENT ON COLUMN leases.cut_off IS
    'True if the worker can''t reach Temporal. Such a worker gets no work, and wants nothing.';
COMMENT ON COLUMN leases.starving_since IS
    'Time since which the worker has had no share though it could use one.';
COMMENT ON COLUMN leases.begun_at IS
    'Time at which the lease began.';
COMMENT ON COLUMN leases.seen_at IS
    'Time of the last renewal.';
COMMENT ON COLUMN leases.expires_at IS
    'Time at which the lease expires without a renewal.';
COMMENT ON COLUMN leases.ended_at IS
    'Time at which the lease was ended; NULL while it is held or expired.';

COMMENT ON TABLE calls IS
    'The ledger, with one row per paid call from before the call is sent.';
COMMENT ON COLUMN calls.call_id IS
    'Number of the row, which decides nothing.';
COMMENT ON COLUMN calls.provider_key IS
    'Account that pays.';
COMMENT ON COLUMN calls.lease_id IS
    'Lease under which the call was made.';
COMMENT ON COLUMN calls.token IS
    'Name of the execution that made the call. The worker made it up, and no other execution has it.';
COMMENT ON COLUMN calls.task_id IS
    'Task that the call was made for.';
COMMENT ON COLUMN calls.user_id IS
    'User of the task.';
COMMENT ON COLUMN calls.plan IS
    'Plan of the task.';
COMMENT ON COLUMN calls.name IS
    'Name of the call within its task, such as beautify, 3 or 3.2.';
COMMENT ON COLUMN calls.images_asked IS
    'Images that the call asked for.';
COMMENT ON COLUMN calls.fingerprint IS
    'SHA-256 of all that was asked for. Only the same request gets the result.';
COMMENT ON COLUMN calls.idempotency_key IS
    'Key by which the provider recognises a repeated call, if it honours such keys.';
COMMENT ON COLUMN calls.state IS
    'open, done, rejected, failed (not billed), ambiguous (nobody knows), unusable (billed, as a rule), unsent, '
    'or settled (was in doubt until another call was answered under its idempotency key).';
COMMENT ON COLUMN calls.generation IS
    'Generation of the key''s limit when the call began.';
COMMENT ON COLUMN calls.begun_at IS
    'Time at which the intent was recorded, just before the call was sent.';
COMMENT ON COLUMN calls.runs_until IS
    'Time until which the provider may be executing the call, moved to the end of an answered call.';
COMMENT ON COLUMN calls.ended_at IS
    'Time at which the end was recorded.';
COMMENT ON COLUMN calls.written_off_at IS
    'Time at which the call became a loss, because it was, or may have been, paid for without a use.';
COMMENT ON COLUMN calls.images_billed IS
    'Images on the provider''s bill; NULL where nobody knows.';
COMMENT ON COLUMN calls.cost_usd IS
    'US dollars on the bill, from the prices of the configuration.';
COMMENT ON COLUMN calls.request_id IS
    'Provider''s id of the call.';
COMMENT ON COLUMN calls.failure_kind IS
    'Kind of the failure.';
COMMENT ON COLUMN calls.message IS
    'Words of the failure, for people.';
COMMENT ON COLUMN calls.wait_ms IS
    'Milliseconds that the provider asked to wait, after a call that failed.';
COMMENT ON COLUMN calls.result IS
    'Result for attempts that come after the worker died, emptied when the task ends.';

COMMENT ON TABLE installed_functions IS
    'Functions that the last `darkroom migrate up` installed. A worker that needs later ones doesn''t start.';
COMMENT ON COLUMN installed_functions.one IS
    'Always true, so that there is one row.';
COMMENT ON COLUMN installed_functions.revision IS
    'Revision of the functions.';
COMMENT ON COLUMN installed_functions.sha256 IS
    'SHA-256 of the functions, in hex.';
COMMENT ON COLUMN installed_functions.installed_at IS
    'Time of the installation.';
