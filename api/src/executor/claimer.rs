//! Finds tasks, claims them and renews leases: one round every 500 ms, each a few statements.
//!
//! A foreign lease is taken only when it has run out by the database's clock *and* this process has
//! itself seen it unchanged for a whole lease: neither clock alone can take a task from a holder that
//! lives. Time in which this process did not see the database does not count as seen: when it comes
//! back, holders that live have a lease's time to renew.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use knm_shared::admin::Note;
use knm_shared::config::Database;
use knm_shared::ids::{LeaseToken, TaskId};
use knm_shared::pg::{ConnectError, describe};
use knm_shared::status::Desired;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_postgres::Client;
use tracing::{debug, error, info, warn};

use super::session::{Session, Sessions};
use super::{Executor, Slot};
use crate::db;
use crate::db::claim::{Open, Seen};
use crate::lease::{LEASE, Lease, Moment};
use crate::tasks::Action;

/// How often new requests and claimable tasks are looked for.
const ROUND: Duration = Duration::from_millis(500);
/// Between two rounds at least, however fast tasks end while others wait.
const ROUND_AT_LEAST: Duration = Duration::from_millis(20);
/// A statement without an answer for this long is given up, with its connection.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// What one look adds at most to the time that a foreign lease has been seen for.
const LOOK: Duration = Duration::from_secs(2);
/// How often the database-wide figures are read.
const FIGURES: Duration = Duration::from_secs(5);

/// Why a round ended early. The next one starts from scratch.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("{}", describe(.0))]
    Statement(#[from] tokio_postgres::Error),
    #[error("no answer within {ANSWER_TIMEOUT:?}")]
    NoAnswer,
}

/// What the note says as long as all is well.
pub(crate) const CONTACT_KEPT: &str = "claimed and renewed";

/// Whether the database answers.
///
/// ```text
/// Kept ──a round fails──▶ Failing ──for a whole lease──▶ Away
///   ▲                        └────────── a round succeeds ──┘ ──▶ Kept
/// ```
#[derive(Debug, Clone, Copy)]
enum Contact {
    Kept,
    Failing {
        since: Moment,
    },
    /// Every lease has run out.
    Away,
}

/// A held task as a round found it at its start.
struct Holding {
    task: TaskId,
    token: LeaseToken,
    lease: Arc<Lease>,
}

/// See the module's description.
pub struct Claimer {
    executor: Executor,
    sessions: Sessions,
    /// The one in use; none after a round that failed.
    session: Option<Session>,
    /// Foreign leases and for how long they have been seen as they are.
    foreign: HashMap<TaskId, (Seen, Duration)>,
    /// Tasks that were claimed, or may have been, and that nobody works on yet; how often.
    unstarted: HashMap<TaskId, u32>,
    contact: Contact,
    /// Where operators look.
    note: Note,
    /// When the last look at them was sent.
    looked_at: Option<Moment>,
    figures_at: Option<Moment>,
}

impl Executor {
    /// What claims and renews for it. The note says whether the database lets it.
    ///
    /// # Errors
    /// When the database's TLS settings cannot be used.
    pub fn claimer(&self, database: &Database, note: Note) -> Result<Claimer, ConnectError> {
        Ok(Claimer {
            executor: self.clone(),
            sessions: Sessions::new(database)?,
            session: None,
            foreign: HashMap::new(),
            unstarted: HashMap::new(),
            contact: Contact::Kept,
            note,
            looked_at: None,
            figures_at: None,
        })
    }
}

impl Claimer {
    /// Claims and renews until the process ends. Never returns.
    pub async fn run(mut self) -> std::convert::Infallible {
        let mut rounds = interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = rounds.tick() => {}
                // The queue goes on as soon as it can.
                () = self.executor.room_for_the_queue() => sleep(ROUND_AT_LEAST).await,
            }
            let outcome = self.round().await;
            self.contact = self.contact.after(outcome.err(), &self.note);
        }
    }

    async fn round(&mut self) -> Result<(), RoundError> {
        let session = match self.session.take() {
            Some(session) => session,
            None => self.sessions.open().await?,
        };
        self.statements(&session.client).await?;
        // After a failure it is not used again: it may be stuck, closed, or lead to a server that takes
        // no writes any more.
        self.session = Some(session);
        Ok(())
    }

    async fn statements(&mut self, client: &Client) -> Result<(), RoundError> {
        let inner = Arc::clone(&self.executor.inner);
        let held = self.executor.holdings();
        self.renew(client, &held).await?;
        let ids: Vec<TaskId> = held.iter().map(|h| h.task).collect();
        let clusters: Vec<String> =
            inner.clusters.all().iter().map(|c| c.name.to_string()).collect();
        let sent = Moment::now();
        let open = answered(db::claim::poll(client, &ids, Action::NAMES, &clusters)).await?;
        let seen_for = self.looked_at.replace(sent).map_or(Duration::ZERO, Moment::elapsed);
        let held: HashMap<TaskId, Holding> = held.into_iter().map(|h| (h.task, h)).collect();
        let (mine, others): (Vec<_>, Vec<_>) =
            open.into_iter().partition(|o| held.contains_key(&o.task));
        for row in &mine {
            self.executor.steer(row, &held[&row.task]);
        }
        self.executor.lose_what_is_not_open(&mine, &held);
        let claimable = self.claimable(others, seen_for.min(LOOK));
        self.claim(client, claimable).await?;
        self.report(client).await
    }

    /// Renews the leases that no flush has renewed lately.
    async fn renew(&self, client: &Client, held: &[Holding]) -> Result<(), RoundError> {
        let inner = &self.executor.inner;
        let due: Vec<&Holding> = held.iter().filter(|h| h.lease.is_due(ROUND)).collect();
        if due.is_empty() {
            return Ok(());
        }
        let pairs: Vec<_> = due.iter().map(|h| (h.task, h.token)).collect();
        let sent = Moment::now();
        let renewed = answered(db::claim::heartbeat(client, inner.owner, &pairs)).await?;
        for holding in due.iter().filter(|h| renewed.contains(&h.task)) {
            holding.lease.renewed(sent);
        }
        Ok(())
    }

    /// Which of these may be claimed now, oldest first.
    fn claimable(&mut self, rows: Vec<Open>, seen_for: Duration) -> Vec<(TaskId, Seen)> {
        let owner = self.executor.inner.owner;
        let mut foreign = HashMap::new();
        let mut claimable = Vec::new();
        {
            let slots = self.executor.slots();
            for row in rows.into_iter().filter(|r| !slots.contains_key(&r.task)) {
                let free = match row.lease.owner {
                    None => true,
                    // Ours, and nobody works on it: the answer to the claim was lost.
                    Some(holder) if holder == owner => true,
                    Some(_) => {
                        let seen = match self.foreign.get(&row.task) {
                            Some((lease, before)) if *lease == row.lease => *before + seen_for,
                            _ => Duration::ZERO,
                        };
                        foreign.insert(row.task, (row.lease, seen));
                        row.expired && seen >= LEASE
                    }
                };
                if free {
                    claimable.push((row.task, row.lease));
                }
            }
        }
        self.foreign = foreign;
        self.unstarted.retain(|task, _| claimable.iter().any(|(t, _)| t == task));
        let room = self.executor.room(self.executor.slots().len());
        self.executor.inner.has_backlog.store(claimable.len() > room, Ordering::Relaxed);
        claimable.truncate(room);
        claimable
    }

    async fn claim(
        &mut self,
        client: &Client,
        tasks: Vec<(TaskId, Seen)>,
    ) -> Result<(), RoundError> {
        if tasks.is_empty() {
            return Ok(());
        }
        let inner = Arc::clone(&self.executor.inner);
        let _claiming = inner.claiming.lock().await;
        if inner.stopping.is_cancelled() {
            return Ok(());
        }
        let unstarted: Vec<TaskId> = self.unstarted.keys().copied().collect();
        for (task, _) in &tasks {
            *self.unstarted.entry(*task).or_default() += 1;
        }
        let sent = Moment::now();
        let claiming = db::claim::claim(client, inner.owner, &tasks, &unstarted);
        let mut claimed = answered(claiming).await?;
        // One whose items cannot be read is not to keep the others waiting.
        claimed.sort_by_key(|c| self.unstarted.get(&c.task).copied());
        for claimed in claimed {
            if self.foreign.remove(&claimed.task).is_some() {
                inner.metrics.takeovers.inc();
                let attempt = claimed.attempt;
                warn!(task = %claimed.task, attempt, "taken over from a holder that died");
            }
            // When this fails the task is ours and nobody works on it: the next round takes it up.
            let items = answered(db::claim::items(client, claimed.task)).await?;
            self.unstarted.remove(&claimed.task);
            self.executor.start(claimed, items, sent);
        }
        Ok(())
    }

    async fn report(&mut self, client: &Client) -> Result<(), RoundError> {
        if self.figures_at.is_some_and(|at| at.elapsed() < FIGURES) {
            return Ok(());
        }
        let figures = answered(db::claim::figures(client)).await?;
        let metrics = &self.executor.inner.metrics;
        for status in ["queued", "running", "paused"] {
            let n = figures.open.iter().find(|(s, _)| s == status).map_or(0, |(_, n)| *n);
            metrics.tasks.with_label_values(&[status]).set(n);
        }
        metrics.oldest_queued.set(figures.oldest_queued);
        metrics.stalled.set(figures.stalled);
        self.figures_at = Some(Moment::now());
        Ok(())
    }
}

impl Contact {
    /// What it is after a round, told where it is news.
    fn after(self, error: Option<RoundError>, note: &Note) -> Self {
        match (self, error) {
            (Self::Kept, None) => Self::Kept,
            (Self::Failing { .. } | Self::Away, None) => {
                info!("tasks are claimed and leases renewed again");
                note.set(CONTACT_KEPT);
                Self::Kept
            }
            (Self::Kept, Some(error)) => {
                warn!(%error, "no claims, no renewals until the database answers");
                note.set("no claims and no renewals: the database does not answer");
                Self::Failing { since: Moment::now() }
            }
            (Self::Failing { since }, Some(error)) if since.elapsed() >= LEASE => {
                error!(
                    %error,
                    "the database has not answered for longer than a lease: nothing is written to any \
                     cluster until it does; tasks go on by themselves then"
                );
                note.set("all leases have run out: nothing is written until the database answers");
                Self::Away
            }
            (state @ (Self::Failing { .. } | Self::Away), Some(error)) => {
                debug!(%error, "no claims, no renewals");
                state
            }
        }
    }
}

impl Executor {
    /// Resolves when a slot becomes free while tasks wait for one.
    async fn room_for_the_queue(&self) {
        loop {
            self.inner.freed.notified().await;
            if self.inner.has_backlog.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    fn holdings(&self) -> Vec<Holding> {
        let held = |(task, slot): (&TaskId, &Slot)| match slot {
            Slot::Reserved => None,
            Slot::Held { token, lease, .. } => {
                Some(Holding { task: *task, token: *token, lease: Arc::clone(lease) })
            }
        };
        self.slots().iter().filter_map(held).collect()
    }

    /// Brings a user's request, or the loss of the lease, to the runner.
    fn steer(&self, row: &Open, holding: &Holding) {
        let owner = row.lease.owner;
        let mine = owner == Some(self.inner.owner) && row.lease.token == holding.token;
        if mine {
            if let Some(Slot::Held { token, desired, .. }) = self.slots().get(&row.task)
                && *token == holding.token
            {
                desired.send_if_modified(|now| replace(now, wanted(row)));
            }
        } else if row.lease.token != holding.token || owner.is_some_and(|o| o != self.inner.owner) {
            // A lower token than ours: the database has lost our claim.
            self.lose(holding, "the lease was lost; another process has the task, or nobody");
        }
        // Ours without an owner is a task that this process is just giving back.
    }

    /// Ends the work on tasks that are not there any more, or have ended: the database has lost or gained
    /// commits. What has just ended here is given the time of a lease to be noticed.
    fn lose_what_is_not_open(&self, open: &[Open], held: &HashMap<TaskId, Holding>) {
        let is_open = |task: &TaskId| open.iter().any(|row| row.task == *task);
        for holding in held.values().filter(|h| h.lease.remaining().is_none() && !is_open(&h.task))
        {
            self.lose(
                holding,
                "the lease was lost; there is no such task any more, or it has ended",
            );
        }
    }

    fn lose(&self, holding: &Holding, why: &str) {
        if !holding.lease.is_lost() {
            warn!(task = %holding.task, "{why}");
            self.inner.metrics.lease_lost.inc();
            holding.lease.lose();
        }
    }
}

/// What is to become of a held task: a freeze pauses it, whatever its users want but its end.
const fn wanted(row: &Open) -> Desired {
    match row.desired {
        Desired::Run if row.frozen => Desired::Pause,
        desired => desired,
    }
}

/// Whether that was a change. Cancelling is final.
fn replace(now: &mut Desired, wanted: Desired) -> bool {
    let changes = *now != wanted && *now != Desired::Cancel;
    if changes {
        *now = wanted;
    }
    changes
}

async fn answered<T>(
    statement: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, RoundError> {
    match timeout(ANSWER_TIMEOUT, statement).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(RoundError::NoAnswer),
    }
}
