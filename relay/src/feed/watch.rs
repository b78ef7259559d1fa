//! Gauges that are looked at rather than counted.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Feed;
use crate::db::DbError;

/// How often the backlog is looked at: it comes and goes.
const BACKLOG: Duration = Duration::from_secs(1);
/// How often the server is asked; its queue holds 8 GB and fills slowly.
const SERVER_EVERY: u32 = 15;

pub(super) async fn run(feed: Feed, shutdown: CancellationToken) {
    let mut round = 0u32;
    loop {
        feed.hub.with(|hub| hub.measure());
        if round.is_multiple_of(SERVER_EVERY) {
            tokio::select! {
                () = shutdown.cancelled() => return,
                looked = server(&feed) => if let Err(error) = looked {
                    tracing::debug!(%error, "the server is not looked at");
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

async fn server(feed: &Feed) -> Result<(), DbError> {
    feed.metrics.queue_usage.set(feed.db.queue_usage().await?);
    feed.metrics.show_connections(&feed.db.connections().await?);
    Ok(())
}
