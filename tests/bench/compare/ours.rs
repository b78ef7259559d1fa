//! Ours without the executor: the api's own writer in this process, a real relay, tasks claimed by hand.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use knm_api::db;
use knm_api::db::tasks::{NewTask, Telling};
use knm_api::lease::{Lease, Moment};
use knm_api::metrics::Metrics;
use knm_api::progress::writer::Writer;
use knm_api::progress::{Claim, ItemUpdate, Progress, Receipt};
use knm_shared::ids::{LeaseToken, OwnerId, Seq, TaskId, UserId};
use knm_shared::status::{ItemStatus, TaskStatus};
use knm_tests::postgres::{Database, Sql, shared_server};
use knm_tests::stage::Stage;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::crowd::Place;
use crate::rig;

const PATIENCE: Duration = Duration::from_secs(60);
const TAKEN: &str = "knm_relay_notifications_total{result=\"ok\"}";

/// The api's writer.
pub(crate) struct Engine {
    pub(crate) progress: Progress,
    metrics: Metrics,
    owner: OwnerId,
    user: UserId,
    sql: Sql,
    stop: CancellationToken,
    writer: JoinHandle<()>,
}

impl Engine {
    /// On a database that has the schema and a user.
    pub(crate) async fn start(database: &Database) -> anyhow::Result<Self> {
        let sql = database.connect().await?;
        let user = UserId(sql.query_one("SELECT id FROM users LIMIT 1", &[]).await?.get(0));
        let (progress, owner) = (Progress::default(), OwnerId(Uuid::new_v4()));
        let metrics = Metrics::register(&prometheus::Registry::new())?;
        let writer = Writer::new(progress.clone(), owner, &settings(database)?, metrics.clone())?;
        let stop = CancellationToken::new();
        let writer = tokio::spawn(writer.run(stop.clone()));
        Ok(Self { progress, metrics, owner, user, sql, stop, writer })
    }

    /// A task of so many items, stored under the writer's lease and opened.
    pub(crate) async fn task(&self, items: usize) -> anyhow::Result<TaskId> {
        let task = NewTask {
            id: TaskId(Uuid::now_v7()),
            user: self.user,
            username: "bench".into(),
            cluster: "default".into(),
            cluster_stored: false,
            action: "label",
            params: json!({"set": {"bench.example.com/a": "b"}}),
            options: json!({}),
            reason: String::new(),
            nodes: (0..items).map(|i| format!("node-{i:05}")).collect(),
            uids: (0..items).map(|i| format!("uid-{i}")).collect(),
            undo: Vec::new(),
            parent: None,
            webhook: None,
            idempotency: None,
        };
        let sent = Moment::now();
        let client: &tokio_postgres::Client = &self.sql;
        db::tasks::insert(client, &task, Some(self.owner), Telling::Aloud)
            .await?
            .context("not stored")?;
        let claim = Claim {
            task: task.id,
            user: self.user,
            token: LeaseToken(1),
            seq: Seq(1),
            status: TaskStatus::Queued,
            items: vec![ItemStatus::Pending; items],
        };
        self.progress.open(claim, Arc::new(Lease::claimed(sent)));
        Ok(task.id)
    }

    /// Item changes and flushes so far, by the writer's own count.
    pub(crate) fn flushed(&self) -> (f64, f64) {
        let flushes = self.metrics.flush_items.get_sample_count() as f64;
        (self.metrics.flush_items.get_sample_sum(), flushes)
    }

    /// Gives tasks up and stops.
    pub(crate) async fn stop(self, tasks: &[TaskId]) -> anyhow::Result<()> {
        tasks.iter().for_each(|task| self.progress.close(*task));
        self.stop.cancel();
        Ok(tokio::time::timeout(PATIENCE, self.writer).await.context("the writer goes on")??)
    }
}

/// The writer, a relay, and the database between them.
pub(crate) struct Ours {
    pub(crate) engine: Engine,
    pub(crate) stage: Stage,
}

/// How a relay learns of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Postgres,
    Polling,
}

impl Ours {
    pub(crate) async fn start(name: &str, mode: Mode) -> anyhow::Result<Self> {
        let word = if mode == Mode::Polling { "polling" } else { "postgres" };
        let config = json!({"progress": {"notify_type": word, "poll_interval": 10_000}});
        let stage = rig::relay(name, &config).await?;
        match mode {
            Mode::Postgres => stage.until_state(0, "live", "live").await?,
            Mode::Polling => stage.until_state(0, "disabled", "polling").await?,
        }
        Ok(Self { engine: Engine::start(&stage.database).await?, stage })
    }

    /// A task whose notifications the relay takes at their word.
    pub(crate) async fn known_task(&self, items: usize) -> anyhow::Result<TaskId> {
        let task = self.engine.task(items).await?;
        let relay = self.stage.relay(0);
        let before = relay.metric(TAKEN).await?;
        let known = async {
            while relay.metric(TAKEN).await? <= before {
                let _ = self.engine.progress.record(task, 0, change(ItemStatus::Running, 0));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(PATIENCE, known).await.context("the writer stays a stranger")??;
        Ok(task)
    }

    /// Where clients follow a task.
    pub(crate) fn place(&self, task: TaskId) -> Place {
        Place::Relay {
            address: self.stage.relay(0).address(),
            token: self.stage.token().to_owned(),
            task,
        }
    }

    pub(crate) fn relay_pid(&self) -> anyhow::Result<i32> {
        Ok(self.stage.relay(0).process()?.pid())
    }

    /// Gives tasks up and stops everything.
    pub(crate) async fn stop(self, tasks: &[TaskId]) -> anyhow::Result<()> {
        self.engine.stop(tasks).await?;
        self.stage.stop().await
    }
}

fn settings(database: &Database) -> anyhow::Result<knm_shared::config::Database> {
    let server = database.server();
    Ok(serde_json::from_value(json!({
        "host": server.host(),
        "port": server.port(),
        "database": database.name(),
        "username": server.user(),
        "password": server.password(),
    }))?)
}

/// A change whose message is the moment of its making, for who takes the time.
pub(crate) fn change(status: ItemStatus, stamp: i64) -> ItemUpdate {
    let message = (stamp > 0).then(|| stamp.to_string());
    ItemUpdate { status: Some(status), message, ..ItemUpdate::default() }
}

/// What the executor records of a node that gets a label: that work is under way, with what was there
/// before …
pub(crate) fn begun() -> ItemUpdate {
    ItemUpdate {
        status: Some(ItemStatus::Running),
        attempts: 1,
        before: Some(json!({"labels": {"bench.example.com/a": Value::Null}}).into()),
        before_version: Some("1234567".into()),
        started: Some(Moment::now()),
        ..ItemUpdate::default()
    }
}

/// … and how it ended.
pub(crate) fn ended() -> ItemUpdate {
    ItemUpdate {
        status: Some(ItemStatus::Succeeded),
        attempts: 1,
        after: Some(json!({"labels": {"bench.example.com/a": "b"}}).into()),
        started: Some(Moment::now()),
        ..ItemUpdate::default()
    }
}

/// Waits until it is durable.
pub(crate) async fn durable(receipt: Receipt) -> anyhow::Result<()> {
    let stored = tokio::time::timeout(PATIENCE, receipt.durable()).await;
    ensure!(matches!(stored, Ok(Ok(()))), "a change was not stored: {stored:?}");
    Ok(())
}

/// A database for somebody else.
pub(crate) async fn database(name: &str) -> anyhow::Result<Database> {
    shared_server().await?.database(name).await
}
