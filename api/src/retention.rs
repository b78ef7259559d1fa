//! Removes what has been kept long enough: tasks that ended `progress.retention_days` ago, and expired
//! sessions. Every replica tries; one at a time removes, in batches.

use std::convert::Infallible;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use knm_shared::pg::Pool;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, info};

use crate::db;

const PERIOD: Duration = Duration::from_secs(10 * 60);
/// Between two batches, so that a long backlog does not crowd out everything else.
const PAUSE: Duration = Duration::from_millis(200);

/// Removes for ever.
pub async fn run(pool: Pool, days: u32) -> Infallible {
    let mut rounds = interval(PERIOD);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        match round(&pool, days).await {
            Ok(0) => {}
            Ok(tasks) => info!(tasks, days, "removed tasks that ended long ago"),
            // The pool has reported what matters; the next round tries again.
            Err(error) => debug!(%error, "nothing removed"),
        }
    }
}

/// One round. Returns how many tasks were removed.
///
/// # Errors
/// The database's; what was removed until then stays removed.
pub async fn round(pool: &Pool, days: u32) -> anyhow::Result<usize> {
    let client = pool.get().await?;
    while db::retention::sessions(&**client).await? == db::retention::BATCH_SESSIONS {
        tokio::time::sleep(PAUSE).await;
    }
    let end = Timestamp::now() - SignedDuration::from_hours(24 * i64::from(days));
    let mut removed = 0;
    loop {
        let batch = db::retention::tasks(&**client, end).await?;
        removed += batch;
        if batch == 0 {
            return Ok(removed);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
