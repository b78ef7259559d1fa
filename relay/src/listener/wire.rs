//! One LISTEN connection, driven by hand: every await of the listener goes on taking notifications
//! off the wire meanwhile.

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use knm_shared::epoch::DatabaseEpoch;
use knm_shared::notification::{CHANNEL, REVOKED_CHANNEL};
use knm_shared::pg::{ConnectErrorKind, Connection, describe};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_postgres::{AsyncMessage, Client, Notification};

use super::forward::Forward;
use super::heart::BeatId;
use crate::db::{EPOCH_SQL, epoch_of};

/// LISTEN and the first questions take a healthy server no longer.
const SETUP: Duration = Duration::from_secs(10);

/// How long the server keeps data that this process does not take. A relay that is stopped would
/// otherwise hold up the notification queue of the whole cluster.
const SERVER_SETTINGS: &str = "SET tcp_user_timeout = '20s'; SET tcp_keepalives_idle = '10s'; \
                               SET tcp_keepalives_interval = '3s'; SET tcp_keepalives_count = 3";

/// Why a LISTEN connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    /// The server or the network ended it.
    #[error("connection lost: {}", describe(.0))]
    Connection(tokio_postgres::Error),
    /// It ended without a word.
    #[error("connection closed by the server")]
    Closed,
    /// The server refused what a listener needs.
    #[error("{}", describe(.0))]
    Refused(tokio_postgres::Error),
    /// It does not answer.
    #[error("the connection does not answer")]
    Silent,
    /// A heartbeat that was committed did not arrive.
    #[error("a committed heartbeat did not arrive within {} s", super::BEAT_ANSWER.as_secs())]
    Deaf,
    /// Heartbeats are committed in another history than this connection's: one of the two servers has
    /// been succeeded and lives on.
    #[error("heartbeats are committed in another history than the one that is listened to")]
    Divided,
    /// The server has been made read-only, as is done to one that is to be succeeded.
    #[error("the server takes no writes any more")]
    ReadOnly,
}

impl Lost {
    /// Every value of the metric label `reason` that failures to connect do not have.
    pub(super) const REASONS: [&'static str; 4] = ["lost", "refused_listen", "silent", "heartbeat"];

    /// The value of the metric label `reason`.
    pub(super) const fn as_str(&self) -> &'static str {
        match self {
            Self::Connection(_) | Self::Closed => "lost",
            Self::Refused(_) => "refused_listen",
            Self::Silent => "silent",
            Self::Deaf | Self::Divided => "heartbeat",
            Self::ReadOnly => ConnectErrorKind::ReadOnly.as_str(),
        }
    }
}

/// The connection.
pub(super) struct Wire {
    client: Client,
    connection: Connection,
    channel: String,
    /// The latest heartbeat that came back.
    heard: BeatId,
}

impl Wire {
    pub(super) fn new(client: Client, connection: Connection, channel: &str) -> Self {
        Self { client, connection, channel: channel.to_owned(), heard: 0 }
    }

    /// Asks which history this is, then subscribes to the channels. The history cannot change while
    /// the connection lives, and in this order `pg_stat_activity` shows who listens: LISTEN stays the
    /// session's last statement.
    pub(super) async fn listen(&mut self, forward: &mut Forward) -> Result<DatabaseEpoch, Lost> {
        let Self { client, connection, channel, heard } = self;
        let setup = async {
            // Unix sockets and some poolers do not know these; the listener works without them.
            if let Err(error) = client.batch_execute(SERVER_SETTINGS).await {
                tracing::debug!(%error, "TCP settings not accepted");
            }
            let row = client.query_typed_one(&EPOCH_SQL(), &[]).await?;
            client
                .batch_execute(&format!(
                    "LISTEN {CHANNEL}; LISTEN {REVOKED_CHANNEL}; LISTEN {channel}"
                ))
                .await?;
            epoch_of(&row)
        };
        let mut taker = Taker { connection, channel, heard };
        taker.run(forward, timeout(SETUP, setup)).await?.map_err(|_| Lost::Silent)?.map_err(refused)
    }

    /// Takes notifications until `work` is done.
    pub(super) async fn drive<F: Future>(
        &mut self,
        forward: &mut Forward,
        work: F,
    ) -> Result<F::Output, Lost> {
        let Self { connection, channel, heard, .. } = self;
        Taker { connection, channel, heard }.run(forward, work).await
    }

    /// Takes notifications until then.
    pub(super) async fn drive_until(
        &mut self,
        forward: &mut Forward,
        until: Instant,
    ) -> Result<(), Lost> {
        self.drive(forward, sleep_until(until)).await
    }

    /// Whether a heartbeat arrives until then.
    pub(super) async fn hears(
        &mut self,
        forward: &mut Forward,
        beat: BeatId,
        until: Instant,
    ) -> Result<bool, Lost> {
        let Self { connection, channel, heard, .. } = self;
        let mut taker = Taker { connection, channel, heard };
        let mut deadline = pin!(sleep_until(until));
        while *taker.heard < beat {
            tokio::select! {
                message = taker.message() => taker.take(forward, message?),
                () = &mut deadline => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Whether the connection still answers at all.
    pub(super) async fn probe(
        &mut self,
        forward: &mut Forward,
        within: Duration,
    ) -> Result<(), Lost> {
        let Self { client, connection, channel, heard } = self;
        let probe = timeout(within, client.query_typed("SELECT 1", &[]));
        let mut taker = Taker { connection, channel, heard };
        match taker.run(forward, probe).await? {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(refused(error)),
            Err(_) => Err(Lost::Silent),
        }
    }
}

fn refused(error: tokio_postgres::Error) -> Lost {
    if error.is_closed() { Lost::Closed } else { Lost::Refused(error) }
}

/// The half of a [`Wire`] that takes messages, while the other half may be asking.
struct Taker<'a> {
    connection: &'a mut Connection,
    channel: &'a str,
    heard: &'a mut BeatId,
}

impl Taker<'_> {
    async fn run<F: Future>(&mut self, forward: &mut Forward, work: F) -> Result<F::Output, Lost> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                // What is on the wire goes first: a heartbeat that is there must not be missed.
                biased;
                message = self.message() => self.take(forward, message?),
                done = &mut work => return Ok(done),
            }
        }
    }

    async fn message(&mut self) -> Result<AsyncMessage, Lost> {
        match poll_fn(|cx| self.connection.poll_message(cx)).await {
            Some(Ok(message)) => Ok(message),
            Some(Err(error)) => Err(Lost::Connection(error)),
            None => Err(Lost::Closed),
        }
    }

    fn take(&mut self, forward: &mut Forward, message: AsyncMessage) {
        match message {
            AsyncMessage::Notification(note) => self.notification(forward, &note),
            AsyncMessage::Notice(notice) => {
                tracing::debug!(severity = notice.severity(), message = notice.message(), "notice");
            }
            other => tracing::debug!(?other, "unexpected message"),
        }
    }

    fn notification(&mut self, forward: &mut Forward, note: &Notification) {
        match note.channel() {
            CHANNEL => forward.progress(note.payload(), note.process_id()),
            REVOKED_CHANNEL => forward.revoked(note.payload(), note.process_id()),
            channel if channel == self.channel => {
                // Nobody else knows the channel's name; what is no number is nobody's heartbeat.
                if let Ok(beat) = note.payload().parse::<BeatId>() {
                    *self.heard = (*self.heard).max(beat);
                }
            }
            channel => tracing::debug!(channel, "notification on an unknown channel"),
        }
    }
}
