//! What ends a session ends it everywhere and at once.

use std::time::Duration;

use anyhow::Context as _;
use knm_shared::status::{ItemStatus, TaskStatus};
use knm_tests::api::Api;
use knm_tests::scenario::World;
use knm_tests::ws::Watcher;
use knm_tests::ws::frame::ServerFrame;
use serde_json::{Value, json};

use crate::support::{SOON, USER_PASSWORD, closed, delete, id, patch, refused, user};

/// What a revocation may take from one pod to a socket on another.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A socket on a pod that has come to its `hello`.
async fn socket(world: &World, pod: usize, api: &Api) -> anyhow::Result<Watcher> {
    let mut watcher = Watcher::new(world.pods[pod].relay.address(), api.token()?);
    watcher.connect().await?;
    watcher.until(SOON, |frame| matches!(frame, ServerFrame::Hello(_))).await?;
    Ok(watcher)
}

async fn own_session(api: &Api) -> anyhow::Result<String> {
    let list = api.get("/api/v1/auth/sessions").await?.ok()?;
    let sessions = list["sessions"].as_array().context("sessions")?;
    let own = sessions.iter().find(|s| s["current"] == true).context("its own")?;
    Ok(own["id"].as_str().context("an id")?.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_a_revoked_session_loses_its_socket_on_the_other_pod_within_a_second()
-> anyhow::Result<()> {
    let world = World::new("revoke").pods(2).nodes(1).start().await?;
    // One revocation before: the relays have met this api's connection.
    world.sign_in(0).await?.post("/api/v1/auth/logout", &Value::Null).await?.ok()?;
    let (here, other) = (user(&world, "jane", "viewer").await?, world.pods[0].client());
    let there = other.login("jane", USER_PASSWORD).await?;
    let mut revoked = socket(&world, 1, &there).await?;
    let mut stays = socket(&world, 1, &here).await?;
    let path = format!("/api/v1/auth/sessions/{}", own_session(&there).await?);
    delete(&here, &path).await?.ok()?;
    assert_eq!(closed(&mut revoked, AT_ONCE).await?, Some(4401));
    for pod in &world.pods {
        let answer = pod.client().with_token(there.token()?).get("/api/v1/auth/me").await;
        assert_eq!(refused(answer).await?, 401);
    }
    // A message that is answered shows that the other is still open.
    stays.say("no message").await?;
    stays.until(SOON, |frame| matches!(frame, ServerFrame::Error(_))).await?;

    // Another password: the session that set it stays.
    let mut third = socket(&world, 1, &other.login("jane", USER_PASSWORD).await?).await?;
    let change = json!({"current": USER_PASSWORD, "password": "battery staple"});
    here.post("/api/v1/auth/password", &change).await?.ok()?;
    assert_eq!(closed(&mut third, AT_ONCE).await?, Some(4401));
    here.get("/api/v1/auth/me").await?.ok()?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_is_closed_out_is_out_everywhere_and_their_tasks_pause() -> anyhow::Result<()> {
    let world = World::new("closed_out")
        .pods(2)
        .nodes(10)
        .latency(Duration::from_millis(300))
        .start()
        .await?;
    let admin = world.sign_in(0).await?;
    let theirs = user(&world, "jane", "operator").await?;
    let token = theirs.post("/api/v1/auth/tokens", &json!({"name": "bot"})).await?.ok()?;
    let bot = theirs.with_token(token["token"].as_str().context("a secret")?);
    let task = theirs
        .submit(&json!({
            "action": "label", "nodes": {"names": world.nodes(0..10)},
            "params": {"set": {"example.com/a": "b"}}, "options": {"concurrency": 1},
        }))
        .await?;
    let mut watcher = world.watcher(1).await?;
    watcher.subscribe(task).await?;
    watcher
        .until(
            SOON,
            |frame| matches!(frame, ServerFrame::Progress(step) if step.progress.current > 0),
        )
        .await?;
    let mut sockets = [socket(&world, 0, &theirs).await?, socket(&world, 1, &bot).await?];

    let path = format!("/api/v1/users/{}", id(&theirs).await?);
    patch(&admin, &path, &json!({"disabled": true})).await?.ok()?;
    for socket in &mut sockets {
        assert_eq!(closed(socket, SOON).await?, Some(4401));
    }
    for pod in &world.pods {
        for api in [&theirs, &bot] {
            let answer = pod.client().with_token(api.token()?).get("/api/v1/auth/me").await;
            assert_eq!(refused(answer).await?, 401);
        }
    }
    watcher
        .until(SOON, |frame| {
            matches!(frame, ServerFrame::Progress(step) if step.progress.status == TaskStatus::Paused)
        })
        .await?;
    let rows = world.rows(task).await?;
    assert!(rows.count(ItemStatus::Pending) > 0, "{rows:?}");
    // Somebody else decides what becomes of it.
    admin.post(&format!("/api/v1/tasks/{task}/resume"), &Value::Null).await?.ok()?;
    watcher.until_all_complete(SOON).await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_rights_count_at_once_also_for_tokens_and_sockets() -> anyhow::Result<()> {
    let world = World::new("demoted").pods(2).nodes(2).start().await?;
    let admin = world.sign_in(0).await?;
    let theirs = user(&world, "jane", "operator").await?;
    let token = theirs.post("/api/v1/auth/tokens", &json!({"name": "bot"})).await?.ok()?;
    let bot = theirs.with_token(token["token"].as_str().context("a secret")?);
    bot.label(&world.nodes(0..1), "example.com/a", "b").await?;
    let mut socket = socket(&world, 1, &bot).await?;
    let path = format!("/api/v1/users/{}", id(&theirs).await?);
    patch(&admin, &path, &json!({"clusters": {"elsewhere": "operator"}})).await?.ok()?;
    assert_eq!(
        closed(&mut socket, SOON).await?,
        Some(4401),
        "it comes back with what it may do now"
    );
    assert_eq!(refused(theirs.get("/api/v1/auth/me").await).await?, 401);
    for pod in &world.pods {
        let bot = pod.client().with_token(bot.token()?);
        assert_eq!(refused(bot.get("/api/v1/clusters/default/nodes").await).await?, 404);
        assert!(bot.label(&world.nodes(1..2), "example.com/a", "b").await.is_err());
    }
    world.stop().await
}
