//! drain: which pods go, which stay, and what the drain says.

use std::time::Duration;

use knm_tests::kube_sim::{Allow, Fault, FaultAction, SimPod, Workload};
use knm_tests::scenario::World;
use serde_json::{Value, json};

use crate::support::{
    calls, check_evictions, evicted, finish, is_cordoned, run, steer, task, until, with_options,
};

const NODE: &str = "node-0001";

fn drain(params: Value) -> Value {
    task("drain", &[NODE], params)
}

fn managed(name: &str) -> SimPod {
    SimPod::new(name)
        .namespace("shop")
        .node(NODE)
        .owner("ReplicaSet", "web")
        .labels(&[("app", "web")])
}

/// One pod of each class.
fn one_of_each(world: &World) -> anyhow::Result<()> {
    world.sim.add_pod(managed("web-1"))?;
    world.sim.add_pod(SimPod::new("agent").namespace("shop").node(NODE).daemonset("agent"))?;
    world.sim.add_pod(SimPod::new("static").namespace("shop").node(NODE).mirror())?;
    world.sim.add_pod(SimPod::new("bare").namespace("shop").node(NODE))?;
    world.sim.add_pod(managed("cache").empty_dir())?;
    world.sim.add_pod(SimPod::new("done").namespace("shop").node(NODE).phase("Succeeded"))?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_permitted_is_refused_with_the_list_before_anything_is_touched()
-> anyhow::Result<()> {
    let world = World::new("drain_refused").nodes(2).start().await?;
    one_of_each(&world)?;
    let ended = run(&world, &drain(json!({}))).await?;
    assert_eq!((ended.outcome(), ended.status(NODE)), ("failed", "failed"));
    let said = ended.message(NODE);
    for (reason, pod) in [
        ("DaemonSet-managed Pods (use ignore_daemonsets): ", "shop/agent"),
        ("local storage (use delete_emptydir_data): ", "shop/cache"),
        ("no controller (use force): ", "shop/bare"),
    ] {
        assert!(said.contains(&format!("{reason}{pod}")), "{said}");
    }
    assert!(!said.contains("shop/web-1") && !said.contains("shop/done"), "{said}");
    assert!(world.sim.evictions().is_empty() && !is_cordoned(&world, NODE));
    assert!(calls(&world, "delete").is_empty() && calls(&world, "patch").is_empty());

    // Each permission by itself is not enough.
    for params in [
        json!({"ignore_daemonsets": true, "force": true}),
        json!({"ignore_daemonsets": true, "delete_emptydir_data": true}),
        json!({"force": true, "delete_emptydir_data": true}),
    ] {
        let ended = run(&world, &drain(params.clone())).await?;
        assert_eq!(ended.status(NODE), "failed", "{params}");
    }
    assert!(world.sim.evictions().is_empty() && !is_cordoned(&world, NODE));

    let params = json!({"ignore_daemonsets": true, "force": true, "delete_emptydir_data": true});
    let ended = run(&world, &drain(params)).await?;
    assert_eq!(ended.outcome(), "completed", "{:?}", ended.items);
    assert_eq!(ended.message(NODE), "4 of 4 pods gone");
    assert!(is_cordoned(&world, NODE));
    let left: Vec<_> = world.sim.pods_on(NODE);
    let mut left: Vec<_> = left.iter().filter_map(|p| p["metadata"]["name"].as_str()).collect();
    left.sort_unstable();
    assert_eq!(left, ["agent", "static"]);
    assert!(calls(&world, "delete").is_empty(), "evicted, not deleted");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_pods_of_the_selector_go_and_terminating_ones_are_waited_for_or_not()
-> anyhow::Result<()> {
    let world = World::new("drain_select").nodes(2).start().await?;
    world.sim.add_pod(managed("web-1"))?;
    world.sim.add_pod(SimPod::new("bare").namespace("shop").node(NODE).labels(&[("app", "x")]))?;
    let ended = run(&world, &drain(json!({"pod_selector": "app=web"}))).await?;
    assert_eq!((ended.outcome(), ended.message(NODE)), ("completed", "1 of 1 pods gone"));
    assert!(world.sim.pod("shop", "bare").is_some());

    // A pod that hangs in its end: a drain waits, unless it is told for how long.
    world.sim.add_pod(managed("stuck").grace(1).stuck())?;
    let api = world.sign_in(0).await?;
    let select = "app=web";
    let id = api.submit(&drain(json!({"pod_selector": select, "timeout_seconds": 1}))).await?;
    let ended = finish(&world, &api, id).await?;
    assert_eq!(ended.status(NODE), "failed");
    let said = ended.message(NODE);
    assert!(said.contains("timed out after 1 s; 1 pods remain: shop/stuck"), "{said}");
    // Its end was due a second after its eviction; one more second, and it is waited for no more.
    let params = json!({"pod_selector": select, "skip_wait_for_delete_timeout_seconds": 1});
    let ended = run(&world, &drain(params)).await?;
    assert_eq!(ended.outcome(), "completed", "{:?}", ended.items);
    assert_eq!(evicted(&world).len(), 2, "a terminating pod is not evicted again");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_is_waited_for_by_name_and_never_gone_around() -> anyhow::Result<()> {
    let world = World::new("drain_budget").nodes(2).start().await?;
    for i in 0..3 {
        world.sim.add_pod(managed(&format!("web-{i}")))?;
    }
    world.sim.add_budget("shop", "web", &[("app", "web")], Allow::min_available(3))?;
    let api = world.sign_in(0).await?;
    let id = api.submit(&drain(json!({}))).await?;
    let waiting = |e: &crate::support::Ended| {
        e.message(NODE) == "0 of 3 pods gone, waiting for budget shop/web"
    };
    until(&api, id, "names the budget", waiting).await?;
    let blocked = async {
        while world.pods[0].api.metric("knm_api_drains_blocked").await? < 1.0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(crate::support::SOON, blocked).await??;
    assert_eq!(world.sim.pods_on(NODE).len(), 3);
    // One at a time from now on.
    world.sim.remove_budget("shop", "web")?;
    world.sim.add_budget("shop", "web", &[("app", "web")], Allow::min_available(2))?;
    for i in 0..3 {
        let spare = SimPod::new(format!("spare-{i}")).namespace("shop").node("node-0002");
        world.sim.add_pod(spare.owner("ReplicaSet", "web").labels(&[("app", "web")]))?;
    }
    let ended = finish(&world, &api, id).await?;
    assert_eq!((ended.outcome(), ended.message(NODE)), ("completed", "3 of 3 pods gone"));
    check_evictions(&world)?;
    assert!(calls(&world, "delete").is_empty(), "never a delete in place of an eviction");
    let blocked = world.pods[0].api.metric("knm_api_drains_blocked").await?;
    assert!(blocked < 1.0, "{blocked} drains count as blocked");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_that_is_not_observed_yet_is_waited_for() -> anyhow::Result<()> {
    let world = World::new("drain_held").nodes(2).start().await?;
    world.sim.add_pod(managed("web-0"))?;
    world.sim.hold_budgets(true);
    world.sim.add_budget("shop", "web", &[("app", "web")], Allow::max_unavailable(1))?;
    let api = world.sign_in(0).await?;
    let id = api.submit(&drain(json!({"timeout_seconds": 30}))).await?;
    until(&api, id, "waits", |e| e.message(NODE).contains("waiting for budget shop/web")).await?;
    world.sim.hold_budgets(false);
    // Retry-After was 10 s: the next try is not earlier.
    let ended = finish(&world, &api, id).await?;
    assert_eq!(ended.outcome(), "completed", "{:?}", ended.items);
    let tries = world.sim.evictions();
    assert_eq!(tries.len(), 2, "{tries:?}");
    assert!(tries[1].at_micros - tries[0].at_micros >= 10_000_000, "Retry-After was ignored");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_budgets_on_one_pod_are_a_clear_failure() -> anyhow::Result<()> {
    let world = World::new("drain_two").nodes(2).start().await?;
    world.sim.add_pod(managed("web-0"))?;
    for budget in ["one", "two"] {
        world.sim.add_budget("shop", budget, &[("app", "web")], Allow::max_unavailable(1))?;
    }
    let ended = run(&world, &drain(json!({}))).await?;
    assert_eq!(ended.status(NODE), "failed");
    let said = ended.message(NODE);
    assert!(
        said.contains("shop/web-0") && said.contains("more than one PodDisruptionBudget"),
        "{said}"
    );
    assert_eq!(world.sim.evictions().len(), 1, "no second try");
    world.stop().await
}

/// A StatefulSet's pod comes back elsewhere under the same name while its old one is still on its
/// list: the new one is another pod.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_new_pod_of_the_same_name_elsewhere_is_never_evicted() -> anyhow::Result<()> {
    let world = World::new("drain_stateful").nodes(3).start().await?;
    let set = Workload { parallel: true, ..Workload::stateful_set("shop", "db", 6) };
    world.sim.place(set, &[NODE])?;
    let here: Vec<String> = uids(&world, NODE);
    assert_eq!(here.len(), 6);
    let ended = run(&world, &drain(json!({}))).await?;
    assert_eq!((ended.outcome(), ended.message(NODE)), ("completed", "6 of 6 pods gone"));
    let mut gone = evicted(&world);
    gone.sort();
    let mut expected = here.clone();
    expected.sort();
    assert_eq!(gone, expected, "exactly those that were on the node");
    tokio::time::timeout(
        crate::support::SOON,
        world.sim.wait_until(|sim| {
            sim.pods().iter().filter(|p| p["status"]["phase"] == "Running").count() == 6
        }),
    )
    .await?;
    check_evictions(&world)?;
    world.stop().await
}

fn uids(world: &World, node: &str) -> Vec<String> {
    let pods = world.sim.pods_on(node);
    pods.iter().filter_map(|p| p["metadata"]["uid"].as_str().map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disable_eviction_deletes_and_asks_no_budget() -> anyhow::Result<()> {
    let world = World::new("drain_delete").nodes(2).start().await?;
    world.sim.add_pod(managed("web-0").stuck())?;
    world.sim.add_budget("shop", "web", &[("app", "web")], Allow::min_available(1))?;
    let api = world.sign_in(0).await?;
    let params = json!({"disable_eviction": true, "grace_period_seconds": 7});
    let id = api.submit(&drain(params)).await?;
    until(&api, id, "waits for the pod", |e| e.message(NODE) == "0 of 1 pods gone").await?;
    tokio::time::timeout(
        crate::support::SOON,
        world.sim.wait_until(|sim| {
            sim.pod("shop", "web-0")
                .is_some_and(|p| p["metadata"]["deletionGracePeriodSeconds"] == 7)
        }),
    )
    .await?;
    assert!(world.sim.evictions().is_empty());
    let deletes = calls(&world, "delete");
    assert_eq!(deletes.len(), 1, "{deletes:?}");
    steer(&api, id, "cancel").await?;
    let ended = finish(&world, &api, id).await?;
    assert_eq!(ended.outcome(), "cancelled");
    world.stop().await
}

/// The kubelet that would end them is gone, and their deletion has been asked for long ago.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_a_dead_node_will_never_end_are_asked_to_end_at_once() -> anyhow::Result<()> {
    for disable_eviction in [false, true] {
        let world = World::new("drain_dead").nodes(2).start().await?;
        world.sim.add_pod(managed("web-0").stuck())?;
        let api = world.sign_in(0).await?;
        let id = api.submit(&drain(json!({}))).await?;
        until(&api, id, "waits for the pod", |e| e.message(NODE) == "0 of 1 pods gone").await?;
        steer(&api, id, "cancel").await?;
        finish(&world, &api, id).await?;
        world.sim.add_budget("shop", "web", &[("app", "web")], Allow::min_available(1))?;
        let params = json!({"grace_period_seconds": 0, "disable_eviction": disable_eviction});
        let ended = run(&world, &drain(params)).await?;
        assert_eq!((ended.outcome(), ended.message(NODE)), ("completed", "1 of 1 pods gone"));
        assert!(world.sim.pods_on(NODE).is_empty());
        world.stop().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_does_not_mind_a_pod_that_is_another_by_now() -> anyhow::Result<()> {
    let world = World::new("drain_dry_gone").nodes(2).start().await?;
    world.sim.add_pod(managed("web-0"))?;
    let message = Some("the UID in the precondition does not match the UID in record".to_owned());
    let changed = FaultAction::Status { code: 409, retry_after_seconds: None, message };
    world.sim.add_fault(Fault::eviction("web-0", changed));
    let body = with_options(drain(json!({})), json!({"dry_run": true}));
    let ended = run(&world, &body).await?;
    assert_eq!((ended.outcome(), ended.message(NODE)), ("completed", "dry run: 1 pods would go"));
    assert_eq!(world.sim.evictions().len(), 1, "it is asked once");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_evicts_nobody_and_tells_who_would_wait() -> anyhow::Result<()> {
    let world = World::new("drain_dry").nodes(2).start().await?;
    world.sim.add_pod(managed("web-0"))?;
    let other = SimPod::new("api-0").namespace("shop").node(NODE);
    world.sim.add_pod(other.owner("ReplicaSet", "api").labels(&[("app", "api")]))?;
    world.sim.add_budget("shop", "web", &[("app", "web")], Allow::min_available(1))?;
    let body = with_options(drain(json!({})), json!({"dry_run": true}));
    let ended = run(&world, &body).await?;
    assert_eq!(ended.outcome(), "completed", "{:?}", ended.items);
    let said = ended.message(NODE);
    assert_eq!(said, "dry run: 1 pods would go, 1 would wait: shop/web-0 for budget shop/web");
    assert!(!is_cordoned(&world, NODE) && evicted(&world).is_empty());
    assert_eq!(world.sim.pods_on(NODE).len(), 2);
    assert!(world.sim.evictions().iter().all(|e| e.dry_run));
    world.stop().await
}
