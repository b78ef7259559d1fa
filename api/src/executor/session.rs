//! The claimer's own connection. A renewal must not queue behind requests for a pooled one, nor try
//! one dead connection after the other while its lease runs out.

use std::time::Duration;

use knm_shared::config::Database;
use knm_shared::pg::{App, ConnectError, Connector, Target};
use tokio_postgres::Client;
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

/// A round that gets no answer and a new connection fit into what a lease leaves after the renewal
/// before.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Opens [`Session`]s.
pub(super) struct Sessions {
    connector: Connector,
}

/// An open connection. Dropping it closes it.
pub(super) struct Session {
    pub(super) client: Client,
    _driver: AbortOnDropHandle<()>,
}

impl Sessions {
    /// Nothing is opened yet.
    ///
    /// # Errors
    /// When the database's TLS settings cannot be used.
    pub(super) fn new(database: &Database) -> Result<Self, ConnectError> {
        let connector = Connector::new(database, App::ApiLeases, Target::Direct)?;
        Ok(Self { connector: connector.with_timeout(CONNECT_TIMEOUT) })
    }

    /// Opens one.
    ///
    /// # Errors
    /// When the database does not take it.
    pub(super) async fn open(&self) -> Result<Session, ConnectError> {
        let (client, connection) = self.connector.connect().await?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(%error, "the claimer's connection ended");
            }
        });
        Ok(Session { client, _driver: AbortOnDropHandle::new(driver) })
    }
}
