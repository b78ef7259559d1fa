-- Rights by cluster --------------------------------------------------------------------------

-- Whether the user's role counts on every cluster, or only the rows of user_clusters do.
ALTER TABLE users ADD COLUMN every_cluster boolean NOT NULL DEFAULT true;

-- Clusters are known by name: a binding may be made before its cluster is added, and outlives it.
CREATE TABLE user_clusters (
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    cluster text NOT NULL CHECK (cluster <> ''),
    role    text NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    PRIMARY KEY (user_id, cluster)
);

-- Sessions -----------------------------------------------------------------------------------

-- Where a session began, so that its owner can tell it from the others.
ALTER TABLE sessions ADD COLUMN address text;
ALTER TABLE sessions ADD COLUMN user_agent text;

-- Audit --------------------------------------------------------------------------------------

-- Who did, or tried to do, what. No foreign keys: entries outlive what they tell of. Nothing in the
-- program changes or removes a row; "knm-api migrate --grant-to" does not let it either.
CREATE TABLE audit_log (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    user_id    uuid,
    -- As it was then; of a sign-in that failed, as it was given.
    username   text NOT NULL DEFAULT '',
    session_id uuid,
    address    text NOT NULL,
    action     text NOT NULL,
    -- What it was done to: a task, a user, a token.
    target     text NOT NULL DEFAULT '',
    cluster    text NOT NULL DEFAULT '',
    result     text NOT NULL CHECK (result IN ('done', 'refused', 'failed')),
    status     integer NOT NULL,
    detail     text NOT NULL DEFAULT '',
    before     jsonb,
    after      jsonb,
    request_id text NOT NULL
);

-- A user's entries, newest first; everything else is found along the primary key.
CREATE INDEX audit_log_user ON audit_log (username, id);
CREATE INDEX audit_log_at ON audit_log (at);
