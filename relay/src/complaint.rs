//! What clients do wrong: counted each time, and said once a minute for each cause, so that whoever
//! floods a relay does not flood its log as well.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus::{IntCounterVec, Opts, Registry};
use tokio::time::Instant;

/// The least time between two lines about one cause.
const QUIET: Duration = Duration::from_secs(60);

/// What was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The head of a request did not arrive in time.
    SlowHead,
    /// What arrived was no HTTP, or too much of it.
    BadHead,
    /// Another path or method, or no handshake of a WebSocket.
    NoHandshake,
    /// A foreign page.
    ForeignOrigin,
    /// Nobody that is known.
    Unidentified,
    /// More connections than the relay takes.
    TooManyConnections,
    /// More connections than one user may have.
    TooManyOfUser,
    /// A frame that breaks RFC 6455.
    BadFrame,
    /// A text frame that is not UTF-8.
    InvalidUtf8,
    /// A binary frame.
    Binary,
    /// A message over the limit.
    TooLarge,
    /// Not a message of the protocol.
    BadMessage,
    /// More messages than any honest client sends.
    Flood,
    /// A subscription to a task that is not there.
    UnknownTask,
    /// A subscription to a task that the user may not read.
    Forbidden,
    /// More subscriptions than a connection may have.
    TooManySubscriptions,
    /// Nothing taken, or no ping answered, for a minute.
    TooSlow,
}

impl Cause {
    /// Every cause, for a metric that must exist before the first event.
    pub const ALL: [Self; 17] = [
        Self::SlowHead,
        Self::BadHead,
        Self::NoHandshake,
        Self::ForeignOrigin,
        Self::Unidentified,
        Self::TooManyConnections,
        Self::TooManyOfUser,
        Self::BadFrame,
        Self::InvalidUtf8,
        Self::Binary,
        Self::TooLarge,
        Self::BadMessage,
        Self::Flood,
        Self::UnknownTask,
        Self::Forbidden,
        Self::TooManySubscriptions,
        Self::TooSlow,
    ];

    /// The word in the metric and in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SlowHead => "slow_head",
            Self::BadHead => "bad_head",
            Self::NoHandshake => "no_handshake",
            Self::ForeignOrigin => "foreign_origin",
            Self::Unidentified => "unidentified",
            Self::TooManyConnections => "too_many_connections",
            Self::TooManyOfUser => "too_many_connections_of_user",
            Self::BadFrame => "bad_frame",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::Binary => "binary",
            Self::TooLarge => "too_large",
            Self::BadMessage => "bad_message",
            Self::Flood => "flood",
            Self::UnknownTask => "unknown_task",
            Self::Forbidden => "forbidden",
            Self::TooManySubscriptions => "too_many_subscriptions",
            Self::TooSlow => "too_slow",
        }
    }
}

/// What has been said about a cause.
#[derive(Debug)]
struct Said {
    at: Instant,
    /// How often it has come up since.
    since: u64,
}

/// Counts and tells. Cheap to clone; memory is bounded by the number of causes.
#[derive(Debug, Clone)]
pub struct Complaints {
    counter: IntCounterVec,
    said: Arc<Mutex<HashMap<Cause, Said>>>,
}

impl Complaints {
    /// Registers:
    /// - `knm_relay_bad_input_total{cause}`: what clients did wrong, by cause. The log has one line a
    ///   cause and minute.
    ///
    /// # Errors
    /// When it is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let opts = Opts::new("knm_relay_bad_input_total", "What clients did wrong, by cause");
        let counter = IntCounterVec::new(opts, &["cause"])?;
        for cause in Cause::ALL {
            counter.with_label_values(&[cause.as_str()]);
        }
        registry.register(Box::new(counter.clone()))?;
        Ok(Self { counter, said: Arc::default() })
    }

    /// Takes note. `who` says where it came from: an address, or a user.
    pub fn about(&self, cause: Cause, who: &dyn fmt::Display) {
        self.counter.with_label_values(&[cause.as_str()]).inc();
        match self.due(cause, Instant::now()) {
            Some(more) => tracing::info!(
                cause = cause.as_str(),
                from = %who,
                more,
                "bad input from a client; of this cause, the next line comes in a minute at the soonest"
            ),
            None => tracing::debug!(cause = cause.as_str(), from = %who, "bad input"),
        }
    }

    /// Whether it is time for a line; if so, how often the cause came up without one since the last.
    fn due(&self, cause: Cause, now: Instant) -> Option<u64> {
        let mut said = self.said.lock().expect("no holder of this lock can panic");
        match said.get_mut(&cause) {
            Some(said) if now.saturating_duration_since(said.at) < QUIET => {
                said.since += 1;
                None
            }
            Some(said) => {
                let more = said.since;
                *said = Said { at: now, since: 0 };
                Some(more)
            }
            None => {
                said.insert(cause, Said { at: now, since: 0 });
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_one_line_a_minute_and_every_event_is_counted() {
        let complaints = Complaints::register(&Registry::new()).expect("a registry of one's own");
        let start = Instant::now();
        assert_eq!(complaints.due(Cause::Flood, start), Some(0));
        for second in 1..60 {
            assert_eq!(complaints.due(Cause::Flood, start + Duration::from_secs(second)), None);
        }
        assert_eq!(complaints.due(Cause::Binary, start), Some(0), "another cause");
        assert_eq!(complaints.due(Cause::Flood, start + QUIET), Some(59));
        assert_eq!(complaints.due(Cause::Flood, start + QUIET), None);

        for _ in 0..1_000 {
            complaints.about(Cause::TooLarge, &"somebody");
        }
        let counted = complaints.counter.with_label_values(&[Cause::TooLarge.as_str()]).get();
        assert_eq!(counted, 1_000);
    }
}
