//! Holders that come and go: a task that kills them, and replicas that are restarted one after the
//! other.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use knm_shared::ids::TaskId;
use knm_shared::status::{ItemStatus, TaskStatus};
use knm_tests::api::{Api, label_task};
use knm_tests::kube_sim::{Fault, FaultAction};
use knm_tests::scenario::{Change, World};
use rustix::process::Signal;
use serde_json::json;

const SOON: Duration = Duration::from_secs(60);
/// A lease and 5 s.
const TAKEOVER: Duration = Duration::from_secs(20);
/// Design section 9.
const HAND_BACK: Duration = Duration::from_secs(2);
const GRACE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_kills_five_holders_in_a_row_fails_and_says_so() -> anyhow::Result<()> {
    let mut world = World::new("killer").pods(2).nodes(2).start().await?;
    world.sim.add_fault(Fault::patch("*", FaultAction::Hang));
    let api = world.sign_in(1).await?;
    // The relays stay.
    let mut watcher = world.watcher(0).await?;
    let task = api.label(&world.nodes(0..2), "example.com/a", "b").await?;
    watcher.subscribe(task).await?;
    let mut held = world.until_lease(task, SOON, |row| row.status == "running").await?.0;
    for (turn, victim) in [1, 0, 1, 0, 1].into_iter().enumerate() {
        assert_eq!(held.attempt, i32::try_from(turn)? + 1);
        // Killed once it has sent its calls.
        let calls = 2 * (turn as u64 + 1);
        let sent = async {
            while world.sim.request_summary().patches.values().sum::<u64>() < calls {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(SOON, sent).await.context("no calls")?;
        world.pods[victim].api.kill().await?;
        if turn < 4 {
            held = world.until_taken_over(task, &held, TAKEOVER).await?.0;
            world.pods[victim].api.start()?;
            world.pods[victim].api.probe("/readyz", SOON).await?;
        }
    }
    watcher.until_all_complete(SOON).await?;
    let rows = world.check_final(&watcher, task).await?;
    assert_eq!(rows.status, TaskStatus::Failed);
    let said = rows.error.as_deref().unwrap_or_default();
    assert!(said.contains("given up: 5 processes in a row died"), "{said}");
    for item in &rows.items {
        let said = item.message.as_deref().unwrap_or_default();
        assert_eq!(item.status, ItemStatus::Failed);
        assert!(said.contains("5 processes") && said.contains("may have been made"), "{said}");
    }
    // Nobody else is dragged along.
    world.sim.clear_faults();
    let next = world.sign_in(0).await?.label(&world.nodes(0..2), "example.com/c", "d").await?;
    let (row, _) = world.until_lease(next, SOON, |row| row.owner.is_none()).await?;
    assert_eq!(row.status, "completed");
    Ok(())
}

/// Submits at whichever pod takes it, as a client behind a Service does.
async fn submit(apis: &[Api], nodes: &[String], n: usize) -> anyhow::Result<TaskId> {
    let mut body = label_task(nodes, &format!("example.com/task-{n}"), "b");
    body["options"] = json!({"concurrency": 2});
    let body = body.to_string();
    let key = format!("rolling-{n}");
    let headers = [("content-type", "application/json"), ("idempotency-key", key.as_str())];
    let submitted = async {
        for turn in n.. {
            let api = &apis[turn % apis.len()];
            let answer = api.send(http::Method::POST, "/api/v1/tasks", &headers, body.clone());
            // One that is stopping or starting refuses connections, or has no answer.
            if let Ok(answer) = answer.await
                && !answer.status.is_server_error()
            {
                let id = answer.ok()?["id"].as_str().context("an id")?.parse();
                return Ok(id?);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        unreachable!("the loop has no end")
    };
    tokio::time::timeout(SOON, submitted).await.context("nobody takes the task")?
}

/// From each hand-back to the next claim of the same task.
fn gaps(changes: &[Change]) -> Vec<Duration> {
    let mut free: HashMap<TaskId, i64> = HashMap::new();
    let mut gaps = Vec::new();
    for change in changes {
        let ended = ["completed", "failed", "cancelled"].contains(&change.status.as_str());
        if change.releases() && !ended {
            free.insert(change.task, change.at_micros);
        } else if change.is_claim()
            && let Some(since) = free.remove(&change.task)
        {
            gaps.push(Duration::from_micros((change.at_micros - since).unsigned_abs()));
        }
    }
    gaps
}

/// Twice through both pods, so that tasks are handed to a pod that is about to stop itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_a_rolling_restart_under_load_waits_for_no_lease() -> anyhow::Result<()> {
    const PER_TASK: usize = 30;
    let latency = Duration::from_millis(100);
    let mut world = World::new("rolling").pods(2).nodes(400).latency(latency).start().await?;
    let names = world.nodes(0..400);
    let apis = [world.sign_in(0).await?, world.sign_in(1).await?];
    let mut watcher = world.watcher(0).await?;
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let load = tokio::spawn(async move {
        let mut tasks = Vec::new();
        while !*stopped.borrow_and_update() {
            let n = tasks.len();
            let first = n * PER_TASK % (names.len() - PER_TASK);
            tasks.push(submit(&apis, &names[first..first + PER_TASK], n).await?);
            let pause = tokio::time::sleep(Duration::from_millis(150));
            tokio::select! { () = pause => {}, _ = stopped.changed() => {} }
        }
        anyhow::Ok(tasks)
    });
    world.keep_journal().await?;
    for pod in [0, 1, 0, 1] {
        let busy = "SELECT count(*) FROM progress_tasks WHERE status = 'running'";
        let loaded = async {
            while world.database.value::<i64>(busy, &[]).await? < 6 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(SOON, loaded).await.context("no load")??;
        let api = &mut world.pods[pod].api;
        let status = api.stop(Signal::TERM, GRACE).await?.context("it did not run")?;
        ensure!(status.success(), "pod {pod} ended with {status}");
        api.start()?;
        api.probe("/readyz", SOON).await?;
    }
    stop.send_replace(true);
    let tasks = load.await??;
    for task in &tasks {
        watcher.subscribe(*task).await?;
    }
    watcher.until_all_complete(SOON * 2).await?;
    for task in &tasks {
        let rows = world.check_final(&watcher, *task).await?;
        assert_eq!(rows.status, TaskStatus::Completed, "task {task}");
        assert_eq!(rows.count(ItemStatus::Succeeded), PER_TASK, "task {task}");
    }
    assert_eq!(world.stored_tasks().await?, i64::try_from(tasks.len())?, "none is there twice");
    let summary = world.sim.request_summary();
    let writes: u64 = summary.effective_writes.values().sum();
    assert_eq!(writes, (tasks.len() * PER_TASK) as u64, "every node of every task once");
    let changes = world.journal().await?;
    let waited: Vec<_> = changes.iter().filter(|c| c.is_takeover()).collect();
    assert!(waited.is_empty(), "a lease was waited for: {waited:#?}");
    let gaps = gaps(&changes);
    ensure!(gaps.len() >= 8, "{} hand-backs: the test tests nothing", gaps.len());
    let longest = gaps.iter().max();
    assert!(longest <= Some(&HAND_BACK), "claimed {longest:?} after its hand-back");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_hangs_holds_up_no_hand_back_for_longer_than_its_timeout() -> anyhow::Result<()>
{
    let config = json!({"executor": {"request_timeout": 3, "retry_timeout": 60}});
    let world = World::new("hang").pods(2).nodes(5).config(config).start().await?;
    world.sim.add_fault(Fault::patch("node-0001", FaultAction::Hang));
    let api = world.sign_in(1).await?;
    let mut watcher = world.watcher(0).await?;
    let task = api.label(&world.nodes(0..5), "example.com/a", "b").await?;
    watcher.subscribe(task).await?;
    let (before, _) = world.until_lease(task, SOON, |row| row.done == 4).await?;
    let process = world.pods[1].api.process()?;
    process.signal(Signal::TERM)?;
    let limit = Duration::from_secs(3) + HAND_BACK;
    let (after, _) = world.until_taken_over(task, &before, limit).await?;
    assert_eq!(after.attempt, 1, "a hand-back is no failed attempt");
    ensure!(process.wait(SOON).await?.success());
    world.sim.clear_faults();
    watcher.until_all_complete(SOON).await?;
    let rows = world.check_final(&watcher, task).await?;
    assert_eq!(rows.status, TaskStatus::Completed);
    Ok(())
}
