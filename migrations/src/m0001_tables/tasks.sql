-- The app's side, with every task and the images that it left in the bucket.

CREATE TABLE tasks (
    task_id         text PRIMARY KEY,
    user_id         text NOT NULL,
    plan            text NOT NULL,
    input           jsonb NOT NULL,
    images_planned  integer NOT NULL CHECK (images_planned >= 0),
    state           text NOT NULL DEFAULT 'running'
                    CHECK (state IN ('running', 'completed', 'partial', 'cancelled', 'failed')),
    missing         jsonb NOT NULL DEFAULT '[]',
    failure_kind    text,
    failure_message text,
    lane            text CHECK (octet_length(lane) <= 64),
    lane_weight     real CHECK (lane_weight > 0),
    created_at      timestamptz NOT NULL DEFAULT now(),
    finished_at     timestamptz,
    CHECK ((lane IS NULL) = (lane_weight IS NULL)),
    CHECK ((state = 'running') = (finished_at IS NULL)),
    CHECK ((state = 'failed') = (failure_kind IS NOT NULL))
);
CREATE INDEX tasks_of_user ON tasks (user_id, created_at DESC);
CREATE INDEX tasks_running ON tasks (created_at, task_id) WHERE state = 'running';
CREATE INDEX tasks_running_of_user ON tasks (user_id, plan) WHERE state = 'running';

CREATE TABLE images (
    task_id      text NOT NULL REFERENCES tasks ON DELETE CASCADE,
    index        integer NOT NULL CHECK (index >= 0),
    prompt_index integer NOT NULL CHECK (prompt_index >= 0),
    object_key   text COLLATE "C" NOT NULL UNIQUE,
    size_bytes   bigint NOT NULL CHECK (size_bytes > 0),
    content_type text NOT NULL,
    width        integer NOT NULL CHECK (width > 0),
    height       integer NOT NULL CHECK (height > 0),
    sha256       text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (task_id, index)
);
