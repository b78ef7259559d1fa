//! A drain whose pod dies in the middle.

use std::time::Duration;

use knm_shared::status::ItemStatus;
use knm_tests::kube_sim::{Allow, Workload};
use knm_tests::scenario::World;
use serde_json::json;

use crate::support::{SOON, check_evictions, evicted, look};

/// A lease and 5 s.
const TAKEOVER: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(150);
const NODES: usize = 200;

/// Kill -9 of the executing pod in the middle of a 200-node drain: the other pod ends it, no pod is
/// evicted twice, no budget is violated at any moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_the_other_pod_ends_a_drain_of_200_nodes() -> anyhow::Result<()> {
    // A few nodes more, for the pods to go to.
    let mut world = World::new("drain_kill").pods(2).nodes(NODES + 10).start().await?;
    let names = world.nodes(0..NODES);
    let nodes: Vec<&str> = names.iter().map(String::as_str).collect();
    for app in ["web", "api"] {
        let set = Workload::replica_set("shop", app, u32::try_from(NODES)?);
        world.sim.place(set, &nodes)?;
        world.sim.add_budget("shop", app, &[("app", app)], Allow::max_unavailable(20))?;
    }
    let set = Workload { parallel: true, ..Workload::stateful_set("shop", "db", 50) };
    world.sim.place(set, &nodes[..50])?;
    world.sim.add_budget("shop", "db", &[("app", "db")], Allow::max_unavailable(3))?;
    world.sim.add_workload(Workload::daemon_set("kube-system", "agent"))?;
    let here: Vec<String> = nodes
        .iter()
        .flat_map(|node| world.sim.pods_on(node))
        .filter(|p| p["metadata"]["namespace"] == "shop")
        .filter_map(|p| p["metadata"]["uid"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(here.len(), 450);

    let api = world.sign_in(1).await?;
    let body = json!({"action": "drain", "nodes": {"names": names},
        "params": {"ignore_daemonsets": true}, "options": {"concurrency": 30}});
    let id = api.submit(&body).await?;
    let mut watcher = world.watcher(0).await?;
    watcher.subscribe(id).await?;
    let half =
        tokio::time::timeout(LONG, world.sim.wait_until(|_| evicted(&world).len() >= 150)).await;
    half.expect("the drain goes on");
    let row = world.lease(id).await?;
    world.pods[1].api.kill().await?;
    let done = look(&world.sign_in(0).await?, id).await?;
    assert!(done.count("succeeded") < NODES, "the kill came too late: nothing was tested");
    world.until_taken_over(id, &row, TAKEOVER).await?;
    watcher.until_all_complete(LONG).await?;
    let rows = world.check_final(&watcher, id).await?;
    assert_eq!(rows.count(ItemStatus::Succeeded), NODES, "{:?}", rows.counts);

    let mut gone = evicted(&world);
    let all = gone.len();
    gone.sort();
    gone.dedup();
    assert_eq!(gone.len(), all, "a pod was evicted twice");
    let here: std::collections::BTreeSet<_> = here.into_iter().collect();
    assert!(here.iter().all(|uid| gone.binary_search(uid).is_ok()), "a pod of the nodes stayed");
    check_evictions(&world)?;
    for budget in ["web", "api", "db"] {
        assert!(world.sim.lowest_healthy("shop", budget).is_some(), "{budget} was never looked at");
    }
    tokio::time::timeout(
        SOON,
        world.sim.wait_until(|sim| sim.pods().iter().all(|p| p["status"]["phase"] == "Running")),
    )
    .await
    .expect("all pods run elsewhere");
    world.pods[1].api.start()?;
    world.stop().await
}
