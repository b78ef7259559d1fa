//! A holder that was away for longer than its lease and comes back: it changes nothing.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use knm_shared::ids::TaskId;
use knm_shared::status::{ItemStatus, TaskStatus};
use knm_tests::api::label_task;
use knm_tests::kube_sim::{RequestRecord, Verb};
use knm_tests::proxy::{Direction, Fault, Rule, Select};
use knm_tests::scenario::{Change, LeaseRow, World, WorldBuilder};
use knm_tests::ws::Watcher;
use serde_json::json;

const SOON: Duration = Duration::from_secs(60);
/// A lease and 5 s.
const TAKEOVER: Duration = Duration::from_secs(20);
const NODES: usize = 60;
const CONCURRENCY: usize = 4;
const KEY: &str = "example.com/a";
const ZOMBIE: &str = "pod-b";

struct UnderWay {
    world: World,
    task: TaskId,
    watcher: Watcher,
    before: LeaseRow,
}

/// A task that the second pod has begun, and a client at the first.
async fn under_way(builder: WorldBuilder) -> anyhow::Result<UnderWay> {
    let world = builder.pods(2).nodes(NODES).latency(Duration::from_millis(200)).start().await?;
    world.keep_journal().await?;
    let api = world.sign_in(1).await?;
    let mut watcher = world.watcher(0).await?;
    let mut body = label_task(&world.nodes(0..NODES), KEY, "b");
    body["options"] = json!({"concurrency": CONCURRENCY});
    let task = api.submit(&body).await?;
    watcher.subscribe(task).await?;
    let (before, _) = world.until_lease(task, SOON, |row| row.done >= 5).await?;
    Ok(UnderWay { world, task, watcher, before })
}

fn now_micros() -> u64 {
    jiff::Timestamp::now().as_microsecond().unsigned_abs()
}

/// The zombie's calls about single nodes. Its watch and list are no part of any task.
fn calls(world: &World) -> Vec<RequestRecord> {
    let mut calls = world.sim.requests();
    let of_tasks = |r: &RequestRecord| r.user == ZOMBIE && r.resource.is_some();
    calls.retain(|r| of_tasks(r) && matches!(r.verb, Verb::Get | Verb::Patch));
    calls
}

async fn finish(world: &World, task: TaskId, watcher: &mut Watcher) -> anyhow::Result<()> {
    watcher.until_all_complete(SOON).await?;
    let rows = world.check_final(watcher, task).await?;
    assert_eq!(rows.status, TaskStatus::Completed);
    assert_eq!(rows.count(ItemStatus::Succeeded), NODES);
    Ok(())
}

fn assert_written_once(world: &World) {
    let writes = world.sim.request_summary().effective_writes;
    assert_eq!(writes.len(), NODES);
    assert!(writes.values().all(|n| *n == 1), "{writes:?}");
}

/// What the zombie has written to the task since somebody else claimed it.
async fn written_since_the_takeover(world: &World, task: TaskId) -> anyhow::Result<Vec<Change>> {
    let mut changes = world.journal_of(task).await?;
    let takeover = changes.iter().find(|c| c.is_takeover()).context("no takeover")?.id;
    ensure!(changes.iter().any(|c| c.id < takeover && c.by(ZOMBIE)), "the zombie never wrote");
    changes.retain(|c| c.id > takeover && c.by(ZOMBIE));
    Ok(changes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_holder_that_goes_on_after_the_takeover_changes_nothing() -> anyhow::Result<()> {
    let UnderWay { world, task, mut watcher, before } =
        under_way(World::new("sigstop").proxies()).await?;
    let zombie = &world.pods[1].api;
    zombie.process()?.pause()?;
    let stopped_at = now_micros();
    let (taken, _) = world.until_taken_over(task, &before, TAKEOVER).await?;
    // In the midst of its successor's work, which is when a write would do harm.
    world.until_lease(task, SOON, |row| row.done >= taken.done + 3).await?;
    // Nobody can tell it what has happened: it must know from the clock alone.
    world.api_proxies[1].set(Select::All, Fault::BlackHole);
    let mark = zombie.log().mark();
    let woken_at = now_micros();
    zombie.process()?.resume()?;
    zombie.log().wait_for_after(mark, "no claims, no renewals", SOON).await?;
    world.api_proxies[1].heal().await;
    zombie.log().wait_for_after(mark, "the lease was lost", SOON).await?;
    finish(&world, task, &mut watcher).await?;
    let written = written_since_the_takeover(&world, task).await?;
    assert_eq!(written, [], "the zombie changed the database");
    let calls = calls(&world);
    let under_way = calls
        .iter()
        .filter(|c| c.at_micros <= stopped_at && c.at_micros + c.duration_micros > stopped_at);
    let late: Vec<_> = calls.iter().filter(|c| c.at_micros > woken_at).collect();
    assert!(
        under_way.count() + late.len() <= CONCURRENCY,
        "more calls than were past their check: {late:#?}"
    );
    assert!(late.iter().all(|c| c.effect.is_none()), "{late:#?}");
    assert_written_once(&world);
    // It is of use again.
    let next = world.sign_in(1).await?.label(&world.nodes(0..5), "example.com/c", "d").await?;
    world.until_lease(next, SOON, |row| row.status == "completed").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_arrives_after_the_takeover_has_no_effect() -> anyhow::Result<()> {
    let builder = World::new("on_the_wire").kube_proxies();
    let UnderWay { world, task, mut watcher, before } = under_way(builder).await?;
    // What the holder sends from now on is on its way for as long as we like.
    let wire = &world.kube_proxies[1];
    wire.set_rules([Rule::new(Select::All, Direction::ToServer, Fault::BlackHole)]);
    let mark = wire.counts().from_clients;
    let sent = async {
        while wire.counts().from_clients == mark {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, sent).await.context("nothing is on the wire")?;
    // Its sockets stay open: the cluster sees no reason to drop a call.
    world.pods[1].api.process()?.pause()?;
    world.until_taken_over(task, &before, TAKEOVER).await?;
    finish(&world, task, &mut watcher).await?;
    assert_written_once(&world);
    // Somebody has other plans for the nodes by now.
    for node in world.nodes(0..NODES) {
        let patch = json!({"metadata": {"labels": {KEY: "changed-since"}}});
        world.sim.change_node(&node, patch.as_object().context("an object")?.clone())?;
    }
    let healed_at = now_micros();
    wire.heal().await;
    let arrived = async {
        loop {
            let mut late = calls(&world);
            late.retain(|call| call.at_micros > healed_at);
            if !late.is_empty() {
                return late;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let late = tokio::time::timeout(SOON, arrived).await.context("nothing arrives")?;
    assert!(late.len() <= CONCURRENCY, "{late:#?}");
    for call in &late {
        assert_eq!((call.verb, call.status), (Verb::Patch, 409), "{call:#?}");
        assert!(call.effect.is_none(), "{call:#?}");
    }
    for node in world.nodes(0..NODES) {
        let label = &world.sim.node(&node).context("a node")?["metadata"]["labels"][KEY];
        assert_eq!(label, "changed-since", "{node}");
    }
    Ok(())
}
