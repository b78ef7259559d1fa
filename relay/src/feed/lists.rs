//! The beat of the lists: what has changed in them is told and read a few times a second.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Feed;
use crate::hub::ListJob;

/// A list is looked at by people: this is soon enough, and bounds the work whatever happens.
const BEAT: Duration = Duration::from_millis(200);
/// After reads that failed, beats are left out.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) async fn run(feed: Feed, shutdown: CancellationToken) {
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = beat.tick() => {}
        }
        // One after another: lists are few and must not take the pool from the tasks.
        let mut jobs = JoinSet::new();
        let list = feed.hub.with(crate::hub::Hub::take_lists);
        if list.is_empty() {
            continue;
        }
        let feed_of_jobs = feed.clone();
        jobs.spawn(async move { read_all(&feed_of_jobs, list).await });
        let all_read = tokio::select! {
            () = shutdown.cancelled() => return,
            done = jobs.join_next() => matches!(done, Some(Ok(true))),
        };
        if !all_read {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }
}

async fn read_all(feed: &Feed, jobs: Vec<ListJob>) -> bool {
    let mut all = true;
    for job in jobs {
        match feed.db.list_tasks(job.user, &job.query).await {
            Ok((db, heads)) => feed.hub.with(|hub| hub.list_done(&job, db, heads)),
            Err(error) => {
                all = false;
                feed.metrics.read_failures.inc();
                tracing::debug!(%error, "list not read; it is repeated");
                feed.hub.with(|hub| hub.list_failed(&job));
            }
        }
    }
    all
}
