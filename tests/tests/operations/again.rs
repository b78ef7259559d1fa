//! retry and revert.

use http::Method;
use knm_tests::api::Api;
use knm_tests::kube_sim::Fault;
use knm_tests::scenario::World;
use serde_json::{Value, json};

use crate::support::{Ended, finish, patch, run, task, with_options};

const NODES: [&str; 3] = ["node-0001", "node-0002", "node-0003"];

fn id(ended: &Ended) -> String {
    ended.task["id"].as_str().expect("an id").to_owned()
}

async fn again(world: &World, of: &Ended, what: &str) -> anyhow::Result<Ended> {
    let api = world.sign_in(0).await?;
    let path = format!("/api/v1/tasks/{}/{what}", id(of));
    let answer = api.post(&path, &json!({})).await?;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let child = answer.ok()?;
    assert_eq!(child["parent_id"], of.task["id"]);
    finish(world, &api, child["id"].as_str().expect("an id").parse()?).await
}

async fn refused(api: &Api, of: &Ended, what: &str, why: &str) -> anyhow::Result<()> {
    let path = format!("/api/v1/tasks/{}/{what}", id(of));
    let problem = api.send(Method::POST, &path, &[], "").await?.problem()?;
    assert_eq!(problem.status, 409, "{problem:?}");
    assert!(problem.detail.contains(why), "{problem:?}");
    Ok(())
}

/// Everything of the nodes but what a write leaves on any object.
fn picture(world: &World) -> Vec<Value> {
    let picture = |name: &&str| {
        let mut node = world.sim.node(name).expect("a node");
        let meta = node["metadata"].as_object_mut().expect("metadata");
        meta.remove("managedFields");
        meta.remove("resourceVersion");
        for empty in ["annotations", "labels"] {
            if meta.get(empty).is_some_and(|m| m.as_object().is_some_and(serde_json::Map::is_empty))
            {
                meta.remove(empty);
            }
        }
        node
    };
    NODES.iter().map(picture).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_has_the_nodes_that_failed_or_were_cancelled() -> anyhow::Result<()> {
    let world = World::new("retry").nodes(3).start().await?;
    let api = world.sign_in(0).await?;
    let fault = world.sim.add_fault(Fault::patch_status("node-0002", 403));
    let params = json!({"set": {"example.com/a": "1"}});
    let options = json!({"max_failures": 0, "concurrency": 1, "not_after": "2099-01-01T00:00:00Z"});
    let order = ["node-0001", "node-0002", "node-0003"];
    let first = run(&world, &with_options(task("label", &order, params), options.clone())).await?;
    assert_eq!(first.status("node-0002"), "failed", "{:?}", first.items);
    world.sim.remove_fault(fault);
    let second = again(&world, &first, "retry").await?;
    let names: Vec<_> = second.items.iter().map(|i| i["node"].as_str().expect("a name")).collect();
    let left: Vec<_> = order.into_iter().filter(|n| first.status(n) != "succeeded").collect();
    assert_eq!(names, left);
    assert_eq!(second.outcome(), "completed", "{:?}", second.items);
    assert_eq!(second.task["options"]["not_after"], options["not_after"], "still ahead");
    for node in NODES {
        assert_eq!(
            world.sim.node(node).expect("a node")["metadata"]["labels"]["example.com/a"],
            "1"
        );
    }
    refused(&api, &second, "retry", "nothing to retry").await?;
    let missing = "/api/v1/tasks/01890a5d-ac96-774b-bcce-b302099a8057/retry";
    assert_eq!(api.send(Method::POST, missing, &[], "").await?.problem()?.status, 404);
    world.stop().await
}

/// revert after label, annotate, taint, cordon, uncordon and drain leaves the nodes as before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revert_leaves_the_nodes_as_they_were() -> anyhow::Result<()> {
    let world = World::new("revert").nodes(3).start().await?;
    let had = json!({
        "metadata": {"labels": {"example.com/b": "old"}, "annotations": {"example.com/b": "old"}},
        "spec": {"taints": [{"key": "k", "value": "1", "effect": "NoSchedule"}]},
    });
    world.sim.change_node("node-0001", patch(had))?;
    world.sim.change_node("node-0002", patch(json!({"spec": {"unschedulable": true}})))?;
    let keys =
        json!({"set": {"example.com/a": "1", "example.com/b": "2"}, "remove": ["example.com/c"]});
    let taints = json!({
        "set": [{"key": "k", "value": "2", "effect": "NoSchedule"}, {"key": "l", "effect": "PreferNoSchedule"}],
    });
    for (action, params) in [
        ("label", keys.clone()),
        ("annotate", keys),
        ("taint", taints),
        ("taint", json!({"remove": [{"key": "k"}]})),
        ("cordon", json!({})),
        ("uncordon", json!({})),
        ("drain", json!({})),
    ] {
        let before = picture(&world);
        let ended = run(&world, &task(action, &NODES, params)).await?;
        assert_eq!(ended.outcome(), "completed", "{action}: {:?}", ended.items);
        assert_ne!(picture(&world), before, "{action} changed nothing");
        let reverted = again(&world, &ended, "revert").await?;
        assert_eq!(reverted.outcome(), "completed", "{action}: {:?}", reverted.items);
        assert_eq!(reverted.task["action"], "revert");
        assert_eq!(picture(&world), before, "{action}");
        // A revert can be reverted, too.
        let there = again(&world, &reverted, "revert").await?;
        assert_eq!(there.outcome(), "completed", "{action}: {:?}", there.items);
        let back = again(&world, &there, "revert").await?;
        assert_eq!(back.outcome(), "completed", "{action}: {:?}", back.items);
        assert_eq!(picture(&world), before, "{action}");
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revert_leaves_alone_what_somebody_has_changed_since() -> anyhow::Result<()> {
    let world = World::new("superseded").nodes(3).start().await?;
    let api = world.sign_in(0).await?;
    let params = json!({"set": {"example.com/a": "ours", "example.com/b": "ours"}});
    let ended = run(&world, &task("label", &NODES, params.clone())).await?;
    let theirs = json!({"metadata": {"labels": {"example.com/a": "theirs"}}});
    world.sim.change_node("node-0002", patch(theirs))?;
    let reverted = again(&world, &ended, "revert").await?;
    let status = |node| reverted.status(node).to_owned();
    assert_eq!(NODES.map(status), ["succeeded", "skipped", "succeeded"]);
    let said = reverted.message("node-0002");
    assert!(said.contains("example.com/a is now \"theirs\""), "{said}");
    let labels = &world.sim.node("node-0002").expect("a node")["metadata"]["labels"];
    assert_eq!(
        (&labels["example.com/a"], &labels["example.com/b"]),
        (&json!("theirs"), &json!("ours"))
    );

    // Nothing to revert: nothing was changed, or only a dry run.
    let same = run(&world, &task("uncordon", &NODES, json!({}))).await?;
    refused(&api, &same, "revert", "has changed no node").await?;
    let dry = with_options(task("label", &NODES, params), json!({"dry_run": true}));
    let dry = run(&world, &dry).await?;
    refused(&api, &dry, "revert", "dry run").await?;
    world.stop().await
}

/// While a revert is under way, asking again gives the same one; a task that has not ended is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asking_twice_gives_one_task() -> anyhow::Result<()> {
    let world = World::new("twice").pods(2).nodes(3).start().await?;
    let apis = [world.sign_in(0).await?, world.sign_in(1).await?];
    let params = json!({"set": {"example.com/a": "1"}});
    let ended = run(&world, &task("label", &NODES, params)).await?;
    let slow = world.sim.add_fault(Fault::patch_status("*", 503));
    let path = format!("/api/v1/tasks/{}/revert", id(&ended));
    let none = json!({});
    let asked = (0..6).map(|i| apis[i % 2].post(&path, &none));
    let mut ids = Vec::new();
    for answer in futures_util::future::join_all(asked).await {
        ids.push(answer?.ok()?["id"].as_str().expect("an id").to_owned());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    let child = Ended { task: json!({"id": ids[0]}), items: Vec::new() };
    refused(&apis[0], &child, "retry", "has not ended").await?;
    refused(&apis[0], &child, "revert", "has not ended").await?;
    world.sim.remove_fault(slow);
    let done = finish(&world, &apis[0], ids[0].parse()?).await?;
    assert_eq!(done.outcome(), "completed");
    assert_eq!(world.stored_tasks().await?, 2);
    world.stop().await
}

/// `Idempotency-Key`: a repeat gives the task of the first time, also when that has ended long since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_makes_every_repeat_harmless() -> anyhow::Result<()> {
    let world = World::new("keys").pods(2).nodes(3).start().await?;
    let apis = [world.sign_in(0).await?, world.sign_in(1).await?];
    let send = async |api: usize, path: &str, key: &str, body: &Value| {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        apis[api].send(Method::POST, path, &headers, body.to_string()).await
    };
    let body = task("label", &NODES, json!({"set": {"example.com/a": "1"}}));
    let first = send(0, "/api/v1/tasks", "one", &body).await?.ok()?;
    let id = first["id"].as_str().expect("an id").to_owned();
    finish(&world, &apis[0], id.parse()?).await?;
    assert_eq!(send(1, "/api/v1/tasks", "one", &body).await?.ok()?["id"], first["id"]);
    let other = task("label", &NODES, json!({"set": {"example.com/a": "2"}}));
    assert_eq!(send(1, "/api/v1/tasks", "one", &other).await?.problem()?.status, 409);
    let long = "x".repeat(256);
    for key in ["", "a b", long.as_str(), "\u{e9}"] {
        let problem = send(0, "/api/v1/tasks", key, &body).await?.problem()?;
        assert_eq!(problem.status, 422, "{key:?}");
        assert_eq!(problem.errors[0].field.to_lowercase(), "idempotency-key", "{key:?}");
    }
    let revert = format!("/api/v1/tasks/{id}/revert");
    let back = send(0, &revert, "two", &json!({})).await?.ok()?;
    finish(&world, &apis[0], back["id"].as_str().expect("an id").parse()?).await?;
    assert_eq!(send(1, &revert, "two", &json!({})).await?.ok()?["id"], back["id"]);
    assert_eq!(send(1, &revert, "one", &json!({})).await?.problem()?.status, 409);
    assert_eq!(world.stored_tasks().await?, 2);
    world.stop().await
}

/// A task that has ended is steered no more; only being cancelled twice is the same as once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_has_ended_is_not_steered() -> anyhow::Result<()> {
    let world = World::new("steer_ended").nodes(3).start().await?;
    let api = world.sign_in(0).await?;
    let label = |value: &str| task("label", &NODES, json!({"set": {"example.com/a": value}}));
    let completed = run(&world, &label("1")).await?;
    let fault = world.sim.add_fault(Fault::patch_status("*", 403));
    let failed = run(&world, &label("2")).await?;
    world.sim.remove_fault(fault);
    let fault = world.sim.add_fault(Fault::patch_status("*", 503));
    let cancelled = api.submit(&label("3")).await?;
    crate::support::steer(&api, cancelled, "cancel").await?;
    let cancelled = finish(&world, &api, cancelled).await?;
    world.sim.remove_fault(fault);
    for (ended, outcome) in [(completed, "completed"), (failed, "failed"), (cancelled, "cancelled")]
    {
        assert_eq!(ended.outcome(), outcome);
        for what in ["pause", "resume", "cancel"] {
            let path = format!("/api/v1/tasks/{}/{what}", id(&ended));
            let answer = api.post(&path, &json!({})).await?;
            let expected = if (outcome, what) == ("cancelled", "cancel") { 202 } else { 409 };
            assert_eq!(answer.status, expected, "{outcome} {what}: {}", answer.text());
        }
    }
    world.stop().await
}
