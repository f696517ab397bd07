-- What a provider key allows, who may use how much of it, and every paid call.

CREATE TABLE provider_keys (
    provider_key      text PRIMARY KEY,
    ceiling           integer CHECK (ceiling >= 0),
    floor             integer NOT NULL DEFAULT 1 CHECK (floor >= 0),
    calls_at_once     integer CHECK (calls_at_once >= 0),
    calls_per_minute  integer CHECK (calls_per_minute >= 0),
    images_per_minute integer CHECK (images_per_minute >= 0),
    paused            boolean NOT NULL DEFAULT false,
    throttled_until   timestamptz,
    throttle_ms       integer NOT NULL DEFAULT 0,
    known_good        integer,
    step              integer NOT NULL DEFAULT 1,
    cautious          boolean NOT NULL DEFAULT false,
    cut_at            timestamptz,
    grown_at          timestamptz,
    generation        bigint NOT NULL DEFAULT 1,
    orphan_ms         integer CHECK (orphan_ms >= 0),
    failing           integer NOT NULL DEFAULT 0,
    failing_at        timestamptz,
    refused           text,
    version           bigint NOT NULL DEFAULT 1,
    CHECK ((ceiling IS NULL) = (calls_at_once IS NULL)),
    CHECK (calls_at_once <= ceiling)
);
COMMENT ON TABLE provider_keys IS 'One account at a provider, the unit that is limited and billed.';
COMMENT ON COLUMN provider_keys.ceiling IS 'Calls in flight at most, over all workers; NULL: no limit but their slots.';
COMMENT ON COLUMN provider_keys.floor IS 'The limit is never cut below this, as far as the ceiling allows.';
COMMENT ON COLUMN provider_keys.calls_at_once IS 'The limit now: what the provider was seen to take, from floor to ceiling.';
COMMENT ON COLUMN provider_keys.throttled_until IS 'Nobody calls before this: the provider said so (429), or fails again and again.';
COMMENT ON COLUMN provider_keys.known_good IS 'The limit before it was last raised, while the raise is on trial.';
COMMENT ON COLUMN provider_keys.cautious IS 'The last raise was refused: the next waits for 150 calls that succeed.';
COMMENT ON COLUMN provider_keys.generation IS 'Counts the changes of the limit: a call tells only of the limit under which it began.';
COMMENT ON COLUMN provider_keys.orphan_ms IS 'How long a call that nobody waits for any more uses capacity, from its begin; NULL: as the key''s calls are known to take.';
COMMENT ON COLUMN provider_keys.failing IS 'Incidents of unavailability since the last success; from 5 on, one call at a time tries again.';
COMMENT ON COLUMN provider_keys.refused IS 'Why the provider refuses the account, in its words; NULL: it doesn''t. One call every 30 s tries again.';
COMMENT ON COLUMN provider_keys.version IS 'Counts what lowers the limit: a worker that knows an older one asks again before it calls.';

CREATE TABLE limit_changes (
    provider_key  text NOT NULL,
    at            timestamptz NOT NULL,
    calls_at_once integer,
    calls_per_minute  integer,
    images_per_minute integer,
    why           text NOT NULL CHECK (why IN ('set', 'cut', 'raise refused', 'raised'))
);
CREATE INDEX limit_changes_of_key ON limit_changes (provider_key, at);
COMMENT ON TABLE limit_changes IS 'Every change of a key''s limits, what they became, and why.';

CREATE TABLE leases (
    lease_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    provider_key text NOT NULL,
    worker       text NOT NULL,
    host         text NOT NULL,
    pid          integer NOT NULL,
    most         integer NOT NULL,
    granted      integer NOT NULL DEFAULT 0,
    calls        integer NOT NULL DEFAULT 0,
    wanted       integer NOT NULL DEFAULT 0,
    keeps        integer NOT NULL DEFAULT 0,
    renewal      bigint NOT NULL DEFAULT 0,
    cut_off      boolean NOT NULL DEFAULT false,
    starving_since timestamptz,
    begun_at     timestamptz NOT NULL,
    seen_at      timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    ended_at     timestamptz
);
CREATE INDEX leases_of_key ON leases (provider_key) WHERE ended_at IS NULL;
COMMENT ON TABLE leases IS 'Each worker''s share of a key. Its id is the fence: a worker whose lease was ended gets another one.';
COMMENT ON COLUMN leases.granted IS 'Calls it may have in flight; as long as the lease isn''t ended, nobody else may.';
COMMENT ON COLUMN leases.calls IS 'Calls it had in flight when it last renewed.';
COMMENT ON COLUMN leases.wanted IS 'Calls it could have in flight.';
COMMENT ON COLUMN leases.keeps IS 'What it waits with for work: taken from it only when there is not enough.';
COMMENT ON COLUMN leases.cut_off IS 'Its worker can''t reach Temporal: it gets no work, and wants nothing.';
COMMENT ON COLUMN leases.starving_since IS 'Since when it has had no share though its worker could use one.';
COMMENT ON COLUMN leases.renewal IS 'Number of its last renewal: one that arrives late changes nothing.';

CREATE TABLE calls (
    call_id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    provider_key    text NOT NULL,
    lease_id        bigint NOT NULL,
    token           text NOT NULL,
    task_id         text NOT NULL,
    user_id         text NOT NULL,
    plan            text NOT NULL,
    name            text NOT NULL,
    images_asked    integer NOT NULL CHECK (images_asked > 0),
    fingerprint     text NOT NULL,
    idempotency_key text,
    state           text NOT NULL DEFAULT 'open'
                    CHECK (state IN ('open', 'done', 'rejected', 'failed', 'ambiguous', 'settled', 'lost', 'unsent')),
    generation      bigint NOT NULL DEFAULT 0,
    begun_at        timestamptz NOT NULL,
    runs_until      timestamptz NOT NULL,
    ended_at        timestamptz,
    lost_at         timestamptz,
    images_billed   integer,
    cost_usd        double precision,
    request_id      text,
    failure_kind    text,
    message         text,
    wait_ms         integer,
    result          jsonb
);
CREATE UNIQUE INDEX calls_open ON calls (task_id, name, fingerprint) WHERE state = 'open';
CREATE INDEX calls_by_token ON calls (token);
CREATE INDEX calls_of_task ON calls (task_id, name);
CREATE INDEX calls_of_key ON calls (provider_key, begun_at);
CREATE INDEX calls_that_may_run ON calls (provider_key, runs_until) WHERE state IN ('open', 'ambiguous');
COMMENT ON TABLE calls IS 'The ledger: one row per paid call, from before it is sent.';
COMMENT ON COLUMN calls.token IS 'Which execution of the activity began it: the call''s own id, made up by its worker, and never given again.';
COMMENT ON COLUMN calls.name IS 'The call''s name within its task: beautify, 3, 3.2.';
COMMENT ON COLUMN calls.fingerprint IS 'SHA-256 of all that was asked for: only the same request gets the result.';
COMMENT ON COLUMN calls.idempotency_key IS 'What a repeated call is known by, where the provider honours one.';
COMMENT ON COLUMN calls.state IS 'open; done; rejected by moderation; failed: not billed; ambiguous: nobody knows; settled: was ambiguous, and a later call was answered under its idempotency key; lost: billed, as a rule, but of no use; unsent.';
COMMENT ON COLUMN calls.generation IS 'Of the key''s limit, when the call began.';
COMMENT ON COLUMN calls.runs_until IS 'Until when the provider may be working on it; past, once it has answered.';
COMMENT ON COLUMN calls.lost_at IS 'When it was given up for lost: repeated, though nobody knows whether it was billed.';
COMMENT ON COLUMN calls.wait_ms IS 'How long the provider asked to wait, after a call that failed.';
COMMENT ON COLUMN calls.result IS 'What it gave, for an attempt that comes after its worker died.';
