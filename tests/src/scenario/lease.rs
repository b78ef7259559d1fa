//! A task's lease, as its row shows it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use knm_shared::ids::TaskId;
use uuid::Uuid;

use super::World;
use crate::postgres::Sql;

/// Who holds a task, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRow {
    /// `lease_owner`
    pub owner: Option<Uuid>,
    /// `lease_token`
    pub token: i64,
    /// Claims in a row without a finished item.
    pub attempt: i32,
    /// `seq`
    pub seq: i64,
    /// `status`
    pub status: String,
    /// Items that have ended.
    pub done: i32,
}

const LEASE: &str = "SELECT lease_owner, lease_token, attempt, seq, status, \
                     succeeded + failed + skipped + cancelled FROM progress_tasks WHERE id = $1";

impl LeaseRow {
    async fn read(sql: &Sql, task: TaskId) -> anyhow::Result<Self> {
        let row = sql.query_one(LEASE, &[&task.0]).await?;
        Ok(Self {
            owner: row.get(0),
            token: row.get(1),
            attempt: row.get(2),
            seq: row.get(3),
            status: row.get(4),
            done: row.get(5),
        })
    }
}

impl World {
    /// A task's lease now.
    ///
    /// # Errors
    /// When there is no such task.
    pub async fn lease(&self, task: TaskId) -> anyhow::Result<LeaseRow> {
        LeaseRow::read(&self.database.connect().await?, task).await
    }

    /// Waits until a task's row is as `wanted`; says how long that took.
    ///
    /// # Errors
    /// After `limit`, with the row as it is then.
    pub async fn until_lease(
        &self,
        task: TaskId,
        limit: Duration,
        wanted: impl Fn(&LeaseRow) -> bool,
    ) -> anyhow::Result<(LeaseRow, Duration)> {
        let sql = self.database.connect().await?;
        let start = Instant::now();
        loop {
            let row = LeaseRow::read(&sql, task).await?;
            if wanted(&row) {
                return Ok((row, start.elapsed()));
            }
            if start.elapsed() > limit {
                bail!("not what is waited for after {limit:?}: {row:?}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until somebody else than the holder in `before` has claimed the task; by now it may have
    /// been ended, too.
    ///
    /// # Errors
    /// After `limit`.
    pub async fn until_taken_over(
        &self,
        task: TaskId,
        before: &LeaseRow,
        limit: Duration,
    ) -> anyhow::Result<(LeaseRow, Duration)> {
        let taken = |now: &LeaseRow| now.token > before.token && now.owner != before.owner;
        self.until_lease(task, limit, taken).await.context("nobody takes the task over")
    }
}
