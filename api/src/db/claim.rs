//! Leases in SQL: the question that is asked twice a second, claims, heartbeats.

use jiff::Timestamp;
use knm_shared::ids::{LeaseToken, Ordinal, OwnerId, Seq, TaskId, UserId};
use knm_shared::status::{Desired, ItemStatus, TaskStatus};
use serde_json::Value;
use tokio_postgres::types::Type;
use tokio_postgres::{Error, GenericClient, Row};
use uuid::Uuid;

use crate::lease::LEASE;
use crate::tasks::Undo;

/// A lease as the database shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Who holds it.
    pub owner: Option<OwnerId>,
    /// Under which claim.
    pub token: LeaseToken,
    /// Until when, by the database's clock.
    pub expires_at: Option<Timestamp>,
}

/// An unfinished task as the poll sees it.
#[derive(Debug, Clone)]
pub struct Open {
    /// Which task.
    pub task: TaskId,
    /// What its users want.
    pub desired: Desired,
    /// Its lease.
    pub lease: Seen,
    /// Whether the lease has run out by the database's clock, or lies so far ahead that the clock must
    /// have been set back.
    pub expired: bool,
    /// Whether its cluster is frozen.
    pub frozen: bool,
}

/// A task that this process has just claimed.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// Which task.
    pub task: TaskId,
    /// Whose.
    pub user: UserId,
    /// On which cluster.
    pub cluster: String,
    /// What to do.
    pub action: String,
    /// With which parameters.
    pub params: Value,
    /// And how.
    pub options: Value,
    /// The name of whoever submitted it.
    pub username: String,
    /// Why, in their words.
    pub reason: String,
    /// The state it was found in.
    pub status: TaskStatus,
    /// What its users want.
    pub desired: Desired,
    /// Its sequence number.
    pub seq: Seq,
    /// The new claim.
    pub token: LeaseToken,
    /// Claims in a row, this one included, since an item was finished.
    pub attempt: i32,
}

/// One node of a claimed task.
#[derive(Debug, Clone)]
pub struct Item {
    /// Its place.
    pub ordinal: Ordinal,
    /// The node's name.
    pub node: String,
    /// The node's UID when the task was submitted.
    pub uid: String,
    /// Its state.
    pub status: ItemStatus,
    /// Tries of all holders so far.
    pub attempts: u32,
    /// What a former holder found before it changed anything.
    pub before: Option<Value>,
    /// The resource version that it read that at.
    pub before_version: Option<String>,
    /// What is to be undone, in a task that reverts another.
    pub undo: Option<Undo>,
}

impl Item {
    /// Whether a former holder may have changed the node: it has recorded what was there before.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.before.as_ref().is_some_and(Value::is_object)
    }
}

/// Unfinished tasks that the poll looks at besides the held ones, oldest first.
const POLL_LIMIT: i64 = 500;

const POLL: &str = "
SELECT id, desired, lease_owner, lease_token, lease_expires_at, frozen,
       coalesce(lease_expires_at < clock_timestamp()
             OR lease_expires_at > clock_timestamp() + make_interval(secs => 2 * $4), true) AS expired
FROM (
    SELECT *, EXISTS (SELECT FROM freezes f WHERE f.cluster IN ('*', p.cluster)) AS frozen
    FROM progress_tasks p WHERE id = ANY ($1) AND completed_at IS NULL
    UNION ALL
    (SELECT *, false FROM progress_tasks p
     WHERE completed_at IS NULL AND NOT id = ANY ($1)
       AND action = ANY ($2)
       -- To be cancelled, a task needs no cluster that can be opened.
       AND (cluster = ANY ($3) OR desired = 'cancel')
       AND (status <> 'paused' OR desired <> 'pause')
       AND (desired = 'cancel'
            OR NOT EXISTS (SELECT FROM freezes f WHERE f.cluster IN ('*', p.cluster)))
     ORDER BY created_at LIMIT $5)
) t";

/// The tasks that this process holds, and those that it might claim, oldest first.
///
/// # Errors
/// The statement's.
pub async fn poll(
    client: &impl GenericClient,
    held: &[TaskId],
    actions: &[&str],
    clusters: &[String],
) -> Result<Vec<Open>, Error> {
    let held: Vec<Uuid> = held.iter().map(|t| t.0).collect();
    let rows = client
        .query_typed(
            POLL,
            &[
                (&held, Type::UUID_ARRAY),
                (&actions, Type::TEXT_ARRAY),
                (&clusters, Type::TEXT_ARRAY),
                (&LEASE.as_secs_f64(), Type::FLOAT8),
                (&POLL_LIMIT, Type::INT8),
            ],
        )
        .await?;
    Ok(rows.iter().map(open).collect())
}

fn open(row: &Row) -> Open {
    Open {
        task: TaskId(row.get("id")),
        desired: word(row, "desired"),
        lease: Seen {
            owner: row.get::<_, Option<Uuid>>("lease_owner").map(OwnerId),
            token: LeaseToken(row.get("lease_token")),
            expires_at: row.get("lease_expires_at"),
        },
        expired: row.get("expired"),
        frozen: row.get("frozen"),
    }
}

/// A word that a CHECK constraint of the table has let in.
pub(super) fn word<T: std::str::FromStr>(row: &Row, column: &str) -> T {
    let Ok(word) = row.get::<_, &str>(column).parse() else {
        unreachable!("a CHECK constraint limits {column}")
    };
    word
}

const CLAIM: &str = "
WITH seen AS (
    SELECT * FROM unnest($2::uuid[], $3::bigint[], $4::timestamptz[]) AS s (id, token, expires_at)
), candidate AS MATERIALIZED (
    SELECT t.id FROM progress_tasks t JOIN seen s ON s.id = t.id
    WHERE t.completed_at IS NULL
      AND t.lease_token = s.token
      AND t.lease_expires_at IS NOT DISTINCT FROM s.expires_at
      AND (t.status <> 'paused' OR t.desired <> 'pause')
      AND (t.desired = 'cancel'
           OR NOT EXISTS (SELECT FROM freezes f WHERE f.cluster IN ('*', t.cluster)))
    ORDER BY t.id
    FOR NO KEY UPDATE OF t SKIP LOCKED
)
UPDATE progress_tasks t SET
    lease_owner = $1,
    lease_token = t.lease_token + 1,
    lease_expires_at = clock_timestamp() + make_interval(secs => $5),
    -- Of a claim that nobody ever worked on, no holder has died.
    attempt = t.attempt
            + CASE WHEN t.lease_owner IS NOT DISTINCT FROM $1 AND t.id = ANY ($6) THEN 0 ELSE 1 END
FROM candidate c, users u WHERE t.id = c.id AND u.id = t.user_id
RETURNING t.id, t.user_id, t.cluster, t.action, t.params, t.options, u.username, t.reason, t.status,
          t.desired, t.seq, t.lease_token, t.attempt";

/// Claims tasks whose leases still are as they were seen; the others are left out. `unstarted` are those
/// that `owner` has claimed before without getting to work on them.
///
/// # Errors
/// The statement's. The claim may have been stored all the same: the next poll shows it.
pub async fn claim(
    client: &impl GenericClient,
    owner: OwnerId,
    tasks: &[(TaskId, Seen)],
    unstarted: &[TaskId],
) -> Result<Vec<Claimed>, Error> {
    let ids: Vec<Uuid> = tasks.iter().map(|(t, _)| t.0).collect();
    let unstarted: Vec<Uuid> = unstarted.iter().map(|t| t.0).collect();
    let tokens: Vec<i64> = tasks.iter().map(|(_, seen)| seen.token.0).collect();
    let expiries: Vec<Option<Timestamp>> = tasks.iter().map(|(_, seen)| seen.expires_at).collect();
    let rows = client
        .query_typed(
            CLAIM,
            &[
                (&owner.0, Type::UUID),
                (&ids, Type::UUID_ARRAY),
                (&tokens, Type::INT8_ARRAY),
                (&expiries, Type::TIMESTAMPTZ_ARRAY),
                (&LEASE.as_secs_f64(), Type::FLOAT8),
                (&unstarted, Type::UUID_ARRAY),
            ],
        )
        .await?;
    Ok(rows.iter().map(claimed).collect())
}

fn claimed(row: &Row) -> Claimed {
    Claimed {
        task: TaskId(row.get("id")),
        user: UserId(row.get("user_id")),
        cluster: row.get("cluster"),
        action: row.get("action"),
        params: row.get("params"),
        options: row.get("options"),
        username: row.get("username"),
        reason: row.get("reason"),
        status: word(row, "status"),
        desired: word(row, "desired"),
        seq: Seq(row.get("seq")),
        token: LeaseToken(row.get("lease_token")),
        attempt: row.get("attempt"),
    }
}

const ITEMS: &str = "
SELECT ordinal, node, node_uid, status, attempts, before, before_version, undo
FROM progress_items WHERE task_id = $1 ORDER BY ordinal";

/// The items of a claimed task. Read after the claim has committed: in the claim's own statement the
/// last flush of the former holder could be missed.
///
/// # Errors
/// The statement's.
pub async fn items(client: &impl GenericClient, task: TaskId) -> Result<Vec<Item>, Error> {
    let rows = client.query_typed(ITEMS, &[(&task.0, Type::UUID)]).await?;
    let item = |row: &Row| Item {
        ordinal: row.get::<_, i32>("ordinal").unsigned_abs(),
        node: row.get("node"),
        uid: row.get("node_uid"),
        status: word(row, "status"),
        attempts: row.get::<_, i32>("attempts").unsigned_abs(),
        // A holder that has taken its record back has left JSON's null there.
        before: row.get::<_, Option<Value>>("before").filter(|before| !before.is_null()),
        before_version: row.get("before_version"),
        undo: row
            .get::<_, Option<Value>>("undo")
            .and_then(|undo| serde_json::from_value(undo).ok()),
    };
    Ok(rows.iter().map(item).collect())
}

const HEARTBEAT: &str = "
WITH held AS (
    SELECT * FROM unnest($2::uuid[], $3::bigint[]) AS h (id, token)
), locked AS MATERIALIZED (
    SELECT t.id FROM progress_tasks t
    WHERE t.id = ANY ($2) AND t.lease_owner = $1
    ORDER BY t.id
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE progress_tasks t
SET lease_expires_at = clock_timestamp() + make_interval(secs => $4)
FROM held h JOIN locked l ON l.id = h.id
WHERE t.id = h.id AND t.lease_owner = $1 AND t.lease_token = h.token
RETURNING t.id";

/// Renews leases. Returns the tasks whose lease was renewed; a row that somebody has locked is left
/// out, since whoever locks a held task's row is most likely this process's own flush.
///
/// # Errors
/// The statement's.
pub async fn heartbeat(
    client: &impl GenericClient,
    owner: OwnerId,
    held: &[(TaskId, LeaseToken)],
) -> Result<Vec<TaskId>, Error> {
    let ids: Vec<Uuid> = held.iter().map(|(t, _)| t.0).collect();
    let tokens: Vec<i64> = held.iter().map(|(_, token)| token.0).collect();
    let rows = client
        .query_typed(
            HEARTBEAT,
            &[
                (&owner.0, Type::UUID),
                (&ids, Type::UUID_ARRAY),
                (&tokens, Type::INT8_ARRAY),
                (&LEASE.as_secs_f64(), Type::FLOAT8),
            ],
        )
        .await?;
    Ok(rows.iter().map(|row| TaskId(row.get(0))).collect())
}

/// Database-wide figures for the metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Unfinished tasks by status.
    pub open: Vec<(String, i64)>,
    /// Seconds since the oldest task without a holder was submitted.
    pub oldest_queued: i64,
    /// Running tasks without a live lease for more than a lease.
    pub stalled: i64,
}

const FIGURES: &str = "
SELECT status, count(*) AS n,
       coalesce(max(extract(epoch FROM clock_timestamp() - created_at))
                FILTER (WHERE status = 'queued' AND lease_owner IS NULL), 0)::bigint AS oldest,
       count(*) FILTER (WHERE lease_expires_at < clock_timestamp() - make_interval(secs => $1)
                           OR (status = 'running' AND lease_owner IS NULL
                               AND updated_at < clock_timestamp() - make_interval(secs => $1)))
           AS stalled
FROM progress_tasks WHERE completed_at IS NULL GROUP BY status";

/// Reads [`Figures`].
///
/// # Errors
/// The statement's.
pub async fn figures(client: &impl GenericClient) -> Result<Figures, Error> {
    let rows = client.query_typed(FIGURES, &[(&LEASE.as_secs_f64(), Type::FLOAT8)]).await?;
    Ok(Figures {
        open: rows.iter().map(|r| (r.get("status"), r.get("n"))).collect(),
        oldest_queued: rows.iter().map(|r| r.get("oldest")).max().unwrap_or(0),
        stalled: rows.iter().map(|r| r.get::<_, i64>("stalled")).sum(),
    })
}
