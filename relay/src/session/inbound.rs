//! What clients may ask for, and how often.

use std::time::Duration;

use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Bytes;

use crate::complaint::Cause;
use crate::hub::{ConnId, HubHandle, Refused, encode};
use crate::protocol::{ClientMessage, CloseReason, ErrorCode, ServerMessage};

/// A client that comes back subscribes to all of its tasks at once; twice that is no honest use.
const BURST: u32 = 256;
/// One more message each time this has passed.
const REFILL: Duration = Duration::from_millis(20);

/// How many messages a client may still send.
#[derive(Debug)]
struct Allowance {
    left: u32,
    since: Instant,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self { left: BURST, since: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.since).as_nanos() / REFILL.as_nanos();
        if passed > 0 {
            let gained = u32::try_from(passed).unwrap_or(BURST).min(BURST);
            self.left = (self.left + gained).min(BURST);
            self.since = now;
        }
        let enough = self.left > 0;
        self.left = self.left.saturating_sub(1);
        enough
    }
}

/// What follows from a message.
#[derive(Debug)]
pub(super) enum Reaction {
    /// Nothing to say: the hub has frames when there are any.
    Nothing,
    /// An answer to something that was wrong.
    Say(Bytes, Cause),
    /// The end.
    Close(CloseReason),
}

/// The inbound half of a session.
#[derive(Debug)]
pub(super) struct Inbound {
    allowance: Allowance,
    malformed: bool,
}

impl Inbound {
    pub(super) fn new() -> Self {
        Self { allowance: Allowance::new(Instant::now()), malformed: false }
    }

    /// Whether another frame, of whatever kind, is within the allowance.
    pub(super) fn admit(&mut self) -> bool {
        self.allowance.take(Instant::now())
    }

    /// Takes up a text message.
    pub(super) fn text(&mut self, id: ConnId, text: &str, hub: &HubHandle) -> Reaction {
        let message = match ClientMessage::parse(text) {
            Ok(message) => message,
            Err(_) if self.malformed => return Reaction::Close(CloseReason::BadMessages),
            Err(error) => {
                self.malformed = true;
                let answer = encode(&ServerMessage::Error {
                    code: ErrorCode::BadMessage,
                    message: &format!("{error}; the next malformed message ends the connection"),
                    task_id: None,
                });
                return Reaction::Say(answer, Cause::BadMessage);
            }
        };
        match message {
            ClientMessage::Subscribe { task_id, cursor } => {
                match hub.with(|hub| hub.subscribe(id, task_id, cursor)) {
                    Ok(()) => Reaction::Nothing,
                    Err(refused @ Refused::TooManySubscriptions) => {
                        let answer = encode(&ServerMessage::Error {
                            code: ErrorCode::TooManySubscriptions,
                            message: &refused.to_string(),
                            task_id: Some(task_id),
                        });
                        Reaction::Say(answer, Cause::TooManySubscriptions)
                    }
                }
            }
            ClientMessage::Unsubscribe { task_id } => {
                hub.with(|hub| hub.unsubscribe(id, task_id));
                Reaction::Nothing
            }
            ClientMessage::WatchTasks {} => {
                hub.with(|hub| hub.watch_tasks(id));
                Reaction::Nothing
            }
            ClientMessage::UnwatchTasks {} => {
                hub.with(|hub| hub.unwatch_tasks(id));
                Reaction::Nothing
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_a_flood_does_not() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        assert!((0..BURST).all(|_| allowance.take(start)));
        assert!(!allowance.take(start));
        assert!(allowance.take(start + REFILL));
        assert!(!allowance.take(start + REFILL));
        let later = start + Duration::from_secs(3600);
        assert!((0..BURST).all(|_| allowance.take(later)));
        assert!(!allowance.take(later));
    }
}
