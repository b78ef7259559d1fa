//! A transaction pooler in the way.

use knm_shared::phrases;
use knm_tests::by_hand::Tell;
use knm_tests::pooler::Pooler;
use knm_tests::postgres::shared_server;
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
