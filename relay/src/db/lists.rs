//! A user's own tasks.

use knm_shared::epoch::{DatabaseEpoch, EPOCH_COLUMNS};
use knm_shared::ids::UserId;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::marks::{MARKS, epoch};
use super::rows::{HEAD_COLUMNS, head};
use super::{Db, DbError, settle, timely};
use crate::hub::ListQuery;
use crate::protocol::Head;

/// Finished tasks in the list.
const NEWEST: i64 = 100;
/// Unfinished tasks in the list; nobody looks through more, and a frame must stay small.
const UNFINISHED: i64 = 200;

impl Db {
    /// The tasks of a user that `query` asks for, and the history they are of.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn list_tasks(
        &self,
        user: UserId,
        query: &ListQuery,
    ) -> Result<(DatabaseEpoch, Vec<Head>), DbError> {
        let ids: Vec<Uuid>;
        let (wanted, second): (_, (&(dyn ToSql + Sync), Type)) = match query {
            ListQuery::Whole => (
                format!(
                    "(SELECT id FROM progress_tasks WHERE user_id = $1 \
                      ORDER BY id DESC LIMIT $2) \
                     UNION \
                     (SELECT id FROM progress_tasks WHERE user_id = $1 AND completed_at IS NULL \
                      ORDER BY id DESC LIMIT {UNFINISHED})"
                ),
                (&NEWEST, Type::INT8),
            ),
            ListQuery::Some(some) => {
                ids = some.iter().map(|id| id.0).collect();
                ("SELECT unnest($2::uuid[])".to_owned(), (&ids, Type::UUID_ARRAY))
            }
        };
        let sql = format!(
            "SELECT {EPOCH_COLUMNS}, {HEAD_COLUMNS} FROM (VALUES (1)) one (one) \
             LEFT JOIN progress_tasks t ON t.user_id = $1 AND t.id IN ({wanted}) \
             ORDER BY t.id"
        );
        let client = self.client().await?;
        let params: [(&(dyn ToSql + Sync), Type); 2] = [(&user.0, Type::UUID), second];
        let result = timely(client.query_typed(&sql, &params)).await;
        let rows = settle(client, result)?;
        let first = rows.first().ok_or_else(|| DbError::Row("no row at all".into()))?;
        let db = epoch(first)?;
        let mut heads = Vec::with_capacity(rows.len());
        for row in &rows {
            // A user without tasks is one row with nothing but the marks.
            if row.try_get::<_, Option<Uuid>>(MARKS)?.is_some() {
                heads.push(head(row, MARKS)?);
            }
        }
        Ok((db, heads))
    }
}
