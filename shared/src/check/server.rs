//! One connection of a check, and what the server says about itself.

use futures_util::future::poll_fn;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_postgres::{AsyncMessage, Client, Notification};

use crate::pg::Connection;

/// More would mean that others use the check's channel, whose name is random.
const NOTIFICATIONS: usize = 16;

/// A connection with the task that drives it.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) notifications: mpsc::Receiver<Notification>,
    /// Ends the task with the session.
    _driver: JoinSet<()>,
}

impl Session {
    pub(super) fn start(client: Client, mut connection: Connection) -> Self {
        let (sender, notifications) = mpsc::channel(NOTIFICATIONS);
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                if let AsyncMessage::Notification(notification) = message {
                    // Nobody waits for more than one.
                    let _ = sender.try_send(notification);
                }
            }
        });
        Self { client, notifications, _driver: driver }
    }
}

/// What matters of the server's settings.
pub(super) struct Facts {
    pub(super) max_connections: i64,
    /// Kept back for superusers and, from PostgreSQL 16, for `pg_use_reserved_connections`.
    reserved: i64,
    /// Of the role and of the database; -1 for none.
    limits: [i64; 2],
    pub(super) synchronous_commit: String,
    pub(super) may_create: bool,
}

impl Facts {
    /// How many connections ordinary clients can have.
    pub(super) fn available(&self) -> i64 {
        let limits = self.limits.into_iter().filter(|limit| *limit >= 0);
        limits.fold(self.max_connections - self.reserved, i64::min)
    }
}

pub(super) async fn facts(session: &Session) -> Result<Facts, tokio_postgres::Error> {
    const SQL: &str = "
        SELECT current_setting('max_connections')::bigint,
               current_setting('superuser_reserved_connections')::bigint
                 + coalesce(current_setting('reserved_connections', true)::bigint, 0),
               (SELECT rolconnlimit::bigint FROM pg_roles WHERE rolname = current_user),
               (SELECT datconnlimit::bigint FROM pg_database WHERE datname = current_database()),
               current_setting('synchronous_commit'),
               coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)";
    let rows = session.client.query_typed(SQL, &[]).await?;
    let row = &rows[0];
    Ok(Facts {
        max_connections: row.get(0),
        reserved: row.get(1),
        limits: [2, 3].map(|i| row.get::<_, Option<i64>>(i).unwrap_or(-1)),
        synchronous_commit: row.get(4),
        may_create: row.get(5),
    })
}
