//! Traps: the next bytes of a kind are lost and their connection is cut, once.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::fault::{Direction, Select};
use super::link::Link;

/// What a trap waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swallow {
    /// On which connections.
    pub select: Select,
    /// Lost are the next bytes that go this way. [`Direction::ToServer`]: the request never arrives.
    /// [`Direction::ToClient`]: it does, and its answer is lost.
    pub direction: Direction,
    /// Only once a client has sent bytes that contain this. Empty: any.
    pub request: Vec<u8>,
}

impl Swallow {
    /// The answer to the next request that contains `request`.
    #[must_use]
    pub fn answer_to(select: Select, request: &str) -> Self {
        Self { select, direction: Direction::ToClient, request: request.into() }
    }

    /// The next request that contains `request`.
    #[must_use]
    pub fn request(select: Select, request: &str) -> Self {
        Self { select, direction: Direction::ToServer, request: request.into() }
    }
}

/// Tells when a trap has done its work.
#[derive(Debug)]
pub struct Sprung(watch::Receiver<bool>);

impl Sprung {
    /// Waits for it.
    pub async fn wait(&mut self) {
        // The sender lives in the proxy; without a proxy nothing will happen any more.
        if self.0.wait_for(|sprung| *sprung).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether it has.
    #[must_use]
    pub fn already(&self) -> bool {
        *self.0.borrow()
    }
}

#[derive(Debug)]
struct Trap {
    swallow: Swallow,
    /// The connection on which the request has been seen.
    armed: Option<u64>,
    sprung: watch::Sender<bool>,
}

/// What happens to bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They go on.
    Pass,
    /// They are lost and the connection is cut.
    Swallow,
}

#[derive(Debug, Default)]
pub(super) struct Traps(Mutex<Vec<Trap>>);

impl Traps {
    pub(super) fn set(&self, swallow: Swallow) -> Sprung {
        let (sprung, receiver) = watch::channel(false);
        let trap = Trap { swallow, armed: None, sprung };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(trap);
        Sprung(receiver)
    }

    /// A request is looked for in one piece of at most 16 KiB, as it came.
    pub(super) fn check(&self, link: &Arc<Link>, direction: Direction, bytes: &[u8]) -> Verdict {
        let mut traps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(at) = traps.iter_mut().position(|trap| trap.springs(link, direction, bytes))
        else {
            return Verdict::Pass;
        };
        let _ = traps.swap_remove(at).sprung.send(true);
        Verdict::Swallow
    }
}

impl Trap {
    fn springs(&mut self, link: &Link, direction: Direction, bytes: &[u8]) -> bool {
        let Swallow { select, direction: wanted, request } = &self.swallow;
        if !link.chosen_by(select) {
            return false;
        }
        if direction == Direction::ToServer && contains(bytes, request) {
            self.armed = Some(link.id());
        }
        let armed = request.is_empty() || self.armed == Some(link.id());
        armed && direction == *wanted
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    part.is_empty() || bytes.windows(part.len()).any(|window| window == part)
}
