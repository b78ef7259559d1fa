//! Does one node of a task: what all actions share.
//!
//! ```text
//! label, annotate, taint, cordon, uncordon:  apply ─▶ Ended
//! drain:                                     drain (which applies the cordon) ─▶ Ended
//! any of them:                               halt ─▶ back to pending;  lease lost ─▶ dropped
//! ```

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use knm_shared::ids::TaskId;
use knm_shared::status::{Desired, ItemStatus};
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

use super::backoff::{Tries, Trouble};
use super::failure::Failure;
use super::past::Past;
use super::turn::Turns;
use crate::clusters::NodeCache;
use crate::db::claim::Item;
use crate::k8s::{CallError, DryRun, Fenced, Gate, Nodes, Pass, Pods, Terms};
use crate::lease::{Lease, Lost, Moment};
use crate::metrics::Metrics;
use crate::progress::{ItemUpdate, Json, NotStored, Progress};
use crate::tasks::{Action, Author, Options};

/// What a drain may have left that was begun under another claim.
pub(super) const DRAIN_HAD_BEGUN: &str =
    "its drain had begun: it may be cordoned, and pods may be gone";

/// What all nodes of a task share.
pub(super) struct Job {
    pub(super) task: TaskId,
    pub(super) nodes: Nodes,
    pub(super) pods: Pods,
    pub(super) cache: NodeCache,
    pub(super) progress: Progress,
    pub(super) lease: Arc<Lease>,
    /// Calls to Kubernetes at a time.
    pub(super) calls: Semaphore,
    /// What all tasks of this process on the cluster share.
    pub(super) gate: Gate,
    /// The cluster was removed or changed.
    pub(super) closed: CancellationToken,
    pub(super) action: Action,
    pub(super) options: Options,
    pub(super) author: Author,
    /// Who may drain a node.
    pub(super) turns: Turns,
    /// The task's nodes, if only so many may be away at a time.
    pub(super) limited: Option<(usize, Vec<String>)>,
    pub(super) request_timeout: Duration,
    pub(super) retry_timeout: Duration,
    pub(super) metrics: Metrics,
    /// Start nothing new; end what is in flight.
    pub(super) halt: CancellationToken,
    /// Start nothing new. What still waits to touch its node has not been started either.
    pub(super) no_new: CancellationToken,
    /// Tells a halt for good from one for now.
    pub(super) desired: watch::Receiver<Desired>,
    /// DaemonSets that were found to exist, by namespace and name.
    pub(super) daemonsets: Mutex<HashSet<(String, String)>>,
}

/// How work on a node ended, its row already recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// In a final state.
    Ended(ItemStatus),
    /// Back to pending: not done, or not known to be.
    Halted {
        /// What may have been done all the same, for those who read a cancelled task.
        doubt: Option<String>,
    },
    /// The task is another's.
    Lost,
}

/// A node's final state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) status: ItemStatus,
    pub(super) message: Option<String>,
    /// Why, if it failed.
    pub(super) failure: Option<Failure>,
}

impl Ended {
    pub(super) fn failed(failure: Failure, why: impl Into<String>) -> Self {
        Self { status: ItemStatus::Failed, message: Some(why.into()), failure: Some(failure) }
    }

    pub(super) fn skipped(why: impl Into<String>) -> Self {
        Self { status: ItemStatus::Skipped, message: Some(why.into()), failure: None }
    }

    pub(super) fn succeeded(message: Option<String>) -> Self {
        Self { status: ItemStatus::Succeeded, message, failure: None }
    }
}

/// Why a node's work cannot go on.
#[derive(Debug)]
pub(super) enum Stop {
    /// The task pauses, ends or is handed back.
    Halt {
        /// What a cancelled task has left behind.
        doubt: Option<String>,
    },
    /// The task is another's.
    Lost,
    /// PostgreSQL refuses the item; the writer has stored it as failed.
    Unstorable,
}

impl Stop {
    pub(super) const HALT: Self = Self::Halt { doubt: None };
}

impl From<Lost> for Stop {
    fn from(Lost: Lost) -> Self {
        Self::Lost
    }
}

impl From<NotStored> for Stop {
    fn from(not_stored: NotStored) -> Self {
        match not_stored {
            NotStored::Lost(_) => Self::Lost,
            NotStored::Unstorable => Self::Unstorable,
        }
    }
}

/// Leave to make a call, as long as it is held.
pub(super) struct CallPermit<'a> {
    _own: SemaphorePermit<'a>,
    _shared: Pass,
}

/// What an error of the cluster calls for.
pub(super) enum Verdict {
    /// The node has ended.
    End(Ended),
    /// Another try.
    Again(Trouble),
}

/// One node's work under this claim.
pub(super) struct Work<'a> {
    pub(super) job: &'a Job,
    pub(super) item: Item,
    started: Moment,
    /// Tries under this claim.
    tried: u32,
    pub(super) past: Past,
    /// What the node has of the changed keys since the change.
    pub(super) after: Option<Value>,
    /// Whether its row says that it is being worked on.
    pub(super) is_running: bool,
    /// Whether a halt is none of this work's business: it clears up.
    pub(super) clears_up: bool,
}

impl Job {
    fn work(&self, item: Item) -> Work<'_> {
        Work {
            job: self,
            started: Moment::now(),
            tried: 0,
            past: Past::inherited(item.before.as_ref(), item.before_version.as_deref()),
            after: None,
            is_running: item.status == ItemStatus::Running,
            clears_up: false,
            item,
        }
    }

    /// Leaves a node that a former holder has begun, and that nobody is going to finish, as the options
    /// ask. Returns how that is, if anything was to be done.
    ///
    /// # Errors
    /// When the task is another's.
    pub(super) async fn clear_up(&self, item: Item) -> Result<Option<String>, Lost> {
        if !self.action.is_drain() || self.options.dry_run || !item.has_begun() {
            return Ok(None);
        }
        match self.work(item).clear_up_after_others().await {
            Ok(note) => Ok(note),
            Err(Stop::Lost) => Err(Lost),
            Err(Stop::Halt { .. } | Stop::Unstorable) => Ok(None),
        }
    }

    /// Works on one node until it has ended, or the task stops.
    pub(super) async fn run(&self, item: Item) -> Outcome {
        let mut work = self.work(item);
        let ended = match &self.action {
            Action::Drain(params) => work.drain(params).await,
            _ => work.change().await,
        };
        match ended {
            Ok(ended) => {
                let status = ended.status;
                work.end(ended);
                Outcome::Ended(status)
            }
            Err(Stop::Unstorable) => {
                self.metrics.item_failed(Failure::Unstorable.as_str());
                Outcome::Ended(ItemStatus::Failed)
            }
            Err(Stop::Lost) => Outcome::Lost,
            Err(Stop::Halt { doubt }) => {
                work.back_to_pending();
                let maybe = "a call got no answer: the change may have been made";
                let doubt = doubt.or_else(|| work.past.may_be_written().then(|| maybe.into()));
                Outcome::Halted { doubt }
            }
        }
    }

    /// Waits for one of the task's calls, and for the cluster to have room for it.
    pub(super) async fn call(&self) -> CallPermit<'_> {
        let own = self.calls.acquire().await.unwrap_or_else(|_| unreachable!("never closed"));
        CallPermit { _own: own, _shared: self.gate.enter(self.task).await }
    }

    /// Whether the node may be changed at all in this task.
    pub(super) fn dry_run(&self) -> DryRun {
        self.options.dry_run.into()
    }

    pub(super) fn knows_daemonset(&self, namespace: &str, name: &str) -> bool {
        let known = self.daemonsets.lock().unwrap_or_else(PoisonError::into_inner);
        known.contains(&(namespace.to_owned(), name.to_owned()))
    }

    pub(super) fn remember_daemonset(&self, namespace: &str, name: &str) {
        let mut known = self.daemonsets.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert((namespace.to_owned(), name.to_owned()));
    }

    /// Whether the task has been cancelled, rather than paused or handed back.
    pub(super) fn is_cancelled(&self) -> bool {
        *self.desired.borrow() == Desired::Cancel
    }
}

impl Work<'_> {
    /// All of a plain action.
    async fn change(&mut self) -> Result<Ended, Stop> {
        use super::apply::Applied;
        let dry_run = self.job.options.dry_run;
        Ok(match self.apply().await? {
            Applied::Changed if dry_run => Ended::succeeded(Some("dry run: would change".into())),
            Applied::Changed => Ended::succeeded(None),
            Applied::Unchanged => Ended::succeeded(Some("unchanged".into())),
            Applied::Ended(ended) => ended,
        })
    }

    pub(super) fn tries(&self) -> Tries {
        Tries::new(self.job.retry_timeout)
    }

    /// Waits for the next try of a step; the node's end when there is none.
    ///
    /// # Errors
    /// When the task stops meanwhile.
    pub(super) async fn pause(
        &mut self,
        tries: &mut Tries,
        trouble: &Trouble,
    ) -> Result<Option<Ended>, Stop> {
        self.tried = self.tried.max(tries.count());
        let Some(pause) = tries.next(trouble) else {
            let (n, why) = (tries.count(), trouble.why());
            let why = format!("given up after {n} tries: {why}");
            return Ok(Some(Ended::failed(trouble.failure(), why)));
        };
        if !pause.is_zero() {
            let (n, seconds, why) = (tries.count() + 1, pause.as_secs_f64(), trouble.why());
            self.say(format!("try {n} in {seconds:.1} s: {why}"));
            self.sleep(pause).await?;
        }
        self.check_halt()?;
        Ok(None)
    }

    /// Waits for the next try of a step that an error has called for; the node's end when there is none.
    ///
    /// # Errors
    /// When the task stops meanwhile.
    pub(super) async fn end_or_pause(
        &mut self,
        tries: &mut Tries,
        verdict: Verdict,
    ) -> Result<Option<Ended>, Stop> {
        match verdict {
            Verdict::End(ended) => Ok(Some(ended)),
            Verdict::Again(trouble) => self.pause(tries, &trouble).await,
        }
    }

    /// Sleeps unless the task stops.
    ///
    /// # Errors
    /// When it does.
    pub(super) async fn sleep(&self, pause: Duration) -> Result<(), Stop> {
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            stop = self.halted() => Err(stop),
        }
    }

    /// Resolves when the task stops.
    pub(super) async fn halted(&self) -> Stop {
        tokio::select! {
            () = self.job.lease.lost() => Stop::Lost,
            () = self.job.halt.cancelled(), if !self.clears_up => Stop::HALT,
        }
    }

    pub(super) fn check_halt(&self) -> Result<(), Stop> {
        if self.job.halt.is_cancelled() && !self.clears_up { Err(Stop::HALT) } else { Ok(()) }
    }

    /// What an error calls for. Waits for the lease to be renewed if that is what is missing.
    ///
    /// # Errors
    /// When the task stops.
    pub(super) async fn verdict(&self, error: CallError) -> Result<Verdict, Stop> {
        Ok(match error {
            CallError::Fenced => {
                tokio::select! {
                    valid = self.job.lease.valid() => valid?,
                    stop = self.halted() => return Err(stop),
                }
                Verdict::Again(Trouble::Changed("the lease had run out".into()))
            }
            CallError::Conflict(why) => Verdict::Again(Trouble::Changed(why)),
            CallError::NotFound(why) | CallError::NamespaceTerminating(why) => {
                Verdict::End(Ended::failed(Failure::NotFound, why))
            }
            CallError::Refused(refusal) => {
                Verdict::End(Ended::failed(Failure::Refused, refusal.message))
            }
            CallError::Busy { message: why, retry_after: asked, .. }
            | CallError::Budget { message: why, retry_after: asked, .. } => {
                Verdict::Again(Trouble::Busy { why, asked })
            }
            CallError::NoAnswer(why) => Verdict::Again(Trouble::Busy { why, asked: None }),
        })
    }

    /// One of the task's calls.
    ///
    /// # Errors
    /// When the task stops before it is this one's turn.
    pub(super) async fn call_permit(&self) -> Result<CallPermit<'_>, Stop> {
        self.check_halt()?;
        tokio::select! {
            biased;
            stop = self.halted() => Err(stop),
            permit = self.job.call() => Ok(permit),
        }
    }

    pub(super) fn terms(&self) -> Terms {
        let lease = Arc::clone(&self.job.lease);
        Fenced { lease, timeout: self.job.request_timeout }.into()
    }

    /// A call that took longer than it may did so because this process was stopped.
    pub(super) fn cost(&self, sent: Moment) -> Duration {
        sent.elapsed().min(self.job.request_timeout)
    }

    fn attempts(&self) -> u32 {
        self.item.attempts + self.tried.max(1)
    }

    pub(super) fn count_try(&mut self, tries: &Tries) {
        self.tried = self.tried.max(tries.count());
    }

    /// An update that leaves the item running.
    fn running(&self) -> ItemUpdate {
        ItemUpdate {
            status: Some(ItemStatus::Running),
            attempts: self.attempts(),
            started: Some(self.started),
            ..ItemUpdate::default()
        }
    }

    /// Makes it durable that work is under way, with what was there before.
    ///
    /// # Errors
    /// When that is not stored.
    pub(super) async fn make_durable(
        &mut self,
        before: Option<(Value, Option<String>)>,
    ) -> Result<(), Stop> {
        let (before, before_version) = before.unzip();
        let (before, before_version) = (before.map(Json::from), before_version.flatten());
        let update = ItemUpdate { before, before_version, ..self.running() };
        self.job.progress.record(self.job.task, self.item.ordinal, update).durable().await?;
        self.is_running = true;
        Ok(())
    }

    /// Tells what it is doing.
    pub(super) fn say(&mut self, message: String) {
        let update = ItemUpdate { message: Some(message), ..self.running() };
        self.is_running = true;
        let _ = self.job.progress.record(self.job.task, self.item.ordinal, update);
    }

    fn end(&mut self, Ended { status, message, failure }: Ended) {
        let update = ItemUpdate {
            status: Some(status),
            message,
            attempts: self.attempts(),
            before: self.past.is_stale().then(Json::null),
            before_version: None,
            after: self.after.take().map(Json::from),
            started: Some(self.started),
        };
        let _ = self.job.progress.record(self.job.task, self.item.ordinal, update);
        let action = self.job.action.name();
        self.job.metrics.items.with_label_values(&[action, status.as_str()]).inc();
        if let Some(failure) = failure {
            self.job.metrics.item_failed(failure.as_str());
        }
        let seconds = self.started.elapsed().as_secs_f64();
        self.job.metrics.item_duration.with_label_values(&[action]).observe(seconds);
    }

    /// A node that was certainly not written to has no past that the next holder would have to keep.
    fn back_to_pending(&mut self) {
        if !self.is_running {
            return;
        }
        let update = ItemUpdate {
            status: Some(ItemStatus::Pending),
            attempts: self.attempts(),
            before: (!self.past.may_be_written()).then(Json::null),
            // A cancelled drain is to be reverted like any other.
            after: self.after.clone().map(Json::from),
            ..ItemUpdate::default()
        };
        let _ = self.job.progress.record(self.job.task, self.item.ordinal, update);
    }
}
