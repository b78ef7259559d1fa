//! From a payload to the hub.
//!
//! Any role that may connect can NOTIFY. What a session of our own role says is believed, as it could
//! change the rows as well; what any other says leads to a read of the rows. Which sessions are ours is
//! asked with each heartbeat, and early when a new one speaks up: an api's first words over a new
//! connection go by way of the rows, too.
//!
//! Nor is anything believed that comes from another history than the hub is in: the reads may have found
//! the new server before the connection to the old one was known to be lost, and the old one's numbers
//! mean nothing in the new one's rows.

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
    /// The history of the server that is listened to, once it has told.
    history: Option<DatabaseEpoch>,
    stranger: Arc<Notify>,
}

impl Forward {
    pub(super) fn new(hub: HubHandle, metrics: ListenerMetrics, clock: DatabaseClock) -> Self {
        let (ours, history) = (HashSet::new(), None);
        Self { hub, metrics, clock, ours, history, stranger: Arc::default() }
    }

    /// What comes next is of a new connection, maybe to another server, whose history is another and
    /// whose sessions have numbers of their own.
    pub(super) fn start_over(&mut self) {
        self.ours.clear();
        self.history = None;
    }

    /// These sessions are of our own role, and no others.
    pub(super) fn believe(&mut self, ours: Vec<SenderId>) {
        self.ours = ours.into_iter().collect();
    }

    /// Whether the server that is listened to is in this history, and the hub as well.
    pub(super) fn is_in(&self, db: DatabaseEpoch) -> bool {
        self.history == Some(db) && self.hub.with(|hub| hub.is_in(db))
    }

    /// Resolves when a session has spoken up that is not known to be ours.
    pub(super) fn stranger(&self) -> impl Future<Output = ()> + use<> {
        let stranger = Arc::clone(&self.stranger);
        async move { stranger.notified().await }
    }

    /// The server is in this history.
    pub(super) fn epoch(&mut self, db: DatabaseEpoch) {
        self.history = Some(db);
        self.hub.with(|hub| hub.enter(db));
    }

    /// A payload of the progress channel.
    pub(super) fn progress(&self, payload: &str, sender: SenderId) {
        match Notification::decode(payload) {
            Ok(note) if self.ours.contains(&sender) => self.forward(&note, sender),
            Ok(note) => self.doubt(&note, sender),
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

    /// What this says is not taken at its word.
    fn doubt(&self, note: &Notification, sender: SenderId) {
        self.metrics.unconfirmed.inc();
        self.stranger.notify_one();
        let task = note.task;
        let subscribers = self.hub.with(|hub| hub.hint(task, Some(note.user))).subscribers;
        tracing::debug!(%task, sender, subscribers, "not known to be ours; reading rows");
    }

    fn forward(&self, note: &Notification, sender: SenderId) {
        let forwarded = self.hub.with(|hub| {
            let same = self.history.is_some_and(|history| hub.is_in(history));
            same.then(|| hub.notify(note))
        });
        let Some(forwarded) = forwarded else {
            return self.doubt(note, sender);
        };
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

#[cfg(test)]
mod tests {
    use knm_shared::access::Access;
    use knm_shared::ids::{Seq, TaskId};
    use knm_shared::session::Role;
    use knm_shared::status::{Counts, TaskStatus};
    use prometheus::Registry;
    use uuid::Uuid;

    use super::*;
    use crate::hub::{Hub, HubMetrics, Owner};
    use crate::protocol::{Mode, ModeKind};

    const SENDER: SenderId = 7;

    fn database(timeline: i32) -> DatabaseEpoch {
        DatabaseEpoch::new(1, timeline, 2, 3)
    }

    #[test]
    fn what_the_old_server_says_is_not_believed_in_the_new_ones_history() {
        let registry = Registry::new();
        let hub_metrics = HubMetrics::register(&registry).expect("a registry of one's own");
        let metrics = ListenerMetrics::register(&registry).expect("a registry of one's own");
        let mode = Mode {
            kind: ModeKind::Live,
            since: jiff::Timestamp::UNIX_EPOCH,
            reason: None,
            poll_interval_ms: None,
        };
        let hub = HubHandle::new(Hub::new(mode, 1, hub_metrics));
        let mut forward = Forward::new(hub.clone(), metrics.clone(), DatabaseClock::default());
        forward.epoch(database(1));
        forward.believe(vec![SENDER]);
        let (user, task) = (UserId(Uuid::from_u128(1)), TaskId(Uuid::from_u128(2)));
        let owner = Owner { session: Uuid::nil(), user };
        let access = Access::everywhere(Role::Viewer);
        let welcome = hub.with(|hub| hub.connect(owner, access, Arc::default()));
        let id = welcome.expect("an epoch is known").id;
        hub.with(|hub| hub.subscribe(id, task, None)).expect("the first");

        // The feed has read from the promoted standby; this connection still leads to the old server.
        hub.with(|hub| hub.observe(database(2))).expect("it leads on");
        let note = Notification {
            task,
            user,
            prev: Seq(1),
            seq: Seq(2),
            published_us: 0,
            status: TaskStatus::Running,
            counts: Counts::default(),
            error: None,
            items: Some(Vec::new()),
        };
        forward.progress(&note.encode(), SENDER);
        assert_eq!(hub.with(|hub| hub.backlog()), 0, "nothing is held to be applied");
        assert_eq!((metrics.received.get(), metrics.unconfirmed.get()), (0, 1));
        assert!(hub.with(Hub::take_read).is_some(), "the rows are read instead");

        forward.start_over();
        forward.believe(vec![SENDER]);
        forward.progress(&note.encode(), SENDER);
        assert_eq!(hub.with(|hub| hub.backlog()), 0, "the new server has not named its history");
        forward.epoch(database(2));
        forward.progress(&note.encode(), SENDER);
        assert_eq!(hub.with(|hub| hub.backlog()), 1, "this one waits for the read");
        assert_eq!((metrics.received.get(), metrics.unconfirmed.get()), (1, 2));
    }
}
