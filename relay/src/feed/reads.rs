//! Carries out the reads that the hub asks for, a few at a time.

use std::collections::HashMap;
use std::time::Duration;

use knm_shared::ids::TaskId;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use super::{Feed, FeedMetrics};
use crate::db::{DbError, TaskRead};
use crate::hub::{HubHandle, Job};

/// Reads under way at a time: some of the pool is left for logins and comparisons.
const CONCURRENT: usize = 2;
/// The first wait after a read that failed; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What has come to its end.
enum Ended {
    Read,
    /// One whose answer counts for nothing. The connections lead to the wrong server.
    Stale,
    /// A read that failed may be tried again.
    Pause(TaskId),
}

pub(super) async fn run(feed: Feed, shutdown: CancellationToken) {
    let db = feed.db.clone();
    let ask = move |job: Job| {
        let db = db.clone();
        async move { db.read_task(job.task, job.from).await }
    };
    let renew = || feed.db.pool().renew();
    carry_out(&feed.hub, &feed.metrics, ask, renew, shutdown).await;
}

async fn carry_out<A, F>(
    hub: &HubHandle,
    metrics: &FeedMetrics,
    ask: A,
    renew: impl Fn(),
    shutdown: CancellationToken,
) where
    A: Fn(Job) -> F,
    F: Future<Output = Result<TaskRead, DbError>> + Send + 'static,
{
    let mut work = JoinSet::new();
    let mut reading: HashMap<Id, Job> = HashMap::new();
    loop {
        while reading.len() < CONCURRENT
            && let Some(job) = hub.with(crate::hub::Hub::take_read)
        {
            let (hub, metrics, asked) = (hub.clone(), metrics.clone(), ask(job));
            let task = work.spawn(async move { read(&hub, &metrics, job, asked).await });
            reading.insert(task.id(), job);
        }
        let (ended, id) = tokio::select! {
            () = shutdown.cancelled() => break,
            () = hub.stirred() => continue,
            Some(ended) = work.join_next_with_id() => match ended {
                Ok((id, ended)) => (ended, id),
                // A bug. It must not cost the task its reads for ever: this one counts as failed.
                Err(error) => {
                    tracing::error!(%error, "a read ended unexpectedly; it is repeated");
                    metrics.read_failures.inc();
                    (Ended::Read, error.id())
                }
            },
        };
        if matches!(ended, Ended::Stale) {
            renew();
        }
        match ended {
            Ended::Read | Ended::Stale => {
                // Only one that has failed is still under way for the hub.
                let failed = reading
                    .remove(&id)
                    .and_then(|job| Some((job, hub.with(|h| h.read_failed(job))?)));
                if let Some((job, failed)) = failed {
                    let (task, pause) = (job.task, pause(failed.failures));
                    tracing::debug!(%task, failures = failed.failures, ?pause, "to be read again");
                    work.spawn(async move {
                        tokio::time::sleep(pause).await;
                        Ended::Pause(task)
                    });
                }
            }
            Ended::Pause(task) => hub.with(|hub| hub.retry(task)),
        }
    }
    work.shutdown().await;
}

async fn read(
    hub: &HubHandle,
    metrics: &FeedMetrics,
    job: Job,
    asked: impl Future<Output = Result<TaskRead, DbError>>,
) -> Ended {
    let timer = metrics.read_seconds.start_timer();
    match asked.await {
        Ok(read) => {
            timer.observe_duration();
            if let Err(stale) = hub.with(|hub| hub.read_done(job, read.db, read.found)) {
                metrics.read_failures.inc();
                tracing::debug!(task = %job.task, %stale, "read failed; it is repeated");
                return Ended::Stale;
            }
        }
        Err(DbError::Row(what)) => {
            timer.stop_and_discard();
            metrics.read_failures.inc();
            tracing::warn!(task = %job.task, what, "a row is not understood; is the relay older than the api?");
            hub.with(|hub| hub.read_unusable(job));
        }
        Err(error) => {
            timer.stop_and_discard();
            metrics.read_failures.inc();
            tracing::debug!(task = %job.task, %error, "read failed; it is repeated");
        }
    }
    Ended::Read
}

fn pause(failures: u32) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(10));
    doubled.min(LONGEST_PAUSE).mul_f64(rand::random_range(0.5..1.0))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use knm_shared::access::Access;
    use knm_shared::epoch::DatabaseEpoch;
    use knm_shared::ids::UserId;
    use knm_shared::session::Role;
    use prometheus::Registry;
    use tokio::sync::Notify;
    use uuid::Uuid;

    use super::*;
    use crate::hub::{Frame, Hub, HubMetrics, Next, Owner};
    use crate::protocol::{ErrorCode, Mode, ModeKind};

    #[tokio::test(start_paused = true)]
    async fn a_read_that_panics_is_repeated_like_one_that_failed() {
        let registry = Registry::new();
        let metrics = FeedMetrics::register(&registry).expect("a registry of one's own");
        let hub_metrics = HubMetrics::register(&registry).expect("a registry of one's own");
        let mode = Mode {
            kind: ModeKind::Live,
            since: jiff::Timestamp::UNIX_EPOCH,
            reason: None,
            poll_interval_ms: None,
        };
        let hub = HubHandle::new(Hub::new(mode, 1, hub_metrics));
        let db = DatabaseEpoch::new(1, 1, 2, 3);
        hub.with(|hub| hub.enter(db));
        let owner = Owner { session: Uuid::nil(), user: UserId(Uuid::nil()) };
        let (access, wake) = (Access::everywhere(Role::Viewer), Arc::new(Notify::new()));
        let welcome = hub.with(|hub| hub.connect(owner, access, Arc::clone(&wake)));
        let id = welcome.expect("an epoch is known").id;
        let _ = hub.with(|hub| hub.subscribe(id, TaskId(Uuid::from_u128(1)), None));

        let asked = Arc::new(AtomicUsize::new(0));
        let ask = {
            let asked = Arc::clone(&asked);
            move |_| {
                let before = asked.fetch_add(1, Ordering::Relaxed);
                async move {
                    assert!(before >= 3, "a bug");
                    Ok(TaskRead { db, found: None })
                }
            }
        };
        let told = async {
            loop {
                match hub.with(|hub| hub.next(id)) {
                    Next::Frame(Frame::Refused { code, .. }) => return code,
                    Next::Idle => wake.notified().await,
                    other => panic!("nothing else: {other:?}"),
                }
            }
        };
        let code = tokio::select! {
            () = carry_out(&hub, &metrics, ask, || {}, CancellationToken::new()) => unreachable!(),
            code = tokio::time::timeout(Duration::from_secs(60), told) => code,
        };
        assert_eq!(code, Ok(ErrorCode::UnknownTask));
        assert_eq!(asked.load(Ordering::Relaxed), 4);
        assert_eq!(metrics.read_failures.get(), 3);
    }
}
