//! Removes what has been kept long enough: tasks that ended `progress.retention_days` ago, expired sessions,
//! and entries of the audit log older than `audit.retention_days`. Every replica tries; one at a time
//! removes, in batches.

use std::convert::Infallible;
use std::time::Duration;

use knm_shared::config::Config;
use knm_shared::pg::Pool;
use tokio::time::{MissedTickBehavior, interval};
use tokio_postgres::GenericClient;
use tokio_postgres::error::SqlState;
use tracing::{debug, info, warn};

use crate::db;

const PERIOD: Duration = Duration::from_secs(10 * 60);
/// Between two batches, so that a long backlog does not crowd out everything else.
const PAUSE: Duration = Duration::from_millis(200);

/// For how many days what is kept.
#[derive(Debug, Clone, Copy)]
pub struct Kept {
    /// Tasks, after their end.
    pub tasks: u32,
    /// Entries of the audit log; none of them is ever removed without this.
    pub entries: Option<u32>,
}

impl Kept {
    /// As the file says.
    #[must_use]
    pub const fn of(config: &Config) -> Self {
        let entries = match config.audit.retention_days {
            0 => None,
            days => Some(days),
        };
        Self { tasks: config.progress.retention_days, entries }
    }
}

/// How many of what one round removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Tasks, with their items.
    pub tasks: usize,
    /// Entries of the audit log.
    pub entries: i64,
}

/// Removes for ever.
pub async fn run(pool: Pool, kept: Kept) -> Infallible {
    let mut rounds = interval(PERIOD);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        match round(&pool, kept).await {
            Ok(Removed { tasks: 0, entries: 0 }) => {}
            Ok(Removed { tasks, entries }) => {
                info!(tasks, audit_entries = entries, "removed what was kept long enough");
            }
            Err(error) if lacks_right(&error) => warn!(
                error = format!("{error:#}"),
                "old entries stay: the owner of the tables has to run \"knm-api migrate --grant-to\" again"
            ),
            // The pool has reported what matters; the next round tries again.
            Err(error) => debug!(%error, "nothing removed"),
        }
    }
}

fn lacks_right(error: &anyhow::Error) -> bool {
    let refused = error.downcast_ref::<tokio_postgres::Error>().and_then(|error| error.code());
    refused == Some(&SqlState::INSUFFICIENT_PRIVILEGE)
}

/// One round.
///
/// # Errors
/// The database's; what was removed until then stays removed.
pub async fn round(pool: &Pool, kept: Kept) -> anyhow::Result<Removed> {
    let client = pool.get().await?;
    while db::retention::sessions(&**client).await? == db::retention::BATCH_SESSIONS {
        tokio::time::sleep(PAUSE).await;
    }
    let tasks = tasks(&**client, kept.tasks).await?;
    // The last, for the right to it may be missing.
    let entries = match kept.entries {
        Some(days) => entries(&**client, days).await?,
        None => 0,
    };
    Ok(Removed { tasks, entries })
}

async fn tasks(client: &impl GenericClient, days: u32) -> anyhow::Result<usize> {
    let end = db::retention::end(client, days).await?;
    let mut removed = 0;
    loop {
        match db::retention::tasks(client, end).await? {
            0 => return Ok(removed),
            batch => removed += batch,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn entries(client: &impl GenericClient, days: u32) -> anyhow::Result<i64> {
    let mut removed = 0;
    loop {
        let batch = db::retention::entries(client, days).await?;
        removed += batch;
        if batch < db::retention::BATCH_ENTRIES.into() {
            return Ok(removed);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
