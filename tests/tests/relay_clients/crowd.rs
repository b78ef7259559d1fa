//! Very many clients: all at once, all sent away at once; and one client with very many tasks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use knm_tests::by_hand::Tell;
use knm_tests::stage::Stage;
use knm_tests::ws::frame::ServerFrame;
use knm_tests::ws::{Event, Watcher};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::support::{SOON, subscribed};

const CROWD: usize = 1_000;
/// The relay's own promise; its container gets 30 s.
const GRACE: Duration = Duration::from_secs(10);

fn room() -> Value {
    json!({"relay": {"max_connections_per_user": CROWD + 10}, "log": {"level": "info"}})
}

async fn crowd(stage: &Stage, task: &knm_tests::by_hand::Task) -> anyhow::Result<Vec<Watcher>> {
    let mut coming = JoinSet::new();
    for _ in 0..CROWD {
        let (watcher, task) = (stage.watcher(0), task.clone());
        coming.spawn(async move { subscribed(watcher, &task).await });
    }
    let mut crowd = Vec::new();
    while let Some(come) = coming.join_next().await {
        crowd.push(come??);
    }
    Ok(crowd)
}

/// Their relay dies, and a thousand clients come back at the same moment, each with its cursor.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_a_thousand_clients_come_back_at_once_and_lose_nothing() -> anyhow::Result<()> {
    let mut stage = Stage::live("storm", 1, &room()).await?;
    let mut task = stage.task(20).await?;
    let mut db = stage.writer().await?;
    let mut watchers = crowd(&stage, &task).await?;
    stage.relay_mut(0).kill().await?;
    for watcher in &mut watchers {
        while !matches!(watcher.next().await?, Event::Closed(_)) {}
    }
    for _ in 0..5 {
        task.next(&mut db, Tell::Whole).await?;
    }
    stage.relay_mut(0).start()?;
    stage.relay(0).probe("/readyz", SOON).await?;
    stage.until_state(0, "live", "live").await?;
    let (barrier, seq) = (Arc::new(Barrier::new(CROWD)), task.seq());
    let mut coming = JoinSet::new();
    for mut watcher in watchers {
        let barrier = Arc::clone(&barrier);
        coming.spawn(async move {
            barrier.wait().await;
            watcher.connect().await?;
            let about =
                |f: &ServerFrame| matches!(f, ServerFrame::Snapshot(_) | ServerFrame::Progress(_));
            let first = watcher.until(SOON, about).await?;
            ensure!(matches!(&first, ServerFrame::Progress(d) if d.seq == seq), "{first:?}");
            Ok(watcher)
        });
    }
    let mut watchers = Vec::new();
    while let Some(come) = coming.join_next().await {
        watchers.push(come??);
    }
    // One read serves all who wait; others follow for those who came while it was on its way.
    let reads = stage.relay(0).metric("knm_relay_read_seconds_count").await?;
    assert!(reads <= CROWD as f64 / 10.0, "{reads} reads");
    task.finish(&mut db, Tell::Whole).await?;
    for watcher in &mut watchers {
        watcher.until_all_complete(SOON).await?;
    }
    for watcher in watchers.iter().step_by(50) {
        stage.check_final(watcher, &task).await?;
    }
    drop(watchers);
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_a_relay_with_a_thousand_sockets_stops_within_its_grace() -> anyhow::Result<()> {
    let mut stage = Stage::live("farewell", 1, &room()).await?;
    let task = stage.task(5).await?;
    let mut leaving = JoinSet::new();
    for mut watcher in crowd(&stage, &task).await? {
        leaving.spawn(async move {
            let mut hint = None;
            loop {
                match watcher.next().await? {
                    Event::Frame(frame) => {
                        if let ServerFrame::Goodbye(goodbye) = *frame {
                            hint = Some(goodbye.reconnect_after_ms);
                        }
                    }
                    Event::Closed(close) => {
                        let code = close.map(|(code, _)| code);
                        ensure!(code == Some(1012), "closed with {code:?}");
                        return hint.context("no goodbye");
                    }
                }
            }
        });
    }
    // One of a thousand does not take the goodbye.
    let deaf = stage.watcher(0);
    let _deaf = subscribed(deaf, &task).await?;
    let begun = Instant::now();
    let status = stage.relay_mut(0).stop(Signal::TERM, GRACE).await?;
    let took = begun.elapsed();
    assert!(status.is_some_and(|s| s.success()) && took < GRACE, "{status:?} after {took:?}");
    let mut hints = BTreeSet::new();
    while let Some(hint) = leaving.join_next().await {
        hints.insert(hint??);
    }
    // Evenly over five seconds: not all at once.
    assert!(hints.len() > CROWD / 2, "{} different hints", hints.len());
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_follows_a_hundred_tasks_to_their_ends() -> anyhow::Result<()> {
    let stage = Stage::live("hundred", 1, &Value::Null).await?;
    let mut tasks = Vec::new();
    let mut watcher = stage.watcher(0);
    for _ in 0..100 {
        let task = stage.task(3).await?;
        watcher.subscribe(task.id()).await?;
        tasks.push(task);
    }
    let mut db = stage.writer().await?;
    // All of them in turn, a step at a time; half of the steps are not told of in full.
    let mut n = 0;
    while tasks.iter().any(|task| !task.ended()) {
        for task in &mut tasks {
            n += 1;
            let tell = if n % 2 == 0 { Tell::Whole } else { Tell::Head };
            task.next(&mut db, tell).await?;
        }
    }
    watcher.until_all_complete(SOON * 2).await?;
    for task in &tasks {
        stage.check_final(&watcher, task).await?;
    }
    assert_eq!(watcher.connects(), 1);
    stage.stop().await
}
