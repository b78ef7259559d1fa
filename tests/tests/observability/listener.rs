//! The LISTEN connection and what comes over it.

use std::time::{Duration, Instant};

use anyhow::ensure;
use knm_tests::api::label_task;
use knm_tests::proxy::{Fault, Select};
use knm_tests::scenario::World;
use serde_json::json;

use crate::support::{SOON, fires, firing, is_firing, resolves, rules, skipped, watch};

const LISTENER: &str = "knm-relay-listener";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_is_killed_is_told_and_so_is_its_recovery() -> anyhow::Result<()> {
    if skipped() {
        return Ok(());
    }
    let world = World::new("listener_down").pods(2).proxies().start().await?;
    // Failures of 15 s instead of 10 minutes, so that the end of the alert can be seen too.
    let alert = "KnmListenerConnectFailures";
    let rules = rules()?.without_waiting().with(alert, "[10m]", "[15s]")?;
    let prometheus = watch(&world, &rules).await?;
    let alerts = ["KnmListenerDown", alert];
    for name in alerts {
        ensure!(!is_firing(&prometheus, name, &[]).await?, "{name} fires before the fault");
    }
    let proxy = &world.relay_proxies[0];
    let (relay, fault) = ([("pod", "pod-a"), ("container", "relay")], Instant::now());
    proxy.refuse_new().await;
    ensure!(proxy.cut(&Select::application(LISTENER)) == 1, "there is one listener");
    for name in alerts {
        fires(&prometheus, name, &relay, fault).await?;
        ensure!(!is_firing(&prometheus, name, &[("pod", "pod-b")]).await?, "{name}: not this one");
    }
    let repair = Instant::now();
    proxy.heal().await;
    for name in alerts {
        resolves(&prometheus, name, &relay, repair).await?;
    }
    // Containers of this world read files of their own, for the proxies' sake.
    ensure!(firing(&prometheus).await? == ["KnmConfigSkew"], "{:?}", firing(&prometheus).await?);
    prometheus.stop().await?;
    world.stop().await
}

/// What sends the heartbeats hangs: the listener itself cannot know whether it would hear any.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_that_stay_away_from_a_live_listener_are_told() -> anyhow::Result<()> {
    if skipped() {
        return Ok(());
    }
    let world = World::new("heartbeat").proxies().start().await?;
    let prometheus = watch(&world, &rules()?.without_waiting()).await?;
    let fault = Instant::now();
    world.relay_proxies[0].set(Select::application("knm-relay"), Fault::BlackHole);
    fires(&prometheus, "KnmHeartbeatStale", &[("container", "relay")], fault).await?;
    ensure!(!is_firing(&prometheus, "KnmListenerDown", &[]).await?, "it is live");
    let repair = Instant::now();
    world.relay_proxies[0].heal().await;
    resolves(&prometheus, "KnmHeartbeatStale", &[], repair).await?;
    prometheus.stop().await?;
    world.stop().await
}

/// Reads of rows hang, and the notifications that need them are held.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_pile_up_are_told() -> anyhow::Result<()> {
    if skipped() {
        return Ok(());
    }
    let latency = Duration::from_millis(10);
    let world = World::new("backlog").nodes(200).latency(latency).proxies().start().await?;
    let prometheus = watch(&world, &rules()?.without_waiting()).await?;
    let api = world.sign_in(0).await?;
    let mut watcher = world.watcher(0).await?;
    // The relay holds only what comes from a session that it knows.
    let taken = "knm_relay_notifications_total{result=\"ok\"}";
    while world.pods[0].relay.metric(taken).await? == 0.0 {
        let mut body = label_task(&world.nodes(0..3), "example.com/a", "known");
        body["params"]["overwrite"] = true.into();
        watcher.subscribe(api.submit(&body).await?).await?;
        watcher.until_all_complete(SOON).await?;
    }
    world.relay_proxies[0].set(Select::application("knm-relay"), Fault::BlackHole);
    let fault = Instant::now();
    let mut body = label_task(&world.nodes(0..200), "example.com/b", "c");
    body["options"] = json!({"concurrency": 1});
    let task = api.submit(&body).await?;
    watcher.subscribe(task).await?;
    fires(&prometheus, "KnmQueueBacklog", &[("container", "relay")], fault).await?;
    let repair = Instant::now();
    world.relay_proxies[0].heal().await;
    watcher.until_all_complete(SOON).await?;
    resolves(&prometheus, "KnmQueueBacklog", &[], repair).await?;
    world.check_final(&watcher, task).await?;
    prometheus.stop().await?;
    world.stop().await
}

/// Every second notification is dropped by the server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notifications_that_get_lost_are_told() -> anyhow::Result<()> {
    if skipped() {
        return Ok(());
    }
    let latency = Duration::from_millis(10);
    let world = World::new("gaps").nodes(60).latency(latency).start().await?;
    let prometheus = watch(&world, &rules()?.without_waiting()).await?;
    let instead =
        "IF nextval('public.told') % 2 = 0 THEN PERFORM pg_catalog.pg_notify($1, $2); END IF";
    crate::database::replace_pg_notify(&world, instead).await?;
    let fault = Instant::now();
    let api = world.sign_in(0).await?;
    let mut body = label_task(&world.nodes(0..60), "example.com/a", "b");
    body["options"] = json!({"concurrency": 1});
    let task = api.submit(&body).await?;
    let mut watcher = world.watcher(0).await?;
    watcher.subscribe(task).await?;
    fires(&prometheus, "KnmNotificationGaps", &[("container", "relay")], fault).await?;
    watcher.until_all_complete(SOON).await?;
    world.check_final(&watcher, task).await?;
    prometheus.stop().await?;
    world.stop().await
}
