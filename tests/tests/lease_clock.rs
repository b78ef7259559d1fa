//! The database's clock is stepped by an hour while tasks are held: whoever lives keeps its tasks,
//! and what the dead have left is taken over all the same.

use std::time::Duration;

use knm_shared::ids::TaskId;
use knm_shared::status::{ItemStatus, TaskStatus};
use knm_tests::api::label_task;
use knm_tests::kube_sim::{Fault, Verb};
use knm_tests::postgres::FakeClock;
use knm_tests::scenario::{LeaseRow, World};
use knm_tests::ws::Watcher;
use serde_json::json;

const SOON: Duration = Duration::from_secs(60);
const HOUR: i64 = 3600;
/// A lease and 5 s.
const TAKEOVER: Duration = Duration::from_secs(20);
/// Before this has passed since the last renewal nobody may take a task, whatever the clock says:
/// the lease less the time between two renewals.
const NOT_BEFORE: Duration = Duration::from_secs(9);

/// A task that the second pod has begun; one node at a time takes `latency`.
async fn under_way(
    name: &str,
    nodes: usize,
    latency: Duration,
) -> anyhow::Result<(World, FakeClock, TaskId, Watcher, LeaseRow)> {
    let clock = FakeClock::new()?;
    let world = World::new(name).pods(2).nodes(nodes).own_cluster(clock.options()).start().await?;
    let slow = Fault { verbs: vec![Verb::Patch], ..Fault::latency(latency) };
    world.sim.add_fault(slow);
    let api = world.sign_in(1).await?;
    let mut watcher = world.watcher(0).await?;
    let mut body = label_task(&world.nodes(0..nodes), "example.com/a", "b");
    body["options"] = json!({"concurrency": 1});
    let task = api.submit(&body).await?;
    watcher.subscribe(task).await?;
    let (row, _) = world.until_lease(task, SOON, |row| row.done > 0).await?;
    Ok((world, clock, task, watcher, row))
}

async fn step(world: &World, clock: &FakeClock, seconds: i64) -> anyhow::Result<()> {
    clock.set(seconds)?;
    // Seen through the server, or the test would test nothing.
    let off: f64 = world
        .database
        .value(
            "SELECT extract(epoch FROM clock_timestamp())::float8 - $1",
            &[&jiff::Timestamp::now().as_duration().as_secs_f64()],
        )
        .await?;
    anyhow::ensure!((off - seconds as f64).abs() < 60.0, "the server's clock is {off} s ahead");
    Ok(())
}

async fn finish(world: &World, task: TaskId, mut watcher: Watcher) -> anyhow::Result<()> {
    watcher.until_all_complete(SOON * 2).await?;
    let rows = world.check_final(&watcher, task).await?;
    assert_eq!(rows.status, TaskStatus::Completed);
    assert_eq!(rows.count(ItemStatus::Succeeded), rows.items.len());
    let writes = world.sim.request_summary().effective_writes;
    assert_eq!(writes.len(), rows.items.len());
    assert!(writes.values().all(|n| *n == 1), "{writes:?}");
    Ok(())
}

/// The task goes on for more than a lease after the step, so that whoever wanted to could take it; and
/// seconds pass between two renewals, in which the lease is an hour old or an hour ahead.
async fn a_living_holder_keeps_its_task(name: &str, seconds: i64) -> anyhow::Result<()> {
    let latency = Duration::from_secs(5);
    let (world, clock, task, watcher, before) = under_way(name, 5, latency).await?;
    step(&world, &clock, seconds).await?;
    finish(&world, task, watcher).await?;
    let after = world.lease(task).await?;
    assert_eq!(after.token, before.token, "claimed again while its holder lived");
    world.stop().await
}

async fn a_dead_holders_task_is_taken_over(name: &str, seconds: i64) -> anyhow::Result<()> {
    let latency = Duration::from_millis(100);
    let (mut world, clock, task, watcher, before) = under_way(name, 30, latency).await?;
    world.pods[1].api.kill().await?;
    step(&world, &clock, seconds).await?;
    let (_, took) = world.until_taken_over(task, &before, TAKEOVER).await?;
    assert!(took > NOT_BEFORE, "taken over after {took:?} already");
    finish(&world, task, watcher).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_stepped_forward_takes_no_task_from_a_living_holder() -> anyhow::Result<()> {
    a_living_holder_keeps_its_task("ahead_alive", HOUR).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_stepped_back_takes_no_task_from_a_living_holder() -> anyhow::Result<()> {
    a_living_holder_keeps_its_task("back_alive", -HOUR).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_stepped_forward_hastens_no_takeover() -> anyhow::Result<()> {
    a_dead_holders_task_is_taken_over("ahead_dead", HOUR).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_stepped_back_keeps_no_dead_holders_task() -> anyhow::Result<()> {
    a_dead_holders_task_is_taken_over("back_dead", -HOUR).await
}
