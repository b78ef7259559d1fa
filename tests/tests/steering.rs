//! What users ask of a task that is under way, through a pod that does not work on it.

use std::time::Duration;

use knm_shared::ids::TaskId;
use knm_shared::status::{ItemStatus, TaskStatus};
use knm_tests::api::{Api, label_task};
use knm_tests::by_hand::{Task, User};
use knm_tests::scenario::{LeaseRow, World};
use knm_tests::ws::Watcher;
use knm_tests::ws::frame::ServerFrame;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);
const NODES: usize = 40;
/// Of its nodes a task does two at a time, and each takes a tenth of a second. Two are under way when it is asked.
const NODES_OF_A_SECOND: usize = 20 + 2;

/// A task that the second pod has begun; a client and a user at the first.
async fn under_way(name: &str) -> anyhow::Result<(World, TaskId, Watcher, Api)> {
    let latency = Duration::from_millis(100);
    let world = World::new(name).pods(2).nodes(NODES).latency(latency).start().await?;
    let mut body = label_task(&world.nodes(0..NODES), "example.com/a", "b");
    body["options"] = json!({"concurrency": 2});
    let task = world.sign_in(1).await?.submit(&body).await?;
    let (mut watcher, user) = (world.watcher(0).await?, world.sign_in(0).await?);
    watcher.subscribe(task).await?;
    world.until_lease(task, SOON, |row| row.done >= 3).await?;
    Ok((world, task, watcher, user))
}

async fn ask(user: &Api, task: TaskId, what: &str) -> anyhow::Result<u16> {
    Ok(user.post(&format!("/api/v1/tasks/{task}/{what}"), &Value::Null).await?.status.as_u16())
}

fn written(world: &World) -> usize {
    world.sim.request_summary().effective_writes.len()
}

async fn paused(
    world: &World,
    task: TaskId,
    watcher: &mut Watcher,
    user: &Api,
) -> anyhow::Result<LeaseRow> {
    anyhow::ensure!(ask(user, task, "pause").await? < 300);
    let stored = written(world);
    let is_paused = |f: &ServerFrame| matches!(f, ServerFrame::Progress(d) if d.progress.status == TaskStatus::Paused);
    watcher.until(SOON, is_paused).await?;
    let row = world.lease(task).await?;
    assert_eq!((row.status.as_str(), row.owner), ("paused", None), "a paused task has no lease");
    assert!(row.done < NODES as i32, "paused too late: the test tests nothing");
    let writes = written(world);
    assert_eq!(writes, usize::try_from(row.done)?, "nodes in flight were ended first");
    assert!(
        writes <= stored + NODES_OF_A_SECOND,
        "{stored} when the request was stored, then {writes}"
    );
    Ok(row)
}

async fn desired(world: &World, task: TaskId) -> anyhow::Result<String> {
    world.database.value("SELECT desired FROM progress_tasks WHERE id = $1", &[&task.0]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_task_is_nobodys_until_it_is_resumed() -> anyhow::Result<()> {
    let (world, task, mut watcher, user) = under_way("paused").await?;
    let before = paused(&world, task, &mut watcher, &user).await?;
    assert_eq!(desired(&world, task).await?, "pause", "holders never clear a request");
    // A task that only a poll can find has been taken up meanwhile. It says nothing of what to do.
    let db = world.database.connect().await?;
    let found = Task::create(&db, &User::sign_in(&db).await?, 1).await?.id();
    world.until_lease(found, SOON, |row| row.status == "failed").await?;
    anyhow::ensure!(ask(&user, task, "resume").await? < 300);
    watcher.until_all_complete(SOON).await?;
    let rows = world.check_final(&watcher, task).await?;
    assert_eq!((rows.status, rows.count(ItemStatus::Succeeded)), (TaskStatus::Completed, NODES));
    let after = world.lease(task).await?;
    assert_eq!(after.token, before.token + 1, "claimed while it was paused");
    let writes: u64 = world.sim.request_summary().effective_writes.values().sum();
    assert_eq!(writes, NODES as u64);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_is_final_also_for_a_paused_task() -> anyhow::Result<()> {
    for pause_first in [false, true] {
        let (world, task, mut watcher, user) = under_way("cancelled").await?;
        if pause_first {
            paused(&world, task, &mut watcher, &user).await?;
        }
        anyhow::ensure!(ask(&user, task, "cancel").await? < 300);
        let stored = written(&world);
        // Whatever is asked for now comes too late.
        for late in ["resume", "pause"] {
            ask(&user, task, late).await?;
            assert_eq!(desired(&world, task).await?, "cancel", "{late}");
        }
        watcher.until_all_complete(SOON).await?;
        let rows = world.check_final(&watcher, task).await?;
        assert_eq!(rows.status, TaskStatus::Cancelled);
        let done = rows.count(ItemStatus::Succeeded);
        assert_eq!(done + rows.count(ItemStatus::Cancelled), NODES);
        assert!(done < NODES, "cancelled too late: the test tests nothing");
        assert_eq!(desired(&world, task).await?, "cancel");
        assert_eq!(written(&world), done);
        assert!(done <= stored + NODES_OF_A_SECOND, "{stored} when it was stored, then {done}");
        world.stop().await?;
    }
    Ok(())
}
