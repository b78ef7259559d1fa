//! Heartbeats: sent over a connection of their own, so that they take the way that every other
//! process's notifications take, and never wait for a pool.

use std::time::Duration;

use knm_shared::pg::{ConnectError, Connector};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use crate::clock::DatabaseClock;

/// How long the commit of a heartbeat may take.
const COMMIT: Duration = Duration::from_secs(3);

/// The number of a heartbeat, its payload.
pub(super) type BeatId = u64;

/// The process id of a session of the server's, which PostgreSQL puts on each notification.
pub(super) type SenderId = i32;

/// Why a heartbeat was not sent, or is not known to have been committed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsent {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("{0}")]
    Query(#[from] tokio_postgres::Error),
    #[error("no acknowledgement within {} s", COMMIT.as_secs())]
    Timeout,
}

/// The reserved connection and what is sent over it.
#[derive(Debug)]
pub(super) struct Heart {
    connector: Connector,
    clock: DatabaseClock,
    channel: String,
    last: BeatId,
    session: Option<Session>,
}

#[derive(Debug)]
struct Session {
    client: Client,
    driver: JoinHandle<()>,
}

impl Heart {
    /// Nothing is opened yet. The channel is this process's own.
    pub(super) fn new(connector: Connector, clock: DatabaseClock) -> Self {
        let channel = format!("knm_heartbeat_{:016x}", rand::random::<u64>());
        Self { connector, clock, channel, last: 0, session: None }
    }

    pub(super) fn channel(&self) -> &str {
        &self.channel
    }

    pub(super) fn next_beat(&mut self) -> BeatId {
        self.last += 1;
        self.last
    }

    /// Sends a heartbeat; its commit is acknowledged when this returns `Ok`, with the sessions of our
    /// own role on this database.
    pub(super) async fn send(&mut self, beat: BeatId) -> Result<Vec<SenderId>, Unsent> {
        let result = tokio::time::timeout(COMMIT, self.try_send(beat)).await;
        let result = result.unwrap_or(Err(Unsent::Timeout));
        if result.is_err() {
            self.session = None;
        }
        result
    }

    async fn try_send(&mut self, beat: BeatId) -> Result<Vec<SenderId>, Unsent> {
        // The clock is read in the same statement: half of the round trip bounds the error.
        const SQL: &str = "
            SELECT pg_notify($1, $2), (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
                   ARRAY(SELECT pid FROM pg_stat_activity
                         WHERE datname = current_database() AND usename = current_user)";
        if self.session.as_ref().is_none_or(|s| s.client.is_closed()) {
            let (client, connection) = self.connector.connect().await?;
            let driver = tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "heartbeat connection ended");
                }
            });
            self.session = Some(Session { client, driver });
        }
        let Some(session) = &self.session else {
            return Err(Unsent::Timeout);
        };
        let payload = beat.to_string();
        let params: [(&(dyn ToSql + Sync), Type); 2] =
            [(&self.channel, Type::TEXT), (&payload, Type::TEXT)];
        let begun = Instant::now();
        let row = session.client.query_typed_one(SQL, &params).await?;
        self.clock.sample(begun, Instant::now(), row.try_get(1)?);
        Ok(row.try_get(2)?)
    }

    /// Says goodbye to the server.
    pub(super) async fn close(self) {
        if let Some(Session { client, driver }) = self.session {
            // Without its client, the connection ends in good order by itself.
            drop(client);
            if let Err(error) = driver.await {
                tracing::debug!(%error, "heartbeat connection ended");
            }
        }
    }
}
