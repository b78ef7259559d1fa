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

-- Revert -------------------------------------------------------------------------------------

-- What a node is to be brought back to, key by key, and what it must have for that; only in tasks that
-- revert others.
ALTER TABLE progress_items ADD COLUMN undo jsonb;

-- History ------------------------------------------------------------------------------------

-- Which tasks a node was in. Written once, with the task: the items themselves have no other index.
CREATE TABLE node_tasks (
    cluster text NOT NULL,
    node    text NOT NULL,
    task_id uuid NOT NULL REFERENCES progress_tasks ON DELETE CASCADE,
    ordinal integer NOT NULL,
    PRIMARY KEY (cluster, node, task_id)
);

CREATE INDEX node_tasks_task ON node_tasks (task_id);

INSERT INTO node_tasks (cluster, node, task_id, ordinal)
SELECT t.cluster, i.node, t.id, i.ordinal
FROM progress_tasks t JOIN progress_items i ON i.task_id = t.id
ON CONFLICT DO NOTHING;
