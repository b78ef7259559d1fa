//! Does one node of a task.
//!
//! ```text
//! Reading ─▶ planned ─▶ Recording `before` (durable) ─▶ Writing ─▶ Ended
//!    ▲          └─ nothing to do, or not allowed ───────────────────▲
//!    ├───────────── 409: read again ───────────────────────┤
//!    └── pause ◀─── 429, 5xx, no answer ◀──────────────────┘
//! ```
//!
//! The first look is at the node in memory, which costs no call: a write carries the resource version
//! that was looked at, so a stale look ends in a 409 and a fresh read. "Nothing to do" and "not
//! allowed" are never concluded from memory.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use knm_shared::ids::TaskId;
use knm_shared::status::ItemStatus;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::backoff::{Backoff, Patience};
use crate::clusters::NodeCache;
use crate::db::claim::Item;
use crate::k8s::{CallError, Fenced, Nodes};
use crate::lease::{Lease, Lost, Moment};
use crate::metrics::Metrics;
use crate::progress::{ItemUpdate, NotStored, Progress};
use crate::tasks::label::{self, Change, Plan};
use crate::tasks::{Action, LabelParams};

/// What all nodes of a task share.
pub(super) struct Job {
    pub(super) task: TaskId,
    pub(super) nodes: Nodes,
    pub(super) cache: NodeCache,
    pub(super) progress: Progress,
    pub(super) lease: Arc<Lease>,
    /// Calls to Kubernetes at a time.
    pub(super) calls: Semaphore,
    pub(super) action: Action,
    pub(super) request_timeout: Duration,
    pub(super) retry_timeout: Duration,
    pub(super) metrics: Metrics,
    /// Start nothing new; end what is in flight.
    pub(super) halt: CancellationToken,
}

/// How work on a node ended, its row already recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// In a final state.
    Ended,
    /// Back to pending: not done, or not known to be.
    Halted {
        /// A call without an answer may have made the change.
        in_doubt: bool,
    },
    /// The task is another's.
    Lost,
}

/// Why a node's work cannot go on.
enum Stop {
    Halt,
    Lost,
    /// PostgreSQL refuses the item; the writer has stored it as failed.
    Unstorable,
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

/// What one try came to.
enum Step {
    End(ItemStatus, Option<String>),
    /// What memory shows is not enough to go by.
    AskCluster,
    /// The object has changed: look at it again at once.
    LookAgain(String),
    /// Wait, then look again.
    Wait {
        why: String,
        asked: Option<Duration>,
    },
}

/// Where the next look goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Memory,
    Cluster,
}

/// One node's work under this claim.
struct Work<'a> {
    job: &'a Job,
    item: Item,
    started: Moment,
    tries: u32,
    /// The keys before the first write of any holder, as they are durable.
    before: Option<Map<String, Value>>,
    /// Whether a write may have taken effect of which `before` already tells the past.
    written: bool,
    recorded: bool,
    backoff: Backoff,
    patience: Patience,
    /// How long the calls of this try have taken.
    called: Duration,
}

impl Job {
    /// Works on one node until it has ended, or the task stops.
    pub(super) async fn run(&self, item: Item) -> Outcome {
        let before = match &item.before {
            Some(Value::Object(before)) => Some(before.clone()),
            _ => None,
        };
        let mut work = Work {
            job: self,
            started: Moment::now(),
            tries: 0,
            // A former holder may have written after it had recorded this.
            written: before.is_some(),
            recorded: item.status == ItemStatus::Running,
            before,
            item,
            backoff: Backoff::default(),
            patience: Patience::new(self.retry_timeout),
            called: Duration::ZERO,
        };
        match work.go().await {
            Ok((status, message)) => {
                work.end(status, message);
                Outcome::Ended
            }
            Err(Stop::Unstorable) => Outcome::Ended,
            Err(Stop::Lost) => Outcome::Lost,
            Err(Stop::Halt) => {
                work.back_to_pending();
                Outcome::Halted { in_doubt: work.written }
            }
        }
    }
}

impl Work<'_> {
    async fn go(&mut self) -> Result<(ItemStatus, Option<String>), Stop> {
        let mut look = if self.before.is_none() { Look::Memory } else { Look::Cluster };
        loop {
            self.check_halt()?;
            self.tries += 1;
            let (why, pause) = match self.attempt(look).await? {
                Step::End(status, message) => return Ok((status, message)),
                Step::AskCluster => {
                    self.tries -= 1;
                    look = Look::Cluster;
                    continue;
                }
                Step::LookAgain(why) if self.tries < 3 => (why, Duration::ZERO),
                Step::LookAgain(why) => (why, self.backoff.next(None).min(Duration::from_secs(1))),
                Step::Wait { why, asked } => (why, self.backoff.next(asked)),
            };
            look = Look::Cluster;
            let cost = std::mem::take(&mut self.called) + pause;
            if !self.patience.allows(cost) {
                let tries = self.tries;
                return Ok((
                    ItemStatus::Failed,
                    Some(format!("given up after {tries} tries: {why}")),
                ));
            }
            if !pause.is_zero() {
                self.say(format!("try {} in {:.1} s: {why}", self.tries + 1, pause.as_secs_f64()));
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = self.job.halt.cancelled() => {}
                }
            }
        }
    }

    fn check_halt(&self) -> Result<(), Stop> {
        if self.job.halt.is_cancelled() { Err(Stop::Halt) } else { Ok(()) }
    }

    async fn attempt(&mut self, look: Look) -> Result<Step, Stop> {
        let Action::Label(params) = &self.job.action;
        let node = match self.look(look).await? {
            Ok(node) => node,
            Err(step) => return Ok(step),
        };
        if node.metadata.uid.as_deref() != Some(&self.item.uid) {
            if look == Look::Memory {
                return Ok(Step::AskCluster);
            }
            let message = "the node was deleted and created again since the task was submitted";
            return Ok(Step::End(ItemStatus::Skipped, Some(message.into())));
        }
        let none = std::collections::BTreeMap::new();
        let labels = node.metadata.labels.as_ref().unwrap_or(&none);
        match label::plan(labels, params) {
            Plan::Unchanged | Plan::Refused(_) if look == Look::Memory => Ok(Step::AskCluster),
            Plan::Refused(why) => Ok(Step::End(ItemStatus::Failed, Some(why))),
            Plan::Unchanged => {
                let message = self.before.is_none().then(|| "unchanged".to_owned());
                Ok(Step::End(ItemStatus::Succeeded, message))
            }
            Plan::Change(change) => self.change(&change, &node).await,
        }
    }

    /// The node, or the step that its absence calls for.
    async fn look(&mut self, look: Look) -> Result<Result<Arc<Node>, Step>, Stop> {
        if look == Look::Memory {
            let node = self.job.cache.get(&self.item.node);
            return Ok(node.ok_or(Step::AskCluster));
        }
        let call = self.call_permit().await?;
        let sent = Moment::now();
        let answer = self.job.nodes.get(&self.item.node, &self.fence()).await;
        drop(call);
        self.count(sent);
        Ok(match answer {
            Ok(node) => Ok(Arc::new(node)),
            Err(error) => Err(self.step_of(error).await?),
        })
    }

    async fn change(&mut self, change: &Change, node: &Node) -> Result<Step, Stop> {
        self.remember(change).await?;
        let version = node.metadata.resource_version.as_deref().unwrap_or_default();
        let patch = change.merge_patch(version);
        let call = self.call_permit().await?;
        let sent = Moment::now();
        let answer = self.job.nodes.merge_patch(&self.item.node, &patch, &self.fence()).await;
        drop(call);
        self.count(sent);
        match answer {
            Ok(_) => Ok(Step::End(ItemStatus::Succeeded, None)),
            Err(error) => {
                self.written |= error.leaves_doubt();
                self.step_of(error).await
            }
        }
    }

    /// Makes the past durable before it is changed.
    ///
    /// What an earlier holder has recorded is never replaced: it may have made its change, and what
    /// stands there now came later. What this holder has recorded is, although a call without an answer
    /// may have made the change: a moment later it is likelier that memory was behind when it was
    /// looked at, and then the call cannot have had an effect.
    async fn remember(&mut self, change: &Change) -> Result<(), Stop> {
        let mut before = Map::new();
        if let (Some(known), true) = (&self.before, self.written) {
            before.extend(known.clone());
        }
        before.extend(change.before.clone());
        if let Some(Value::Object(inherited)) = &self.item.before {
            before.extend(inherited.clone());
        }
        if self.recorded && self.before.as_ref() == Some(&before) {
            return Ok(());
        }
        let update = ItemUpdate {
            status: Some(ItemStatus::Running),
            attempts: self.attempts(),
            before: Some(before.clone().into()),
            started: Some(self.started),
            ..ItemUpdate::default()
        };
        self.job.progress.record(self.job.task, self.item.ordinal, update).durable().await?;
        self.before = Some(before);
        self.recorded = true;
        Ok(())
    }

    async fn step_of(&self, error: CallError) -> Result<Step, Stop> {
        Ok(match error {
            CallError::Fenced => {
                tokio::select! {
                    valid = self.job.lease.valid() => valid?,
                    () = self.job.halt.cancelled() => return Err(Stop::Halt),
                }
                Step::LookAgain("the lease had run out".into())
            }
            CallError::Conflict(why) => Step::LookAgain(why),
            CallError::NotFound(why) => Step::End(ItemStatus::Failed, Some(why)),
            CallError::Refused(refusal) => Step::End(ItemStatus::Failed, Some(refusal.message)),
            CallError::Busy { message, retry_after, .. } => {
                Step::Wait { why: message, asked: retry_after }
            }
            CallError::NoAnswer(why) => Step::Wait { why, asked: None },
        })
    }

    /// A call that took longer than it may did so because this process was stopped.
    fn count(&mut self, sent: Moment) {
        self.called += sent.elapsed().min(self.job.request_timeout);
    }

    async fn call_permit(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Stop> {
        tokio::select! {
            biased;
            () = self.job.halt.cancelled() => Err(Stop::Halt),
            permit = self.job.calls.acquire() => permit.map_err(|_| Stop::Halt),
        }
    }

    fn fence(&self) -> Fenced {
        Fenced { lease: Arc::clone(&self.job.lease), timeout: self.job.request_timeout }
    }

    fn attempts(&self) -> u32 {
        self.item.attempts + self.tries
    }

    /// Tells why it takes so long.
    fn say(&mut self, message: String) {
        let update = ItemUpdate {
            status: Some(ItemStatus::Running),
            message: Some(message),
            attempts: self.attempts(),
            started: Some(self.started),
            ..ItemUpdate::default()
        };
        self.recorded = true;
        let _ = self.job.progress.record(self.job.task, self.item.ordinal, update);
    }

    /// The values of the changed keys as this task leaves them.
    fn after(&self) -> Option<Value> {
        let Action::Label(LabelParams { set, .. }) = &self.job.action;
        let before = self.before.as_ref()?;
        let after = before.keys().map(|key| (key.clone(), set.get(key).cloned().into()));
        Some(Value::Object(after.collect()))
    }

    fn end(&mut self, status: ItemStatus, message: Option<String>) {
        let after = (status == ItemStatus::Succeeded).then(|| self.after()).flatten();
        let update = ItemUpdate {
            status: Some(status),
            message,
            attempts: self.attempts(),
            before: None,
            after,
            started: Some(self.started),
        };
        let _ = self.job.progress.record(self.job.task, self.item.ordinal, update);
        let action = self.job.action.name();
        self.job.metrics.items.with_label_values(&[action, status.as_str()]).inc();
        let seconds = self.started.elapsed().as_secs_f64();
        self.job.metrics.item_duration.with_label_values(&[action]).observe(seconds);
    }

    /// A node that was certainly not written to has no past that the next holder would have to keep.
    fn back_to_pending(&mut self) {
        if !self.recorded {
            return;
        }
        let update = ItemUpdate {
            status: Some(ItemStatus::Pending),
            attempts: self.attempts(),
            before: (!self.written).then_some(Value::Null),
            ..ItemUpdate::default()
        };
        let _ = self.job.progress.record(self.job.task, self.item.ordinal, update);
    }
}
