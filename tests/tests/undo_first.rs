//! What a node was like before a task changed it is durable before the change, and whoever takes the
//! task over knows it.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use knm_shared::ids::TaskId;
use knm_shared::status::TaskStatus;
use knm_tests::api::{Api, label_task};
use knm_tests::kube_sim::{Fault as KubeFault, FaultAction, Verb};
use knm_tests::proxy::{Direction, Fault, Rule, Select};
use knm_tests::scenario::{LeaseRow, World};
use knm_tests::ws::Watcher;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);
/// A lease and 5 s.
const TAKEOVER: Duration = Duration::from_secs(20);
const KEY: &str = "example.com/a";
const NODE: &str = "node-0001";

struct Stage {
    world: World,
    api: Api,
    watcher: Watcher,
}

/// Two pods; the label of the node is `old` at first. Tasks are submitted to the second.
async fn stage(name: &str) -> anyhow::Result<Stage> {
    let world = World::new(name).pods(2).nodes(3).proxies().kube_proxies().start().await?;
    relabel(&world, "old")?;
    // Both pods look at a node in memory first, and are to find `old` there.
    for pod in 0..2 {
        let api = world.sign_in(pod).await?;
        let selector = format!("/api/v1/clusters/default/nodes?label_selector={KEY}%3Dold");
        let seen = async {
            while api.get(&selector).await?.ok()?["nodes"].as_array().is_none_or(Vec::is_empty) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(SOON, seen).await.context("the change is not seen")??;
    }
    let (api, watcher) = (world.sign_in(1).await?, world.watcher(0).await?);
    Ok(Stage { world, api, watcher })
}

/// Somebody else changes the label.
fn relabel(world: &World, value: &str) -> anyhow::Result<()> {
    let patch = json!({"metadata": {"labels": {KEY: value}}});
    world.sim.change_node(NODE, patch.as_object().context("an object")?.clone())?;
    Ok(())
}

fn label_now(world: &World) -> Option<String> {
    world.sim.node(NODE)?["metadata"]["labels"][KEY].as_str().map(str::to_owned)
}

/// `before` and `after` as they are stored.
async fn undo(world: &World, task: TaskId) -> anyhow::Result<(Option<Value>, Option<Value>)> {
    let sql = "SELECT before, after FROM progress_items WHERE task_id = $1";
    let row = world.database.connect().await?.query_one(sql, &[&task.0]).await?;
    Ok((row.get(0), row.get(1)))
}

/// How often a pod has changed the node.
fn effective_writes(world: &World) -> usize {
    let changes = |r: &&knm_tests::kube_sim::RequestRecord| {
        r.effect.is_some() && r.name.as_deref() == Some(NODE) && r.user.starts_with("pod-")
    };
    world.sim.requests().iter().filter(changes).count()
}

/// The second pod is killed when its change has been made and nothing of that is stored: its writer
/// is cut off once `before` is durable, the answer to its call never arrives.
async fn killed_between_the_change_and_its_flush(
    stage: &mut Stage,
) -> anyhow::Result<(TaskId, LeaseRow)> {
    let Stage { world, api, watcher } = stage;
    let answers = Rule::new(Select::All, Direction::ToClient, Fault::BlackHole);
    let slow = world.sim.add_fault(KubeFault {
        action: None,
        latency_ms: 2000,
        ..KubeFault::patch(NODE, FaultAction::Hang)
    });
    let task = api.submit(&label_task(&[NODE.into()], KEY, "new")).await?;
    watcher.subscribe(task).await?;
    let recorded = async {
        while undo(world, task).await?.0.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(SOON, recorded).await.context("before is not stored")??;
    world.kube_proxies[1].set_rules([answers]);
    world.api_proxies[1].set(Select::application("knm-api-writer"), Fault::BlackHole);
    ensure!(effective_writes(world) == 0, "the change was too fast: the test tests nothing");
    let changed = async {
        while effective_writes(world) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, changed).await.context("the change is not made")?;
    let row = world.lease(task).await?;
    world.pods[1].api.kill().await?;
    world.sim.remove_fault(slow);
    let (before, after) = undo(world, task).await?;
    assert_eq!((before, after), (Some(json!({KEY: "old"})), None));
    assert_eq!(row.done, 0, "the end was stored: the test tests nothing");
    Ok((task, row))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_successor_still_knows_what_was_there_before() -> anyhow::Result<()> {
    let mut stage = stage("undo").await?;
    let (task, row) = killed_between_the_change_and_its_flush(&mut stage).await?;
    let Stage { world, mut watcher, .. } = stage;
    world.until_taken_over(task, &row, TAKEOVER).await?;
    watcher.until_all_complete(SOON).await?;
    let rows = world.check_final(&watcher, task).await?;
    assert_eq!(rows.status, TaskStatus::Completed);
    let expected = (Some(json!({KEY: "old"})), Some(json!({KEY: "new"})));
    assert_eq!(undo(&world, task).await?, expected);
    assert_eq!(effective_writes(&world), 1, "it was done already");
    // A change that was made is not "unchanged".
    assert_eq!(rows.items[0].message, None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_successor_does_not_take_what_came_in_between_for_the_past() -> anyhow::Result<()> {
    let mut stage = stage("undo_between").await?;
    let (task, row) = killed_between_the_change_and_its_flush(&mut stage).await?;
    let Stage { world, mut watcher, .. } = stage;
    relabel(&world, "somebody-elses")?;
    world.until_taken_over(task, &row, TAKEOVER).await?;
    watcher.until_all_complete(SOON).await?;
    let rows = world.check_final(&watcher, task).await?;
    assert_eq!(rows.status, TaskStatus::Completed);
    assert_eq!(label_now(&world).as_deref(), Some("new"));
    let expected = (Some(json!({KEY: "old"})), Some(json!({KEY: "new"})));
    assert_eq!(undo(&world, task).await?, expected);
    Ok(())
}

/// The second pod's memory is behind, and it hands the node back before it has written to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_recorded_and_never_written_does_not_bind_the_successor() -> anyhow::Result<()> {
    let Stage { mut world, api, mut watcher } = stage("undo_handed_back").await?;
    world.kube_proxies[1].set_rules([Rule::new(
        Select::All,
        Direction::ToClient,
        Fault::BlackHole,
    )]);
    let nodes = [NODE, "node-0002"];
    for node in nodes {
        let patch = json!({"metadata": {"labels": {KEY: "newer"}}});
        world.sim.change_node(node, patch.as_object().context("an object")?.clone())?;
    }
    let mut body = label_task(&nodes.map(String::from), KEY, "new");
    body["options"] = json!({"concurrency": 1});
    let task = api.submit(&body).await?;
    watcher.subscribe(task).await?;
    // One node occupies the only call, which never ends; the other one is prepared meanwhile.
    let sql = "SELECT count(*) FROM progress_items WHERE task_id = $1 AND before IS NOT NULL";
    let prepared = async {
        loop {
            let called = world
                .sim
                .requests()
                .into_iter()
                .find(|r| r.verb == Verb::Patch && r.user.starts_with("pod-"));
            if let Some(called) = called.and_then(|r| r.name)
                && world.database.value::<i64>(sql, &[&task.0]).await? == 2
            {
                return anyhow::Ok(called);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let called = tokio::time::timeout(SOON, prepared).await.context("nothing is prepared")??;
    let idle = nodes.into_iter().find(|n| *n != called).context("one of the two")?;
    world.pods[1].api.stop(rustix::process::Signal::TERM, SOON).await?;
    watcher.until_all_complete(SOON).await?;
    let rows = world.check_final(&watcher, task).await?;
    assert_eq!(rows.status, TaskStatus::Completed);
    let sql = "SELECT before FROM progress_items WHERE task_id = $1 AND node = $2";
    let before: Option<Value> = world.database.value(sql, &[&task.0, &idle]).await?;
    assert_eq!(before, Some(json!({KEY: "newer"})));
    Ok(())
}

/// The second pod's memory is behind, its write is refused for that, and it dies before it hears so.
/// What it has recorded is the past of a change that was never made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_past_whose_write_was_refused_does_not_bind_the_successor() -> anyhow::Result<()> {
    killed_with_a_stale_past("undo_stale", |_| ()).await
}

/// Nor where the node's history cannot tell any more: the node itself shows that nothing was changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_past_does_not_bind_the_successor_either_when_the_history_is_gone()
-> anyhow::Result<()> {
    killed_with_a_stale_past("undo_forgotten", |world| world.sim.compact_history()).await
}

async fn killed_with_a_stale_past(name: &str, then: impl Fn(&World)) -> anyhow::Result<()> {
    let Stage { mut world, api, mut watcher } = stage(name).await?;
    let deaf = Rule::new(Select::All, Direction::ToClient, Fault::BlackHole);
    world.kube_proxies[1].set_rules([deaf]);
    relabel(&world, "newer")?;
    let task = api.submit(&label_task(&[NODE.into()], KEY, "new")).await?;
    watcher.subscribe(task).await?;
    let refused = async {
        let is_refused = |r: &knm_tests::kube_sim::RequestRecord| {
            r.verb == Verb::Patch && r.user.starts_with("pod-") && r.status == 409
        };
        while !world.sim.requests().iter().any(is_refused) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, refused).await.context("no write was refused")?;
    let row = world.lease(task).await?;
    world.pods[1].api.kill().await?;
    then(&world);
    let stale = Some(json!({KEY: "old"}));
    assert_eq!(undo(&world, task).await?.0, stale, "memory was not behind: nothing is tested");
    world.until_taken_over(task, &row, TAKEOVER).await?;
    watcher.until_all_complete(SOON).await?;
    let rows = world.check_final(&watcher, task).await?;
    assert_eq!(rows.status, TaskStatus::Completed);
    let expected = (Some(json!({KEY: "newer"})), Some(json!({KEY: "new"})));
    assert_eq!(undo(&world, task).await?, expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_may_have_been_made_is_not_called_cancelled() -> anyhow::Result<()> {
    let mut stage = stage("undo_cancel").await?;
    let (task, row) = killed_between_the_change_and_its_flush(&mut stage).await?;
    let Stage { world, mut watcher, .. } = stage;
    let api = world.sign_in(0).await?;
    api.post(&format!("/api/v1/tasks/{task}/cancel"), &json!({})).await?.ok()?;
    world.until_lease(task, TAKEOVER, |now| now.token > row.token).await?;
    watcher.until_all_complete(SOON).await?;
    let rows = world.check_final(&watcher, task).await?;
    assert_eq!(rows.status, TaskStatus::Cancelled);
    let item = &rows.items[0];
    let said = item.message.as_deref().unwrap_or_default();
    assert_eq!(item.status, knm_shared::status::ItemStatus::Failed, "{item:?}");
    assert!(said.contains("the change may have been made"), "{said}");
    assert_eq!(undo(&world, task).await?.0, Some(json!({KEY: "old"})));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_to_a_node_whose_past_is_not_durable() -> anyhow::Result<()> {
    let Stage { world, api, mut watcher } = stage("undo_durable").await?;
    let writer = Select::application("knm-api-writer");
    // From here on leases are renewed and nothing else is stored.
    world.api_proxies[1].set(writer, Fault::BlackHole);
    let log = world.pods[1].api.log();
    let mark = log.mark();
    let task = api.submit(&label_task(&[NODE.into()], KEY, "new")).await?;
    watcher.subscribe(task).await?;
    log.wait_for_after(mark, "progress writer reconnects", SOON).await?;
    assert_eq!(effective_writes(&world), 0, "written before its past was durable");
    world.api_proxies[1].heal().await;
    watcher.until_all_complete(SOON).await?;
    let rows = world.check_final(&watcher, task).await?;
    assert_eq!(rows.status, TaskStatus::Completed);
    let expected = (Some(json!({KEY: "old"})), Some(json!({KEY: "new"})));
    assert_eq!(undo(&world, task).await?, expected);
    assert_eq!(effective_writes(&world), 1);
    world.stop().await
}
