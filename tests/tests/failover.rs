//! PostgreSQL that is away, restarts, or is succeeded by a standby.

use std::time::Duration;

use anyhow::Context as _;
use knm_shared::phrases;
use knm_shared::status::{ItemStatus, TaskStatus};
use knm_tests::api::label_task;
use knm_tests::by_hand::Tell;
use knm_tests::invariants::Rows;
use knm_tests::kube_sim::{Fault, FaultId, KubeSim, SimOptions};
use knm_tests::pod::{Pod, PodOptions};
use knm_tests::postgres::{Cluster, ClusterOptions, Shutdown};
use knm_tests::scenario::World;
use knm_tests::scratch;
use knm_tests::stage::{self, Stage};
use knm_tests::ws::Watcher;
use knm_tests::ws::frame::ServerFrame;
use serde_json::json;

const SOON: Duration = Duration::from_secs(60);
/// Where a standby listens: on the primary's port.
const SECOND: &str = "127.0.0.2";

/// A step with at least so many items done.
fn far(done: u32) -> impl FnMut(&ServerFrame) -> bool {
    move |f| matches!(f, ServerFrame::Progress(d) if d.progress.current >= done)
}

/// Keeps a task of these nodes at a place until the fault is removed: the nodes refuse, and are tried
/// again and again.
fn gates<const N: usize>(world: &World, nodes: [&str; N]) -> [FaultId; N] {
    nodes.map(|name| world.sim.add_fault(Fault::patch_status(name, 503)))
}

/// Nobody, then a server that is starting, then a standby, then a primary.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_waits_for_its_database_and_says_what_it_waits_for() -> anyhow::Result<()> {
    let cluster = Cluster::start(ClusterOptions::default()).await?;
    let database = cluster.server().database("waited_for").await?;
    let standby = cluster.standby(SECOND).await?;
    let sim = KubeSim::start(SimOptions { nodes: 2, ..Default::default() }).await?;
    let kubeconfig = scratch::dir("waiting")?.join("kubeconfig");
    std::fs::write(&kubeconfig, sim.kubeconfig())?;
    let mut options = PodOptions::new("pod-a", &kubeconfig, "correct horse battery staple");
    options.config = json!({"database": {"host": SECOND}});
    let mut pod = Pod::prepare(&database, &options)?;
    pod.relay.start()?;
    pod.api.start()?;
    let port = cluster.server().port();
    let refused = format!(
        "PostgreSQL listener problem: dial tcp {SECOND}:{port}: connect: connection refused"
    );
    pod.relay.says(&refused, SOON).await?;
    // `kubectl logs POD` shows the api's log: the guide's phrases are there too.
    pod.api.says(&refused, SOON).await?;
    pod.relay.probe("/livez", SOON).await?;
    pod.api.probe("/livez", SOON).await?;
    assert_eq!(pod.relay.admin("/readyz").await?.status, 503);
    assert_eq!(pod.api.admin("/readyz").await?.status, 503);
    let failures = "knm_relay_listener_connect_failures_total{reason=\"refused\"}";
    assert!(pod.relay.metric(failures).await? >= 1.0);

    standby.start_starving().await?;
    pod.relay.says("listener problem: FATAL: the database system is", SOON).await?;
    standby.receive().await?;
    let read_only = "listener problem: the server takes no writes";
    pod.relay.says(read_only, SOON).await?;
    pod.api.says(read_only, SOON).await?;
    standby.catch_up().await?;
    standby.promote().await?;
    pod.relay.probe("/readyz", SOON).await?;
    pod.api.probe("/readyz", SOON).await?;
    pod.relay.says(phrases::NOTIFIER_VERIFIED, SOON).await?;
    pod.api.says(phrases::NOTIFIER_VERIFIED, SOON).await?;
    stage::until_state(&pod.relay, "live", "live").await?;

    let api = pod.client().login("admin", "correct horse battery staple").await?;
    let task = api.label(&sim.node_names(), "example.com/a", "b").await?;
    let mut watcher = Watcher::new(pod.relay.address(), api.token()?);
    watcher.subscribe(task).await?;
    watcher.until_all_complete(SOON).await?;
    let promoted = standby.database(database.name());
    let rows = Rows::read(&mut *promoted.connect().await?, task).await?;
    watcher.checker().check_final(task, &rows)?;
    pod.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_goes_on_over_restarts_of_postgresql() -> anyhow::Result<()> {
    let world = World::new("restarts")
        .pods(2)
        .nodes(120)
        .latency(Duration::from_millis(20))
        .own_cluster(ClusterOptions::default())
        .start()
        .await?;
    let [first, second] = gates(&world, ["node-002?", "node-006?"]);
    let cluster = world.cluster.as_ref().context("an own cluster")?;
    let api = world.sign_in(1).await?;
    let mut watchers = [world.watcher(0).await?, world.watcher(1).await?];
    let mut body = label_task(&world.nodes(0..120), "example.com/a", "b");
    body["options"] = json!({"concurrency": 4});
    let task = api.submit(&body).await?;
    for watcher in &mut watchers {
        watcher.subscribe(task).await?;
    }
    for (gate, how, done) in [(first, Shutdown::Fast, 15), (second, Shutdown::Immediate, 55)] {
        watchers[0].until(SOON, far(done)).await?;
        // Nodes are labelled while their results cannot be stored.
        world.sim.remove_fault(gate);
        cluster.restart(how).await?;
    }
    for watcher in &mut watchers {
        watcher.until_all_complete(SOON * 2).await?;
        let rows = world.check_final(watcher, task).await?;
        assert_eq!(rows.status, TaskStatus::Completed);
        assert_eq!(rows.count(ItemStatus::Succeeded), 120);
        // The relay lived on, and with it the connections.
        assert_eq!(watcher.connects(), 1);
    }
    for pod in 0..2 {
        stage::until_state(&world.pods[pod].relay, "live", "live").await?;
    }
    world.stop().await
}

/// The primary is lost together with commits that clients have seen. What the standby has is the
/// truth from now on, and the holder of the task writes again what it knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_lagging_standby_took_over_everybody_ends_with_its_rows() -> anyhow::Result<()> {
    let both = format!("127.0.0.1,{SECOND}");
    let world = World::new("failover")
        .pods(2)
        .nodes(150)
        .latency(Duration::from_millis(10))
        .config(json!({"database": {"host": both}}))
        .own_cluster(ClusterOptions::default())
        .start()
        .await?;
    let [first, second] = gates(&world, ["node-005?", "node-010?"]);
    let cluster = world.cluster.as_ref().context("an own cluster")?;
    let standby = cluster.standby(SECOND).await?;
    standby.start().await?;
    let api = world.sign_in(1).await?;
    let mut watchers = [world.watcher(0).await?, world.watcher(1).await?];
    let mut body = label_task(&world.nodes(0..150), "example.com/a", "b");
    body["options"] = json!({"concurrency": 4});
    let task = api.submit(&body).await?;
    for watcher in &mut watchers {
        watcher.subscribe(task).await?;
    }
    watchers[0].until(SOON, far(45)).await?;
    standby.catch_up().await?;
    standby.hold_back().await?;
    let held: i64 = standby
        .database(world.database.name())
        .value("SELECT seq FROM progress_tasks WHERE id = $1", &[&task.0])
        .await?;
    world.sim.remove_fault(first);
    watchers[0].until(SOON, far(95)).await?;
    let before = watchers[0].checker().picture(task).context("a picture")?.clone();
    assert!(before.seq() > held, "the standby lacks nothing: the test tests nothing");
    cluster.stop(Shutdown::Immediate).await?;
    standby.promote().await?;
    world.sim.remove_fault(second);

    let renewed = watchers[0].until(SOON, |f| matches!(f, ServerFrame::Resync(_))).await?;
    let ServerFrame::Resync(renewed) = renewed else { anyhow::bail!("a resync") };
    assert_ne!(renewed.epoch, before.epoch());
    let snapshot = watchers[0].until(SOON, |f| matches!(f, ServerFrame::Snapshot(_))).await?;
    assert!(matches!(&snapshot, ServerFrame::Snapshot(s) if s.epoch == renewed.epoch));
    let promoted = standby.database(world.database.name());
    for watcher in &mut watchers {
        watcher.until_all_complete(SOON * 2).await?;
        let rows = Rows::read(&mut *promoted.connect().await?, task).await?;
        watcher.checker().check_final(task, &rows)?;
        assert_eq!(rows.status, TaskStatus::Completed);
        assert_eq!(rows.count(ItemStatus::Succeeded), 150);
    }
    // Both relays are in the same new history, and a client of the old one begins anew.
    for pod in &world.pods {
        let state = stage::state(&pod.relay).await?;
        assert_eq!(state["epoch"], json!(renewed.epoch), "{state}");
        assert_eq!(pod.relay.metric("knm_relay_resyncs_total{reason=\"epoch\"}").await?, 1.0);
    }
    world.stop().await
}

/// Rows that went back with no api to write them again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_of_the_lost_history_gets_a_snapshot_of_the_new_one() -> anyhow::Result<()> {
    let cluster = Cluster::start(ClusterOptions::default()).await?;
    let database = cluster.server().database("histories").await?;
    let both = json!({"database": {"host": format!("127.0.0.1,{SECOND}"),
                                   "port": cluster.server().port()}});
    let stage = Stage::on(database, 2, &both).await?;
    for relay in 0..2 {
        stage.until_state(relay, "live", "live").await?;
    }
    let standby = cluster.standby(SECOND).await?;
    standby.start().await?;
    let mut task = stage.task(10).await?;
    let mut db = stage.writer().await?;
    for _ in 0..4 {
        task.next(&mut db, Tell::Whole).await?;
    }
    standby.catch_up().await?;
    standby.hold_back().await?;
    let kept = task.clone();
    let mut watcher = stage.watcher(0);
    watcher.subscribe(task.id()).await?;
    for _ in 0..5 {
        task.next(&mut db, Tell::Whole).await?;
    }
    let seq = task.seq();
    let there = |f: &ServerFrame| match f {
        ServerFrame::Progress(d) => d.seq == seq,
        ServerFrame::Snapshot(s) => s.seq == seq && s.last,
        _ => false,
    };
    watcher.until(SOON, there).await?;
    let epoch = watcher.checker().picture(task.id()).context("a picture")?.epoch().to_owned();
    watcher.drop_connection();
    cluster.stop(Shutdown::Immediate).await?;
    standby.promote().await?;
    for relay in 0..2 {
        stage.until_state(relay, "live", "live").await?;
    }
    // It comes back, at the other relay, with the cursor of what was lost.
    watcher.move_to(stage.relay(1).address());
    watcher.connect().await?;
    let first = watcher
        .until(SOON, |f| matches!(f, ServerFrame::Snapshot(_) | ServerFrame::Progress(_)))
        .await?;
    let ServerFrame::Snapshot(snapshot) = &first else { anyhow::bail!("{first:?}") };
    assert_eq!(snapshot.seq, kept.seq());
    assert_ne!(snapshot.epoch, epoch);
    let promoted = standby.database(stage.database.name());
    let mut db = promoted.connect().await?;
    let mut task = kept;
    task.finish(&mut db, Tell::Whole).await?;
    watcher.until_all_complete(SOON).await?;
    let rows = Rows::read(&mut db, task.id()).await?;
    watcher.checker().check_final(task.id(), &rows)?;
    stage.stop().await
}
