//! Looks whether the sessions behind open connections are still good: now and then, for those that expire
//! and for revocations that were not heard; at once when a revocation was heard from somebody unknown.
//! One that may do other things than when it came is closed, too: it comes back with what it may do now.

use std::collections::HashSet;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Feed;

const INTERVAL: Duration = Duration::from_secs(60);
/// Suspicions lead to one check in this time, however many there are.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) async fn run(feed: Feed, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
            () = feed.hub.suspected() => {}
        }
        let checked = async {
            recheck(&feed).await;
            tokio::time::sleep(PAUSE).await;
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = checked => {}
        }
    }
}

async fn recheck(feed: &Feed) {
    let asked = feed.hub.with(|hub| hub.owners());
    if asked.is_empty() {
        return;
    }
    let sessions: HashSet<Uuid> = asked.values().map(|owner| owner.session).collect();
    match feed.db.access_of(&Vec::from_iter(sessions)).await {
        Ok(now) => feed.hub.with(|hub| hub.close_outdated(&asked, &now)),
        // Connections that were good stay: cutting everybody off helps nobody.
        Err(error) => {
            tracing::debug!(%error, "sessions not checked; it is repeated");
            feed.hub.suspect();
        }
    }
}
