//! Tasks in SQL: creation, steering requests, and what the REST interface shows.

use jiff::Timestamp;
use knm_shared::ids::{OwnerId, Seq, TaskId, UserId};
use knm_shared::notification::Notification;
use knm_shared::status::{Counts, Desired, TaskStatus};
use serde_json::Value;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, GenericClient, Row};
use uuid::Uuid;

use crate::lease::LEASE;
use crate::tasks::view::{TaskView, percent};
use crate::tasks::{Idempotency, Undo};

/// A task to be stored.
#[derive(Debug, Clone)]
pub struct NewTask {
    /// Its id.
    pub id: TaskId,
    /// Who submits it.
    pub user: UserId,
    /// Their name.
    pub username: String,
    /// On which cluster.
    pub cluster: String,
    /// Whether that is one of the table, rather than the configured one.
    pub cluster_stored: bool,
    /// What to do.
    pub action: &'static str,
    /// With which parameters.
    pub params: Value,
    /// And how.
    pub options: Value,
    /// Why.
    pub reason: String,
    /// Names of the nodes.
    pub nodes: Vec<String>,
    /// Their UIDs.
    pub uids: Vec<String>,
    /// What is to be undone on each node, in a task that reverts another; else empty.
    pub undo: Vec<Undo>,
    /// The task that this one retries or reverts.
    pub parent: Option<TaskId>,
    /// Who is told of its end.
    pub webhook: Option<String>,
    /// The client's key, if it gave one.
    pub idempotency: Option<Idempotency>,
}

const COLUMNS: &str = "id, seq, user_id, \
     (SELECT u.username FROM users u WHERE u.id = user_id) AS username, cluster, action, params, options, reason, status, total, \
     pending, running, succeeded, failed, skipped, cancelled, error, desired, attempt, parent_id, \
     created_at, started_at, updated_at, completed_at";

/// Task, items and notification in one statement, and the lease when `owner` is given and the cluster
/// is not frozen. A stored cluster stays until the task is there (see `clusters::remove`), and the account
/// of whoever submits it stays open: closing it (`accounts::change`) waits for the task and then pauses
/// it, or came first.
const INSERT: &str = "
WITH home AS (
    SELECT FROM clusters WHERE name = $3 FOR KEY SHARE
), author AS MATERIALIZED (
    SELECT id, username FROM users WHERE id = $2 AND disabled_at IS NULL FOR SHARE
), holder AS (
    SELECT CASE WHEN NOT EXISTS (SELECT FROM freezes f WHERE f.cluster IN ('*', $3))
                THEN $12::uuid END AS id
), task AS (
    INSERT INTO progress_tasks (
        id, user_id, cluster, action, params, options, reason, total, pending,
        idempotency_key, idempotency_hash, parent_id,
        lease_owner, lease_token, lease_expires_at, attempt
    )
    SELECT $1, author.id, $3, $4, $5, $6, $7, cardinality($8::text[]), cardinality($8::text[]),
           $10, $11, $16,
           holder.id, CASE WHEN holder.id IS NULL THEN 0 ELSE 1 END,
           CASE WHEN holder.id IS NOT NULL
                THEN clock_timestamp() + make_interval(secs => $13) END,
           CASE WHEN holder.id IS NULL THEN 0 ELSE 1 END
    FROM author, holder
    WHERE NOT $18 OR EXISTS (SELECT FROM home)
    ON CONFLICT (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
    RETURNING *
), items AS (
    INSERT INTO progress_items (task_id, ordinal, node, node_uid, undo)
    SELECT task.id, x.place - 1, x.node, x.uid, x.undo
    FROM task,
         unnest($8::text[], $9::text[], $15::jsonb[]) WITH ORDINALITY AS x (node, uid, undo, place)
), history AS (
    INSERT INTO node_tasks (cluster, node, task_id, ordinal)
    SELECT task.cluster, x.node, task.id, x.place - 1
    FROM task, unnest($8::text[]) WITH ORDINALITY AS x (node, place)
    ON CONFLICT DO NOTHING
), told AS (
    INSERT INTO webhook_deliveries (task_id, url)
    SELECT task.id, $17 FROM task WHERE $17::text IS NOT NULL
), noted AS (
    SELECT pg_notify('progress_update', '{\"ts\":'
        || (extract(epoch FROM clock_timestamp()) * 1000000)::bigint || ',' || $14::text)
    FROM task WHERE NOT $19
)
SELECT task.*, author.username, (SELECT count(*) FROM noted) FROM task, author";

/// A task that was just stored.
#[derive(Debug)]
pub struct Stored {
    /// How it stands.
    pub view: TaskView,
    /// Whether it is under the lease that was asked for.
    pub held: bool,
}

/// Whether those who watch a task's user are told of it at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// By a notification.
    Aloud,
    /// Not: the server's queue of notifications is full. They see it in their next look at the rows.
    Silent,
}

/// Stores a task. `None` when its idempotency key was used before, its cluster was removed, or the account
/// of whoever submits it was closed.
///
/// # Errors
/// The statement's.
pub async fn insert(
    client: &impl GenericClient,
    task: &NewTask,
    owner: Option<OwnerId>,
    telling: Telling,
) -> Result<Option<Stored>, Error> {
    let total = u32::try_from(task.nodes.len()).unwrap_or(u32::MAX);
    let note = Notification {
        task: task.id,
        user: task.user,
        prev: Seq(0),
        seq: Seq(1),
        published_us: 0,
        status: TaskStatus::Queued,
        counts: Counts { total, pending: total, ..Counts::default() },
        error: None,
        items: None,
    };
    let (key, hash) = task.idempotency.as_ref().map(|i| (&i.key, &i.hash)).unzip();
    let undo: Vec<Option<Value>> = task.undo.iter().map(|u| serde_json::to_value(u).ok()).collect();
    let row = client
        .query_typed_opt(
            INSERT,
            &[
                (&task.id.0, Type::UUID),
                (&task.user.0, Type::UUID),
                (&task.cluster, Type::TEXT),
                (&task.action, Type::TEXT),
                (&task.params, Type::JSONB),
                (&task.options, Type::JSONB),
                (&task.reason, Type::TEXT),
                (&task.nodes, Type::TEXT_ARRAY),
                (&task.uids, Type::TEXT_ARRAY),
                (&key, Type::TEXT),
                (&hash, Type::BYTEA),
                (&owner.map(|o| o.0), Type::UUID),
                (&LEASE.as_secs_f64(), Type::FLOAT8),
                (&note.encode_body(), Type::TEXT),
                (&undo, Type::JSONB_ARRAY),
                (&task.parent.map(|t| t.0), Type::UUID),
                (&task.webhook, Type::TEXT),
                (&task.cluster_stored, Type::BOOL),
                (&(telling == Telling::Silent), Type::BOOL),
            ],
        )
        .await?;
    let held = |row: &Row| row.get::<_, Option<Uuid>>("lease_owner").is_some();
    Ok(row.map(|row| Stored { view: view(&row), held: held(&row) }))
}

/// The task that a user's idempotency key was first used for, with the hash of that body.
///
/// # Errors
/// The statement's.
pub async fn by_idempotency_key(
    client: &impl GenericClient,
    user: UserId,
    key: &str,
) -> Result<Option<(TaskView, Vec<u8>)>, Error> {
    let sql = format!(
        "SELECT {COLUMNS}, idempotency_hash FROM progress_tasks
         WHERE user_id = $1 AND idempotency_key = $2"
    );
    let row = client.query_typed_opt(&sql, &[(&user.0, Type::UUID), (&key, Type::TEXT)]).await?;
    Ok(row.map(|row| (view(&row), row.get("idempotency_hash"))))
}

/// One task.
///
/// # Errors
/// The statement's.
pub async fn get(client: &impl GenericClient, task: TaskId) -> Result<Option<TaskView>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM progress_tasks WHERE id = $1");
    Ok(client.query_typed_opt(&sql, &[(&task.0, Type::UUID)]).await?.as_ref().map(view))
}

/// The same, locked until the end of the transaction.
///
/// # Errors
/// The statement's.
pub async fn lock(client: &impl GenericClient, task: TaskId) -> Result<Option<TaskView>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM progress_tasks WHERE id = $1 FOR NO KEY UPDATE");
    Ok(client.query_typed_opt(&sql, &[(&task.0, Type::UUID)]).await?.as_ref().map(view))
}

/// An unfinished task that does to its parent what `task` is to do, if there is one.
///
/// # Errors
/// The statement's.
pub async fn unfinished_child(
    client: &impl GenericClient,
    parent: TaskId,
    task: &NewTask,
) -> Result<Option<TaskView>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM progress_tasks
         WHERE parent_id = $1 AND action = $2 AND params = $3 AND completed_at IS NULL
         ORDER BY id LIMIT 1"
    );
    let params: [(&(dyn ToSql + Sync), Type); 3] =
        [(&parent.0, Type::UUID), (&task.action, Type::TEXT), (&task.params, Type::JSONB)];
    Ok(client.query_typed_opt(&sql, &params).await?.as_ref().map(view))
}

/// Which tasks a list shows.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// In this state.
    pub status: Option<TaskStatus>,
    /// On this cluster.
    pub cluster: Option<String>,
    /// With this action.
    pub action: Option<String>,
    /// Of this user.
    pub user: Option<UserId>,
    /// On one of these clusters; `None`: on any.
    pub readable: Option<Vec<String>>,
    /// Older than this one.
    pub before: Option<TaskId>,
}

/// Tasks, newest first.
///
/// # Errors
/// The statement's.
pub async fn list(
    client: &impl GenericClient,
    filter: &Filter,
    limit: u32,
) -> Result<Vec<TaskView>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM progress_tasks
         WHERE ($1::text IS NULL OR status = $1) AND ($2::text IS NULL OR cluster = $2)
           AND ($3::text IS NULL OR action = $3) AND ($4::uuid IS NULL OR user_id = $4)
           AND ($5::uuid IS NULL OR id < $5) AND ($7::text[] IS NULL OR cluster = ANY ($7))
         ORDER BY id DESC LIMIT $6"
    );
    let params: [(&(dyn ToSql + Sync), Type); 7] = [
        (&filter.status.map(TaskStatus::as_str), Type::TEXT),
        (&filter.cluster, Type::TEXT),
        (&filter.action, Type::TEXT),
        (&filter.user.map(|u| u.0), Type::UUID),
        (&filter.before.map(|t| t.0), Type::UUID),
        (&i64::from(limit), Type::INT8),
        (&filter.readable, Type::TEXT_ARRAY),
    ];
    let rows = client.query_typed(&sql, &params).await?;
    Ok(rows.iter().map(view).collect())
}

/// Stores what a user wants of a task. `cancel` is final, and a finished task stays as it is: the row
/// comes back unchanged then. `None` when there is no such task.
///
/// # Errors
/// The statement's.
pub async fn request(
    client: &impl GenericClient,
    task: TaskId,
    desired: Desired,
) -> Result<Option<TaskView>, Error> {
    let sql = format!(
        "WITH changed AS (
             UPDATE progress_tasks SET desired = $2, updated_at = clock_timestamp()
             WHERE id = $1 AND completed_at IS NULL AND desired NOT IN ('cancel', $2)
             RETURNING {COLUMNS}
         )
         SELECT * FROM changed
         UNION ALL
         SELECT {COLUMNS} FROM progress_tasks
         WHERE id = $1 AND NOT EXISTS (SELECT FROM changed)"
    );
    let params: [(&(dyn ToSql + Sync), Type); 2] =
        [(&task.0, Type::UUID), (&desired.as_str(), Type::TEXT)];
    Ok(client.query_typed_opt(&sql, &params).await?.as_ref().map(view))
}

fn view(row: &Row) -> TaskView {
    let n = |column: &str| row.get::<_, i32>(column).unsigned_abs();
    let counts = Counts {
        total: n("total"),
        pending: n("pending"),
        running: n("running"),
        succeeded: n("succeeded"),
        failed: n("failed"),
        skipped: n("skipped"),
        cancelled: n("cancelled"),
    };
    TaskView {
        id: row.get("id"),
        seq: row.get("seq"),
        user_id: row.get("user_id"),
        username: row.get("username"),
        cluster: row.get("cluster"),
        action: row.get("action"),
        params: row.get("params"),
        options: row.get("options"),
        reason: row.get("reason"),
        status: row.get("status"),
        current: counts.done(),
        total: counts.total,
        percent: percent(counts.done(), counts.total),
        counts: counts.into(),
        error: row.get("error"),
        desired: row.get("desired"),
        attempt: row.get("attempt"),
        parent_id: row.get("parent_id"),
        created_at: row.get::<_, Timestamp>("created_at"),
        started_at: row.get("started_at"),
        updated_at: row.get("updated_at"),
        completed_at: row.get("completed_at"),
    }
}
