//! What the hub needs from the database beyond notifications: the reads it asks for, the comparisons
//! that find what no notification told, and the lists.
//!
//! All of it is optional in the sense that a failure loses nothing: the hub keeps what it knows and
//! the next attempt brings the rest.

mod lists;
mod metrics;
mod reads;
mod recheck;
mod sync;
mod watch;

use std::time::Duration;

use knm_shared::config::{NotifyType, Progress};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::metrics::FeedMetrics;

use crate::db::Db;
use crate::hub::HubHandle;
use crate::protocol::Mode;
use crate::status::{ListenerState, Status};

/// The longest that polling mode lets a change wait.
const POLLING_INTERVAL: Duration = Duration::from_millis(500);

/// Everything that feeds the hub, apart from the listener.
#[derive(Debug, Clone)]
pub struct Feed {
    db: Db,
    hub: HubHandle,
    status: Status,
    metrics: FeedMetrics,
    /// How often rows are compared while there is no LISTEN.
    interval: Duration,
}

impl Feed {
    /// Puts the parts together.
    #[must_use]
    pub fn new(
        db: Db,
        hub: HubHandle,
        status: Status,
        metrics: FeedMetrics,
        progress: &Progress,
    ) -> Self {
        Self { db, hub, status, metrics, interval: interval(progress) }
    }

    /// Starts the permanent tasks; they end with `shutdown`, and each says its name when it does.
    pub fn spawn(&self, parts: &mut JoinSet<&'static str>, shutdown: &CancellationToken) {
        let (feed, stop) = (|| self.clone(), || shutdown.clone());
        parts.spawn(named("reads", reads::run(feed(), stop())));
        parts.spawn(named("comparisons", sync::run(feed(), stop())));
        parts.spawn(named("lists", lists::run(feed(), stop())));
        parts.spawn(named("session checks", recheck::run(feed(), stop())));
        parts.spawn(named("gauges", watch::run(feed(), stop())));
    }
}

async fn named(name: &'static str, part: impl Future<Output = ()>) -> &'static str {
    part.await;
    name
}

fn interval(progress: &Progress) -> Duration {
    match progress.notify_type {
        NotifyType::Postgres => progress.poll_interval,
        NotifyType::Polling => progress.poll_interval.min(POLLING_INTERVAL),
    }
}

/// How changes arrive before the listener has said anything.
#[must_use]
pub fn first_mode(state: ListenerState, progress: &Progress) -> Mode {
    sync::polling(state, None, interval(progress))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polling_mode_reads_often_and_the_fallback_as_often_as_configured() {
        let every = |notify_type, ms| {
            let poll_interval = Duration::from_millis(ms);
            interval(&Progress { notify_type, poll_interval, ..Progress::default() })
        };
        assert_eq!(every(NotifyType::Postgres, 10_000), Duration::from_secs(10));
        assert_eq!(every(NotifyType::Polling, 10_000), POLLING_INTERVAL);
        assert_eq!(every(NotifyType::Polling, 100), Duration::from_millis(100));
    }
}
