//! The hub as the rest of the process shares it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use knm_shared::notification::Revocation;
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
    /// Revocations and suspicions so far.
    alarms: Arc<AtomicU64>,
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
            alarms: Arc::default(),
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

    /// Closes the connections that a revocation is about.
    pub fn revoke(&self, revocation: Revocation) {
        self.alarms.fetch_add(1, Ordering::SeqCst);
        self.with(|hub| hub.revoke(revocation));
    }

    /// Somebody says that a session has ended: all of them are to be compared with the rows.
    pub fn suspect(&self) {
        self.alarms.fetch_add(1, Ordering::SeqCst);
        self.suspicions.notify_one();
    }

    /// How often it was said that sessions have ended.
    #[must_use]
    pub fn alarms(&self) -> u64 {
        self.alarms.load(Ordering::SeqCst)
    }

    /// Has the rows asked again if somebody whose session was asked for at `alarms` has been taken in only
    /// after others were closed.
    pub fn recheck_since(&self, alarms: u64) {
        if self.alarms() != alarms {
            self.suspicions.notify_one();
        }
    }

    /// Waits for a suspicion. Several since the last call are one.
    pub async fn suspected(&self) {
        self.suspicions.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;
    use uuid::Uuid;

    use super::*;
    use crate::hub::tests::hub;

    #[tokio::test]
    async fn whoever_comes_in_while_sessions_end_is_looked_up_again() {
        let hub = HubHandle::new(hub());
        let before = hub.alarms();
        hub.recheck_since(before);
        let at_once = Duration::from_millis(1);
        assert!(timeout(at_once, hub.suspected()).await.is_err(), "nothing has happened");
        hub.revoke(Revocation::Session(Uuid::from_u128(1)));
        hub.recheck_since(before);
        assert!(timeout(at_once, hub.suspected()).await.is_ok());
        hub.suspect();
        hub.suspected().await;
        hub.recheck_since(before + 1);
        assert!(timeout(at_once, hub.suspected()).await.is_ok());
    }
}
