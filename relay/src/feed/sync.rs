//! Compares the hub with the rows: at intervals while notifications do not arrive, at once when they
//! do again, and now and then even so.

use std::time::Duration;

use jiff::Timestamp;
use knm_shared::ids::{Seq, TaskId};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::Feed;
use crate::db::DbError;
use crate::hub::Behind;
use crate::protocol::{Mode, ModeKind};
use crate::status::ListenerState;

/// How often everything is compared although notifications arrive.
const AUDIT: Duration = Duration::from_secs(30);
/// A difference that an audit finds may be a notification on its way; one that lasts is none.
const GRACE: Duration = Duration::from_secs(1);
/// After a comparison that had no answer.
const RETRY: Duration = Duration::from_secs(1);
/// Catching up lasts no longer. A task that cannot be read has a read that is tried again and again; the
/// others' clients need not hear of it, and audits have to begin.
const CATCHING_UP: Duration = Duration::from_secs(10);
/// How often catching up looks whether it is done.
const SETTLING: Duration = Duration::from_millis(5);
/// Unparseable payloads lead to one comparison in this time, however many there are.
const DOUBT_PAUSE: Duration = Duration::from_secs(1);

pub(super) fn polling(state: ListenerState, error: Option<String>, interval: Duration) -> Mode {
    let reason = match (state, error) {
        (ListenerState::Disabled, _) => "progress.notify_type is polling".to_owned(),
        (_, Some(error)) => error,
        _ => "the listener is connecting".to_owned(),
    };
    Mode {
        kind: ModeKind::Polling,
        since: Timestamp::now(),
        reason: Some(reason.into()),
        poll_interval_ms: u64::try_from(interval.as_millis()).ok(),
    }
}

fn mode(kind: ModeKind) -> Mode {
    Mode { kind, since: Timestamp::now(), reason: None, poll_interval_ms: None }
}

pub(super) async fn run(feed: Feed, shutdown: CancellationToken) {
    let mut states = feed.status.watch();
    loop {
        let state = *states.borrow_and_update();
        let phase = async {
            match state {
                ListenerState::Live => live(&feed).await,
                _ => poll(&feed, state).await,
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = states.changed() => if changed.is_err() { return },
            never = phase => match never {},
        }
    }
}

async fn live(feed: &Feed) -> std::convert::Infallible {
    feed.hub.with(|hub| hub.set_mode(mode(ModeKind::CatchingUp)));
    while let Err(error) = catch_up(feed).await {
        tracing::debug!(%error, "cannot catch up yet");
        sleep(RETRY).await;
    }
    feed.hub.with(|hub| hub.set_mode(mode(ModeKind::Live)));
    loop {
        let audit = Instant::now() + AUDIT;
        tokio::select! {
            () = sleep_until(audit) => {}
            () = feed.hub.doubted() => sleep(DOUBT_PAUSE).await,
        }
        if let Err(error) = audit_all(feed).await {
            tracing::debug!(%error, "audit had no answer");
        }
    }
}

/// Reads everything that was missed; done when these reads have come, whatever else is being read.
async fn catch_up(feed: &Feed) -> Result<(), DbError> {
    feed.hub.with(crate::hub::Hub::reload_lists);
    // Before positions are taken: a task whose first read comes in between is in both.
    let mut awaited = feed.hub.with(crate::hub::Hub::reread_unknown);
    let behind = compare(feed).await?;
    awaited.extend(feed.hub.with(|hub| hub.reread_behind(&behind)));
    let all_come = async {
        loop {
            awaited.retain(|read| !feed.hub.with(|hub| hub.has_come(*read)));
            if awaited.is_empty() {
                return;
            }
            sleep(SETTLING).await;
        }
    };
    if timeout(CATCHING_UP, all_come).await.is_err() {
        tracing::warn!("some tasks could not be read after the listener came back; it is repeated");
    }
    Ok(())
}

/// Finds what no notification has told.
async fn audit_all(feed: &Feed) -> Result<(), DbError> {
    feed.hub.with(crate::hub::Hub::reload_lists);
    let behind = compare(feed).await?;
    if behind.is_empty() {
        return Ok(());
    }
    sleep(GRACE).await;
    for behind in behind {
        let repaired = feed.hub.with(|hub| {
            let repaired = hub.repair(behind);
            if repaired {
                hub.count_repair();
            }
            repaired
        });
        if repaired {
            tracing::info!(task = %behind.task, "a change had not been notified; read its rows");
        }
    }
    Ok(())
}

async fn poll(feed: &Feed, state: ListenerState) -> std::convert::Infallible {
    let mut tick = tokio::time::interval(feed.interval);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let mode = polling(state, feed.status.last_error(), feed.interval);
        feed.hub.with(|hub| hub.set_mode(mode));
        tick.tick().await;
        feed.hub.with(crate::hub::Hub::reload_lists);
        match compare(feed).await {
            Ok(behind) => {
                for behind in behind {
                    feed.hub.with(|hub| hub.repair(behind));
                }
            }
            Err(error) => tracing::debug!(%error, "poll had no answer"),
        }
    }
}

async fn compare(feed: &Feed) -> Result<Vec<Behind>, DbError> {
    let positions: Vec<(TaskId, Seq)> = feed.hub.with(|hub| hub.positions());
    if positions.is_empty() {
        return Ok(Vec::new());
    }
    let answer = feed.db.compare(&positions).await?;
    if let Err(stale) = feed.hub.with(|hub| hub.observe(answer.db)) {
        feed.db.pool().renew();
        return Err(stale.into());
    }
    Ok(answer.behind)
}
