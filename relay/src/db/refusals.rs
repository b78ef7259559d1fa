//! The only rows that the relay writes: entries of the audit log.

use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::{Db, DbError, settle, timely};
use crate::refusals::{Refusal, Wanted};

/// Names are as they are now; who is unknown has none, and an unknown task no cluster.
const SQL: &str = "
INSERT INTO audit_log (user_id, username, session_id, address, action, target, cluster,
                       result, status, detail, request_id)
SELECT r.user_id, coalesce(u.username, ''), r.session_id, r.address, r.action,
       coalesce(r.task::text, 'GET ' || $8), coalesce(t.cluster, ''),
       'refused', r.status, r.detail, ''
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::uuid[], $6::int[], $7::text[])
     WITH ORDINALITY AS r (user_id, session_id, address, action, task, status, detail, place)
LEFT JOIN users u ON u.id = r.user_id
LEFT JOIN progress_tasks t ON t.id = r.task
ORDER BY r.place";

impl Db {
    /// Adds entries.
    ///
    /// # Errors
    /// When they may not have been written.
    pub async fn write_refusals(&self, refusals: &[Refusal]) -> Result<(), DbError> {
        let mut users: Vec<Option<Uuid>> = Vec::new();
        let mut sessions: Vec<Option<Uuid>> = Vec::new();
        let mut tasks: Vec<Option<Uuid>> = Vec::new();
        let (mut addresses, mut actions, mut details) = (Vec::new(), Vec::new(), Vec::new());
        let mut statuses: Vec<i32> = Vec::new();
        for Refusal { owner, address, wanted, status, detail } in refusals {
            users.push(owner.map(|owner| owner.user.0));
            sessions.push(owner.map(|owner| owner.session));
            addresses.push(address.to_string());
            actions.push(wanted.action());
            tasks.push(match wanted {
                Wanted::Connection => None,
                Wanted::Task(task) => Some(task.0),
            });
            statuses.push((*status).into());
            details.push(detail.as_str());
        }
        let path = crate::protocol::PATH;
        let params: [(&(dyn ToSql + Sync), Type); 8] = [
            (&users, Type::UUID_ARRAY),
            (&sessions, Type::UUID_ARRAY),
            (&addresses, Type::TEXT_ARRAY),
            (&actions, Type::TEXT_ARRAY),
            (&tasks, Type::UUID_ARRAY),
            (&statuses, Type::INT4_ARRAY),
            (&details, Type::TEXT_ARRAY),
            (&path, Type::TEXT),
        ];
        let client = self.client().await?;
        let result = timely(client.execute_typed(SQL, &params)).await;
        settle(client, result).map(drop)
    }
}
