//! Whether a notification sent from one connection arrives at another: the only proof that LISTEN
//! works. Through a transaction pooler it is accepted, even answered on its own connection, and what
//! others send never arrives.

use std::time::{Duration, Instant};

use tokio::time::timeout;
use tokio_postgres::types::Type;

use super::server::Session;
use crate::pg::{ConnectError, Connector};

/// As long as the relay waits for its heartbeat.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) enum Echo {
    /// It came back.
    Heard(Duration),
    /// It was committed and did not come.
    Lost,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum EchoError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Query(#[from] tokio_postgres::Error),
}

/// LISTENs on a connection of its own and sends from `sender`. Uses a channel that nobody else has.
pub(super) async fn try_out(connector: &Connector, sender: &Session) -> Result<Echo, EchoError> {
    let (client, connection) = connector.connect().await?;
    let mut listener = Session::start(client, connection);
    let channel = format!("knm_check_{}", uuid::Uuid::new_v4().simple());
    listener.client.batch_execute(&format!("LISTEN {channel}")).await?;
    let sent = Instant::now();
    sender.client.query_typed("SELECT pg_notify($1, '')", &[(&channel, Type::TEXT)]).await?;
    let heard = async {
        loop {
            match listener.notifications.recv().await {
                Some(notification) if notification.channel() == channel => return true,
                Some(_) => {}
                None => return false,
            }
        }
    };
    let heard = timeout(PATIENCE, heard).await.unwrap_or(false);
    let after = sent.elapsed();
    // A pooler would hand the server connection to others, still listening.
    listener.client.batch_execute(&format!("UNLISTEN {channel}")).await?;
    Ok(if heard { Echo::Heard(after) } else { Echo::Lost })
}
