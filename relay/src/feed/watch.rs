//! Gauges that are looked at rather than counted.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Feed;

/// How often the backlog is looked at: it comes and goes.
const BACKLOG: Duration = Duration::from_secs(1);
/// How often the server is asked; its queue holds 8 GB and fills slowly.
const QUEUE_EVERY: u32 = 15;

pub(super) async fn run(feed: Feed, shutdown: CancellationToken) {
    let mut round = 0u32;
    loop {
        feed.hub.with(|hub| hub.measure());
        if round.is_multiple_of(QUEUE_EVERY) {
            tokio::select! {
                () = shutdown.cancelled() => return,
                usage = feed.db.queue_usage() => match usage {
                    Ok(usage) => feed.metrics.queue_usage.set(usage),
                    Err(error) => tracing::debug!(%error, "notification queue not looked at"),
                },
            }
        }
        round = round.wrapping_add(1);
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(BACKLOG) => {}
        }
    }
}
