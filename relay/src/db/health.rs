//! What the relay asks about the server itself.

use knm_shared::epoch::{DatabaseEpoch, EPOCH_COLUMNS};
use tokio_postgres::Row;

use super::marks::epoch;
use super::{Db, DbError, settle, timely};

/// One row with the marks of the database's history.
pub const EPOCH_SQL: fn() -> String = || format!("SELECT {EPOCH_COLUMNS}");

/// Reads that row, or the front of another that begins so.
///
/// # Errors
/// When it is another.
pub fn epoch_of(row: &Row) -> Result<DatabaseEpoch, tokio_postgres::Error> {
    epoch(row)
}

impl Db {
    /// The version of the newest migration; 0 before the first.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn schema_version(&self) -> Result<i32, DbError> {
        const SQL: &str = "SELECT coalesce(max(version), 0) FROM refinery_schema_history";
        let client = self.client().await?;
        let result = timely(client.query_typed_one(SQL, &[])).await;
        match settle(client, result) {
            Ok(row) => Ok(row.try_get(0)?),
            Err(error) if error.is_undefined_table() => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// The history that the database is in.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn epoch(&self) -> Result<DatabaseEpoch, DbError> {
        let client = self.client().await?;
        let result = timely(client.query_typed_one(&EPOCH_SQL(), &[])).await;
        Ok(epoch(&settle(client, result)?)?)
    }

    /// How full the server's notification queue is, 0 to 1. Full, it refuses every NOTIFY.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn queue_usage(&self) -> Result<f64, DbError> {
        const SQL: &str = "SELECT pg_notification_queue_usage()";
        let client = self.client().await?;
        let result = timely(client.query_typed_one(SQL, &[])).await;
        Ok(settle(client, result)?.try_get(0)?)
    }

    /// Who is connected to the database: how many by the first word of their `application_name`.
    /// Every role may ask that, of everybody's sessions.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn connections(&self) -> Result<Vec<(String, i64)>, DbError> {
        const SQL: &str = "SELECT split_part(coalesce(application_name, ''), ' ', 1), count(*) \
                           FROM pg_stat_activity WHERE datname = current_database() GROUP BY 1";
        let client = self.client().await?;
        let result = timely(client.query_typed(SQL, &[])).await;
        let rows = settle(client, result)?;
        let read = |row: &Row| Ok::<_, DbError>((row.try_get(0)?, row.try_get(1)?));
        rows.iter().map(read).collect()
    }
}
