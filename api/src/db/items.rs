//! Items of a task in SQL, as the REST interface shows them.

use knm_shared::ids::{Ordinal, Seq, TaskId};
use knm_shared::status::ItemStatus;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, GenericClient, Row};

use crate::tasks::view::{HistoryView, ItemView};

/// Which items a page shows: those after `after` in the order (seq, ordinal).
#[derive(Debug, Clone, Copy)]
pub struct Filter {
    /// In this state.
    pub status: Option<ItemStatus>,
    /// The last item of the page before; (n, [`LAST_ORDINAL`]) for "changed after n".
    pub after: (Seq, Ordinal),
}

/// No task has an item with this ordinal: (n, this) lies after every item of sequence number n.
pub const LAST_ORDINAL: Ordinal = i32::MAX.unsigned_abs();

/// Head and items come from one statement, so that the sequence number covers them.
const PAGE: &str = "
SELECT t.seq AS task_seq, i.*
FROM progress_tasks t
LEFT JOIN LATERAL (
    SELECT ordinal, node, node_uid, status, seq, message, attempts, before, after,
           started_at, finished_at
    FROM progress_items
    WHERE task_id = t.id AND (seq, ordinal) > ($2, $3) AND ($4::text IS NULL OR status = $4)
    ORDER BY seq, ordinal LIMIT $5
) i ON true
WHERE t.id = $1
ORDER BY i.seq, i.ordinal";

/// A page of items and the task's sequence number. `None` when there is no such task.
///
/// # Errors
/// The statement's.
pub async fn page(
    client: &impl GenericClient,
    task: TaskId,
    filter: Filter,
    limit: u32,
) -> Result<Option<(Seq, Vec<ItemView>)>, Error> {
    let (seq, ordinal) = filter.after;
    let ordinal = i32::try_from(ordinal).unwrap_or(i32::MAX);
    let params: [(&(dyn ToSql + Sync), Type); 5] = [
        (&task.0, Type::UUID),
        (&seq.0, Type::INT8),
        (&ordinal, Type::INT4),
        (&filter.status.map(ItemStatus::as_str), Type::TEXT),
        (&i64::from(limit), Type::INT8),
    ];
    let rows = client.query_typed(PAGE, &params).await?;
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    let items = rows.iter().filter(|r| r.get::<_, Option<i32>>("ordinal").is_some()).map(view);
    Ok(Some((Seq(first.get("task_seq")), items.collect())))
}

/// Every item of a task, in its order.
///
/// # Errors
/// The statement's.
pub async fn all(client: &impl GenericClient, task: TaskId) -> Result<Vec<ItemView>, Error> {
    let sql = "SELECT ordinal, node, node_uid, status, seq, message, attempts, before, after,
                      started_at, finished_at
               FROM progress_items WHERE task_id = $1 ORDER BY ordinal";
    Ok(client.query_typed(sql, &[(&task.0, Type::UUID)]).await?.iter().map(view).collect())
}

/// What was done to a node, newest first.
///
/// # Errors
/// The statement's.
pub async fn of_node(
    client: &impl GenericClient,
    cluster: &str,
    node: &str,
    limit: u32,
) -> Result<Vec<HistoryView>, Error> {
    let sql = "SELECT t.id, t.action, t.params, t.reason, u.username, t.created_at,
                      i.status, i.message, i.before, i.after, i.finished_at
               FROM node_tasks h
               JOIN progress_tasks t ON t.id = h.task_id
               JOIN progress_items i ON i.task_id = h.task_id AND i.ordinal = h.ordinal
               JOIN users u ON u.id = t.user_id
               WHERE h.cluster = $1 AND h.node = $2
               ORDER BY h.task_id DESC LIMIT $3";
    let params: [(&(dyn ToSql + Sync), Type); 3] =
        [(&cluster, Type::TEXT), (&node, Type::TEXT), (&i64::from(limit), Type::INT8)];
    let entry = |row: &Row| HistoryView {
        task_id: row.get("id"),
        action: row.get("action"),
        params: row.get("params"),
        reason: row.get("reason"),
        username: row.get("username"),
        submitted_at: row.get("created_at"),
        status: row.get("status"),
        message: row.get("message"),
        before: row.get("before"),
        after: row.get("after"),
        finished_at: row.get("finished_at"),
    };
    Ok(client.query_typed(sql, &params).await?.iter().map(entry).collect())
}

fn view(row: &Row) -> ItemView {
    ItemView {
        ordinal: row.get::<_, i32>("ordinal").unsigned_abs(),
        node: row.get("node"),
        node_uid: row.get("node_uid"),
        status: row.get("status"),
        seq: row.get("seq"),
        message: row.get("message"),
        attempts: row.get::<_, i32>("attempts").unsigned_abs(),
        before: row.get("before"),
        after: row.get("after"),
        started_at: row.get("started_at"),
        finished_at: row.get("finished_at"),
    }
}
