//! One active drain per node, across tasks and replicas.

use knm_shared::ids::{LeaseToken, Ordinal, OwnerId, TaskId};
use tokio_postgres::types::Type;
use tokio_postgres::{Error, GenericClient, Transaction};
use uuid::Uuid;

/// Who asks to drain a node.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// The cluster.
    pub cluster: &'a str,
    /// The node.
    pub node: &'a str,
    /// The task, and the item of it that is this node.
    pub item: (TaskId, Ordinal),
    /// The claim under which it asks.
    pub claim: (OwnerId, LeaseToken),
    /// How many nodes may be away at a time.
    pub limit: Option<Limit<'a>>,
}

/// How many of a task's nodes may be away at a time, whoever drains them.
#[derive(Debug, Clone, Copy)]
pub struct Limit<'a> {
    /// So many, the asking one included.
    pub most: usize,
    /// The task's nodes.
    pub nodes: &'a [String],
    /// Those that are away already, but for the asking one.
    pub away: &'a [&'a str],
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The node is the asking item's to drain.
    Mine,
    /// Another task is draining it.
    Other(TaskId),
    /// So many nodes are away or about to be, and no more may be.
    Full(usize),
    /// The claim does not hold any more.
    Lost,
}

// A snapshot of its own for the statement after it: who waits here must see what the one before it
// has committed.
const ALONE: &str = "SELECT pg_advisory_xact_lock(hashtextextended($1 || '/' || $2, 7))";

// Drains, in this order, make their item running, then come here; so an item that is not running does
// not drain.
const TAKE: &str = "
INSERT INTO node_drains AS d (cluster, node, task_id, ordinal)
SELECT $1, $2, t.id, $4 FROM progress_tasks t
WHERE t.id = $3 AND t.lease_owner = $5 AND t.lease_token = $6
ON CONFLICT (cluster, node) DO UPDATE
SET task_id = excluded.task_id, ordinal = excluded.ordinal, since = clock_timestamp()
WHERE (d.task_id = excluded.task_id AND d.ordinal = excluded.ordinal)
   OR NOT EXISTS (
       SELECT 1 FROM progress_items i
       WHERE i.task_id = d.task_id AND i.ordinal = d.ordinal AND i.status = 'running')
RETURNING 1";

/// Nodes that are away, and those whose drain has its turn: their cordon may not be seen yet.
const AWAY: &str = "
SELECT count(*) FROM (
    SELECT unnest($3::text[])
    UNION
    SELECT d.node FROM node_drains d
    JOIN progress_items i ON i.task_id = d.task_id AND i.ordinal = d.ordinal
    WHERE d.cluster = $1 AND d.node <> $2 AND d.node = ANY ($4) AND i.status = 'running'
) away";

const HOLDER: &str = "SELECT task_id FROM node_drains WHERE cluster = $1 AND node = $2";

/// Asks for a node, in a transaction that is then to be committed.
///
/// # Errors
/// The statements', also when somebody else asks for too long.
pub async fn take(transaction: &Transaction<'_>, asking: Asking<'_>) -> Result<Turn, Error> {
    let Asking { cluster, node, item: (task, ordinal), claim: (owner, token), limit } = asking;
    super::bound(transaction).await?;
    let place =
        [(&cluster as &(dyn tokio_postgres::types::ToSql + Sync), Type::TEXT), (&node, Type::TEXT)];
    if let Some(Limit { most, nodes, away }) = limit {
        // Whoever counts does so alone, too. No node has an empty name.
        let all = [place[0].clone(), (&"" as _, Type::TEXT)];
        transaction.query_typed(ALONE, &all).await?;
        let counted = [
            place[0].clone(),
            place[1].clone(),
            (&away as _, Type::TEXT_ARRAY),
            (&nodes as _, Type::TEXT_ARRAY),
        ];
        let away: i64 = transaction.query_typed_one(AWAY, &counted).await?.get(0);
        let away = usize::try_from(away).unwrap_or(usize::MAX);
        if away >= most {
            // One that was given and never arrived would count against others while this item waits.
            release(transaction, asking.item, asking.claim).await?;
            return Ok(Turn::Full(away));
        }
    }
    transaction.query_typed(ALONE, &place).await?;
    let ordinal = i32::try_from(ordinal).unwrap_or(i32::MAX);
    let taken = transaction
        .query_typed(
            TAKE,
            &[
                (&cluster, Type::TEXT),
                (&node, Type::TEXT),
                (&task.0, Type::UUID),
                (&ordinal, Type::INT4),
                (&owner.0, Type::UUID),
                (&token.0, Type::INT8),
            ],
        )
        .await?;
    if !taken.is_empty() {
        return Ok(Turn::Mine);
    }
    let holder = transaction.query_typed_opt(HOLDER, &place).await?;
    let holder = holder.map(|row| TaskId(row.get::<_, Uuid>(0)));
    Ok(holder.filter(|h| *h != task).map_or(Turn::Lost, Turn::Other))
}

/// Gives a node up again, if the claim still holds: another claim of the task may have it by now.
/// Without it the row would be overwritten by whoever comes next.
///
/// # Errors
/// The statement's.
pub async fn release(
    client: &impl GenericClient,
    (task, ordinal): (TaskId, Ordinal),
    (owner, token): (OwnerId, LeaseToken),
) -> Result<(), Error> {
    let ordinal = i32::try_from(ordinal).unwrap_or(i32::MAX);
    let sql = "DELETE FROM node_drains d USING progress_tasks t
               WHERE d.task_id = $1 AND d.ordinal = $2
                 AND t.id = d.task_id AND t.lease_owner = $3 AND t.lease_token = $4";
    client
        .query_typed(
            sql,
            &[
                (&task.0, Type::UUID),
                (&ordinal, Type::INT4),
                (&owner.0, Type::UUID),
                (&token.0, Type::INT8),
            ],
        )
        .await
        .map(drop)
}
