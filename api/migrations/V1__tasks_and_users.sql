-- Users and their sessions -------------------------------------------------------------------

CREATE TABLE users (
    id            uuid PRIMARY KEY,
    username      text NOT NULL CHECK (username <> ''),
    password_hash text NOT NULL,
    role          text NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    disabled_at   timestamptz
);

CREATE UNIQUE INDEX users_username ON users (lower(username));

-- One row per browser session and per personal token; only the token's SHA-256 is stored.
CREATE TABLE sessions (
    id          uuid PRIMARY KEY,
    user_id     uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    kind        text NOT NULL CHECK (kind IN ('session', 'token')),
    token_hash  bytea NOT NULL UNIQUE,
    name        text,
    -- A token may hold less than its user does, never more.
    role        text CHECK (role IN ('viewer', 'operator', 'admin')),
    created_at  timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz NOT NULL DEFAULT now(),
    -- Slides with use, up to ends_at.
    expires_at  timestamptz NOT NULL,
    ends_at     timestamptz NOT NULL
);

CREATE INDEX sessions_user ON sessions (user_id);

-- Tasks --------------------------------------------------------------------------------------

-- The hot columns (seq, counters, lease, updated_at) are in no index, so that every flush is a
-- heap-only update; the fill factor leaves room for it on the same page.
CREATE TABLE progress_tasks (
    id               uuid PRIMARY KEY,
    seq              bigint NOT NULL DEFAULT 1,
    user_id          uuid NOT NULL REFERENCES users,
    cluster          text NOT NULL,
    action           text NOT NULL,
    params           jsonb NOT NULL DEFAULT '{}',
    options          jsonb NOT NULL DEFAULT '{}',
    reason           text NOT NULL DEFAULT '',
    status           text NOT NULL DEFAULT 'queued'
                     CHECK (status IN ('queued', 'running', 'paused',
                                       'completed', 'failed', 'cancelled')),
    total            integer NOT NULL CHECK (total > 0),
    pending          integer NOT NULL,
    running          integer NOT NULL DEFAULT 0,
    succeeded        integer NOT NULL DEFAULT 0,
    failed           integer NOT NULL DEFAULT 0,
    skipped          integer NOT NULL DEFAULT 0,
    cancelled        integer NOT NULL DEFAULT 0,
    error            text,
    -- What users last asked for. cancel is final.
    desired          text NOT NULL DEFAULT 'run' CHECK (desired IN ('run', 'pause', 'cancel')),
    lease_owner      uuid,
    lease_token      bigint NOT NULL DEFAULT 0,
    lease_expires_at timestamptz,
    -- Claims in a row that ended without one finished item.
    attempt          integer NOT NULL DEFAULT 0,
    parent_id        uuid REFERENCES progress_tasks ON DELETE SET NULL,
    idempotency_key  text,
    -- SHA-256 of the request body that the key was first used with.
    idempotency_hash bytea,
    created_at       timestamptz NOT NULL DEFAULT now(),
    started_at       timestamptz,
    updated_at       timestamptz NOT NULL DEFAULT now(),
    completed_at     timestamptz,
    CHECK (pending + running + succeeded + failed + skipped + cancelled = total),
    CHECK ((completed_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled'))),
    CHECK ((lease_owner IS NULL) = (lease_expires_at IS NULL)),
    CHECK (completed_at IS NULL OR lease_owner IS NULL)
) WITH (fillfactor = 50);

-- Claims, and the one query that every api process asks twice a second.
CREATE INDEX progress_tasks_open ON progress_tasks (created_at) WHERE completed_at IS NULL;
-- A user's list, newest first (ids are version 7).
CREATE INDEX progress_tasks_user ON progress_tasks (user_id, id);
CREATE INDEX progress_tasks_parent ON progress_tasks (parent_id) WHERE parent_id IS NOT NULL;
CREATE UNIQUE INDEX progress_tasks_idempotency ON progress_tasks (user_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;

-- No other index: heap-only updates are worth half of the throughput, and a task of 10,000 items is
-- read by its primary key in under 2 ms.
CREATE TABLE progress_items (
    task_id     uuid NOT NULL REFERENCES progress_tasks ON DELETE CASCADE,
    ordinal     integer NOT NULL CHECK (ordinal >= 0),
    node        text NOT NULL,
    node_uid    text NOT NULL,
    status      text NOT NULL DEFAULT 'pending'
                CHECK (status IN ('pending', 'running', 'succeeded',
                                  'failed', 'skipped', 'cancelled')),
    -- The task's seq when this item last changed: "what changed since n" is seq > n.
    seq         bigint NOT NULL DEFAULT 1,
    message     text CHECK (octet_length(message) <= 1024),
    attempts    integer NOT NULL DEFAULT 0,
    -- The values of just the keys that the task changes, before and after. Durable before the first
    -- write to Kubernetes; never overwritten by a later holder.
    before      jsonb,
    after       jsonb,
    started_at  timestamptz,
    finished_at timestamptz,
    PRIMARY KEY (task_id, ordinal)
) WITH (fillfactor = 60);

-- Dead versions come fast and in few pages: vacuum by count, not by share of the table.
ALTER TABLE progress_tasks SET (autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE progress_items SET (autovacuum_vacuum_scale_factor = 0.05);
