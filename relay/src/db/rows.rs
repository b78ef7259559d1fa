//! A task's row as the relay reads it.

use knm_shared::ids::{Seq, TaskId, UserId};
use knm_shared::status::Counts;
use tokio_postgres::Row;

use super::DbError;
use crate::protocol::{Head, Progress};

/// The columns of [`head`], for a table or alias `t`.
pub(super) const HEAD_COLUMNS: &str = "\
    t.id, t.user_id, t.cluster, t.action, t.reason, t.status, t.error, t.seq, \
    t.total, t.pending, t.running, t.succeeded, t.failed, t.skipped, t.cancelled, \
    t.created_at, t.started_at, t.completed_at, t.updated_at";

/// How many they are.
pub(super) const HEAD_LEN: usize = 19;

/// Reads [`HEAD_COLUMNS`] from column `at` on.
pub(super) fn head(row: &Row, at: usize) -> Result<Head, DbError> {
    let text = |i: usize| row.try_get::<_, &str>(at + i);
    let mut counts = [0u32; 7];
    for (i, count) in counts.iter_mut().enumerate() {
        let value: i32 = row.try_get(at + 8 + i)?;
        *count = u32::try_from(value).map_err(|_| DbError::Row(format!("counter {value}")))?;
    }
    let status = text(5)?.parse().map_err(|e| DbError::Row(format!("{e}")))?;
    let error: Option<&str> = row.try_get(at + 6)?;
    Ok(Head {
        id: TaskId(row.try_get(at)?),
        user_id: UserId(row.try_get(at + 1)?),
        cluster: text(2)?.into(),
        action: text(3)?.into(),
        reason: text(4)?.into(),
        progress: Progress {
            status,
            counts: Counts::from_array(counts),
            error: error.map(Into::into),
        },
        seq: Seq(row.try_get(at + 7)?),
        created_at: row.try_get(at + 15)?,
        started_at: row.try_get(at + 16)?,
        completed_at: row.try_get(at + 17)?,
        updated_at: row.try_get(at + 18)?,
    })
}
