//! So many connections, and no more.

use knm_tests::by_hand::User;
use knm_tests::stage::Stage;
use knm_tests::ws::frame::ServerFrame;
use knm_tests::ws::{Event, Watcher};
use serde_json::json;

use crate::support::{SOON, told_once};

async fn greeted(watcher: &mut Watcher) -> anyhow::Result<()> {
    watcher.connect().await?;
    watcher.until(SOON, |f| matches!(f, ServerFrame::Hello(_))).await.map(drop)
}

async fn turned_away(watcher: &mut Watcher) -> anyhow::Result<String> {
    watcher.connect().await?;
    match watcher.next().await? {
        Event::Closed(Some((4429, reason))) => Ok(reason),
        other => anyhow::bail!("not turned away: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_limited_in_all_and_for_each_user() -> anyhow::Result<()> {
    let config = json!({"relay": {"max_connections": 5, "max_connections_per_user": 3}});
    let stage = Stage::live("room", 1, &config).await?;
    let db = stage.writer().await?;
    let address = stage.relay(0).address();
    let (other, third) = (User::sign_in(&db).await?, User::sign_in(&db).await?);
    let mut mine = Vec::new();
    for _ in 0..3 {
        let mut watcher = stage.watcher(0);
        greeted(&mut watcher).await?;
        mine.push(watcher);
    }
    assert_eq!(turned_away(&mut stage.watcher(0)).await?, "too many connections of this user");
    told_once(&stage, "too_many_connections_of_user", 1).await?;
    let mut others = Vec::new();
    for _ in 0..2 {
        let mut watcher = Watcher::new(address.clone(), other.token());
        // The one that was turned away may still be on its way out.
        tokio::time::timeout(SOON, async { while greeted(&mut watcher).await.is_err() {} }).await?;
        others.push(watcher);
    }
    let mut late = Watcher::new(address, third.token());
    assert_eq!(turned_away(&mut late).await?, "too many connections");
    // Whoever leaves makes room.
    mine.pop();
    tokio::time::timeout(SOON, async { while greeted(&mut late).await.is_err() {} }).await?;
    stage.stop().await
}
