//! A transaction pooler in the way.

use knm_shared::phrases;
use knm_shared::status::ItemStatus;
use knm_tests::by_hand::Tell;
use knm_tests::pooler::Pooler;
use knm_tests::postgres::shared_server;
use knm_tests::scenario::World;
use knm_tests::stage::Stage;
use serde_json::{Value, json};

use crate::support::{SOON, follow, subscribed};

/// The stage's proxy is left aside: `host` and `port` are the pooler's.
fn through(pooler: &Pooler) -> Value {
    let address = pooler.address();
    json!({"database": {"host": address.ip().to_string(), "port": address.port()}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_transaction_pooler_the_relay_says_so_and_polls() -> anyhow::Result<()> {
    let database = shared_server().await?.database("pooled").await?;
    let pooler = Pooler::start(database.server()).await?;
    let stage = Stage::on(database, 1, &through(&pooler)).await?;
    let mut task = stage.task(5).await?;
    let mut db = stage.writer().await?;
    let said = stage.relay(0).says("pooler in transaction mode", SOON).await?;
    assert!(said.contains("ERROR") && said.contains("database.direct_host"), "{said}");
    let failures = "knm_relay_listener_connect_failures_total{reason=\"pooler\"}";
    assert_eq!(stage.relay(0).metric(failures).await?, 1.0);
    stage.until_state(0, "lost", "polling").await?;
    let ready = stage.relay(0).admin("/readyz?verbose").await?.text();
    assert!(ready.contains("pooler in transaction mode"), "{ready}");
    let following = follow(subscribed(stage.watcher(0), &task).await?, &task);
    task.finish(&mut db, Tell::Whole).await?;
    let seen = following.await??;
    stage.check_final(&seen.watcher, &task).await?;
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_direct_host_a_relay_behind_a_pooler_is_live() -> anyhow::Result<()> {
    let database = shared_server().await?.database("direct").await?;
    let pooler = Pooler::start(database.server()).await?;
    let mut config = through(&pooler);
    config["database"]["direct_host"] = json!(database.server().host());
    config["database"]["direct_port"] = json!(database.server().port());
    let stage = Stage::on(database, 1, &config).await?;
    stage.relay(0).says(phrases::NOTIFIER_VERIFIED, SOON).await?;
    stage.until_state(0, "live", "live").await?;
    let mut task = stage.task(5).await?;
    let mut db = stage.writer().await?;
    let following = follow(subscribed(stage.watcher(0), &task).await?, &task);
    task.finish(&mut db, Tell::Whole).await?;
    let seen = following.await??;
    assert!(seen.modes.is_empty(), "{:?}", seen.modes);
    stage.check_final(&seen.watcher, &task).await?;
    stage.stop().await
}

/// The writer, the leases and LISTEN go to the server itself, everything else through the pooler.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_direct_host_a_pod_behind_a_pooler_does_its_work() -> anyhow::Result<()> {
    let server = shared_server().await?;
    let pooler = Pooler::start(&server).await?;
    let mut config = through(&pooler);
    config["database"]["direct_host"] = json!(server.host());
    config["database"]["direct_port"] = json!(server.port());
    let world = World::new("pooled_pod").pods(2).nodes(30).config(config).start().await?;
    let api = world.sign_in(1).await?;
    let mut watcher = world.watcher(0).await?;
    let mut tasks = Vec::new();
    for n in 0..6 {
        let task = api.label(&world.nodes(0..30), &format!("example.com/{n}"), "b").await?;
        watcher.subscribe(task).await?;
        tasks.push(task);
    }
    watcher.until_all_complete(SOON).await?;
    for task in tasks {
        let rows = world.check_final(&watcher, task).await?;
        assert_eq!(rows.count(ItemStatus::Succeeded), 30);
        let page = api.get(&format!("/api/v1/tasks/{task}/items?limit=7")).await?.ok()?;
        assert_eq!(page["items"].as_array().map(Vec::len), Some(7));
    }
    for pod in &world.pods {
        knm_tests::stage::until_state(&pod.relay, "live", "live").await?;
    }
    world.stop().await
}
