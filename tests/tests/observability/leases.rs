//! Holders that die, stand still, or have no room.

use std::time::{Duration, Instant};

use anyhow::ensure;
use knm_shared::ids::TaskId;
use knm_tests::api::label_task;
use knm_tests::scenario::{World, WorldBuilder};
use serde_json::json;

use crate::support::{SOON, fires, is_firing, resolves, rules, skipped, watch};

const NODES: usize = 200;

fn slow(name: &str) -> WorldBuilder {
    World::new(name).pods(2).nodes(NODES).latency(Duration::from_millis(250))
}

/// Takes a minute or so.
async fn long_task(world: &World, pod: usize) -> anyhow::Result<TaskId> {
    let mut body = label_task(&world.nodes(0..NODES), "example.com/a", &pod.to_string());
    body["options"] = json!({"concurrency": 1});
    world.sign_in(pod).await?.submit(&body).await
}

/// Both replicas are full; one dies. A task waits, and another has nobody who could take it over. The
/// age at which waiting is too long is lowered from ten minutes to three seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_nobody_works_on_are_told() -> anyhow::Result<()> {
    if skipped() {
        return Ok(());
    }
    let full = json!({"executor": {"max_concurrent_tasks": 1}});
    let mut world = slow("no_room").config(full).start().await?;
    let rules = rules()?.without_waiting().with("KnmOldestQueued", "> 600", "> 3")?;
    let prometheus = watch(&world, &rules).await?;
    let holders = [long_task(&world, 0).await?, long_task(&world, 1).await?];
    for task in holders {
        world.until_lease(task, SOON, |row| row.owner.is_some() && row.done > 0).await?;
    }
    let fault = Instant::now();
    let waiting = long_task(&world, 0).await?;
    fires(&prometheus, "KnmOldestQueued", &[], fault).await?;
    ensure!(!is_firing(&prometheus, "KnmTaskStuck", &[]).await?, "both holders live");
    ensure!(!is_firing(&prometheus, "KnmTargetDown", &[]).await?, "all answer");
    let fault = Instant::now();
    world.pods[0].api.kill().await?;
    let dead = [("pod", "pod-a"), ("container", "kube-node-mgr")];
    fires(&prometheus, "KnmTargetDown", &dead, fault).await?;
    fires(&prometheus, "KnmTaskStuck", &[], fault).await?;
    let repair = Instant::now();
    world.pods[0].api.start()?;
    world.pods[0].api.probe("/readyz", SOON).await?;
    resolves(&prometheus, "KnmTargetDown", &dead, repair).await?;
    resolves(&prometheus, "KnmTaskStuck", &[], repair).await?;
    let api = world.sign_in(1).await?;
    for task in holders.into_iter().chain([waiting]) {
        // It may have ended.
        api.post(&format!("/api/v1/tasks/{task}/cancel"), &json!({})).await?;
    }
    resolves(&prometheus, "KnmOldestQueued", &[], Instant::now()).await?;
    prometheus.stop().await?;
    world.stop().await
}

/// The holder stands still for longer than its lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_a_living_holder_lost_is_told() -> anyhow::Result<()> {
    if skipped() {
        return Ok(());
    }
    let world = slow("lease_lost").start().await?;
    let prometheus = watch(&world, &rules()?.without_waiting()).await?;
    let task = long_task(&world, 0).await?;
    let (before, _) = world.until_lease(task, SOON, |row| row.done > 0).await?;
    let fault = Instant::now();
    world.pods[0].api.process()?.pause()?;
    world.until_taken_over(task, &before, SOON).await?;
    ensure!(!is_firing(&prometheus, "KnmLeaseLost", &[]).await?, "nobody has said so yet");
    world.pods[0].api.process()?.resume()?;
    let loser = [("pod", "pod-a"), ("container", "kube-node-mgr")];
    fires(&prometheus, "KnmLeaseLost", &loser, fault).await?;
    ensure!(!is_firing(&prometheus, "KnmLeaseLost", &[("pod", "pod-b")]).await?, "not this one");
    prometheus.stop().await?;
    world.stop().await
}
