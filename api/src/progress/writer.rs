//! The one writer of progress rows in this process.
//!
//! ```text
//! Idle ──work──▶ Gathering (pace) ──▶ Flushing ──answer──▶ settle every step ──▶ Idle
//!                                        │ no answer: the same batch on a new connection,
//!                                        │            as often as it takes
//!                                        │ refused:   split by task, then (ledger) by item
//!                                        └ queue full: the same without notifications
//! ```
//!
//! A step that a flush did not store (its row was locked by somebody, or the answer to an earlier try
//! was lost) is judged by a read; one whose row is locked waits apart from the others.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use knm_shared::config::Database;
use knm_shared::ids::{OwnerId, TaskId};
use knm_shared::pg::{App, Connector, Reporter, Target, describe};
use knm_shared::phrases;
use knm_shared::status::TaskStatus;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Statement};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::batch::{MAX_BYTES, MAX_ITEMS};
use super::pace::Pace;
use super::{Batch, Progress, Step, Verdict};
use crate::db;
use crate::lease::Moment;
use crate::metrics::Metrics;

/// A flush without an answer for this long counts as lost. Longer than `lock_timeout` in the session.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// First pause before another connection attempt, and before a locked row is tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// Longest pause between connection attempts.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause before a locked row is tried again. Short: who finds a row locked does not queue for
/// it, so many short holders could keep it waiting.
const LOCKED_PAUSE: Duration = Duration::from_millis(50);

/// What the writer needs.
pub struct Writer {
    progress: Progress,
    owner: OwnerId,
    connector: Connector,
    reporter: Reporter,
    metrics: Metrics,
    pace: Pace,
    apart: HashMap<TaskId, Apart>,
    /// Before another connection is tried: grows while none of them stores anything.
    reconnect_pause: Duration,
}

/// A step whose row is locked by somebody else.
#[derive(Debug)]
struct Apart {
    step: Step,
    again_at: Instant,
    pause: Duration,
}

/// Why a batch was not stored.
enum Failure {
    /// The connection is of no use any more; whether it was stored is unknown.
    NoAnswer(String),
    /// PostgreSQL said no; nothing was stored.
    Said(tokio_postgres::Error),
}

impl Writer {
    /// A writer for the claims of `owner`.
    ///
    /// # Errors
    /// When the TLS settings cannot be used.
    pub fn new(
        progress: Progress,
        owner: OwnerId,
        database: &Database,
        metrics: Metrics,
    ) -> Result<Self, knm_shared::pg::ConnectError> {
        Ok(Self {
            progress,
            owner,
            connector: Connector::new(database, App::ApiWriter, Target::Direct)?,
            reporter: Reporter::new(App::ApiWriter),
            metrics,
            pace: Pace::default(),
            apart: HashMap::new(),
            reconnect_pause: Duration::ZERO,
        })
    }

    /// Stores progress until `stop` is cancelled and nothing is left to store.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut batch = Batch::default();
        loop {
            let connected = tokio::select! {
                session = self.connect() => session,
                () = self.abandoned(&stop, &batch) => return,
            };
            let (client, statement, driver) = connected;
            let ended = self.serve(&client, &statement, &mut batch, &stop).await;
            driver.abort();
            match ended {
                None => return,
                Some(reason) => {
                    self.metrics.flush_retries.with_label_values(&["no_answer"]).inc();
                    warn!(reason, tasks = batch.steps.len(), "progress writer reconnects");
                    sleep(jitter(self.reconnect_pause)).await;
                    self.reconnect_pause =
                        (self.reconnect_pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
                }
            }
        }
    }

    /// While stopping, a database that is away is not waited for once nobody holds a task any more.
    async fn abandoned(&self, stop: &CancellationToken, batch: &Batch) {
        stop.cancelled().await;
        while !(batch.steps.is_empty() && self.progress.is_idle()) {
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn connect(&self) -> (Client, Statement, tokio::task::JoinHandle<()>) {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.connector.connect().await {
                Ok((client, connection)) => {
                    let driver = tokio::spawn(async move {
                        if let Err(error) = connection.await {
                            debug!(%error, "the progress writer's connection ended");
                        }
                    });
                    match timeout(ANSWER_TIMEOUT, db::flush::prepare(&client)).await {
                        Ok(Ok(statement)) => {
                            self.reporter.connected();
                            return (client, statement, driver);
                        }
                        Ok(Err(error)) => {
                            warn!(error = describe(&error), "the progress writer cannot prepare");
                        }
                        Err(_) => warn!("the progress writer's session does not answer"),
                    }
                    driver.abort();
                }
                Err(error) => drop(self.reporter.failed(&error)),
            }
            sleep(jitter(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Flushes over one connection. Returns why another is needed, or `None` at the end.
    async fn serve(
        &mut self,
        client: &Client,
        statement: &Statement,
        batch: &mut Batch,
        stop: &CancellationToken,
    ) -> Option<String> {
        loop {
            if batch.steps.is_empty() && !self.gather(batch, client, stop).await {
                return None;
            }
            if client.is_closed() && batch.steps.is_empty() {
                return Some("the connection was closed".into());
            }
            if let Err(reason) = self.store(client, statement, batch).await {
                return Some(reason);
            }
        }
    }

    /// Waits for work and takes it. False when stopping and nothing is left.
    async fn gather(
        &mut self,
        batch: &mut Batch,
        client: &Client,
        stop: &CancellationToken,
    ) -> bool {
        let shared = Arc::clone(&self.progress.shared);
        loop {
            let woken = shared.work.notified();
            let (tasks, changes) = self.due();
            if tasks > 0 {
                let wait = self.pace.wait(tasks, changes, Instant::now());
                if !wait.is_zero() {
                    tokio::select! {
                        () = sleep(wait) => {}
                        // More work may make the batch large enough to go at once.
                        () = woken => continue,
                    }
                }
                self.take(batch);
                if !batch.steps.is_empty() {
                    return true;
                }
                continue;
            }
            if stop.is_cancelled() && self.apart.is_empty() && self.progress.is_idle() {
                return false;
            }
            if client.is_closed() {
                return true;
            }
            let next = self.apart.values().map(|a| a.again_at).min();
            tokio::select! {
                () = woken => {}
                () = until(next) => {}
                () = stop.cancelled(), if !stop.is_cancelled() => {}
                // A closed connection is replaced before the next change needs it.
                () = sleep(Duration::from_secs(1)) => {}
            }
        }
    }

    /// Tasks with a step due now, and their item changes.
    fn due(&self) -> (usize, usize) {
        let now = Instant::now();
        let apart = self.apart.values().filter(|a| a.again_at <= now);
        let (mut tasks, mut changes) =
            apart.fold((0, 0), |(t, c), a| (t + 1, c + a.step.items.len()));
        for entry in self.progress.entries().values() {
            if entry.ledger.is_due() {
                tasks += 1;
                changes += entry.ledger.backlog();
            }
        }
        (tasks, changes)
    }

    fn take(&mut self, batch: &mut Batch) {
        let now = Instant::now();
        batch.silent = false;
        let mut entries = self.progress.entries();
        // A claim that is over has nothing to repeat, and one flush must not have two steps of a task.
        self.apart.retain(|task, apart| {
            entries.get(task).is_some_and(|e| e.ledger.token() == apart.step.token)
        });
        batch
            .steps
            .extend(self.apart.values().filter(|a| a.again_at <= now).map(|a| a.step.clone()));
        let mut room = MAX_ITEMS.saturating_sub(batch.items());
        let mut bytes = MAX_BYTES;
        for entry in entries.values_mut() {
            if room == 0 || bytes == 0 {
                break;
            }
            if let Some(step) = entry.ledger.take(room, bytes) {
                room = room.saturating_sub(step.items.len());
                bytes = bytes.saturating_sub(step.weight());
                batch.steps.push(step);
            }
        }
        self.pace.started(now);
    }

    /// Stores a batch and settles its steps; on an error the batch is what is still open.
    async fn store(
        &mut self,
        client: &Client,
        statement: &Statement,
        batch: &mut Batch,
    ) -> Result<(), String> {
        match self.flush(client, statement, batch).await {
            Ok(()) => Ok(()),
            Err(Failure::NoAnswer(reason)) => Err(reason),
            Err(Failure::Said(error)) => self.refused(client, statement, batch, &error).await,
        }
    }

    async fn flush(
        &mut self,
        client: &Client,
        statement: &Statement,
        batch: &mut Batch,
    ) -> Result<(), Failure> {
        if batch.steps.is_empty() {
            return Ok(());
        }
        let sent = Moment::now();
        let answer =
            timeout(ANSWER_TIMEOUT, db::flush::flush(client, statement, self.owner, batch)).await;
        let stored = match answer {
            Ok(Ok(stored)) => stored,
            Ok(Err(error)) if error.as_db_error().is_some() => return Err(Failure::Said(error)),
            Ok(Err(error)) => return Err(Failure::NoAnswer(describe(&error))),
            Err(_) => {
                return Err(Failure::NoAnswer(format!("no answer in {ANSWER_TIMEOUT:?}")));
            }
        };
        let took = sent.elapsed();
        self.reconnect_pause = Duration::ZERO;
        self.metrics.flush_seconds.observe(took.as_secs_f64());
        self.metrics.flush_items.observe(batch.items() as f64);
        let (stored, open): (Vec<_>, Vec<_>) =
            batch.steps.drain(..).partition(|s| stored.contains(&s.task));
        for step in stored {
            published(&step, took, batch.silent);
            self.settle(step, Verdict::Committed, Some(sent));
        }
        batch.steps = open;
        if batch.steps.is_empty() {
            return Ok(());
        }
        let verdicts =
            timeout(ANSWER_TIMEOUT, db::flush::verdicts(client, self.owner, &batch.steps)).await;
        let verdicts = match verdicts {
            Ok(Ok(verdicts)) => verdicts,
            Ok(Err(error)) => return Err(Failure::NoAnswer(describe(&error))),
            Err(_) => {
                return Err(Failure::NoAnswer(format!("no answer in {ANSWER_TIMEOUT:?}")));
            }
        };
        for step in std::mem::take(&mut batch.steps) {
            let verdict = verdicts.get(&step.task).copied().unwrap_or(Verdict::Lost);
            self.settle(step, verdict, None);
        }
        Ok(())
    }

    /// Nothing was stored, for a reason that PostgreSQL gave.
    async fn refused(
        &mut self,
        client: &Client,
        statement: &Statement,
        batch: &mut Batch,
        said: &tokio_postgres::Error,
    ) -> Result<(), String> {
        let reason = Reason::of(said);
        self.metrics.flush_retries.with_label_values(&[reason.as_str()]).inc();
        match reason {
            Reason::QueueFull if !batch.silent => {
                self.metrics.notify_failures.inc();
                error!(
                    error = describe(said),
                    "the server's notification queue is full: progress is stored without \
                     notifications. Find the session that listens and does not read \
                     (SELECT pg_notification_queue_usage())"
                );
                batch.silent = true;
                Box::pin(self.store(client, statement, batch)).await
            }
            Reason::Data | Reason::Locked if batch.steps.len() > 1 => {
                warn!(
                    error = describe(said),
                    tasks = batch.steps.len(),
                    "a flush is split by task"
                );
                let mut parts = std::mem::take(batch).split();
                while let Some(mut part) = parts.next() {
                    if let Err(reason) = Box::pin(self.store(client, statement, &mut part)).await {
                        part.steps.extend(parts.flat_map(|p| p.steps));
                        *batch = part;
                        return Err(reason);
                    }
                }
                Ok(())
            }
            Reason::Data => {
                for step in std::mem::take(&mut batch.steps) {
                    error!(
                        task = %step.task, error = describe(said), items = step.items.len(),
                        "PostgreSQL refuses progress data; the item is searched for"
                    );
                    self.settle(step, Verdict::Refused, None);
                }
                Ok(())
            }
            Reason::Locked => {
                for step in std::mem::take(&mut batch.steps) {
                    self.settle(step, Verdict::Again, None);
                }
                Ok(())
            }
            Reason::QueueFull | Reason::Session => Err(describe(said)),
        }
    }

    /// Brings a step's fate to its ledger and lease.
    fn settle(&mut self, step: Step, verdict: Verdict, sent: Option<Moment>) {
        let (task, token) = (step.task, step.token);
        match verdict {
            Verdict::Again => self.set_apart(step),
            _ => drop(self.apart.remove(&task)),
        }
        let mut entries = self.progress.entries();
        // A step of an earlier claim of this process says nothing about the present one.
        let Some(entry) = entries.get_mut(&task).filter(|e| e.ledger.token() == token) else {
            return;
        };
        match verdict {
            Verdict::Committed => {
                if let Some(sent) = sent {
                    entry.lease.renewed(sent);
                }
            }
            Verdict::FellBack(seq) => {
                warn!(%task, %seq, "the database has lost commits; progress is written again");
            }
            Verdict::Lost => {
                warn!(%task, "the lease was lost; another process has the task");
                self.metrics.lease_lost.inc();
                entry.lease.lose();
            }
            Verdict::Again | Verdict::Refused => {}
        }
        if entry.ledger.settle(verdict) {
            entries.remove(&task);
        }
    }

    fn set_apart(&mut self, step: Step) {
        let pause = self.apart.get(&step.task).map_or(FIRST_PAUSE, |a| a.pause * 2);
        let pause = pause.min(LOCKED_PAUSE);
        let again_at = Instant::now() + jitter(pause);
        self.metrics.flush_retries.with_label_values(&["locked"]).inc();
        self.apart.insert(step.task, Apart { step, again_at, pause });
    }
}

/// Operators compare this line with the relay's `Forwarded notification`.
fn published(step: &Step, took: Duration, silent: bool) {
    let (task, seq, micros) = (step.task, step.seq(), took.as_micros());
    if silent {
        warn!(%task, %seq, micros, "stored without notification");
    } else if step.prev.0 <= 1 || step.status.is_terminal() || step.status == TaskStatus::Paused {
        info!(%task, %seq, micros, "{}", phrases::PUBLISHED);
    } else {
        debug!(%task, %seq, micros, "{}", phrases::PUBLISHED);
    }
}

/// What a refusal calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// The notification queue is full.
    QueueFull,
    /// The data of some item.
    Data,
    /// Somebody holds a lock for longer than `lock_timeout`, or a deadlock was broken.
    Locked,
    /// The session or server: shutting down, read-only, out of resources.
    Session,
}

impl Reason {
    /// By SQLSTATE (<https://www.postgresql.org/docs/15/errcodes-appendix.html>).
    fn of(error: &tokio_postgres::Error) -> Self {
        let Some(said) = error.as_db_error() else {
            return Self::Session;
        };
        if db::is_queue_full(error) {
            return Self::QueueFull;
        }
        match said.code() {
            &SqlState::LOCK_NOT_AVAILABLE
            | &SqlState::T_R_DEADLOCK_DETECTED
            | &SqlState::T_R_SERIALIZATION_FAILURE => Self::Locked,
            code => match code.code().get(..2) {
                Some("22" | "23" | "54") => Self::Data,
                _ => Self::Session,
            },
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Data => "data",
            Self::Locked => "lock_timeout",
            Self::Session => "session",
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

fn jitter(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.5..1.5))
}
