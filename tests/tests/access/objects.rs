//! API1: other people's things, and those of clusters that one may not read.

use anyhow::Context as _;
use knm_tests::api::Api;
use knm_tests::scenario::World;
use knm_tests::ws::Watcher;
use knm_tests::ws::frame::ServerFrame;
use serde_json::{Value, json};

use crate::support::{SOON, delete, refused, user, user_on};

const ACTIONS: [&str; 5] = ["cancel", "pause", "resume", "retry", "revert"];

async fn steer(api: &Api, task: &str, action: &str) -> anyhow::Result<u16> {
    let answer = api.post(&format!("/api/v1/tasks/{task}/{action}"), &Value::Null).await?;
    Ok(answer.status.as_u16())
}

/// An id in the path changes nothing about whose a thing is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anothers_tasks_tokens_and_sessions() -> anyhow::Result<()> {
    let world = World::new("objects").nodes(3).start().await?;
    let (jane, john) =
        (user(&world, "jane", "operator").await?, user(&world, "john", "operator").await?);
    let viewer = user(&world, "vera", "viewer").await?;
    let task = jane.label(&world.nodes(0..3), "example.com/a", "b").await?.to_string();
    let path = format!("/api/v1/tasks/{task}");

    // Whoever may read the cluster reads its tasks; only their own do operators steer.
    for api in [&john, &viewer] {
        assert_eq!(api.get(&path).await?.ok()?["id"], task.as_str());
    }
    for action in ["cancel", "pause", "resume"] {
        assert_eq!(steer(&john, &task, action).await?, 403, "{action}");
    }
    for action in ACTIONS {
        assert_eq!(steer(&viewer, &task, action).await?, 403, "{action}");
    }
    let rows = "SELECT desired FROM progress_tasks";
    assert_eq!(world.database.value::<String>(rows, &[]).await?, "run");

    let token = jane.post("/api/v1/auth/tokens", &json!({"name": "bot"})).await?.ok()?;
    let token = token["id"].as_str().context("an id")?;
    let sessions = jane.get("/api/v1/auth/sessions").await?.ok()?;
    let session = sessions["sessions"][0]["id"].as_str().context("an id")?;
    let admin = world.sign_in(0).await?;
    for api in [&john, &viewer, &admin] {
        for path in [
            format!("/api/v1/auth/tokens/{token}"),
            format!("/api/v1/auth/sessions/{session}"),
            format!("/api/v1/auth/sessions/{token}"),
        ] {
            assert_eq!(refused(delete(api, &path).await).await?, 404, "{path}");
        }
    }
    jane.get("/api/v1/auth/me").await?.ok()?;
    world.stop().await
}

/// Neither by REST nor over the relay is there anything of a cluster that one is not bound to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_one_may_not_read() -> anyhow::Result<()> {
    let world = World::new("other_cluster").pods(2).nodes(3).start().await?;
    let admin = world.sign_in(0).await?;
    let task = admin.label(&world.nodes(0..3), "example.com/a", "b").await?;
    let mut theirs = world.watcher(0).await?;
    theirs.subscribe(task).await?;
    theirs.until_all_complete(SOON).await?;

    let inside = user_on(&world, "inside", "viewer", &json!({"default": "viewer"})).await?;
    let outside = user_on(&world, "outside", "operator", &json!({"elsewhere": "admin"})).await?;
    for path in [
        "/api/v1/clusters/default/nodes".to_owned(),
        "/api/v1/clusters/default/nodes/events".to_owned(),
        "/api/v1/clusters/default/nodes/node-0001".to_owned(),
        format!("/api/v1/tasks/{task}"),
        format!("/api/v1/tasks/{task}/items"),
    ] {
        assert_eq!(refused(outside.get(&path).await).await?, 404, "{path}");
    }
    for action in ACTIONS {
        assert_eq!(steer(&outside, &task.to_string(), action).await?, 404, "{action}");
    }
    let list = outside.get("/api/v1/tasks").await?.ok()?;
    assert_eq!(list["tasks"], json!([]));
    let preview = json!({"action": "cordon", "nodes": {"all": true}});
    assert_eq!(refused(outside.post("/api/v1/tasks/preview", &preview).await).await?, 422);

    for (pod, relay) in world.pods.iter().enumerate() {
        let mut watcher = Watcher::new(relay.relay.address(), outside.token()?);
        watcher.subscribe(task).await?;
        let error = watcher
            .until(SOON, |frame| {
                assert!(!matches!(frame, ServerFrame::Snapshot(_)), "it is told the task");
                matches!(frame, ServerFrame::Error(_))
            })
            .await?;
        let ServerFrame::Error(error) = error else { unreachable!("it was awaited") };
        assert_eq!(error.code, "forbidden", "pod {pod}: {error:?}");
        let mut watcher = Watcher::new(relay.relay.address(), inside.token()?);
        watcher.subscribe(task).await?;
        watcher.until_all_complete(SOON).await?;
    }
    let told = "SELECT count(*) FROM audit_log
                WHERE action = 'progress.follow' AND result = 'refused' AND status = 403
                  AND username = 'outside' AND cluster = 'default' AND target = $1
                  AND address = '127.0.0.1' AND session_id IS NOT NULL";
    world.database.until(told, &[&task.to_string()], 2).await?;
    world.stop().await
}
