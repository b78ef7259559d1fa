//! drain: how it ends when it does not end well, and what the node is left like.

use knm_shared::ids::TaskId;
use knm_tests::api::Api;
use knm_tests::kube_sim::{Allow, Fault, FaultAction, SimPod, When};
use knm_tests::scenario::World;
use serde_json::{Value, json};

use crate::support::{
    Ended, SOON, calls, evicted, finish, is_cordoned, patch, run, steer, task, until, until_seen,
    with_options,
};

const NODE: &str = "node-0001";
const BY: &str = "kube-node-manager.io/cordoned-by";

/// A node with two pods, one of which cannot go.
async fn stuck(name: &str) -> anyhow::Result<World> {
    let world = World::new(name).nodes(2).start().await?;
    let pod = |name: &str, app: &str| {
        let pod = SimPod::new(name).namespace("shop").node(NODE).owner("ReplicaSet", app);
        pod.labels(&[("app", app)])
    };
    world.sim.add_pod(pod("web-0", "web"))?;
    world.sim.add_pod(pod("api-0", "api"))?;
    world.sim.add_budget("shop", "web", &[("app", "web")], Allow::min_available(1))?;
    Ok(world)
}

fn drain(params: Value, options: Value) -> Value {
    with_options(task("drain", &[NODE], params), options)
}

/// A drain that the budget keeps waiting.
async fn waiting(api: &Api, params: Value, options: Value) -> anyhow::Result<TaskId> {
    let id = api.submit(&drain(params, options)).await?;
    until(api, id, "waits for the budget", waits).await?;
    Ok(id)
}

fn waits(e: &Ended) -> bool {
    e.message(NODE) == "1 of 2 pods gone, waiting for budget shop/web"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_time_is_up_the_node_fails_with_the_pods_that_remain() -> anyhow::Result<()> {
    let world = stuck("ends_timeout").await?;
    let params = json!({"timeout_seconds": 2});
    let ended = run(&world, &drain(params.clone(), json!({}))).await?;
    assert_eq!((ended.outcome(), ended.status(NODE)), ("failed", "failed"));
    assert_eq!(
        ended.message(NODE),
        "timed out after 2 s; 1 pods remain (waiting for budget shop/web): shop/web-0"
    );
    assert!(is_cordoned(&world, NODE), "without the option it stays as it is");
    assert_eq!(ended.item(NODE)["after"]["unschedulable"], true, "what was changed is known");

    // Already cordoned before this task: not this task's to take back.
    let options = json!({"uncordon_on_failure": true});
    let ended = run(&world, &drain(params.clone(), options.clone())).await?;
    assert_eq!(ended.status(NODE), "failed");
    assert!(is_cordoned(&world, NODE));

    let uncordon = run(&world, &task("uncordon", &[NODE], json!({}))).await?;
    assert_eq!(uncordon.outcome(), "completed");
    let ended = run(&world, &drain(params, options)).await?;
    assert_eq!(ended.status(NODE), "failed");
    assert!(ended.message(NODE).ends_with("; the node is schedulable again"), "{:?}", ended.items);
    assert!(!is_cordoned(&world, NODE));
    let node = world.sim.node(NODE).expect("a node");
    assert_eq!(node["metadata"]["annotations"].get(BY), None);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_cordon_stops_the_node() -> anyhow::Result<()> {
    let world = stuck("ends_cordon").await?;
    world.sim.add_fault(Fault::patch_status(NODE, 403));
    let ended = run(&world, &drain(json!({}), json!({}))).await?;
    assert_eq!(ended.status(NODE), "failed");
    assert!(ended.message(NODE).starts_with("cannot be cordoned: "), "{:?}", ended.items);
    assert!(world.sim.evictions().is_empty());
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_drain_stops_waiting_and_says_how_far_it_came() -> anyhow::Result<()> {
    for (options, cordoned, note) in [
        (json!({}), true, "the node stays cordoned"),
        (json!({"uncordon_on_failure": true}), false, "the node is schedulable again"),
    ] {
        let world = stuck("ends_cancel").await?;
        let api = world.sign_in(0).await?;
        let id = waiting(&api, json!({}), options).await?;
        steer(&api, id, "cancel").await?;
        let ended = finish(&world, &api, id).await?;
        assert_eq!((ended.outcome(), ended.status(NODE)), ("cancelled", "failed"));
        let said = ended.message(NODE);
        assert!(said.contains("1 of 2 pods gone") && said.contains(note), "{said}");
        assert_eq!(is_cordoned(&world, NODE), cordoned);
        world.stop().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_drain_goes_on_where_it_was() -> anyhow::Result<()> {
    let world = stuck("ends_pause").await?;
    let api = world.sign_in(0).await?;
    let id = waiting(&api, json!({}), json!({})).await?;
    steer(&api, id, "pause").await?;
    until(&api, id, "paused", |e| e.outcome() == "paused" && e.status(NODE) == "pending").await?;
    assert!(is_cordoned(&world, NODE));
    world.sim.remove_budget("shop", "web")?;
    let asked = world.sim.evictions().len();
    steer(&api, id, "resume").await?;
    let ended = finish(&world, &api, id).await?;
    assert_eq!(ended.outcome(), "completed", "{:?}", ended.items);
    assert_eq!(world.sim.evictions().len(), asked + 1, "only the pod that was left");
    assert_eq!(ended.item(NODE)["before"]["unschedulable"], false, "the past outlives the pause");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_elses_uncordon_in_between_is_left_alone() -> anyhow::Result<()> {
    let world = stuck("ends_theirs").await?;
    let api = world.sign_in(0).await?;
    let options = json!({"uncordon_on_failure": true});
    let id = waiting(&api, json!({"timeout_seconds": 3}), options).await?;
    let theirs = json!({"metadata": {"annotations": {
        "kube-node-manager.io/cordoned-at": "2026-01-01T00:00:00Z",
    }}});
    world.sim.change_node(NODE, patch(theirs))?;
    let ended = finish(&world, &api, id).await?;
    assert!(ended.message(NODE).contains("somebody else"), "{:?}", ended.items);
    assert!(is_cordoned(&world, NODE));
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_and_pods_that_are_gone_already_count_as_gone() -> anyhow::Result<()> {
    let world = World::new("ends_lost").nodes(2).start().await?;
    for i in 0..4 {
        let pod = SimPod::new(format!("web-{i}")).namespace("shop").node(NODE);
        world.sim.add_pod(pod.owner("ReplicaSet", "web"))?;
    }
    let lose = |name: &str, action| Fault::eviction(name, action);
    world.sim.add_fault(lose("web-0", FaultAction::LoseAnswer));
    world
        .sim
        .add_fault(lose("web-1", FaultAction::Close).when(knm_tests::kube_sim::When::First(2)));
    let missing = FaultAction::Status { code: 404, retry_after_seconds: None, message: None };
    // Somebody in between says that the third is not there; the list knows better.
    world.sim.add_fault(lose("web-2", missing).when(knm_tests::kube_sim::When::First(1)));
    let api = world.sign_in(0).await?;
    let id = api.submit(&drain(json!({}), json!({}))).await?;
    let ended = finish(&world, &api, id).await?;
    assert_eq!((ended.outcome(), ended.message(NODE)), ("completed", "4 of 4 pods gone"));
    assert_eq!(evicted(&world).len(), 4, "all of them were evicted");
    let mut uids = evicted(&world);
    let all = uids.len();
    uids.dedup();
    assert_eq!(uids.len(), all, "evicted twice");
    world.stop().await
}

/// What comes to a node that somebody has made schedulable during its drain is none of the drain's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_pods_on_a_node_that_was_uncordoned_meanwhile_stay() -> anyhow::Result<()> {
    let world = stuck("ends_uncordoned").await?;
    let api = world.sign_in(0).await?;
    let id = waiting(&api, json!({}), json!({})).await?;
    world.sim.change_node(NODE, patch(json!({"spec": {"unschedulable": null}})))?;
    until_seen(&api, NODE, |n| n["unschedulable"] == false).await?;
    let lists = || calls(&world, "list").len();
    let before = lists();
    let newcomer = SimPod::new("newcomer").namespace("other").node(NODE).owner("ReplicaSet", "n");
    world.sim.add_pod(newcomer)?;
    let listed = async {
        while lists() < before + 3 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, listed).await?;
    steer(&api, id, "cancel").await?;
    finish(&world, &api, id).await?;
    let asked = world.sim.evictions();
    assert!(asked.iter().all(|e| e.name != "newcomer"), "{asked:?}");
    world.stop().await
}

/// Another node of the same name is not drained in its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_replaced_during_its_drain_ends_it() -> anyhow::Result<()> {
    let world = stuck("ends_replaced").await?;
    let api = world.sign_in(0).await?;
    let id = waiting(&api, json!({}), json!({})).await?;
    world.sim.recreate_node(NODE)?;
    let ended = finish(&world, &api, id).await?;
    assert_eq!(ended.status(NODE), "skipped", "{:?}", ended.items);
    assert!(ended.message(NODE).contains("deleted and created again"), "{:?}", ended.items);
    world.stop().await
}

/// Paused and then cancelled: nobody works on the node, and it is left as asked for all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_that_is_cancelled_while_it_is_paused_clears_up() -> anyhow::Result<()> {
    let world = stuck("ends_paused").await?;
    let api = world.sign_in(0).await?;
    for asked in [true, false] {
        let options = json!({"uncordon_on_failure": asked});
        let id = api.submit(&drain(json!({}), options)).await?;
        let waits = |e: &Ended| e.message(NODE).ends_with("waiting for budget shop/web");
        until(&api, id, "waits for the budget", waits).await?;
        steer(&api, id, "pause").await?;
        until(&api, id, "is paused", |t| t.outcome() == "paused").await?;
        steer(&api, id, "cancel").await?;
        let ended = finish(&world, &api, id).await?;
        assert_eq!(ended.outcome(), "cancelled", "{:?}", ended.task);
        assert_eq!(is_cordoned(&world, NODE), !asked, "{:?}", ended.items);
        let said = ended.message(NODE);
        assert_eq!(said.contains("schedulable again"), asked, "{said}");
        if !asked {
            // What it has left behind can be reverted.
            let answer = api.post(&format!("/api/v1/tasks/{id}/revert"), &json!({})).await?.ok()?;
            let back = answer["id"].as_str().expect("an id").parse()?;
            let back = finish(&world, &api, back).await?;
            assert_eq!(back.outcome(), "completed", "{:?}", back.items);
            assert!(!is_cordoned(&world, NODE));
        }
    }
    world.stop().await
}

/// The same while its budget keeps it waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_drain_can_be_reverted() -> anyhow::Result<()> {
    let world = stuck("ends_cancelled").await?;
    let api = world.sign_in(0).await?;
    let id = waiting(&api, json!({}), json!({})).await?;
    steer(&api, id, "cancel").await?;
    finish(&world, &api, id).await?;
    assert!(is_cordoned(&world, NODE));
    let answer = api.post(&format!("/api/v1/tasks/{id}/revert"), &json!({})).await?.ok()?;
    let back = finish(&world, &api, answer["id"].as_str().expect("an id").parse()?).await?;
    assert_eq!(back.outcome(), "completed", "{:?}", back.items);
    let node = world.sim.node(NODE).expect("a node");
    assert!(!is_cordoned(&world, NODE) && !node.to_string().contains("cordoned-"), "{node}");
    world.stop().await
}

/// The node is schedulable again and nobody has heard: that it was this task's own doing shows only in that
/// nothing is left to undo.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_uncordon_whose_answer_is_lost_is_not_taken_for_somebody_elses() -> anyhow::Result<()> {
    let world = stuck("ends_unheard").await?;
    let api = world.sign_in(0).await?;
    let options = json!({"uncordon_on_failure": true});
    let id = waiting(&api, json!({}), options).await?;
    world.sim.add_fault(Fault::patch(NODE, FaultAction::LoseAnswer).when(When::First(1)));
    steer(&api, id, "cancel").await?;
    let ended = finish(&world, &api, id).await?;
    assert!(ended.message(NODE).ends_with("the node is schedulable again"), "{:?}", ended.items);
    assert!(!is_cordoned(&world, NODE));
    world.stop().await
}
