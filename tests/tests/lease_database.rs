//! Leases while the way to the database is disturbed: answers that do not come, connections that are
//! dead without saying so, statements that arrive late, a database that is away.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use knm_shared::ids::TaskId;
use knm_shared::status::{ItemStatus, TaskStatus};
use knm_tests::api::label_task;
use knm_tests::kube_sim::{
    Allow, Fault as KubeFault, FaultAction, RequestRecord, SimPod, Verb, When,
};
use knm_tests::proxy::{Direction, Fault, Proxy, Rule, Select, Swallow};
use knm_tests::scenario::{Change, LeaseRow, World, WorldBuilder};
use knm_tests::ws::Watcher;
use serde_json::json;

const SOON: Duration = Duration::from_secs(60);
/// A lease and 5 s.
const TAKEOVER: Duration = Duration::from_secs(20);
/// A lease less the margin that its holder keeps.
const CALLS_END: Duration = Duration::from_secs(13);
/// Between two tries of a node.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const HOLDER: &str = "pod-b";

struct UnderWay {
    world: World,
    task: TaskId,
    watcher: Watcher,
    before: LeaseRow,
}

/// Two pods with a proxy in front of every database connection.
fn pods(name: &str, nodes: usize) -> WorldBuilder {
    World::new(name).pods(2).nodes(nodes).proxies().latency(Duration::from_millis(100))
}

/// A task on all nodes that the second pod has begun, a client at the first.
async fn begin(world: World) -> anyhow::Result<UnderWay> {
    world.keep_journal().await?;
    let api = world.sign_in(1).await?;
    let mut watcher = world.watcher(0).await?;
    let mut body = label_task(&world.sim.node_names(), "example.com/a", "b");
    body["options"] = json!({"concurrency": 4});
    let task = api.submit(&body).await?;
    watcher.subscribe(task).await?;
    let (before, _) = world.until_lease(task, SOON, |row| row.done >= 5).await?;
    Ok(UnderWay { world, task, watcher, before })
}

async fn finish(world: &World, task: TaskId, watcher: &mut Watcher) -> anyhow::Result<()> {
    watcher.until_all_complete(SOON * 2).await?;
    let rows = world.check_final(watcher, task).await?;
    let failed = rows.items.iter().find(|item| item.status != ItemStatus::Succeeded);
    assert_eq!((rows.status, failed), (TaskStatus::Completed, None));
    let writes = world.sim.request_summary().effective_writes;
    assert_eq!(writes.len(), rows.items.len());
    assert!(writes.values().all(|n| *n == 1), "{writes:?}");
    Ok(())
}

fn now_micros() -> u64 {
    jiff::Timestamp::now().as_microsecond().unsigned_abs()
}

/// Calls about single nodes that came in after `at_micros`.
fn calls_since(world: &World, at_micros: u64) -> Vec<RequestRecord> {
    let mut calls = world.sim.requests();
    let of_tasks =
        |r: &RequestRecord| r.resource.is_some() && matches!(r.verb, Verb::Get | Verb::Patch);
    calls.retain(|r| of_tasks(r) && r.at_micros > at_micros);
    calls
}

/// Waits until some items are in a state.
async fn until_items(world: &World, task: TaskId, n: i64, state: &str) -> anyhow::Result<()> {
    let sql = format!("SELECT count(*) FROM progress_items WHERE task_id = $1 AND {state}");
    let counted = async {
        while world.database.value::<i64>(&sql, &[&task.0]).await? < n {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(SOON, counted).await.with_context(|| format!("{n} items: {state}"))?
}

async fn until_running(world: &World, task: TaskId) -> anyhow::Result<()> {
    until_items(world, task, 1, "status = 'running'").await
}

/// Waits until bytes from a client are held back.
async fn until_held(proxy: &Proxy) -> anyhow::Result<()> {
    let held = async {
        while proxy.counts().from_clients == proxy.counts().to_server {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, held).await.context("nothing is held back")
}

/// The holder's writes after the takeover.
async fn written_too_late(world: &World, task: TaskId) -> anyhow::Result<(u64, Vec<Change>)> {
    let mut changes = world.journal_of(task).await?;
    let takeover = changes.iter().find(|c| c.is_takeover()).context("no takeover")?.clone();
    ensure!(changes.iter().any(|c| c.by(HOLDER)), "the holder never wrote");
    changes.retain(|c| c.id > takeover.id && c.by(HOLDER));
    Ok((takeover.at_micros.unsigned_abs(), changes))
}

/// As behind a firewall that has forgotten its connections: not one is reset, not one works.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_whose_connections_have_all_gone_dead_keeps_its_task() -> anyhow::Result<()> {
    let config = json!({"executor": {"request_timeout": 13}});
    let world = pods("dead", 12).config(config).start().await?;
    let mut watcher = world.watcher(0).await?;
    // Requests at the same time leave the pool with several connections.
    let api = world.sign_in(1).await?;
    let asked: Vec<_> = (0..16)
        .map(|_| {
            let api = api.clone();
            tokio::spawn(async move { api.get("/api/v1/tasks").await })
        })
        .collect();
    for answer in asked {
        answer.await??.ok()?;
    }
    // Nothing is stored while the call hangs: only heartbeats can keep the lease.
    let hang = KubeFault::patch("node-0001", FaultAction::Hang).when(When::First(1));
    world.sim.add_fault(hang);
    let task = api.label(&world.nodes(0..1), "example.com/c", "d").await?;
    watcher.subscribe(task).await?;
    until_running(&world, task).await?;
    let before = world.lease(task).await?;
    let proxy = &world.api_proxies[1];
    let open = 0..proxy.counts().accepted;
    ensure!(proxy.counts().open >= 6, "too few connections: {:?}", proxy.counts());
    proxy.set_rules(open.flat_map(|id| {
        Direction::BOTH.map(|d| Rule::new(Select::Connection(id), d, Fault::BlackHole))
    }));
    watcher.until_all_complete(SOON).await?;
    let rows = world.check_final(&watcher, task).await?;
    assert_eq!(rows.status, TaskStatus::Completed);
    assert_eq!(world.lease(task).await?.token, before.token, "the task was taken from its holder");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_gets_no_answers_stops_before_its_task_is_taken() -> anyhow::Result<()> {
    let world = pods("unanswered", 100).start().await?;
    // Their tries need no answer of the database, so that only the lease can end them.
    let busy = ["node-001?", "node-002?", "node-003?"]
        .map(|nodes| world.sim.add_fault(KubeFault::patch_status(nodes, 503)));
    let UnderWay { world, task, mut watcher, before } = begin(world).await?;
    until_items(&world, task, 4, "message LIKE 'try %'").await?;
    let proxy = &world.api_proxies[1];
    let cut_at = now_micros();
    // Statements arrive and are carried out; whatever is said to them is lost.
    proxy.set_rules([Rule::new(Select::All, Direction::ToClient, Fault::BlackHole)]);
    world.until_taken_over(task, &before, TAKEOVER + CALLS_END).await?;
    // This is how long the fault lasts: nothing is waited for, but every node's next try is due.
    tokio::time::sleep(LONGEST_PAUSE).await;
    for fault in busy {
        world.sim.remove_fault(fault);
    }
    let mark = world.pods[1].api.log().mark();
    proxy.heal().await;
    world.pods[1].api.log().wait_for_after(mark, "the lease was lost", SOON).await?;
    finish(&world, task, &mut watcher).await?;
    let (taken_at, changes) = written_too_late(&world, task).await?;
    assert_eq!(changes, []);
    let end = cut_at + u64::try_from(CALLS_END.as_micros())?;
    assert!(end < taken_at, "taken before its holder had to stop");
    let mut calls = calls_since(&world, cut_at);
    calls.retain(|call| call.user == HOLDER);
    assert!(!calls.is_empty(), "no call was tried: the test tests nothing");
    calls.retain(|call| call.at_micros > end);
    assert!(calls.is_empty(), "calls after the lease: {calls:#?}");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_last_flush_that_arrives_after_the_claim_changes_nothing() -> anyhow::Result<()> {
    let world = pods("last_flush", 100).start().await?;
    let UnderWay { world, task, mut watcher, before } = begin(world).await?;
    let proxy = &world.api_proxies[1];
    let hold = |select| Rule::new(select, Direction::ToServer, Fault::BlackHole);
    // First the flush gets stuck, then the heartbeats stop.
    proxy.set_rules([hold(Select::application("knm-api-writer"))]);
    until_held(proxy).await?;
    proxy.set_rules([hold(Select::All)]);
    world.until_taken_over(task, &before, TAKEOVER).await?;
    let mark = world.pods[1].api.log().mark();
    proxy.heal().await;
    world.pods[1].api.log().wait_for_after(mark, "the lease was lost", SOON).await?;
    finish(&world, task, &mut watcher).await?;
    let (_, changes) = written_too_late(&world, task).await?;
    assert_eq!(changes, []);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_database_calls_end_with_the_lease_and_nothing_is_lost() -> anyhow::Result<()> {
    const AWAY: Duration = Duration::from_secs(35);
    // Less than the time that the database is away: that is no reason to give a node up.
    let config = json!({"executor": {"retry_timeout": 28}});
    let world = pods("away", 40).config(config).start().await?;
    // Their tries need no database, so that only the lease can end them.
    let busy = ["node-001?", "node-002?", "node-003?"]
        .map(|nodes| world.sim.add_fault(KubeFault::patch_status(nodes, 503)));
    let UnderWay { world, task, mut watcher, .. } = begin(world).await?;
    let proxies = || world.api_proxies.iter().chain(&world.relay_proxies);
    until_items(&world, task, 4, "message LIKE 'try %'").await?;
    let cut_at = now_micros();
    proxies().for_each(|proxy| proxy.set(Select::All, Fault::BlackHole));
    // This is how long the fault lasts; nothing is waited for.
    tokio::time::sleep(AWAY).await;
    let calls = calls_since(&world, cut_at);
    assert!(!calls.is_empty(), "no call was tried: the test tests nothing");
    let end = cut_at + u64::try_from(CALLS_END.as_micros())?;
    let late: Vec<_> = calls.iter().filter(|call| call.at_micros > end).collect();
    assert!(late.is_empty(), "calls after the lease: {late:#?}");
    for pod in &world.pods {
        let said = pod.api.admin("/readyz?verbose").await?.text();
        assert!(said.contains("tasks: all leases have run out: nothing is written"), "{said}");
    }
    for fault in busy {
        world.sim.remove_fault(fault);
    }
    for proxy in proxies() {
        proxy.heal().await;
    }
    finish(&world, task, &mut watcher).await?;
    world.stop().await
}

/// A task that nobody has claimed when it is stored, because the only pod has its hands full.
async fn a_claim_whose_answers_are_lost(name: &str, statement: &str) -> anyhow::Result<()> {
    let config = json!({"executor": {"max_concurrent_tasks": 1}});
    let world = World::new(name).nodes(20).proxies().config(config).start().await?;
    world.keep_journal().await?;
    let api = world.sign_in(0).await?;
    let mut watcher = world.watcher(0).await?;
    // Its only node takes until the call's timeout.
    let hang = KubeFault::patch("node-0001", FaultAction::Hang).when(When::First(1));
    world.sim.add_fault(hang);
    let first = api.label(&world.nodes(0..1), "example.com/a", "b").await?;
    until_running(&world, first).await?;
    let mut sprung = world.api_proxies[0].swallow(Swallow::answer_to(Select::All, statement));
    let task = api.label(&world.nodes(1..20), "example.com/a", "b").await?;
    assert_eq!(world.lease(task).await?.owner, None, "there was room: the test tests nothing");
    for task in [first, task] {
        watcher.subscribe(task).await?;
    }
    tokio::time::timeout(SOON, sprung.wait()).await.context("the trap")?;
    watcher.until_all_complete(SOON).await?;
    for task in [first, task] {
        assert_eq!(world.check_final(&watcher, task).await?.status, TaskStatus::Completed);
    }
    let writes = world.sim.request_summary().effective_writes;
    assert!(writes.len() == 20 && writes.values().all(|n| *n == 1), "{writes:?}");
    let changes = world.journal_of(task).await?;
    let claims: Vec<_> = changes.iter().filter(|c| c.is_claim()).collect();
    let [lost, again] = claims[..] else { anyhow::bail!("two claims, not {claims:#?}") };
    assert_eq!(lost.owner.1, again.owner.1, "adopted by the process that it belongs to");
    let waited = Duration::from_micros((again.at_micros - lost.at_micros).unsigned_abs());
    assert!(waited < Duration::from_secs(10), "its own lease was waited for: {waited:?}");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_whose_claim_was_not_answered_is_adopted_again() -> anyhow::Result<()> {
    a_claim_whose_answers_are_lost("claim_lost", "lease_token = t.lease_token + 1").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claimed_task_whose_items_could_not_be_read_is_adopted_again() -> anyhow::Result<()> {
    let statement = "FROM progress_items WHERE task_id = $1 ORDER BY ordinal";
    a_claim_whose_answers_are_lost("items_lost", statement).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_whose_storing_was_not_answered_is_there_once_and_done() -> anyhow::Result<()> {
    let world = pods("insert_lost", 20).start().await?;
    world.keep_journal().await?;
    let (api, mut watcher) = (world.sign_in(1).await?, world.watcher(0).await?);
    let trap = Swallow::answer_to(Select::All, "INSERT INTO progress_tasks");
    let sprung = world.api_proxies[1].swallow(trap);
    let task = api.label(&world.nodes(0..20), "example.com/c", "d").await?;
    ensure!(sprung.already(), "the answer arrived: the test tests nothing");
    watcher.subscribe(task).await?;
    watcher.until_all_complete(SOON).await?;
    let rows = world.check_final(&watcher, task).await?;
    assert_eq!(rows.count(ItemStatus::Succeeded), 20);
    assert_eq!(world.stored_tasks().await?, 1);
    let changes = world.journal_of(task).await?;
    let claims: Vec<_> = changes.iter().filter(|c| c.is_claim()).collect();
    let [stored, again] = claims[..] else { anyhow::bail!("two claims, not {claims:#?}") };
    assert_eq!(stored.owner.1, again.owner.1, "adopted by the process that stored it");
    let waited = Duration::from_micros((again.at_micros - stored.at_micros).unsigned_abs());
    assert!(waited < Duration::from_secs(10), "its own lease was waited for: {waited:?}");
    world.stop().await
}

/// Its own timeout is longer than what is left of the lease: that has to end it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_without_an_answer_is_given_up_when_the_lease_ends() -> anyhow::Result<()> {
    let config = json!({"executor": {"request_timeout": 13, "retry_timeout": 120}});
    let world =
        World::new("call_end").nodes(1).proxies().kube_proxies().config(config).start().await?;
    let busy = world.sim.add_fault(KubeFault::patch_status("*", 503));
    let task = world.sign_in(0).await?.label(&world.nodes(0..1), "example.com/a", "b").await?;
    until_items(&world, task, 1, "message LIKE 'try %'").await?;
    world.api_proxies[0].set(Select::All, Fault::BlackHole);
    let cut = Instant::now();
    // The lease grows older: this is how long that takes; nothing is waited for.
    tokio::time::sleep(Duration::from_secs(4)).await;
    // Others, which ask about the cluster, may open some meanwhile; only the call's own is closed.
    let closed = || {
        let counts = world.kube_proxies[0].counts();
        counts.accepted - counts.open
    };
    let before = closed();
    let hang = world.sim.add_fault(KubeFault::patch("*", FaultAction::Hang));
    world.sim.remove_fault(busy);
    let hanging = async {
        while !world.sim.requests().iter().any(|r| r.fault.as_deref() == Some("hang")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(CALLS_END, hanging).await.context("no call was tried")?;
    let called = cut.elapsed();
    let given_up = async {
        while closed() == before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, given_up).await.context("the call goes on")?;
    let ended = cut.elapsed();
    // A second for a busy machine; by its own timeout it would have had at least four more.
    assert!(ended < CALLS_END + Duration::from_secs(1), "called {called:?}, ended {ended:?}");
    world.sim.remove_fault(hang);
    world.api_proxies[0].heal().await;
    world.until_lease(task, SOON, |row| row.status == "completed").await?;
    world.stop().await
}

/// A standby that lacks the last commits has been promoted: the claim that this process works under, and before
/// that the task's going on, were among them. Nothing is recorded meanwhile, so only the row can tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_whose_claim_the_database_has_lost_lets_go_of_its_task() -> anyhow::Result<()> {
    let back = "UPDATE progress_tasks
                SET status = 'paused', desired = 'pause', lease_token = lease_token - 1,
                    lease_owner = NULL, lease_expires_at = NULL
                WHERE id = $1";
    for (name, lost) in
        [("lost_claim", back), ("lost_task", "DELETE FROM progress_tasks WHERE id = $1")]
    {
        let world = World::new(name).nodes(1).start().await?;
        let pod = SimPod::new("web-0").namespace("shop").node("node-0001");
        world.sim.add_pod(pod.owner("ReplicaSet", "web").labels(&[("app", "web")]))?;
        world.sim.add_budget("shop", "web", &[("app", "web")], Allow::min_available(1))?;
        let api = world.sign_in(0).await?;
        let drain = json!({"action": "drain", "nodes": {"names": ["node-0001"]}, "params": {}});
        let task = api.submit(&drain).await?;
        until_items(&world, task, 1, "message LIKE '%waiting for budget%'").await?;
        let asked = world.sim.evictions().len();
        world.database.connect().await?.execute(lost, &[&task.0]).await?;
        let lets_go = async {
            while world.pods[0].api.metric("knm_api_tasks_held").await? > 0.0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(SOON, lets_go).await.context("it goes on")??;
        assert!(world.sim.evictions().len() >= asked);
        if name == "lost_claim" {
            api.post(&format!("/api/v1/tasks/{task}/cancel"), &serde_json::Value::Null).await?;
            world.until_lease(task, SOON, |row| row.status == "cancelled").await?;
        }
        world.stop().await?;
    }
    Ok(())
}
