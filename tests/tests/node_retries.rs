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
