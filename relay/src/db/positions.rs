//! One question about all followed tasks: whose row is not where the hub is?

use knm_shared::epoch::{DatabaseEpoch, EPOCH_COLUMNS};
use knm_shared::ids::{Seq, TaskId};
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::marks::{MARKS, epoch};
use super::{Db, DbError, settle, timely};
use crate::hub::Behind;

/// The answer.
#[derive(Debug)]
pub struct Positions {
    /// In which history.
    pub db: DatabaseEpoch,
    /// The tasks whose rows are elsewhere.
    pub behind: Vec<Behind>,
}

impl Db {
    /// Compares the hub's positions with the rows.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn compare(&self, positions: &[(TaskId, Seq)]) -> Result<Positions, DbError> {
        let sql = format!(
            "WITH moved AS ( \
                 SELECT p.id, p.seq, t.seq AS row_seq \
                 FROM unnest($1::uuid[], $2::bigint[]) AS p (id, seq) \
                 LEFT JOIN progress_tasks t ON t.id = p.id \
                 WHERE t.seq IS DISTINCT FROM p.seq) \
             SELECT {EPOCH_COLUMNS}, array_agg(id), array_agg(seq), array_agg(row_seq) FROM moved"
        );
        let ids: Vec<Uuid> = positions.iter().map(|(id, _)| id.0).collect();
        let seqs: Vec<i64> = positions.iter().map(|(_, seq)| seq.0).collect();
        let client = self.client().await?;
        let params: [(&(dyn ToSql + Sync), Type); 2] =
            [(&ids, Type::UUID_ARRAY), (&seqs, Type::INT8_ARRAY)];
        let result = timely(client.query_typed_one(&sql, &params)).await;
        let row = settle(client, result)?;
        let ids: Vec<Uuid> = row.try_get::<_, Option<_>>(MARKS)?.unwrap_or_default();
        let asked: Vec<i64> = row.try_get::<_, Option<_>>(MARKS + 1)?.unwrap_or_default();
        let rows: Vec<Option<i64>> = row.try_get::<_, Option<_>>(MARKS + 2)?.unwrap_or_default();
        let behind = ids.into_iter().zip(asked).zip(rows).map(|((id, asked), row)| Behind {
            task: TaskId(id),
            asked: Seq(asked),
            row: row.map(Seq),
        });
        Ok(Positions { db: epoch(&row)?, behind: behind.collect() })
    }
}
