//! What happens to a task when the pod that works on it goes away.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use knm_shared::ids::TaskId;
use knm_shared::status::{ItemStatus, TaskStatus};
use knm_tests::api::label_task;
use knm_tests::kube_sim::{Allow, Workload};
use knm_tests::scenario::{Change, World};
use knm_tests::ws::Watcher;
use knm_tests::ws::frame::ServerFrame;
use rustix::process::Signal;
use serde_json::json;
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(60);
/// Design section 9: lease and 5 s after SIGKILL, 2 s after the hand-back.
const LEASE: Duration = Duration::from_secs(15);
const TAKEOVER: Duration = Duration::from_secs(20);
const HAND_BACK: Duration = Duration::from_secs(2);

/// A task that the second pod works on and a watcher at the first, after some nodes are done.
async fn under_way(name: &str) -> anyhow::Result<(World, TaskId, Watcher)> {
    let latency = Duration::from_millis(60);
    let world = World::new(name).pods(2).nodes(100).latency(latency).start().await?;
    let api = world.sign_in(1).await?;
    let mut watcher = world.watcher(0).await?;
    let mut body = label_task(&world.nodes(0..100), "example.com/a", "b");
    body["options"] = json!({"concurrency": 4});
    let task = api.submit(&body).await?;
    watcher.subscribe(task).await?;
    watcher
        .until(SOON, |f| matches!(f, ServerFrame::Progress(d) if d.progress.current >= 10))
        .await?;
    Ok((world, task, watcher))
}

async fn holder(world: &World, task: TaskId) -> anyhow::Result<Option<Uuid>> {
    let sql = "SELECT lease_owner FROM progress_tasks WHERE id = $1";
    world.database.value(sql, &[&task.0]).await
}

/// Waits until `before` holds the task no longer.
async fn given_up(world: &World, task: TaskId, before: Option<Uuid>) -> anyhow::Result<()> {
    let waiting = async {
        while holder(world, task).await? == before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(SOON, waiting).await.context("the task is not handed back")?
}

/// Waits until somebody else than `before` holds the task; says how long that took.
async fn new_holder(
    world: &World,
    task: TaskId,
    before: Option<Uuid>,
    limit: Duration,
) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let changed = async {
        loop {
            let now = holder(world, task).await?;
            if now.is_some() && now != before {
                return anyhow::Ok(start.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(limit, changed)
        .await
        .with_context(|| format!("nobody has taken the task over within {limit:?}"))?
}

async fn finish(world: &World, task: TaskId, mut watcher: Watcher) -> anyhow::Result<()> {
    watcher.until_all_complete(SOON).await?;
    let rows = world.check_final(&watcher, task).await?;
    assert_eq!(rows.status, TaskStatus::Completed);
    assert_eq!(rows.count(ItemStatus::Succeeded), 100);
    // Redone nodes need no second write: each was changed exactly once.
    let writes = world.sim.request_summary().effective_writes;
    assert_eq!(writes.len(), 100);
    assert!(writes.values().all(|n| *n == 1), "{writes:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_the_other_pod_finishes_what_a_killed_one_began() -> anyhow::Result<()> {
    let (mut world, task, watcher) = under_way("sigkill").await?;
    let before = holder(&world, task).await?;
    assert!(before.is_some());
    world.pods[1].api.kill().await?;
    let took = new_holder(&world, task, before, TAKEOVER).await?;
    // A holder that is only slow must not lose its task: nobody takes it before the lease is over.
    assert!(took > LEASE - Duration::from_secs(6), "taken over after {took:?} already");
    finish(&world, task, watcher).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_a_pod_that_is_told_to_stop_hands_its_task_back() -> anyhow::Result<()> {
    let (mut world, task, watcher) = under_way("sigterm").await?;
    let before = holder(&world, task).await?;
    let api = world.pods[1].api.process()?;
    api.signal(Signal::TERM)?;
    given_up(&world, task, before).await?;
    let took = new_holder(&world, task, before, HAND_BACK).await?;
    let status = api.wait(SOON).await?;
    assert!(status.success(), "it ended with {status}, {took:?} after which the task was taken");
    finish(&world, task, watcher).await?;
    let attempt: i32 = world
        .database
        .value("SELECT attempt FROM progress_tasks WHERE id = $1", &[&task.0])
        .await?;
    assert_eq!(attempt, 0, "a hand-back is no failed attempt, and nodes have been finished since");
    world.pods[1].relay.stop(Signal::TERM, SOON).await?;
    world.pods[0].stop().await
}

/// Its node may wait for its budget longer than any process may take to stop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_that_waits_goes_back_and_is_finished_by_the_other_pod() -> anyhow::Result<()> {
    let mut world = World::new("waiting_drain").pods(2).nodes(3).start().await?;
    let node = world.nodes(0..1).remove(0);
    world.sim.place(Workload::replica_set("shop", "web", 1), &[node.as_str()])?;
    world.sim.add_budget("shop", "web", &[("app", "web")], Allow::max_unavailable(0))?;
    let api = world.sign_in(1).await?;
    let drain = json!({"action": "drain", "nodes": {"names": [node]}, "params": {}});
    let task = api.submit(&drain).await?;
    let mut watcher = world.watcher(0).await?;
    watcher.subscribe(task).await?;
    let item = "SELECT concat_ws(' ', status, message) FROM progress_items WHERE task_id = $1";
    let waits = async {
        while !world.database.value::<String>(item, &[&task.0]).await?.contains("budget") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(SOON, waits).await.context("it does not wait")??;
    let before = holder(&world, task).await?;
    world.keep_journal().await?;
    world.pods[1].api.stop(Signal::TERM, SOON).await?;
    new_holder(&world, task, before, HAND_BACK).await?;
    let changes = world.journal_of(task).await?;
    let back = changes.iter().find(|c| c.ordinal.is_some()).context("nothing was noted")?;
    assert!(back.by("pod-b") && back.status == "pending", "{changes:#?}");
    assert!(!changes.iter().any(Change::is_takeover), "its lease was waited for: {changes:#?}");
    world.sim.remove_budget("shop", "web")?;
    watcher.until_all_complete(SOON).await?;
    let rows = world.check_final(&watcher, task).await?;
    assert_eq!((rows.status, rows.count(ItemStatus::Succeeded)), (TaskStatus::Completed, 1));
    world.pods[1].relay.stop(Signal::TERM, SOON).await?;
    world.pods[0].stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_stops_says_goodbye_and_the_client_goes_on_elsewhere() -> anyhow::Result<()> {
    let (mut world, task, mut watcher) = under_way("goodbye").await?;
    world.pods[0].relay.process()?.signal(Signal::TERM)?;
    let goodbye = watcher.until(SOON, |f| matches!(f, ServerFrame::Goodbye(_))).await?;
    let ServerFrame::Goodbye(goodbye) = goodbye else { unreachable!("it was awaited") };
    assert!(goodbye.reconnect_after_ms < 60_000, "{goodbye:?}");
    let closed = tokio::time::timeout(SOON, watcher.next()).await??;
    let knm_tests::ws::Event::Closed(Some((1012, _))) = closed else {
        anyhow::bail!("closed with 1012, not {closed:?}");
    };
    let status = world.pods[0].relay.process()?.wait(SOON).await?;
    assert!(status.success(), "the relay ended with {status}");
    watcher.move_to(world.pods[1].relay.address());
    watcher.until_all_complete(SOON).await?;
    world.check_final(&watcher, task).await?;
    world.pods[0].relay.start()?;
    world.pods[0].relay.probe("/readyz", SOON).await?;
    world.stop().await
}
