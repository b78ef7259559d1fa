//! Work: a number of slots, each of which always has a label task under way, and looks closely at
//! what became of it.
//!
//! Each slot has a label key of its own and each task a value of its own, so that every task has to
//! write to every node exactly once, and what it found there is known.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::{Method, StatusCode};
use knm_shared::ids::TaskId;
use knm_shared::status::{ItemStatus, TaskStatus};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::stage::Stage;
use super::tally::Tally;
use crate::api::label_task;
use crate::invariants::Rows;
use crate::postgres::Database;

/// An answer that takes longer is asked for again.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a task may stand still while faults come and go.
const STANDSTILL: Duration = Duration::from_secs(180);
const LOOK: Duration = Duration::from_millis(400);

/// Tasks that clients may want to watch: those under way and those that ended lately.
#[derive(Debug, Default)]
pub(super) struct Board(Mutex<Vec<TaskId>>);

/// Enough for tasks that ended a while ago.
const SHOWN: usize = 120;

impl Board {
    fn show(&self, task: TaskId) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.push(task);
        if tasks.len() > SHOWN {
            tasks.remove(0);
        }
    }

    /// One of them.
    pub(super) fn any(&self, rng: &mut StdRng) -> Option<TaskId> {
        let tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (!tasks.is_empty()).then(|| tasks[rng.random_range(0..tasks.len())])
    }
}

/// One place for a task at a time.
pub(super) struct Slot {
    pub(super) number: usize,
    pub(super) seed: u64,
    /// In each task, always the same ones.
    pub(super) nodes: usize,
    pub(super) stage: Arc<Stage>,
    pub(super) token: String,
    pub(super) board: Arc<Board>,
    pub(super) tally: Arc<Tally>,
    /// No more tasks after the one under way.
    pub(super) enough: CancellationToken,
}

impl Slot {
    /// Task after task; each is checked when it has ended.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let mut rng = StdRng::seed_from_u64(self.seed ^ (0x510_7000 + self.number as u64));
        let mut nodes = self.stage.sim.node_names();
        nodes.shuffle(&mut rng);
        nodes.truncate(self.nodes);
        let key = format!("chaos.example.com/slot-{}", self.number);
        let mut value = None;
        for round in 1.. {
            // Not all at the same moment, and at every moment some.
            sleep(Duration::from_millis(rng.random_range(0..1_500))).await;
            if self.enough.is_cancelled() {
                return Ok(());
            }
            let before = value.replace(format!("s{}-r{round}", self.number));
            let wanted = value.as_deref().unwrap_or_default();
            // Tasks that went through the nodes side by side would only get in each other's way.
            nodes.shuffle(&mut rng);
            let mut body = label_task(&nodes, &key, wanted);
            body["options"] = json!({"concurrency": rng.random_range(2..=6)});
            let task = self.submit(&mut rng, &body).await?;
            self.board.show(task);
            self.follow(task).await?;
            self.check(task, &key, before.as_deref(), wanted)
                .await
                .with_context(|| format!("task {task}, {key}={wanted}"))?;
            self.tally.add("tasks", 1);
            self.tally.expect_writes(&nodes);
        }
        Ok(())
    }

    /// Through either pod, as often as it takes; the key makes them one.
    async fn submit(&self, rng: &mut StdRng, body: &Value) -> anyhow::Result<TaskId> {
        let key = Uuid::from_u128(rng.random()).to_string();
        let headers = [("content-type", "application/json"), ("idempotency-key", key.as_str())];
        let begun = Instant::now();
        loop {
            let seat = &self.stage.seats[rng.random_range(0..self.stage.seats.len())];
            let api = seat.api.with_token(&self.token);
            let sent = api.send(Method::POST, "/api/v1/tasks", &headers, body.to_string());
            match timeout(PATIENCE, sent).await {
                Ok(Ok(answer)) if answer.status == StatusCode::ACCEPTED => {
                    let id = answer.json::<Value>()?["id"].as_str().map(str::parse);
                    return Ok(id.context("the answer has no id")??);
                }
                Ok(Ok(answer)) if answer.status.is_client_error() => {
                    bail!("a good request was refused: {} {}", answer.status, answer.text());
                }
                // Not now: no answer, or one that says so.
                Ok(Ok(_) | Err(_)) | Err(_) => self.tally.add("submissions repeated", 1),
            }
            if begun.elapsed() > STANDSTILL {
                bail!("no pod has taken a task for {STANDSTILL:?}");
            }
            sleep(Duration::from_millis(rng.random_range(100..400))).await;
        }
    }

    /// Until it has ended.
    async fn follow(&self, task: TaskId) -> anyhow::Result<()> {
        let sql = "SELECT seq, status, completed_at IS NOT NULL FROM progress_tasks WHERE id = $1";
        let mut session = None;
        let (mut last, mut moved) = (0_i64, Instant::now());
        loop {
            sleep(LOOK).await;
            if session.is_none() {
                session = self.stage.database.connect().await.ok();
            }
            let Some(client) = &session else { continue };
            match timeout(PATIENCE, client.query_opt(sql, &[&task.0])).await {
                Ok(Ok(Some(row))) if row.get(2) => return Ok(()),
                Ok(Ok(Some(row))) => {
                    let seq = row.get(0);
                    if seq != last {
                        (last, moved) = (seq, Instant::now());
                    }
                    if moved.elapsed() > STANDSTILL {
                        let status: String = row.get(1);
                        bail!(
                            "task {task} is {status} at {seq} and has not moved for {STANDSTILL:?}"
                        );
                    }
                }
                Ok(Ok(None)) => bail!("task {task} was accepted and is not in the database"),
                Ok(Err(_)) | Err(_) => session = None,
            }
        }
    }

    /// Completed, exact, written to every node, and the past is known.
    async fn check(
        &self,
        task: TaskId,
        key: &str,
        before: Option<&str>,
        after: &str,
    ) -> anyhow::Result<()> {
        let rows = read(&self.stage, task).await?;
        if rows.status != TaskStatus::Completed {
            let item = rows.items.iter().find(|i| i.status != ItemStatus::Succeeded);
            bail!("it is {}: {:?}; {:?}, {item:?}", rows.status, rows.error, rows.counts);
        }
        let succeeded = rows.count(ItemStatus::Succeeded);
        if succeeded != rows.items.len() || rows.counts.succeeded as usize != succeeded {
            bail!("{succeeded} of {} items, counted {:?}", rows.items.len(), rows.counts);
        }
        for item in &rows.items {
            let node = self.stage.sim.node(&item.node).context("a node is gone")?;
            let label = node["metadata"]["labels"][key].as_str();
            if label != Some(after) {
                bail!("{} has {key}={label:?}", item.node);
            }
        }
        let sql = "SELECT count(*) FROM progress_items \
                   WHERE task_id = $1 AND before = $2 AND after = $3 AND finished_at IS NOT NULL";
        let (before, after) = (json!({key: before}), json!({key: after}));
        let known = count(&self.stage.database, sql, task, [&before, &after]).await?;
        if known != i64::try_from(succeeded)? {
            let sql = "SELECT string_agg(format('%s: %s, %s', node, before, after), '; ') \
                       FROM progress_items \
                       WHERE task_id = $1 AND NOT (before = $2 AND after = $3) IS TRUE";
            let others: Option<String> =
                self.stage.database.value(sql, &[&task.0, &before, &after]).await?;
            let others = others.unwrap_or_default();
            bail!("only {known} of {succeeded} items know {before} and {after}: {others}");
        }
        self.tally.add("items", succeeded as u64);
        self.tally.add("steps", rows.seq.unsigned_abs());
        Ok(())
    }
}

async fn count(
    database: &Database,
    sql: &str,
    task: TaskId,
    [before, after]: [&Value; 2],
) -> anyhow::Result<i64> {
    persist(|| async move { database.value(sql, &[&task.0, before, after]).await }).await
}

/// A task's rows, whatever happens to the connection.
pub(super) async fn read(stage: &Stage, task: TaskId) -> anyhow::Result<Rows> {
    persist(|| async move { Rows::read(&mut *stage.database.connect().await?, task).await }).await
}

/// The database may be away for a while.
async fn persist<T, F>(ask: impl Fn() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let begun = Instant::now();
    loop {
        let why = match timeout(PATIENCE, ask()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error,
            Err(late) => late.into(),
        };
        if begun.elapsed() > STANDSTILL {
            return Err(why.context("the database does not answer"));
        }
        sleep(LOOK).await;
    }
}
