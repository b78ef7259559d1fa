//! The beat of the lists: what has changed in them is told and read a few times a second. Reading takes
//! the time that it takes; telling does not wait for it.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Feed;
use crate::db::DbError;
use crate::hub::{Hub, ListJob};

/// A list is looked at by people: this is soon enough, and bounds the work whatever happens.
const BEAT: Duration = Duration::from_millis(200);
/// After reads that failed, no other is begun for so long.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) async fn run(feed: Feed, shutdown: CancellationToken) {
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // What is to be read; each list is here once, as the hub asks for nothing of it meanwhile.
    let mut waiting: Vec<ListJob> = Vec::new();
    let mut under_way: Vec<ListJob> = Vec::new();
    let mut reading = JoinSet::new();
    let mut not_before = Instant::now();
    loop {
        let all_read = tokio::select! {
            () = shutdown.cancelled() => break,
            _ = beat.tick() => {
                waiting.extend(feed.hub.with(Hub::take_lists));
                true
            }
            Some(done) = reading.join_next() => done.unwrap_or_else(|error| {
                // A bug. What has been read is not under way any more; the rest is read again.
                tracing::error!(%error, "reading lists ended unexpectedly; it is repeated");
                feed.hub.with(|hub| under_way.iter().for_each(|job| hub.list_failed(job)));
                false
            }),
        };
        if !all_read {
            not_before = Instant::now() + PAUSE;
        }
        if reading.is_empty() && !waiting.is_empty() && Instant::now() >= not_before {
            under_way = std::mem::take(&mut waiting);
            let (feed, jobs) = (feed.clone(), under_way.clone());
            // One after another: lists are few and must not take the pool from the tasks.
            reading.spawn(async move { read_all(&feed, jobs).await });
        }
    }
    reading.shutdown().await;
}

async fn read_all(feed: &Feed, jobs: Vec<ListJob>) -> bool {
    let mut all = true;
    for job in jobs {
        if let Err(error) = read(feed, &job).await {
            all = false;
            feed.metrics.read_failures.inc();
            tracing::debug!(%error, "list not read; it is repeated");
            feed.hub.with(|hub| hub.list_failed(&job));
        }
    }
    all
}

async fn read(feed: &Feed, job: &ListJob) -> Result<(), DbError> {
    let (db, heads) = feed.db.list_tasks(job.user, &job.query).await?;
    if let Err(stale) = feed.hub.with(|hub| hub.list_done(job, db, heads)) {
        feed.db.pool().renew();
        return Err(stale.into());
    }
    Ok(())
}
