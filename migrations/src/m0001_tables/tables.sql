-- Limits of provider keys, the workers' leases on them, and every paid call.

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

CREATE TABLE limit_changes (
    provider_key  text NOT NULL,
    at            timestamptz NOT NULL,
    calls_at_once integer,
    calls_per_minute  integer,
    images_per_minute integer,
    why           text NOT NULL CHECK (why IN ('set', 'cut', 'raise undone', 'raised'))
);
CREATE INDEX limit_changes_of_key ON limit_changes (provider_key, at);

CREATE TABLE leases (
    lease_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    provider_key text NOT NULL,
    worker       text NOT NULL,
    host         text NOT NULL,
    pid          integer NOT NULL,
    max_calls    integer NOT NULL,
    granted      integer NOT NULL DEFAULT 0,
    calls        integer NOT NULL DEFAULT 0,
    demand       integer NOT NULL DEFAULT 0,
    idle_slots   integer NOT NULL DEFAULT 0,
    renewal      bigint NOT NULL DEFAULT 0,
    cut_off      boolean NOT NULL DEFAULT false,
    starving_since timestamptz,
    begun_at     timestamptz NOT NULL,
    seen_at      timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    ended_at     timestamptz
);
CREATE INDEX leases_of_key ON leases (provider_key) WHERE ended_at IS NULL;

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
                    CHECK (state IN ('open', 'done', 'rejected', 'failed', 'ambiguous', 'settled', 'unusable',
                                     'unsent')),
    generation      bigint NOT NULL DEFAULT 0,
    begun_at        timestamptz NOT NULL,
    runs_until      timestamptz NOT NULL,
    ended_at        timestamptz,
    written_off_at  timestamptz,
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

CREATE TABLE installed_functions (
    one          boolean PRIMARY KEY DEFAULT true CHECK (one),
    revision     integer NOT NULL,
    sha256       text NOT NULL,
    installed_at timestamptz NOT NULL DEFAULT now()
);
