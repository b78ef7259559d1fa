//! Freezes: nothing goes on while one is there, and everything by itself once it is lifted.

use std::time::Duration;

use http::Method;
use knm_shared::ids::TaskId;
use knm_tests::api::{Answer, Api, label_task};
use knm_tests::scenario::World;
use serde_json::{Value, json};

use crate::support::{SOON, finish, look, steer, until};

const NODES: usize = 40;

async fn put(api: &Api, cluster: &str, body: Value) -> anyhow::Result<Answer> {
    let headers = [("content-type", "application/json")];
    let path = format!("/api/v1/freezes/{cluster}");
    api.send(Method::PUT, &path, &headers, body.to_string()).await
}

async fn thaw(api: &Api, cluster: &str) -> anyhow::Result<u16> {
    let path = format!("/api/v1/freezes/{cluster}");
    Ok(api.send(Method::DELETE, &path, &[], String::new()).await?.status.as_u16())
}

/// A slow task that the second pod has begun.
async fn under_way(world: &World) -> anyhow::Result<TaskId> {
    let mut body = label_task(&world.nodes(0..NODES), "example.com/a", "b");
    body["options"] = json!({"concurrency": 2});
    let task = world.sign_in(1).await?.submit(&body).await?;
    world.until_lease(task, SOON, |row| row.done >= 3).await?;
    Ok(task)
}

async fn world(name: &str) -> anyhow::Result<World> {
    World::new(name).pods(2).nodes(NODES).latency(Duration::from_millis(100)).start().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_freeze_pauses_what_runs_and_holds_what_comes() -> anyhow::Result<()> {
    let world = world("freeze").await?;
    let api = world.sign_in(0).await?;
    let running = under_way(&world).await?;
    let frozen = put(&api, "default", json!({"reason": "etcd is being restored"})).await?.ok()?;
    assert_eq!((&frozen["cluster"], &frozen["username"]), (&json!("default"), &json!("admin")));
    let (row, _) = world.until_lease(running, SOON, |row| row.owner.is_none()).await?;
    assert_eq!(row.status, "paused");
    assert!(row.done < 40, "frozen too late: the test tests nothing");
    let written = world.sim.request_summary().effective_writes.len();

    // Submitted to either pod, it waits; polls do not claim it.
    let nodes = world.nodes(0..2);
    let mut waiting = Vec::new();
    for pod in 0..2 {
        let api = world.sign_in(pod).await?;
        waiting.push(api.label(&nodes, &format!("example.com/later-{pod}"), "c").await?);
    }
    // It can be cancelled: nothing is written for that.
    steer(&api, waiting[1], "cancel").await?;
    let cancelled = finish(&world, &api, waiting[1]).await?;
    assert_eq!((cancelled.outcome(), cancelled.count("cancelled")), ("cancelled", 2));
    let held = look(&api, waiting[0]).await?;
    assert_eq!((held.outcome(), &held.task["attempt"]), ("queued", &json!(0)));

    // Everyone sees why, also through the other pod.
    let other = world.sign_in(1).await?;
    for path in ["/api/v1/clusters/default", "/api/v1/freezes"] {
        let shown = other.get(path).await?.ok()?;
        assert_eq!(shown["freezes"][0]["reason"], "etcd is being restored", "{path}");
    }
    assert_eq!(world.sim.request_summary().effective_writes.len(), written);

    assert_eq!(thaw(&other, "default").await?, 204);
    for task in [running, waiting[0]] {
        assert_eq!(finish(&world, &api, task).await?.outcome(), "completed");
    }
    assert_eq!(thaw(&other, "default").await?, 404);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_paused_by_hand_stays_so_when_a_freeze_of_everything_is_lifted()
-> anyhow::Result<()> {
    let world = world("freeze_all").await?;
    let api = world.sign_in(0).await?;
    let by_hand = under_way(&world).await?;
    steer(&api, by_hand, "pause").await?;
    world.until_lease(by_hand, SOON, |row| row.owner.is_none()).await?;
    put(&api, "*", json!({"reason": "change stop"})).await?.ok()?;
    put(&api, "default", json!({"reason": "and this one, too"})).await?.ok()?;
    // Resumed while it is frozen, it does not go on.
    let other = api.label(&world.nodes(0..2), "example.com/x", "y").await?;
    steer(&api, other, "pause").await?;
    steer(&api, other, "resume").await?;
    assert_eq!(thaw(&api, "*").await?, 204);
    // The other freeze still holds.
    steer(&api, other, "resume").await?;
    assert_eq!(look(&api, other).await?.task["attempt"], 0);
    assert_eq!(thaw(&api, "default").await?, 204);
    assert_eq!(finish(&world, &api, other).await?.outcome(), "completed");
    assert_eq!(look(&api, by_hand).await?.outcome(), "paused");
    steer(&api, by_hand, "resume").await?;
    until(&api, by_hand, "goes on", |t| t.outcome() == "completed").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_freezes_change_nothing() -> anyhow::Result<()> {
    let world = World::new("freeze_bad").nodes(1).start().await?;
    let api = world.sign_in(0).await?;
    for (cluster, body, status, field) in [
        ("default", json!({"reason": " "}), 422, "reason"),
        ("default", json!({"reason": "x".repeat(1025)}), 422, "reason"),
        ("default", json!({"reason": "a\0b"}), 422, "reason"),
        ("default", json!({}), 422, "reason"),
        ("default", json!({"reason": "why", "more": 1}), 422, "more"),
        ("nowhere", json!({"reason": "why"}), 404, ""),
    ] {
        let problem = put(&api, cluster, body.clone()).await?.problem()?;
        assert_eq!(problem.status, status, "{body}");
        let named = problem.errors.first().map_or("", |e| e.field.as_str());
        assert!(named.contains(field), "{body}: {problem:?}");
    }
    let none = Api::new(api.base());
    assert_eq!(put(&none, "default", json!({"reason": "why"})).await?.status, 401);
    let freezes = api.get("/api/v1/freezes").await?.ok()?;
    assert_eq!(freezes, json!({"freezes": []}));
    world.stop().await
}
