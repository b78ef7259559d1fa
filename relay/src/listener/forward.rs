//! From a payload to the hub.
//!
//! Any role that may connect can NOTIFY. What a session of our own role says is believed, as it could
//! change the rows as well; what any other says leads to a read of the rows. Which sessions are ours is
//! asked with each heartbeat, and early when a new one speaks up: an api's first words over a new
//! connection go by way of the rows, too.

use std::collections::HashSet;
use std::sync::Arc;

use knm_shared::epoch::DatabaseEpoch;
use knm_shared::ids::UserId;
use knm_shared::notification::{DecodeError, Notification, Revocation};
use knm_shared::phrases::FORWARDED;
use serde::Deserialize;
use tokio::sync::Notify;

use super::heart::SenderId;
use super::metrics::ListenerMetrics;
use crate::clock::DatabaseClock;
use crate::hub::HubHandle;

/// What other versions most likely say as well.
#[derive(Default, Deserialize)]
struct Whose {
    user: Option<UserId>,
}

/// Hands on what arrives.
#[derive(Debug)]
pub(super) struct Forward {
    hub: HubHandle,
    metrics: ListenerMetrics,
    clock: DatabaseClock,
    /// The sessions of our own role, as of the last heartbeat.
    ours: HashSet<SenderId>,
    stranger: Arc<Notify>,
}

impl Forward {
    pub(super) fn new(hub: HubHandle, metrics: ListenerMetrics, clock: DatabaseClock) -> Self {
        Self { hub, metrics, clock, ours: HashSet::new(), stranger: Arc::default() }
    }

    /// These sessions are of our own role, and no others.
    pub(super) fn believe(&mut self, ours: Vec<SenderId>) {
        self.ours = ours.into_iter().collect();
    }

    /// Resolves when a session has spoken up that is not known to be ours.
    pub(super) fn stranger(&self) -> impl Future<Output = ()> + use<> {
        let stranger = Arc::clone(&self.stranger);
        async move { stranger.notified().await }
    }

    pub(super) fn epoch(&self, db: DatabaseEpoch) {
        self.hub.with(|hub| hub.observe(db));
    }

    /// A payload of the progress channel.
    pub(super) fn progress(&self, payload: &str, sender: SenderId) {
        match Notification::decode(payload) {
            Ok(note) if self.ours.contains(&sender) => self.forward(&note),
            Ok(note) => {
                self.metrics.unconfirmed.inc();
                self.stranger.notify_one();
                let task = note.task;
                let subscribers = self.hub.with(|hub| hub.hint(task, Some(note.user))).subscribers;
                tracing::debug!(%task, sender, subscribers, "sender not known yet; reading rows");
            }
            Err(DecodeError::UnknownVersion { version, task }) => {
                self.metrics.unknown_version.inc();
                tracing::debug!(version, %task, "notification of another version; reading rows");
                let Whose { user } = serde_json::from_str(payload).unwrap_or_default();
                self.hub.with(|hub| hub.hint(task, user));
            }
            Err(error @ DecodeError::Unparseable(_)) => {
                // Whatever it was meant to say, the rows know.
                self.metrics.unparseable.inc();
                tracing::debug!(%error, "comparing with the rows");
                self.hub.doubt();
            }
        }
    }

    fn forward(&self, note: &Notification) {
        let forwarded = self.hub.with(|hub| hub.notify(note));
        let delay = self.clock.since(note.published_us);
        self.metrics.received.inc();
        self.metrics.latency.observe(delay.as_secs_f64());
        let (task, seq, micros) = (note.task, note.seq.0, delay.as_micros());
        let subscribers = forwarded.subscribers;
        // A task's first and last steps are what the operator's guide looks for.
        if note.prev.0 <= 1 || note.status.is_terminal() {
            tracing::info!(%task, seq, micros, subscribers, status = %note.status, "{FORWARDED}");
        } else {
            tracing::debug!(%task, seq, micros, subscribers, status = %note.status, "{FORWARDED}");
        }
    }

    /// A payload of the revocation channel.
    pub(super) fn revoked(&self, payload: &str, sender: SenderId) {
        match serde_json::from_str::<Revocation>(payload) {
            Ok(revocation) if self.ours.contains(&sender) => {
                self.hub.revoke(revocation);
            }
            Ok(revocation) => {
                self.metrics.unconfirmed.inc();
                self.stranger.notify_one();
                tracing::debug!(?revocation, sender, "sender not known yet; checking the sessions");
                self.hub.suspect();
            }
            Err(error) => {
                self.metrics.unparseable.inc();
                tracing::debug!(%error, "unparseable revocation");
            }
        }
    }
}
