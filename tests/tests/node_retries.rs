//! When a node is given up, and when not.

use std::time::Duration;

use knm_tests::kube_sim::{self, When};
use knm_tests::proxy::{Fault, Select};
use knm_tests::scenario::World;
use serde_json::json;

/// `executor.retry_timeout` of these tests.
const RETRY: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(60);

/// The first write after the outage is answered with 409: at that moment the time since the node's
/// beginning is beyond the retry timeout, and nothing of it was the cluster's fault.
#[tokio::test]
async fn a_database_that_is_away_for_longer_than_the_retry_timeout_fails_no_node()
-> anyhow::Result<()> {
    let seconds = RETRY.as_secs();
    let config = json!({"executor": {"retry_timeout": seconds, "request_timeout": seconds}});
    let world = World::new("retries").nodes(3).proxies().config(config).start().await?;
    let api = world.sign_in(0).await?;
    let conflict = kube_sim::Fault::patch_status("*", 409).when(When::First(1)).per_object();
    world.sim.add_fault(conflict);
    world.api_proxies[0].set(Select::application("knm-api-writer"), Fault::BlackHole);

    let task = api.label(&world.nodes(0..3), "example.com/rack", "r1").await?;
    // Not a wait for something: the outage has to be longer than the retry timeout.
    tokio::time::sleep(RETRY * 2).await;
    assert_eq!(world.sim.request_summary().patches.len(), 0, "a write before its past is durable");
    world.api_proxies[0].heal().await;

    let mut watcher = world.watcher(0).await?;
    watcher.subscribe(task).await?;
    watcher.until_all_complete(LONG).await?;
    let rows = world.check_final(&watcher, task).await?;
    assert_eq!(rows.counts.succeeded, 3, "{rows:?}");
    assert_eq!(world.sim.request_summary().by_status.get(&409), Some(&3));
    world.stop().await
}

/// The task waits for its turn while one of its nodes is replaced by another of the same name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_replaced_since_the_submission_is_left_alone() -> anyhow::Result<()> {
    let config = json!({"executor": {"max_concurrent_tasks": 1}});
    let world = World::new("replaced").nodes(3).config(config).start().await?;
    let api = world.sign_in(0).await?;
    let busy = world.sim.add_fault(kube_sim::Fault::patch_status("node-0001", 503));
    let first = api.label(&world.nodes(0..1), "example.com/a", "b").await?;
    world.until_lease(first, LONG, |row| row.status == "running").await?;
    let task = api.label(&world.nodes(1..3), "example.com/a", "b").await?;
    let mut watcher = world.watcher(0).await?;
    watcher.subscribe(task).await?;
    world.sim.recreate_node("node-0002")?;
    world.sim.remove_fault(busy);
    watcher.until_all_complete(LONG).await?;
    let rows = world.check_final(&watcher, task).await?;
    assert_eq!((rows.counts.succeeded, rows.counts.skipped), (1, 1), "{rows:?}");
    let node = &rows.items[0];
    assert!(node.message.as_deref().is_some_and(|m| m.contains("created again")), "{node:?}");
    assert!(!world.sim.request_summary().effective_writes.contains_key("node-0002"));
    world.stop().await
}
