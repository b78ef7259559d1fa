//! Webhook deliveries in SQL. Their rows are made with their tasks (`tasks`).

use std::time::Duration;

use knm_shared::ids::TaskId;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, GenericClient};

/// A delivery that is this process's to make.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Whose end it tells.
    pub task: TaskId,
    /// Where to.
    pub url: String,
    /// This try included.
    pub tries: i32,
}

const CLAIM: &str = "
UPDATE webhook_deliveries d SET
    tries = d.tries + 1,
    due_at = clock_timestamp() + make_interval(secs => $2)
FROM (
    SELECT w.task_id FROM webhook_deliveries w JOIN progress_tasks t ON t.id = w.task_id
    WHERE w.due_at <= clock_timestamp() AND t.completed_at IS NOT NULL
    ORDER BY w.due_at LIMIT $1
    FOR UPDATE OF w SKIP LOCKED
) due
WHERE d.task_id = due.task_id
RETURNING d.task_id, d.url, d.tries";

/// Takes up to `most` deliveries of ended tasks. One that is neither [`delivered`] nor [`failed`]
/// within `hold` is due again: its process has died.
///
/// # Errors
/// The statement's.
pub async fn claim(
    client: &impl GenericClient,
    most: i64,
    hold: Duration,
) -> Result<Vec<Delivery>, Error> {
    let params: [(&(dyn ToSql + Sync), Type); 2] =
        [(&most, Type::INT8), (&hold.as_secs_f64(), Type::FLOAT8)];
    let rows = client.query_typed(CLAIM, &params).await?;
    let delivery = |row: &tokio_postgres::Row| Delivery {
        task: TaskId(row.get("task_id")),
        url: row.get("url"),
        tries: row.get("tries"),
    };
    Ok(rows.iter().map(delivery).collect())
}

/// It was taken.
///
/// # Errors
/// The statement's.
pub async fn delivered(client: &impl GenericClient, task: TaskId) -> Result<(), Error> {
    let sql = "UPDATE webhook_deliveries
               SET due_at = NULL, delivered_at = clock_timestamp(), error = NULL WHERE task_id = $1";
    client.execute_typed(sql, &[(&task.0, Type::UUID)]).await.map(drop)
}

/// It was not, and is due again in a while, or given up.
///
/// # Errors
/// The statement's.
pub async fn failed(
    client: &impl GenericClient,
    task: TaskId,
    error: &str,
    again: Option<Duration>,
) -> Result<(), Error> {
    let sql = "UPDATE webhook_deliveries
               SET due_at = clock_timestamp() + make_interval(secs => $3), error = $2
               WHERE task_id = $1";
    let seconds = again.map(|pause| pause.as_secs_f64());
    let params: [(&(dyn ToSql + Sync), Type); 3] =
        [(&task.0, Type::UUID), (&error, Type::TEXT), (&seconds, Type::FLOAT8)];
    client.execute_typed(sql, &params).await.map(drop)
}
