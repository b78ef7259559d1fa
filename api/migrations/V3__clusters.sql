-- Clusters -----------------------------------------------------------------------------------

-- Clusters besides the configured one. A release that does not know the table claims none of their tasks.
CREATE TABLE clusters (
    name       text PRIMARY KEY,
    server     text NOT NULL,
    -- The kubeconfig, encrypted (AES-256-GCM, with the name as associated data).
    kubeconfig bytea NOT NULL,
    -- Raised with every change: replicas open the cluster anew then.
    version    bigint NOT NULL DEFAULT 1,
    user_id    uuid REFERENCES users,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- Freezes ------------------------------------------------------------------------------------

-- While its row is there, no task of the cluster is claimed and none goes on. '*' is every cluster.
CREATE TABLE freezes (
    cluster    text PRIMARY KEY,
    reason     text NOT NULL CHECK (reason <> ''),
    user_id    uuid NOT NULL REFERENCES users,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Webhooks -----------------------------------------------------------------------------------

-- Whom to tell of a task's end. Rows of unfinished tasks wait.
CREATE TABLE webhook_deliveries (
    task_id    uuid PRIMARY KEY REFERENCES progress_tasks ON DELETE CASCADE,
    url        text NOT NULL,
    tries      integer NOT NULL DEFAULT 0,
    -- When the next try is due; null once it was delivered or given up.
    due_at     timestamptz DEFAULT now(),
    delivered_at timestamptz,
    error      text
);

CREATE INDEX webhook_deliveries_due ON webhook_deliveries (due_at) WHERE due_at IS NOT NULL;
