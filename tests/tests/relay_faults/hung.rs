//! A database that takes connections and does not answer.

use std::time::Duration;

use anyhow::Context as _;
use knm_tests::by_hand::Tell;
use knm_tests::postgres::{Cluster, ClusterOptions, Database, shared_server};
use knm_tests::stage::Stage;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{SOON, follow, subscribed};

/// A pool of 3, the heartbeats' connection and LISTEN.
const SESSIONS: usize = 5;

/// What a relay promises.
const STOP: Duration = Duration::from_secs(10);

async fn sessions(database: &Database) -> anyhow::Result<Vec<String>> {
    let sessions = database.sessions().await?.into_iter();
    let ours = sessions.filter(|session| session.application.starts_with("knm-relay"));
    Ok(ours.map(|session| format!("{session:?}")).collect())
}

/// Statements that wait for a lock are given up, one after another, for as long as the lock lasts. Each
/// goes together with its process on the server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_that_are_given_up_leave_no_session_behind() -> anyhow::Result<()> {
    const FAILED: &str = "knm_relay_read_failures_total";
    let stage = Stage::live("locked", 1, &Value::Null).await?;
    let mut tasks = [stage.task(5).await?, stage.task(5).await?, stage.task(5).await?];
    let locker = stage.writer().await?;
    locker.batch_execute("BEGIN; LOCK TABLE progress_items IN ACCESS EXCLUSIVE MODE").await?;
    let mut followed = Vec::new();
    for task in &tasks {
        let mut watcher = stage.watcher(0);
        watcher.subscribe(task.id()).await?;
        followed.push(follow(watcher, task));
    }
    let mut most = 0;
    let failing = async {
        while stage.relay(0).metric(FAILED).await? < 6.0 {
            let seen = sessions(&stage.database).await?;
            most = most.max(seen.len());
            assert!(most <= SESSIONS, "{seen:#?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(SOON, failing).await.context("reads that are given up")??;
    assert!(most > 2, "nothing was asked: the test tests nothing");
    locker.batch_execute("COMMIT").await?;
    let mut db = stage.writer().await?;
    for (task, followed) in tasks.iter_mut().zip(followed) {
        task.finish(&mut db, Tell::Whole).await?;
        stage.check_final(&followed.await??.watcher, task).await?;
    }
    stage.stop().await
}

/// A commit waits for a standby that does not come, and with it everybody's notifications: it holds the
/// lock that orders them. One heartbeat after the other waits in vain, and they must not line up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_that_wait_for_a_standby_do_not_line_up() -> anyhow::Result<()> {
    const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND \
                           application_name LIKE 'knm-relay %' AND query LIKE '%pg_notify($1%'";
    const UNSENT: &str = "heartbeat not sent";
    let cluster = Cluster::start(ClusterOptions::default()).await?;
    let stage = Stage::on(cluster.server().database("standby").await?, 1, &Value::Null).await?;
    stage.until_state(0, "live", "live").await?;
    let mut task = stage.task(5).await?;
    let following = follow(subscribed(stage.watcher(0), &task).await?, &task);
    let admin = cluster.server().connect().await?;
    admin.batch_execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await?;
    admin.batch_execute("SELECT pg_reload_conf()").await?;
    let mut db = stage.writer().await?;
    let writing = tokio::spawn(async move {
        task.finish(&mut db, Tell::Whole).await?;
        anyhow::Ok(task)
    });
    let log = stage.relay(0).log();
    for _ in 0..3 {
        let mark = log.mark();
        log.wait_for_after(mark, UNSENT, SOON).await?;
        let waiting = stage.database.value::<i64>(WAITING, &[]).await?;
        assert!(waiting <= 1, "{waiting} heartbeats wait");
        let seen = sessions(&stage.database).await?;
        assert!(seen.len() <= SESSIONS, "{seen:#?}");
    }
    admin.batch_execute("ALTER SYSTEM RESET synchronous_standby_names").await?;
    admin.batch_execute("SELECT pg_reload_conf()").await?;
    let task = writing.await??;
    let seen = following.await??;
    assert!(
        seen.modes.is_empty(),
        "a slow commit says nothing about the listener: {:?}",
        seen.modes
    );
    stage.check_final(&seen.watcher, &task).await?;
    stage.stop().await
}

/// The first server of the list takes connections and says nothing, as one whose machine hangs. Finding
/// the second takes longer than a heartbeat may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_server_at_the_head_of_the_list_does_not_keep_the_relay_from_the_next()
-> anyhow::Result<()> {
    const SILENT: &str = "127.0.0.2";
    let database = shared_server().await?.database("silent").await?;
    let (host, port) = (database.server().host(), database.server().port());
    // The kernel accepts on behalf of whoever listens.
    let _silent = TcpListener::bind((SILENT, port)).await?;
    let both = json!({"database": {"host": format!("{SILENT},{host}"), "port": port}});
    let stage = Stage::on(database, 1, &both).await?;
    stage.until_state(0, "live", "live").await?;
    stage.stop().await
}

/// Processes that hold still, until this is dropped.
struct Stopped(Vec<Pid>);

impl Stopped {
    /// The sessions of relays on a database.
    async fn relays_of(database: &Database) -> anyhow::Result<Self> {
        const SQL: &str = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() \
                           AND application_name LIKE 'knm-relay%'";
        let rows = database.connect().await?.query(SQL, &[]).await?;
        let pids: Vec<Pid> = rows.iter().filter_map(|row| Pid::from_raw(row.get(0))).collect();
        for pid in &pids {
            kill_process(*pid, Signal::STOP)?;
        }
        Ok(Self(pids))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = kill_process(*pid, Signal::CONT);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_stops_in_time_although_its_database_hangs() -> anyhow::Result<()> {
    const UNSENT: &str = "heartbeat not sent";
    let cluster = Cluster::start(ClusterOptions::default()).await?;
    let mut stage = Stage::on(cluster.server().database("hangs").await?, 1, &Value::Null).await?;
    stage.until_state(0, "live", "live").await?;
    let (known, unknown) = (stage.task(5).await?, stage.task(5).await?);
    let mut watcher = subscribed(stage.watcher(0), &known).await?;
    let stopped = Stopped::relays_of(&stage.database).await?;
    assert!(stopped.0.len() >= 3, "heartbeats, LISTEN and a pool: {:?}", stopped.0);
    cluster.signal(Signal::STOP).await?;
    let log = stage.relay(0).log();
    let mark = log.mark();
    // A read and a heartbeat are under way for good.
    watcher.subscribe(unknown.id()).await?;
    log.wait_for_after(mark, UNSENT, SOON).await?;
    let ended = stage.relay_mut(0).stop(Signal::TERM, STOP).await?;
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    drop(stopped);
    cluster.signal(Signal::CONT).await?;
    stage.stop().await
}
