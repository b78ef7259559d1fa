//! Carries out the reads that the hub asks for, a few at a time.

use std::time::Duration;

use knm_shared::ids::TaskId;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Feed;
use crate::hub::Job;

/// Reads under way at a time: some of the pool is left for logins and comparisons.
const CONCURRENT: usize = 2;
/// The first wait after a read that failed; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

enum Ended {
    Read,
    Pause(TaskId),
}

pub(super) async fn run(feed: Feed, shutdown: CancellationToken) {
    let mut work = JoinSet::new();
    let mut reading = 0;
    loop {
        while reading < CONCURRENT
            && let Some(job) = feed.hub.with(crate::hub::Hub::take_read)
        {
            reading += 1;
            let feed = feed.clone();
            work.spawn(async move { read(&feed, job).await });
        }
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = feed.hub.stirred() => {}
            Some(ended) = work.join_next() => match ended {
                Ok((Ended::Read, pause)) => {
                    reading -= 1;
                    if let Some((task, pause)) = pause {
                        work.spawn(async move {
                            tokio::time::sleep(pause).await;
                            (Ended::Pause(task), None)
                        });
                    }
                }
                Ok((Ended::Pause(task), _)) => feed.hub.with(|hub| hub.retry(task)),
                // A read that panicked is a bug; its task waits for the next comparison.
                Err(error) => {
                    tracing::error!(%error, "a read ended unexpectedly");
                    reading = reading.saturating_sub(1);
                }
            },
        }
    }
    work.shutdown().await;
}

async fn read(feed: &Feed, job: Job) -> (Ended, Option<(TaskId, Duration)>) {
    let timer = feed.metrics.read_seconds.start_timer();
    match feed.db.read_task(job.task, job.from).await {
        Ok(read) => {
            timer.observe_duration();
            feed.hub.with(|hub| hub.read_done(job, read.db, read.found));
            (Ended::Read, None)
        }
        Err(error) => {
            timer.stop_and_discard();
            feed.metrics.read_failures.inc();
            let failed = feed.hub.with(|hub| hub.read_failed(job));
            let failures = failed.map_or(0, |f| f.failures);
            tracing::debug!(task = %job.task, failures, %error, "read failed; it is repeated");
            let doubled = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(10));
            let pause = doubled.min(LONGEST_PAUSE).mul_f64(rand::random_range(0.5..1.0));
            (Ended::Read, failed.map(|_| (job.task, pause)))
        }
    }
}
