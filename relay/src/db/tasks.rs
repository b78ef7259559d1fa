//! What changed in a task since a sequence number: head and items of one statement.

use knm_shared::epoch::{DatabaseEpoch, EPOCH_COLUMNS};
use knm_shared::ids::{Ordinal, Seq, TaskId};
use knm_shared::status::ItemStatus;
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::marks::{MARKS, epoch};
use super::rows::{HEAD_COLUMNS, HEAD_LEN, head};
use super::{Db, DbError, settle, timely};
use crate::hub::Found;
use crate::protocol::ItemRow;

/// What a read saw.
#[derive(Debug)]
pub struct TaskRead {
    /// In which history.
    pub db: DatabaseEpoch,
    /// The task, unless there is none.
    pub found: Option<Found>,
}

impl Db {
    /// The task's head, and its items that changed after `from`.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn read_task(&self, task: TaskId, from: Seq) -> Result<TaskRead, DbError> {
        // Arrays, so that the head travels once and everything is of one snapshot.
        let sql = format!(
            "SELECT {EPOCH_COLUMNS}, {HEAD_COLUMNS}, \
                    i.ordinals, i.nodes, i.statuses, i.messages, i.seqs \
             FROM (VALUES ($1::uuid)) wanted (id) \
             LEFT JOIN progress_tasks t ON t.id = wanted.id \
             LEFT JOIN LATERAL ( \
                 SELECT array_agg(s.ordinal) AS ordinals, array_agg(s.node) AS nodes, \
                        array_agg(s.status) AS statuses, array_agg(s.message) AS messages, \
                        array_agg(s.seq) AS seqs \
                 FROM (SELECT ordinal, node, status, message, seq FROM progress_items \
                       WHERE task_id = wanted.id AND seq > $2 ORDER BY ordinal) s \
             ) i ON true"
        );
        let client = self.client().await?;
        let params: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
            [(&task.0, Type::UUID), (&from.0, Type::INT8)];
        let result = timely(client.query_typed_one(&sql, &params)).await;
        let row = settle(client, result)?;
        let db = epoch(&row)?;
        if row.try_get::<_, Option<Uuid>>(MARKS)?.is_none() {
            return Ok(TaskRead { db, found: None });
        }
        let head = head(&row, MARKS)?;
        let items = items(&row, MARKS + HEAD_LEN)?;
        Ok(TaskRead { db, found: Some(Found { head, items }) })
    }
}

fn items(row: &Row, at: usize) -> Result<Vec<ItemRow>, DbError> {
    let Some(ordinals) = row.try_get::<_, Option<Vec<i32>>>(at)? else {
        return Ok(Vec::new());
    };
    let nodes: Vec<&str> = row.try_get(at + 1)?;
    let statuses: Vec<&str> = row.try_get(at + 2)?;
    let messages: Vec<Option<&str>> = row.try_get(at + 3)?;
    let seqs: Vec<i64> = row.try_get(at + 4)?;
    let columns = ordinals.into_iter().zip(nodes).zip(statuses).zip(messages).zip(seqs);
    let mut items = Vec::with_capacity(columns.len());
    for ((((ordinal, node), status), message), seq) in columns {
        items.push(ItemRow {
            ordinal: Ordinal::try_from(ordinal)
                .map_err(|_| DbError::Row(format!("ordinal {ordinal}")))?,
            node: node.into(),
            status: status.parse::<ItemStatus>().map_err(|e| DbError::Row(e.to_string()))?,
            message: message.map(Into::into),
            seq: Seq(seq),
        });
    }
    // The order of array_agg over an ordered subquery is usual, not promised; sorting what is
    // sorted costs nothing.
    items.sort_by_key(|i| i.ordinal);
    Ok(items)
}
