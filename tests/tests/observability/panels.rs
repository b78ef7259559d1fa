//! Every panel shows something.

use std::time::{Duration, Instant};

use anyhow::ensure;
use knm_tests::api::Api;
use knm_tests::kube_sim::{Fault, FaultAction, Verb};
use knm_tests::prometheus::panels;
use knm_tests::scenario::World;
use serde_json::json;

use crate::support::{INTERVAL, SOON, dashboards, firing, rules, skipped, watch};

/// More than Prometheus scrapes while a rate becomes one, however fast the machine is.
const ROUNDS: u32 = 5;

/// Requests that fall between different scrapes.
async fn ask_in_rounds(api: &Api) -> anyhow::Result<()> {
    let mut scrapes = tokio::time::interval(INTERVAL);
    for _ in 0..ROUNDS {
        scrapes.tick().await;
        api.get("/api/v1/tasks?limit=1").await?.ok()?;
    }
    Ok(())
}

/// Tasks that end well and badly, a dry run, browsers: then every panel's every query has series, and
/// numbers in them; and none of them is about one node or one task.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_query_of_every_panel_returns_data() -> anyhow::Result<()> {
    if skipped() {
        return Ok(());
    }
    let start = Instant::now();
    let world = World::new("panels").pods(2).nodes(20).start().await?;
    let prometheus = watch(&world, &rules()?).await?;
    let api = world.sign_in(0).await?;
    let mut watcher = world.watcher(1).await?;
    world.sim.add_fault(Fault {
        name: Some(world.nodes(3..4)[0].clone()),
        verbs: vec![Verb::Patch],
        action: Some(FaultAction::Status { code: 403, retry_after_seconds: None, message: None }),
        ..Fault::default()
    });
    let mut tasks = Vec::new();
    for (n, range) in [(0, 0..20), (1, 4..20), (2, 4..20)] {
        let mut body =
            knm_tests::api::label_task(&world.nodes(range), "example.com/a", &n.to_string());
        body["options"] = json!({"concurrency": 2, "dry_run": n == 2});
        let task = api.submit(&body).await?;
        tasks.push(task);
        watcher.subscribe(task).await?;
        watcher.until_all_complete(SOON).await?;
    }
    // Rates need a few scrapes. The series of a route begins with its first answer, so what came
    // between two scrapes is no increase yet: people go on asking while the heartbeats come.
    let beats = "min(knm_relay_notify_round_trip_seconds_count) >= 4";
    let heard = prometheus.until(beats, |series| !series.is_empty());
    tokio::try_join!(heard, ask_in_rounds(&api))?;

    let mut empty = Vec::new();
    let since = start.elapsed() + Duration::from_secs(5);
    for panel in panels(&dashboards())? {
        for query in panel.selecting_all("20s") {
            let series = prometheus.range(&query, since).await?;
            if !series.iter().any(|s| s.values.iter().any(|value| value.is_finite())) {
                empty.push(format!("{}: {query}", panel.name));
            }
        }
    }
    ensure!(empty.is_empty(), "no data:\n{}", empty.join("\n"));
    let mut names: Vec<String> = world.nodes(0..20);
    names.extend(tasks.iter().map(ToString::to_string));
    for container in world.pods.iter().flat_map(|pod| [&pod.api, &pod.relay]) {
        let text = container.admin("/metrics").await?.text();
        let told: Vec<_> = names.iter().filter(|name| text.contains(*name)).collect();
        ensure!(told.is_empty(), "series for each of {told:?}: their number has no bound");
    }
    // One node of many was refused, which the counters tell apart by reason and task.
    for (query, expected) in [
        ("sum(knm_api_item_failures_total{reason=\"refused\"})", 1.0),
        ("sum(knm_api_item_failures_total)", 1.0),
        ("sum(knm_api_tasks_finished_total{status=\"failed\", dry_run=\"false\"})", 1.0),
        ("sum(knm_api_tasks_finished_total{status=\"completed\", dry_run=\"false\"})", 1.0),
        ("sum(knm_api_tasks_finished_total{status=\"completed\", dry_run=\"true\"})", 1.0),
    ] {
        prometheus.until(query, |series| series[0].values == [expected]).await?;
    }
    // All is well: with the rules as they are shipped nothing fires.
    let alerts = firing(&prometheus).await?;
    ensure!(alerts.is_empty(), "{alerts:?}");
    prometheus.stop().await?;
    world.stop().await
}
