//! Tasks that fail, drains that wait, clusters that are away.

use std::time::Instant;

use anyhow::ensure;
use knm_tests::api::label_task;
use knm_tests::kube_sim::{Allow, SimPod};
use knm_tests::scenario::World;
use serde_json::json;

use crate::support::{SOON, fires, is_firing, resolves, rules, skipped, watch};

/// A label that has another value already fails where that must not be overwritten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_low_completion_rate_is_told_and_only_a_low_one() -> anyhow::Result<()> {
    if skipped() {
        return Ok(());
    }
    let world = World::new("completion").nodes(3).start().await?;
    let prometheus = watch(&world, &rules()?.without_waiting()).await?;
    let api = world.sign_in(0).await?;
    let mut watcher = world.watcher(0).await?;
    let mut submit = async |values: &[&str], dry_run: bool| {
        for value in values {
            let mut body = label_task(&world.nodes(0..1), "example.com/a", value);
            body["params"]["overwrite"] = false.into();
            body["options"] = json!({"dry_run": dry_run});
            watcher.subscribe(api.submit(&body).await?).await?;
            watcher.until_all_complete(SOON).await?;
        }
        anyhow::Ok(())
    };
    let ratio = "namespace:knm_api_task_completion:ratio1h";
    let ended = "sum(knm_api_tasks_finished_total{dry_run=\"false\"})";
    let (good, bad) = (["first"], ["other"]);
    // One of 20 is 95 %, which is enough; what dry runs find out does not count.
    submit(&good.repeat(19), false).await?;
    submit(&bad, false).await?;
    submit(&bad.repeat(10), true).await?;
    prometheus.until(ended, |series| series[0].values == [20.0]).await?;
    prometheus.until(ratio, |series| near(series, 0.95)).await?;
    ensure!(!is_firing(&prometheus, "KnmCompletionRateLow", &[]).await?, "95 % is enough");
    let fault = Instant::now();
    submit(&bad.repeat(3), false).await?;
    fires(&prometheus, "KnmCompletionRateLow", &[], fault).await?;
    prometheus.until(ratio, |series| near(series, 19.0 / 23.0)).await?;
    prometheus.stop().await?;
    world.stop().await
}

fn near(series: &[knm_tests::prometheus::Series], wanted: f64) -> bool {
    series.len() == 1 && series[0].values.iter().all(|value| (value - wanted).abs() < 0.005)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_that_a_budget_holds_up_is_told() -> anyhow::Result<()> {
    if skipped() {
        return Ok(());
    }
    let world = World::new("blocked").nodes(2).start().await?;
    let prometheus = watch(&world, &rules()?.without_waiting()).await?;
    let node = world.nodes(0..1).remove(0);
    let pod = SimPod::new("web-0").namespace("shop").node(&node);
    world.sim.add_pod(pod.owner("ReplicaSet", "web").labels(&[("app", "web")]))?;
    world.sim.add_budget("shop", "web", &[("app", "web")], Allow::min_available(1))?;
    let api = world.sign_in(0).await?;
    let fault = Instant::now();
    let body = json!({"action": "drain", "nodes": {"names": [node]}, "params": {}});
    let task = api.submit(&body).await?;
    fires(&prometheus, "KnmDrainBlocked", &[], fault).await?;
    let repair = Instant::now();
    world.sim.remove_budget("shop", "web")?;
    let mut watcher = world.watcher(0).await?;
    watcher.subscribe(task).await?;
    watcher.until_all_complete(SOON).await?;
    resolves(&prometheus, "KnmDrainBlocked", &[], repair).await?;
    prometheus.stop().await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_away_is_told() -> anyhow::Result<()> {
    if skipped() {
        return Ok(());
    }
    let world = World::new("cluster_away").kube_proxies().start().await?;
    let prometheus = watch(&world, &rules()?.without_waiting()).await?;
    ensure!(!is_firing(&prometheus, "KnmNodeWatchDown", &[]).await?, "it is watched");
    let fault = Instant::now();
    world.kube_proxies[0].refuse_new().await;
    world.kube_proxies[0].cut(&knm_tests::proxy::Select::All);
    fires(&prometheus, "KnmNodeWatchDown", &[("cluster", "default")], fault).await?;
    let repair = Instant::now();
    world.kube_proxies[0].heal().await;
    resolves(&prometheus, "KnmNodeWatchDown", &[], repair).await?;
    prometheus.stop().await?;
    world.stop().await
}
