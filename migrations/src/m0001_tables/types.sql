-- Arguments and answers of the functions in paid_calls/sql/functions.

-- Renewal of a lease, with what the worker says. `calls` are in flight under this lease.
-- `in_use_bound` is the most that may be in flight until the worker hears the answer. `idle_slots`
-- are the slots of a worker whose polls have brought no work of late, else 0. `demand` is the
-- number of calls that the worker could use, and `max_calls` the number that it could ever use.
-- `renewal` counts up, and a renewal that arrives after a later one changes nothing. `cut_off` says
-- that the worker can't reach Temporal, and gets no work.
CREATE TYPE lease_renewal AS (
    provider_key text, worker text, host text, pid integer, lease_id bigint, renewal bigint, calls integer,
    in_use_bound integer, idle_slots integer, demand integer, max_calls integer, cut_off boolean, ttl_ms integer
);

-- Answer to a renewal. A `share` of NULL means no limit. Nobody may call for `closed_ms`. `probing`
-- says that the key is tried after an outage, so that the worker renews soon.
CREATE TYPE lease_grant AS (lease_id bigint, share integer, version bigint, closed_ms bigint, probing boolean);

-- Pressure of a key's leases on polls that wait for work. `pressed` says that a worker's calls fill
-- its share. `hungry` says that a worker has no share though it has demand. `starving` says that a
-- worker has had no share for as long as a lease.
CREATE TYPE lease_pressure AS (pressed boolean, hungry boolean, starving boolean);

-- Intent of a call that is to be made. `fingerprint` covers all that is asked for, the user
-- included. Only the same request gets a recorded result.
CREATE TYPE call_intent AS (
    provider_key text, worker text, lease_id bigint, version bigint, token text, task_id text, user_id text, plan text,
    name text, images integer, fingerprint text, idempotency_key text, timeout_ms integer, max_billed_failures integer
);

-- Answer of `begin_call`, which describes the values of `admission`.
CREATE TYPE call_admission AS (admission text, wait_ms bigint, why text, result jsonb);

-- End of a call. `says` tells of the key, and is `throttled`, `unavailable`, `refused` (the
-- account, in the provider's own words) or `status` (401, 403 and the like, in nobody's words).
-- `may_run` says that the provider may still be executing the call. The provider asks to wait for
-- `wait_ms`. `elapsed_ms` counts from the call's begin. The `result` of a refusal is the rejection
-- that it becomes if it is about this request.
CREATE TYPE call_end AS (
    state text, images_billed integer, cost_usd double precision, request_id text, failure_kind text, message text,
    result jsonb, may_run boolean, says text, wait_ms integer, elapsed_ms integer
);
