//! drain: one at a time on a node, this pod's own node last, and how many nodes may be away.

use std::time::Duration;

use jiff::Timestamp;
use knm_tests::kube_sim::{Allow, Fault, FaultAction, SimPod, Verb};
use knm_tests::pod::Pod;
use knm_tests::proxy::{Direction, Fault as Cut, Rule, Select};
use knm_tests::scenario::World;
use serde_json::json;

use crate::support::{
    Ended, SOON, calls, check_evictions, finish, is_cordoned, patch, run, steer, task, until,
    until_seen, with_options,
};

fn pod(world: &World, node: &str, name: &str) -> anyhow::Result<()> {
    let pod = SimPod::new(name).namespace("shop").node(node).labels(&[("app", "web")]);
    world.sim.add_pod(pod.owner("ReplicaSet", "web"))?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_drained_by_one_task_at_a_time_on_whichever_replica() -> anyhow::Result<()> {
    let world = World::new("turns").pods(2).nodes(2).start().await?;
    pod(&world, "node-0001", "web-0")?;
    world.sim.add_budget("shop", "web", &[("app", "web")], Allow::min_available(1))?;
    let (one, two) = (world.sign_in(0).await?, world.sign_in(1).await?);
    let body = task("drain", &["node-0001"], json!({}));
    let first = one.submit(&body).await?;
    until(&one, first, "waits", |e| e.message("node-0001").contains("shop/web")).await?;
    let second = two.submit(&body).await?;
    let said = format!("waiting: task {first} is draining this node");
    until(&two, second, "waits for the first", |e| e.message("node-0001") == said).await?;
    let users: Vec<_> = world.sim.evictions().into_iter().map(|e| e.user).collect();
    assert!(users.iter().all(|user| *user == users[0]), "both evict: {users:?}");

    // The first pauses: then it is the second's turn.
    steer(&one, first, "pause").await?;
    until(&two, second, "its turn", |e| e.message("node-0001").contains("shop/web")).await?;
    steer(&one, first, "resume").await?;
    let said = format!("waiting: task {second} is draining this node");
    until(&one, first, "waits for the second", |e| e.message("node-0001") == said).await?;
    world.sim.remove_budget("shop", "web")?;
    for (api, id) in [(&two, second), (&one, first)] {
        let ended = finish(&world, api, id).await?;
        assert_eq!(ended.outcome(), "completed", "{:?}", ended.items);
    }
    let left: i64 = world.database.value("SELECT count(*) FROM node_drains", &[]).await?;
    assert_eq!(left, 0);
    check_evictions(&world)?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_that_this_pod_runs_on_goes_last() -> anyhow::Result<()> {
    let mut world = World::new("own_node").pods(0).nodes(4).start().await?;
    let mut options = world.pod_options().await?;
    options.node = Some("node-0001".into());
    let started = Pod::run(&world.database, &options).await?;
    world.pods.push(started);
    for i in 1..=4 {
        pod(&world, &format!("node-000{i}"), &format!("web-{i}"))?;
    }
    let ended = run(
        &world,
        &json!({"action": "drain", "nodes": {"all": true}, "options": {"concurrency": 4}}),
    )
    .await?;
    assert_eq!(ended.outcome(), "completed", "{:?}", ended.items);
    let evictions = world.sim.evictions();
    let (own, others): (Vec<_>, Vec<_>) = evictions.iter().partition(|e| e.name == "web-1");
    let cordon = calls(&world, Verb::Patch.as_str());
    let cordon = cordon.iter().find(|r| r.name.as_deref() == Some("node-0001")).expect("cordoned");
    assert_eq!((own.len(), others.len()), (1, 3), "{evictions:?}");
    assert!(others.iter().all(|e| e.at_micros < cordon.at_micros), "{evictions:?} {cordon:?}");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unavailable_nodes_are_counted_from_the_cluster() -> anyhow::Result<()> {
    let world = World::new("unavailable").nodes(4).start().await?;
    let api = world.sign_in(0).await?;
    // One is cordoned by somebody else, another's kubelet is away.
    world.sim.change_node("node-0001", patch(json!({"spec": {"unschedulable": true}})))?;
    ready(&world, "node-0002", false)?;
    until_seen(&api, "node-0001", |n| n["status"].to_string().contains("SchedulingDisabled"))
        .await?;
    until_seen(&api, "node-0002", |n| n["status"].to_string().contains("NotReady")).await?;
    let body =
        json!({"action": "drain", "nodes": {"all": true}, "options": {"max_unavailable": "50%"}});
    let id = api.submit(&body).await?;
    // Those that are away already are drained; no other is started.
    let waits = until(&api, id, "waits", |e| {
        e.count("succeeded") == 2
            && e.message("node-0003").contains("options.max_unavailable allows 2")
    })
    .await?;
    assert!(waits.message("node-0003").contains("node-0001, node-0002"), "{:?}", waits.items);
    assert_eq!(waits.status("node-0003"), "pending");
    assert!(!is_cordoned(&world, "node-0003") && !is_cordoned(&world, "node-0004"));
    // The kubelet is back, but the node is cordoned by the drain: still two.
    ready(&world, "node-0002", true)?;
    let uncordon = task("uncordon", &["node-0002"], json!({}));
    assert_eq!(run(&world, &uncordon).await?.outcome(), "completed");
    until(&api, id, "the third", |e| e.status("node-0003") == "succeeded").await?;
    assert!(!is_cordoned(&world, "node-0004"));
    let uncordon = task("uncordon", &["node-0001"], json!({}));
    assert_eq!(run(&world, &uncordon).await?.outcome(), "completed");
    let ended = finish(&world, &api, id).await?;
    assert_eq!(ended.outcome(), "completed");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wave_begins_when_the_nodes_before_it_are_ready_again() -> anyhow::Result<()> {
    let world = World::new("waves").nodes(3).start().await?;
    let api = world.sign_in(0).await?;
    for node in ["node-0001", "node-0002"] {
        ready(&world, node, false)?;
        until_seen(&api, node, |n| n["status"].to_string().contains("NotReady")).await?;
    }
    let body = |seconds: u32| {
        let waves = json!({"size": 1, "ready_timeout_seconds": seconds});
        json!({"action": "drain", "nodes": {"all": true}, "options": {"waves": waves}})
    };
    let id = api.submit(&body(300)).await?;
    let said = "waiting: wave 2 begins when these are Ready again: node-0001";
    until(&api, id, "waits", |e| e.message("node-0002") == said).await?;
    assert!(!is_cordoned(&world, "node-0002"));
    ready(&world, "node-0001", true)?;
    until(&api, id, "the next wave", |e| e.message("node-0003").contains("node-0002")).await?;
    ready(&world, "node-0002", true)?;
    let ended = finish(&world, &api, id).await?;
    assert_eq!(ended.outcome(), "completed", "{:?}", ended.items);

    // A wave that stays down ends the task, and says so.
    ready(&world, "node-0001", false)?;
    until_seen(&api, "node-0001", |n| n["status"].to_string().contains("NotReady")).await?;
    let ended = run(&world, &body(1)).await?;
    assert_eq!((ended.outcome(), ended.count("cancelled")), ("failed", 2), "{:?}", ended.items);
    let why = "wave 1 was not Ready again within 1 s: node-0001";
    assert_eq!(ended.task["error"], format!("stopped: {why}"));
    assert_eq!(ended.message("node-0003"), format!("not started: {why}"));
    world.stop().await
}

/// Sets the kubelet's condition.
fn ready(world: &World, node: &str, ready: bool) -> anyhow::Result<()> {
    let status = if ready { "True" } else { "False" };
    let conditions = json!([{"type": "Ready", "status": status, "reason": "Kubelet",
        "lastHeartbeatTime": null, "lastTransitionTime": null, "message": ""}]);
    world.sim.change_node(node, patch(json!({"status": {"conditions": conditions}})))?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_arrives_after_the_list_goes_too_unless_it_tolerates_the_cordon()
-> anyhow::Result<()> {
    let world = World::new("late").nodes(2).start().await?;
    pod(&world, "node-0001", "web-0")?;
    world.sim.add_budget("shop", "web", &[("app", "web")], Allow::min_available(1))?;
    let api = world.sign_in(0).await?;
    let id = api.submit(&with_options(task("drain", &["node-0001"], json!({})), json!({}))).await?;
    until(&api, id, "waits", |e| e.message("node-0001").contains("shop/web")).await?;
    let late = SimPod::new("late-0").namespace("shop").node("node-0001").labels(&[("app", "late")]);
    world.sim.add_pod(late.owner("ReplicaSet", "late"))?;
    until(&api, id, "the late one", |e| e.message("node-0001").starts_with("1 of 2 pods gone"))
        .await?;
    world.sim.remove_budget("shop", "web")?;
    let ended = finish(&world, &api, id).await?;
    assert_eq!(ended.message("node-0001"), "2 of 2 pods gone");
    world.stop().await
}

/// Two tasks that begin at the same moment on two pods count each other's nodes before these are seen
/// cordoned.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_tasks_together_keep_to_the_number_of_unavailable_nodes() -> anyhow::Result<()> {
    let latency = Duration::from_millis(50);
    let world = World::new("unavailable_two").pods(2).nodes(4).latency(latency).start().await?;
    let apis = [world.sign_in(0).await?, world.sign_in(1).await?];
    let nodes = world.nodes(0..4);
    let body = |nodes: Vec<String>| json!({"action": "drain", "nodes": {"names": nodes}, "options": {"max_unavailable": 1}});
    let bodies = [body(nodes.clone()), body(nodes.iter().rev().cloned().collect())];
    for _ in 0..4 {
        let (one, two) = tokio::join!(apis[0].submit(&bodies[0]), apis[1].submit(&bodies[1]));
        let ids = [one?, two?];
        let waits = |e: &Ended| {
            e.items.iter().any(|i| {
                i["message"].as_str().is_some_and(|m| m.contains("options.max_unavailable allows"))
            })
        };
        for id in ids {
            until(&apis[0], id, "waits", waits).await?;
        }
        let cordoned = || nodes.iter().filter(|name| is_cordoned(&world, name)).count();
        let begun = async {
            while cordoned() == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(SOON, begun).await?;
        // Both have asked often enough since.
        for id in ids {
            until(&apis[0], id, "waits", waits).await?;
        }
        assert_eq!(cordoned(), 1);
        for id in ids {
            steer(&apis[0], id, "cancel").await?;
            finish(&world, &apis[0], id).await?;
        }
        let uncordon = json!({"action": "uncordon", "nodes": {"all": true}});
        assert_eq!(run(&world, &uncordon).await?.outcome(), "completed");
        for api in &apis {
            for node in &nodes {
                until_seen(api, node, |n| n["unschedulable"] == false).await?;
            }
        }
    }
    world.stop().await
}

/// A node that waits for its turn has not been started: what forbids that ends the wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_waits_for_its_turn_is_not_drained_once_none_may_be_started()
-> anyhow::Result<()> {
    let world = World::new("turns_over").pods(2).nodes(2).start().await?;
    pod(&world, "node-0001", "web-0")?;
    world.sim.add_budget("shop", "web", &[("app", "web")], Allow::min_available(1))?;
    let (one, two) = (world.sign_in(0).await?, world.sign_in(1).await?);
    let first = one.submit(&task("drain", &["node-0001"], json!({}))).await?;
    until(&one, first, "waits", |e| e.message("node-0001").contains("shop/web")).await?;
    let said = format!("waiting: task {first} is draining this node");

    // The window ends: both with room for another node, and without.
    for concurrency in [1, 2] {
        let at = Timestamp::now() + Duration::from_secs(4);
        let options = json!({"not_after": at.to_string(), "concurrency": concurrency});
        let late = with_options(task("drain", &["node-0001"], json!({})), options);
        let late = two.submit(&late).await?;
        until(&two, late, "waits for the first", |e| e.message("node-0001") == said).await?;
        let ended = finish(&world, &two, late).await?;
        assert_eq!((ended.outcome(), ended.status("node-0001")), ("failed", "cancelled"));
        let why = ended.message("node-0001");
        assert!(why.starts_with("not started: options.not_after has passed"), "{why}");
        let error = ended.task["error"].as_str().unwrap_or_default();
        assert!(error.starts_with("stopped: options.not_after has passed"), "{error}");
    }

    // As many others fail as may.
    let refused = world.sim.add_fault(Fault::patch_status("node-0002", 403));
    let options = json!({"max_failures": 0, "concurrency": 2});
    let both = task("drain", &["node-0001", "node-0002"], json!({}));
    let ended = run(&world, &with_options(both, options)).await?;
    world.sim.remove_fault(refused);
    assert_eq!(ended.outcome(), "failed");
    assert_eq!((ended.status("node-0001"), ended.status("node-0002")), ("cancelled", "failed"));
    let why = "not started: 1 nodes have failed, options.max_failures is 0";
    assert_eq!(ended.message("node-0001"), why);

    // What has been begun before is not said to be untouched.
    let at = Timestamp::now() + Duration::from_secs(8);
    steer(&one, first, "pause").await?;
    until(&one, first, "is paused", |e| e.outcome() == "paused").await?;
    let options = json!({"not_after": at.to_string()});
    let begun = with_options(task("drain", &["node-0001"], json!({})), options);
    let begun = two.submit(&begun).await?;
    until(&two, begun, "waits", |e| e.message("node-0001").contains("shop/web")).await?;
    steer(&two, begun, "pause").await?;
    until(&two, begun, "is paused", |e| e.outcome() == "paused").await?;
    steer(&one, first, "resume").await?;
    until(&one, first, "its turn", |e| e.message("node-0001").contains("shop/web")).await?;
    steer(&two, begun, "resume").await?;
    let ended = finish(&world, &two, begun).await?;
    assert_eq!((ended.outcome(), ended.status("node-0001")), ("failed", "failed"));
    let why = ended.message("node-0001");
    assert!(why.starts_with("options.not_after has passed"), "{why}");
    assert!(
        why.ends_with("its drain had begun: it may be cordoned, and pods may be gone"),
        "{why}"
    );

    world.sim.remove_budget("shop", "web")?;
    let ended = finish(&world, &one, first).await?;
    assert_eq!(ended.outcome(), "completed", "{:?}", ended.items);
    check_evictions(&world)?;
    world.stop().await
}

/// The database does not answer whether it is the node's turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_waits_for_its_turn_obeys_while_the_database_does_not_answer()
-> anyhow::Result<()> {
    let world = World::new("turns_hang").pods(2).proxies().nodes(2).start().await?;
    pod(&world, "node-0001", "web-0")?;
    pod(&world, "node-0002", "web-1")?;
    world.sim.add_budget("shop", "web", &[("app", "web")], Allow::min_available(2))?;
    let (one, two) = (world.sign_in(0).await?, world.sign_in(1).await?);
    let body = task("drain", &["node-0001"], json!({}));
    let first = one.submit(&body).await?;
    until(&one, first, "waits", |e| e.message("node-0001").contains("shop/web")).await?;
    let other = two.submit(&task("drain", &["node-0002"], json!({}))).await?;
    until(&one, other, "waits", |e| e.message("node-0002").contains("shop/web")).await?;
    let second = two.submit(&body).await?;
    let said = format!("waiting: task {first} is draining this node");
    until(&two, second, "waits for the first", |e| e.message("node-0001") == said).await?;
    // What renews leases and what stores progress have connections of their own.
    let pooled = Select::application("knm-api");
    let answers = Rule::new(pooled, Direction::ToClient, Cut::BlackHole);
    world.api_proxies[1].set_rules([answers]);
    // It has asked, and does not hear.
    let asked = "SELECT count(*) FROM (
        SELECT FROM pg_stat_activity WHERE datname = current_database()
        AND application_name = 'knm-api pod-b' AND state = 'idle in transaction'
        AND state_change < clock_timestamp() - interval '1 second' LIMIT 1) hangs";
    world.database.until(asked, &[], 1).await?;
    steer(&one, second, "pause").await?;
    let paused = until(&one, second, "is paused", |e| e.outcome() == "paused").await?;
    assert_eq!(paused.status("node-0001"), "pending");
    // Nor does a turn that cannot be given up keep a drain from its end.
    world.sim.remove_budget("shop", "web")?;
    assert_eq!(finish(&world, &one, other).await?.outcome(), "completed");
    world.api_proxies[1].heal().await;
    // Nobody waits for a turn that it may have got.
    assert_eq!(finish(&world, &one, first).await?.outcome(), "completed");
    assert_eq!(run(&world, &body).await?.outcome(), "completed");
    steer(&one, second, "resume").await?;
    assert_eq!(finish(&world, &one, second).await?.outcome(), "completed");
    world.stop().await
}

/// Paused when nobody works on it: whoever takes it over leaves no node in its name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_that_is_paused_before_it_is_taken_over_keeps_no_turn() -> anyhow::Result<()> {
    let mut world = World::new("turns_orphan").pods(2).nodes(2).start().await?;
    pod(&world, "node-0001", "web-0")?;
    world.sim.add_budget("shop", "web", &[("app", "web")], Allow::min_available(1))?;
    let (one, two) = (world.sign_in(0).await?, world.sign_in(1).await?);
    let body = task("drain", &["node-0001"], json!({}));
    let first = two.submit(&body).await?;
    until(&one, first, "waits", |e| e.message("node-0001").contains("shop/web")).await?;
    world.pods[1].api.kill().await?;
    steer(&one, first, "pause").await?;
    let paused = until(&one, first, "is paused", |e| e.outcome() == "paused").await?;
    assert_eq!((paused.status("node-0001"), paused.message("node-0001")), ("pending", ""));
    let second = one.submit(&body).await?;
    until(&one, second, "its turn", |e| e.message("node-0001").contains("shop/web")).await?;
    world.sim.remove_budget("shop", "web")?;
    assert_eq!(finish(&world, &one, second).await?.outcome(), "completed");
    steer(&one, first, "resume").await?;
    let ended = finish(&world, &one, first).await?;
    assert_eq!(ended.outcome(), "completed", "{:?}", ended.items);
    assert_eq!(ended.item("node-0001")["before"]["unschedulable"], false, "the past outlives it");
    world.pods[1].api.start()?;
    world.stop().await
}

/// A turn that a former holder had counts only once somebody makes use of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_died_with_its_holder_is_not_counted() -> anyhow::Result<()> {
    let mut world = World::new("turns_inherited").pods(0).nodes(2).start().await?;
    let mut options = world.pod_options().await?;
    options.node = Some("node-0001".into());
    let started = Pod::run(&world.database, &options).await?;
    world.pods.push(started);
    world.add_pod().await?;
    let (one, two) = (world.sign_in(0).await?, world.sign_in(1).await?);
    // It has its turn and is not cordoned.
    let hangs = world.sim.add_fault(Fault::patch("node-0001", FaultAction::Hang));
    let body = json!({"action": "drain", "nodes": {"all": true},
        "options": {"max_unavailable": 1, "concurrency": 1}});
    let id = two.submit(&body).await?;
    let turn = "SELECT count(*) FROM node_drains d JOIN progress_items i USING (task_id, ordinal)
        WHERE d.node = 'node-0001' AND i.status = 'running' AND i.before IS NOT NULL";
    world.database.until(turn, &[], 1).await?;
    world.pods[1].api.kill().await?;
    world.sim.remove_fault(hangs);
    // The successor's own node goes last.
    let waits = |e: &Ended| {
        e.status("node-0002") == "succeeded"
            && e.message("node-0001").contains("options.max_unavailable allows 1")
    };
    until(&one, id, "the other node", waits).await?;
    assert!(!is_cordoned(&world, "node-0001"));
    let uncordon = task("uncordon", &["node-0002"], json!({}));
    assert_eq!(run(&world, &uncordon).await?.outcome(), "completed");
    let ended = finish(&world, &one, id).await?;
    assert_eq!(ended.outcome(), "completed", "{:?}", ended.items);
    world.pods[1].api.start()?;
    world.stop().await
}

/// Nothing else could ever begin: it is not kept waiting for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn this_pods_own_node_is_not_waited_for_when_it_is_the_one_that_is_away() -> anyhow::Result<()>
{
    let mut world = World::new("own_away").pods(0).nodes(2).start().await?;
    let mut options = world.pod_options().await?;
    options.node = Some("node-0001".into());
    let started = Pod::run(&world.database, &options).await?;
    world.pods.push(started);
    let api = world.sign_in(0).await?;
    world.sim.change_node("node-0001", patch(json!({"spec": {"unschedulable": true}})))?;
    until_seen(&api, "node-0001", |n| n["status"].to_string().contains("SchedulingDisabled"))
        .await?;
    let body =
        json!({"action": "drain", "nodes": {"all": true}, "options": {"max_unavailable": 1}});
    let id = api.submit(&body).await?;
    let waits = |e: &Ended| {
        e.status("node-0001") == "succeeded"
            && e.message("node-0002").contains("(node-0001), options.max_unavailable allows 1")
    };
    until(&api, id, "its own node", waits).await?;
    let uncordon = task("uncordon", &["node-0001"], json!({}));
    assert_eq!(run(&world, &uncordon).await?.outcome(), "completed");
    let ended = finish(&world, &api, id).await?;
    assert_eq!(ended.outcome(), "completed", "{:?}", ended.items);
    world.stop().await
}
