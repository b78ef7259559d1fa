-- Undo ---------------------------------------------------------------------------------------

-- The node's resource version that `before` was read at, and that the write after it insists on; null
-- once the change is known to have been made. A release that does not know the column leaves it null,
-- and `before` stands.
ALTER TABLE progress_items ADD COLUMN before_version text;

-- Drains -------------------------------------------------------------------------------------

-- Who drains a node now, or did so last: the row counts as long as its item is running.
CREATE TABLE node_drains (
    cluster text NOT NULL,
    node    text NOT NULL,
    task_id uuid NOT NULL REFERENCES progress_tasks ON DELETE CASCADE,
    ordinal integer NOT NULL,
    since   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (cluster, node)
);

CREATE INDEX node_drains_task ON node_drains (task_id);
