//! What must not become more expensive: counts on the running programs, never times. How fast they are is
//! for `tests/bench`.

use std::time::Duration;

use anyhow::Context as _;
use knm_shared::status::TaskStatus;
use knm_tests::api::label_task;
use knm_tests::by_hand::{Task, Tell};
use knm_tests::pod::Container;
use knm_tests::postgres::{ClusterOptions, Sql};
use knm_tests::scenario::World;
use knm_tests::stage::Stage;
use knm_tests::ws::Watcher;
use knm_tests::ws::frame::ServerFrame;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);

/// A commit with NOTIFY takes a lock of the whole database, so they must be few.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_carries_many_changes() -> anyhow::Result<()> {
    const NODES: usize = 400;
    // Transactions are counted by the server: nobody else may have any.
    let world = World::new("batching")
        .nodes(NODES)
        .latency(Duration::from_millis(30))
        .own_cluster(ClusterOptions::default())
        .start()
        .await?;
    let transactions = "SELECT pg_current_xact_id()::text::bigint";
    let api = world.sign_in(0).await?;
    let mut watcher = world.watcher(0).await?;
    let mut body = label_task(&world.nodes(0..NODES), "example.com/a", "b");
    body["options"] = json!({"concurrency": 100});
    let before: i64 = world.database.value(transactions, &[]).await?;
    let task = api.submit(&body).await?;
    watcher.subscribe(task).await?;
    watcher.until_all_complete(SOON).await?;
    let after: i64 = world.database.value(transactions, &[]).await?;
    assert_eq!(world.check_final(&watcher, task).await?.status, TaskStatus::Completed);

    // Every node begins, and is durable before it is written to; every node ends.
    let changes = world.pods[0].api.metric("knm_api_flush_items_sum").await?;
    assert_eq!(changes, 2.0 * NODES as f64, "item changes");
    let flushes = world.pods[0].api.metric("knm_api_flush_items_count").await?;
    assert!(flushes * 8.0 <= changes, "{flushes} flushes for {changes} changes");
    let commits = (after - before) as f64;
    assert!(commits * 6.0 <= changes, "{commits} transactions that wrote for {changes} changes");
    world.stop().await
}

/// Frames go to all sockets of a task; steps that the ring still has are read for by nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resume_from_the_ring_asks_the_database_nothing() -> anyhow::Result<()> {
    const CLIENTS: usize = 20;
    let stage = Stage::live("resume", 1, &Value::Null).await?;
    let (mut db, mut task) = (stage.writer().await?, stage.task(200).await?);
    // Somebody stays, so that the relay keeps the task.
    let mut stays = subscribed(&stage, &task).await?;
    known(&stage, &mut db, &mut task).await?;
    until_at(&mut stays, &task).await?;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = subscribed(&stage, &task).await?;
        until_at(&mut client, &task).await?;
        client.drop_connection();
        clients.push(client);
    }
    let reads = read(stage.relay(0)).await?;
    for _ in 0..50 {
        task.next(&mut db, Tell::Whole).await?;
    }
    for client in &mut clients {
        client.connect().await?;
        until_at(client, &task).await?;
        assert_eq!(client.connects(), 2);
    }
    until_at(&mut stays, &task).await?;
    assert_eq!(read(stage.relay(0)).await? - reads, 0.0, "reads for {CLIENTS} resumes");
    stage.stop().await
}

/// Reads of a task's rows so far.
async fn read(relay: &Container) -> anyhow::Result<f64> {
    relay.metric("knm_relay_read_seconds_count").await
}

async fn subscribed(stage: &Stage, task: &Task) -> anyhow::Result<Watcher> {
    let mut watcher = stage.watcher(0);
    watcher.subscribe(task.id()).await?;
    watcher.until(SOON, |f| matches!(f, ServerFrame::Snapshot(page) if page.last)).await?;
    Ok(watcher)
}

/// Until the relay takes the writer's notifications at their word.
async fn known(stage: &Stage, db: &mut Sql, task: &mut Task) -> anyhow::Result<()> {
    const TAKEN: &str = "knm_relay_notifications_total{result=\"ok\"}";
    let known = async {
        while stage.relay(0).metric(TAKEN).await? < 1.0 {
            task.next(db, Tell::Whole).await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(SOON, known).await.context("the writer stays a stranger")?
}

/// Until the client is where the task is.
async fn until_at(client: &mut Watcher, task: &Task) -> anyhow::Result<()> {
    let at = async {
        while client.checker().picture(task.id()).map(|picture| picture.seq()) != Some(task.seq()) {
            client.next().await?;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(SOON, at).await.context("a client does not get there")?
}
