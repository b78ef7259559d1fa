//! Large snapshots go page by page and are in nobody's way; payloads that are equal are one step.

use std::time::{Duration, Instant};

use knm_shared::notification::CHANNEL;
use knm_shared::status::ItemStatus;
use knm_tests::by_hand::{Change, Tell};
use knm_tests::proxy::{Direction, Fault, Proxy, Rule, Select};
use knm_tests::stage::Stage;
use knm_tests::ws::frame::ServerFrame;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::support::{SOON, subscribed};

/// Forty clients ask for 5,000 items each; one of them takes nothing. Meanwhile somebody follows another
/// task, step by step.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_snapshots_are_paged_and_hold_up_nobody() -> anyhow::Result<()> {
    let stage = Stage::live("large", 1, &Value::Null).await?;
    let large = stage.task(5_000).await?;
    let mut small = stage.task(60).await?;
    let mut other = subscribed(stage.watcher(0), &small).await?;
    let mut db = stage.writer().await?;
    let road = Proxy::start(stage.relay(0).address()).await?;
    let mut stuck = stage.watcher_at(road.address().to_string());
    stuck.connect().await?;
    stuck.until(SOON, |f| matches!(f, ServerFrame::Hello(_))).await?;
    road.set_rules([Rule::new(Select::All, Direction::ToClient, Fault::BlackHole)]);
    stuck.subscribe(large.id()).await?;

    let mut readers = JoinSet::new();
    for _ in 0..40 {
        let (mut watcher, task) = (stage.watcher(0), large.id());
        readers.spawn(async move {
            watcher.subscribe(task).await?;
            let mut pages = 0;
            loop {
                let page = |f: &ServerFrame| matches!(f, ServerFrame::Snapshot(_));
                if let ServerFrame::Snapshot(page) = watcher.until(SOON, page).await? {
                    assert_eq!((page.page, page.last), (pages, pages == 4));
                    assert_eq!(page.items.len(), 1_000);
                    pages += 1;
                    if page.last {
                        return anyhow::Ok(watcher);
                    }
                }
            }
        });
    }
    let mut longest = Duration::ZERO;
    while !readers.is_empty() || small.seq() < 40 {
        let begun = Instant::now();
        if !small.next(&mut db, Tell::Whole).await? {
            break;
        }
        let seq = small.seq();
        let step = |f: &ServerFrame| matches!(f, ServerFrame::Progress(d) | ServerFrame::Complete(d) if d.seq >= seq);
        other.until(SOON, step).await?;
        longest = longest.max(begun.elapsed());
        while let Some(read) = readers.try_join_next() {
            read??;
        }
    }
    // Generous: other tests use the machine as well.
    assert!(longest < Duration::from_secs(5), "a step took {longest:?}");
    while let Some(read) = readers.join_next().await {
        read??;
    }
    road.heal().await;
    stuck.until(SOON, |f| matches!(f, ServerFrame::Snapshot(page) if page.last)).await?;
    stage.stop().await
}

/// PostgreSQL drops a payload that equals another of the same transaction, and delivers those of
/// different transactions twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_payloads_are_one_step_and_equal_changes_are_two() -> anyhow::Result<()> {
    let stage = Stage::live("equal", 1, &Value::Null).await?;
    let mut task = stage.task(3).await?;
    let mut db = stage.writer().await?;
    let mut watcher = subscribed(stage.watcher(0), &task).await?;
    // The same change of the same item, twice: the payloads differ by their numbers, and both arrive.
    let change = [Change::saying(0, ItemStatus::Running, "waiting")];
    for _ in 0..2 {
        task.write(&mut db, &change, Tell::Whole).await?;
        let seq = task.seq();
        // The same payload again, thrice in one transaction and once in another.
        let payload = task.notification(Some(&change)).encode();
        let notify = "SELECT pg_notify($1, $2) FROM generate_series(1, 3)";
        db.execute(notify, &[&CHANNEL, &payload]).await?;
        db.execute(notify, &[&CHANNEL, &payload]).await?;
        // The checker behind the watcher refuses a step that comes twice.
        watcher.until(SOON, |f| matches!(f, ServerFrame::Progress(d) if d.seq == seq)).await?;
    }
    task.finish(&mut db, Tell::Whole).await?;
    watcher.until_all_complete(SOON).await?;
    stage.check_final(&watcher, &task).await?;
    stage.stop().await
}
