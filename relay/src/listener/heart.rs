//! Heartbeats: sent over a connection of their own, so that they take the way that every other
//! process's notifications take, and never wait for a pool.

use std::time::Duration;

use knm_shared::epoch::{DatabaseEpoch, EPOCH_COLUMNS};
use knm_shared::pg::{ConnectError, Connector, Single, describe};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::types::{ToSql, Type};
use tokio_util::task::AbortOnDropHandle;

use crate::clock::DatabaseClock;
use crate::db::{MARKS, epoch_of};

/// How long a heartbeat may take until its commit is acknowledged.
const COMMIT: Duration = Duration::from_secs(3);
/// How much of that may be spent waiting for a connection. An attempt may well take longer, where the
/// first of several servers does not answer; it goes on, and a later heartbeat finds it done.
const CONNECT: Duration = Duration::from_secs(1);

/// The number of a heartbeat, its payload.
pub(super) type BeatId = u64;

/// The process id of a session of the server's, which PostgreSQL puts on each notification.
pub(super) type SenderId = i32;

/// What the server says of itself when a heartbeat has been committed.
#[derive(Debug)]
pub(super) struct Pulse {
    /// The sessions of our own role on this database.
    pub(super) ours: Vec<SenderId>,
    /// The history that the heartbeat was written in.
    pub(super) history: DatabaseEpoch,
    /// It takes no rows, and so no progress: not the server to listen to, although it lets one notify.
    pub(super) read_only: bool,
}

/// Why a heartbeat was not sent, or is not known to have been committed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsent {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("still connecting")]
    Connecting,
    #[error("{}", describe(.0))]
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
    link: Link,
}

/// The connection. There is one at a time, or the server would have one more after each heartbeat that
/// it does not answer.
#[derive(Debug)]
enum Link {
    /// None; the end of the last may still be under way.
    Closed(Option<JoinHandle<()>>),
    /// An attempt, which outlives the heartbeat that began it.
    Opening(AbortOnDropHandle<Result<Single, ConnectError>>),
    Open(Single),
}

impl Heart {
    /// Nothing is opened yet. The channel is this process's own.
    pub(super) fn new(connector: Connector, clock: DatabaseClock) -> Self {
        let channel = format!("knm_heartbeat_{:016x}", rand::random::<u64>());
        Self { connector, clock, channel, last: 0, link: Link::Closed(None) }
    }

    pub(super) fn channel(&self) -> &str {
        &self.channel
    }

    pub(super) fn next_beat(&mut self) -> BeatId {
        self.last += 1;
        self.last
    }

    /// Sends a heartbeat; its commit is acknowledged when this returns `Ok`.
    pub(super) async fn send(&mut self, beat: BeatId) -> Result<Pulse, Unsent> {
        let until = Instant::now() + COMMIT;
        self.connected().await?;
        let sent = timeout_at(until, self.try_send(beat)).await.unwrap_or(Err(Unsent::Timeout));
        if sent.is_err() {
            self.give_up();
        }
        sent
    }

    /// Waits for the connection, but not for as long as an attempt may take.
    async fn connected(&mut self) -> Result<(), Unsent> {
        if matches!(&self.link, Link::Open(session) if session.is_closed()) {
            self.link = Link::Closed(None);
        }
        if let Link::Closed(ending) = &mut self.link {
            let (connector, ending) = (self.connector.clone(), ending.take());
            let attempt = async move {
                if let Some(ending) = ending {
                    let _ = ending.await;
                }
                connector.open().await
            };
            self.link = Link::Opening(AbortOnDropHandle::new(tokio::spawn(attempt)));
        }
        if let Link::Opening(attempt) = &mut self.link {
            let result = timeout(CONNECT, attempt).await.map_err(|_| Unsent::Connecting)?;
            self.link = Link::Closed(None);
            // An attempt that panicked is a bug that has been reported; the next may do better.
            self.link = Link::Open(result.map_err(|_| Unsent::Connecting)??);
        }
        Ok(())
    }

    async fn try_send(&self, beat: BeatId) -> Result<Pulse, Unsent> {
        // The clock is read in the same statement: half of the round trip bounds the error.
        const SQL: fn() -> String = || {
            format!(
                "SELECT {EPOCH_COLUMNS}, pg_notify($1, $2),
                        (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
                        ARRAY(SELECT pid FROM pg_stat_activity
                              WHERE datname = current_database() AND usename = current_user),
                        current_setting('transaction_read_only')::bool"
            )
        };
        let Link::Open(session) = &self.link else {
            return Err(Unsent::Connecting);
        };
        let payload = beat.to_string();
        let params: [(&(dyn ToSql + Sync), Type); 2] =
            [(&self.channel, Type::TEXT), (&payload, Type::TEXT)];
        let begun = Instant::now();
        let row = session.query_typed_one(&SQL(), &params).await?;
        self.clock.sample(begun, Instant::now(), row.try_get(MARKS + 1)?);
        Ok(Pulse {
            ours: row.try_get(MARKS + 2)?,
            history: epoch_of(&row)?,
            read_only: row.try_get(MARKS + 3)?,
        })
    }

    /// Has the next heartbeat go over a new connection: this one may lead to a server that has been
    /// succeeded and lives on.
    pub(super) fn renew(&mut self) {
        if let Link::Open(session) = std::mem::replace(&mut self.link, Link::Closed(None)) {
            self.link = Link::Closed(Some(tokio::spawn(session.close())));
        }
    }

    /// Ends the session, whatever it still does. A heartbeat that waits for its commit (for a standby, or
    /// for the lock that orders notifications) would go on holding up those of others.
    fn give_up(&mut self) {
        if let Link::Open(session) = std::mem::replace(&mut self.link, Link::Closed(None)) {
            self.link = Link::Closed(Some(tokio::spawn(session.abandon())));
        }
    }

    /// Says goodbye to the server; takes a second and a half at most.
    pub(super) async fn close(self) {
        match self.link {
            Link::Open(session) => session.close().await,
            Link::Closed(Some(ending)) => {
                let _ = ending.await;
            }
            Link::Closed(None) | Link::Opening(_) => {}
        }
    }
}
