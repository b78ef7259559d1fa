//! The one LISTEN connection: it brings notifications from the database to the hub, and proves every
//! few seconds that it would.
//!
//! ```text
//! Connecting ──▶ Verifying ──▶ Live
//!     ▲  │           │           │
//!     │  └───────────┴───▶ Lost ◀┘
//!     └──────── backoff ────┘
//! ```
//!
//! A connection on which LISTEN was accepted proves nothing: it may end at a transaction pooler, or
//! nowhere. What counts is a heartbeat that another connection sent with NOTIFY and that came back
//! on this one.

mod backoff;
mod forward;
mod heart;
mod metrics;
mod wire;

use std::convert::Infallible;
use std::time::Duration;

use knm_shared::config::Database;
use knm_shared::pg::{App, ConnectError, Connector, Reporter, Target};
use knm_shared::phrases;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

pub use self::metrics::ListenerMetrics;

use self::backoff::Backoff;
use self::forward::Forward;
use self::heart::{Heart, Pulse, Unsent};
use self::wire::{Lost, Wire};
use crate::clock::DatabaseClock;
use crate::hub::HubHandle;
use crate::status::{ListenerState, Status};

/// How often a live listener is proved.
const BEAT_INTERVAL: Duration = Duration::from_secs(5);
/// The least pause between two heartbeats: a session that is not known yet asks for one early.
const BEAT_PAUSE: Duration = Duration::from_millis(100);
/// How long a heartbeat may take, once its commit is acknowledged.
const BEAT_ANSWER: Duration = Duration::from_secs(3);
/// After a heartbeat that could not be sent: that is no fault of the listener's.
const UNSENT_PAUSE: Duration = Duration::from_secs(1);
/// How long a connection that heard nothing has to answer a plain query.
const PROBE: Duration = Duration::from_secs(2);
/// The same while live: with the pause before a heartbeat and its 3 s, less than 10 s.
const LIVE_PROBE: Duration = Duration::from_millis(1_500);
/// Heartbeats that a healthy connection must miss before it counts as a pooler's.
const DEAF_BEATS: u32 = 2;

/// The listener. It runs until the process stops.
#[derive(Debug)]
pub struct Listener {
    connector: Connector,
    heart: Heart,
    forward: Forward,
    status: Status,
    metrics: ListenerMetrics,
    reporter: Reporter,
    backoff: Backoff,
    /// Whether this process has announced its notifier; once is enough.
    announced: bool,
}

/// Where the listener is; what a state needs, it carries.
enum State {
    Connecting,
    Verifying(Box<Wire>),
    Live(Box<Wire>),
    Lost(Cause),
}

/// Why it is lost, and so how soon to try again.
enum Cause {
    /// No connection.
    Unreachable,
    /// A connection that broke.
    Broken,
    /// A transaction pooler: no attempt will do better until the configuration changes.
    Pooler,
}

/// What became of a heartbeat.
enum Beat {
    Heard,
    /// It could not be sent or was not acknowledged: nothing is said about the listener.
    Unsent(Unsent),
    /// It was committed and did not arrive.
    Missing,
}

impl Listener {
    /// A listener that has not connected yet.
    ///
    /// # Errors
    /// When the root certificate is of no use.
    pub fn new(
        db: &Database,
        hub: HubHandle,
        status: Status,
        metrics: ListenerMetrics,
        clock: DatabaseClock,
    ) -> Result<Self, ConnectError> {
        Ok(Self {
            connector: Connector::new(db, App::RelayListener, Target::Direct)?,
            heart: Heart::new(Connector::new(db, App::Relay, Target::Pooled)?, clock.clone()),
            forward: Forward::new(hub, metrics.clone(), clock),
            status,
            metrics,
            reporter: Reporter::new(App::RelayListener),
            backoff: Backoff::default(),
            announced: false,
        })
    }

    /// Listens until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        tokio::select! {
            () = shutdown.cancelled() => {}
            never = self.listen() => match never {},
        }
        self.heart.close().await;
    }

    async fn listen(&mut self) -> Infallible {
        self.announce_attempt();
        let mut state = State::Connecting;
        loop {
            state = match state {
                State::Connecting => self.connecting().await,
                State::Verifying(wire) => self.verifying(wire).await,
                State::Live(wire) => self.live(wire).await,
                State::Lost(cause) => self.lost(cause).await,
            };
        }
    }

    fn enter(&self, state: ListenerState) {
        self.status.enter(state);
        self.metrics.enter(state);
    }

    fn announce_attempt(&self) {
        let (host, port, dbname) =
            (self.connector.host(), self.connector.port(), self.connector.database());
        self.status.info(format!(
            "{} host={host} port={port} dbname={dbname}",
            phrases::LISTENER_INITIALIZING
        ));
    }

    async fn connecting(&mut self) -> State {
        self.enter(ListenerState::Connecting);
        let connected = self.connector.connect().await;
        let (client, connection) = match connected {
            Ok(connected) => connected,
            Err(error) => {
                self.connect_failed(&error);
                return State::Lost(Cause::Unreachable);
            }
        };
        let mut wire = Box::new(Wire::new(client, connection, self.heart.channel()));
        self.forward.start_over();
        match wire.listen(&mut self.forward).await {
            Ok(epoch) => {
                self.forward.epoch(epoch);
                self.reporter.connected();
                self.status.info(phrases::LISTENER_CONNECTED);
                if !std::mem::replace(&mut self.announced, true) {
                    self.status.info(phrases::NOTIFIER_INITIALIZED);
                }
                State::Verifying(wire)
            }
            Err(lost) => self.broken(&lost),
        }
    }

    async fn verifying(&mut self, mut wire: Box<Wire>) -> State {
        self.enter(ListenerState::Verifying);
        let mut deaf = 0;
        loop {
            match self.beat(&mut wire).await {
                Ok(Beat::Heard) => {
                    self.backoff.reset();
                    self.status.info(phrases::NOTIFIER_VERIFIED);
                    return State::Live(wire);
                }
                Ok(Beat::Unsent(error)) => {
                    tracing::debug!(%error, "heartbeat not sent");
                    if let Err(lost) = self.drive(&mut wire, UNSENT_PAUSE).await {
                        return self.broken(&lost);
                    }
                }
                Ok(Beat::Missing) => {
                    deaf += 1;
                    if let Err(lost) = wire.probe(&mut self.forward, PROBE).await {
                        return self.broken(&lost);
                    }
                    if deaf >= DEAF_BEATS {
                        return self.pooler();
                    }
                }
                Err(lost) => return self.broken(&lost),
            }
        }
    }

    async fn live(&mut self, mut wire: Box<Wire>) -> State {
        self.enter(ListenerState::Live);
        loop {
            let (now, stranger) = (Instant::now(), self.forward.stranger());
            let next = async {
                sleep_until(now + BEAT_PAUSE).await;
                let _ = timeout_at(now + BEAT_INTERVAL, stranger).await;
            };
            if let Err(lost) = wire.drive(&mut self.forward, next).await {
                return self.broken(&lost);
            }
            match self.beat(&mut wire).await {
                Ok(Beat::Heard) => {}
                Ok(Beat::Unsent(error)) => {
                    tracing::debug!(%error, "heartbeat not sent");
                    // That alone condemns nobody, but if all ways to the server are cut off, and not by
                    // something that TCP notices, this is the only sign.
                    if let Err(lost) = wire.probe(&mut self.forward, LIVE_PROBE).await {
                        return self.broken(&lost);
                    }
                }
                Ok(Beat::Missing) => return self.broken(&Lost::Deaf),
                Err(lost) => return self.broken(&lost),
            }
        }
    }

    /// Waits before the next attempt; the first after a success comes soon.
    async fn lost(&mut self, cause: Cause) -> State {
        self.enter(ListenerState::Lost);
        let pause = match cause {
            Cause::Unreachable | Cause::Broken => self.backoff.next(),
            Cause::Pooler => backoff::POOLER_PAUSE,
        };
        tokio::time::sleep(pause).await;
        if matches!(cause, Cause::Broken) {
            self.announce_attempt();
        }
        self.metrics.reconnects.inc();
        State::Connecting
    }

    /// Sends a heartbeat and waits for it, while everything else goes on.
    async fn beat(&mut self, wire: &mut Wire) -> Result<Beat, Lost> {
        let beat = self.heart.next_beat();
        let begun = Instant::now();
        let pulse = match wire.drive(&mut self.forward, self.heart.send(beat)).await? {
            Ok(pulse) => pulse,
            Err(error) => return Ok(Beat::Unsent(error)),
        };
        if let Some(lost) = self.misled(&pulse) {
            self.heart.renew();
            return Err(lost);
        }
        self.forward.believe(pulse.ours);
        if wire.hears(&mut self.forward, beat, Instant::now() + BEAT_ANSWER).await? {
            let round_trip = begun.elapsed();
            self.status.heard(round_trip);
            self.metrics.heard(round_trip);
            Ok(Beat::Heard)
        } else {
            // It may be the heartbeats that go to the wrong server.
            self.heart.renew();
            Ok(Beat::Missing)
        }
    }

    /// Whether the connections do not lead where they should any more. With two servers alive after a
    /// failover, an open connection leads to the one that it was opened to: all are opened anew then.
    fn misled(&self, pulse: &Pulse) -> Option<Lost> {
        if pulse.read_only {
            Some(Lost::ReadOnly)
        } else if !self.forward.is_in(pulse.history) {
            Some(Lost::Divided)
        } else {
            None
        }
    }

    async fn drive(&mut self, wire: &mut Wire, pause: Duration) -> Result<(), Lost> {
        wire.drive_until(&mut self.forward, Instant::now() + pause).await
    }

    /// Counts a connection that could not be made and tells of it, once per state.
    pub(crate) fn connect_failed(&self, error: &ConnectError) {
        self.metrics.connect_failed(error.kind.as_str());
        let message = error.listener_message();
        self.status.failed(&message);
        if self.reporter.failed(error) {
            self.status.keep(crate::status::Level::Error, message);
        }
    }

    fn broken(&self, lost: &Lost) -> State {
        self.metrics.connect_failed(lost.as_str());
        let message = format!("{}: {lost}", phrases::LISTENER_PROBLEM);
        self.status.failed(&message);
        self.status.error(message);
        State::Lost(Cause::Broken)
    }

    /// LISTEN works, queries work, and nothing that others send arrives.
    fn pooler(&self) -> State {
        self.connect_failed(&self.connector.pooler_found());
        State::Lost(Cause::Pooler)
    }
}
