//! The hub as the rest of the process shares it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::Hub;

/// The one hub, behind a lock that is held for the length of one transition and never across an
/// await. Whoever the transition concerns is woken after the lock is free.
#[derive(Debug, Clone)]
pub struct HubHandle {
    hub: Arc<Mutex<Hub>>,
    stirred: Arc<Notify>,
    doubts: Arc<Notify>,
    suspicions: Arc<Notify>,
}

impl HubHandle {
    /// Shares a hub.
    #[must_use]
    pub fn new(hub: Hub) -> Self {
        Self {
            hub: Arc::new(Mutex::new(hub)),
            stirred: Arc::default(),
            doubts: Arc::default(),
            suspicions: Arc::default(),
        }
    }

    /// One transition.
    pub fn with<T>(&self, transition: impl FnOnce(&mut Hub) -> T) -> T {
        let (result, stirred, wakes) = {
            // A panic in a transition is a bug that has been reported; the others' state is sound
            // enough to go on: every task can be read again.
            let mut hub = self.hub.lock().unwrap_or_else(PoisonError::into_inner);
            let result = transition(&mut hub);
            (result, hub.take_stirred(), hub.take_wakes())
        };
        for (_, wake) in wakes {
            wake.notify_one();
        }
        if stirred {
            self.stirred.notify_one();
        }
        result
    }

    /// Waits until there may be reads to start.
    pub async fn stirred(&self) {
        self.stirred.notified().await;
    }

    /// Something was said that nobody understood: all positions are to be compared with the rows.
    pub fn doubt(&self) {
        self.doubts.notify_one();
    }

    /// Waits for a doubt. Several since the last call are one.
    pub async fn doubted(&self) {
        self.doubts.notified().await;
    }

    /// Somebody says that a session has ended: all of them are to be compared with the rows.
    pub fn suspect(&self) {
        self.suspicions.notify_one();
    }

    /// Waits for a suspicion. Several since the last call are one.
    pub async fn suspected(&self) {
        self.suspicions.notified().await;
    }
}
