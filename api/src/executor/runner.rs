//! Works through one task under its lease.
//!
//! ```text
//! Working ──no item left──▶ finish by the counters
//!    ├─ pause asked   ──▶ Halting(Pause)    ─ in-flight nodes end ─▶ paused, lease given up
//!    ├─ cancel asked  ──▶ Halting(Cancel)   ─ in-flight nodes end ─▶ rest cancelled, finished
//!    ├─ process stops ──▶ Halting(HandBack) ─ in-flight nodes end ─▶ lease given up
//!    └─ lease lost    ──▶ everything is dropped where it stands, nothing more is written
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use knm_shared::ids::Ordinal;
use knm_shared::status::{Desired, ItemStatus, TaskStatus};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, error, info, info_span, warn};

use super::Executor;
use super::item::{Job, Outcome};
use crate::db::claim::{Claimed, Item};
use crate::k8s::Nodes;
use crate::lease::Lease;
use crate::progress::{Claim, End, ItemUpdate};
use crate::tasks::{Action, Options};

/// Claims in a row without a finished item after which a task counts as one that kills its holders.
const MAX_ATTEMPTS: i32 = 3;

/// Nodes that are prepared (their `before` made durable) while others occupy the calls: keeps the
/// calls busy during a commit.
const PREPARED_PER_CALL: usize = 2;

/// Why no new node is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Halt {
    Pause,
    Cancel,
    HandBack,
}

/// A node that was not done when the runner stopped.
struct Left {
    ordinal: Ordinal,
    in_doubt: bool,
}

/// The final state of a node that a cancelled task has left.
fn cancelled(in_doubt: bool) -> ItemUpdate {
    let doubt = "cancelled after a call without an answer: the change may have been made";
    let (status, message) = if in_doubt {
        (ItemStatus::Failed, Some(doubt.to_owned()))
    } else {
        (ItemStatus::Cancelled, None)
    };
    ItemUpdate { status: Some(status), message, ..ItemUpdate::default() }
}

pub(super) struct Runner {
    executor: Executor,
    claimed: Claimed,
    lease: Arc<Lease>,
    desired: watch::Receiver<Desired>,
}

impl Runner {
    pub(super) fn new(
        executor: &Executor,
        claimed: Claimed,
        lease: Arc<Lease>,
        desired: watch::Receiver<Desired>,
    ) -> Self {
        Self { executor: executor.clone(), claimed, lease, desired }
    }

    pub(super) async fn run(self, items: Vec<Item>) {
        let span = info_span!("task", id = %self.claimed.task);
        self.work(items).instrument(span).await;
    }

    async fn work(mut self, items: Vec<Item>) {
        let inner = Arc::clone(&self.executor.inner);
        let (task, attempt) = (self.claimed.task, self.claimed.attempt);
        let claim = Claim {
            task,
            user: self.claimed.user,
            token: self.claimed.token,
            seq: self.claimed.seq,
            status: self.claimed.status,
            items: items.iter().map(|i| i.status).collect(),
        };
        inner.progress.open(claim, Arc::clone(&self.lease));
        let todo: VecDeque<Item> = items.into_iter().filter(|i| !i.status.is_terminal()).collect();
        if attempt > MAX_ATTEMPTS {
            let died = attempt - 1;
            return self
                .give_up(todo, format!(
                    "given up: {died} processes in a row died or lost the task without finishing a \
                     node"
                ))
                .await;
        }
        let action = match Action::parse(&self.claimed.action, &self.claimed.params) {
            Ok(action) => action,
            Err(faults) => {
                let why = faults.iter().map(|f| format!("{}: {}", f.field, f.message));
                let why: Vec<_> = why.collect();
                return self
                    .give_up(todo, format!("cannot be carried out: {}", why.join("; ")))
                    .await;
            }
        };
        let Some(cluster) = inner.clusters.get(&self.claimed.cluster) else {
            let why = format!("cluster {:?} is not configured here", self.claimed.cluster);
            return self.give_up(todo, why).await;
        };
        let options = Options::from_row(&self.claimed.options, &inner.limits);
        let halt = CancellationToken::new();
        let job = Arc::new(Job {
            task,
            nodes: Nodes::new(cluster.client, inner.metrics.clone()),
            cache: cluster.nodes,
            progress: inner.progress.clone(),
            lease: Arc::clone(&self.lease),
            calls: Semaphore::new(options.concurrency as usize),
            action,
            request_timeout: inner.limits.request_timeout,
            retry_timeout: inner.limits.retry_timeout,
            metrics: inner.metrics.clone(),
            halt,
        });
        let prepared = options.concurrency as usize * PREPARED_PER_CALL;
        match self.items(&job, todo, prepared).await {
            Some((left, why)) => self.finish(left, why).await,
            None => inner.progress.close(task),
        }
    }

    /// Returns what was not done and why, or `None` when the lease is lost.
    async fn items(
        &mut self,
        job: &Arc<Job>,
        mut todo: VecDeque<Item>,
        prepared: usize,
    ) -> Option<(Vec<Left>, Option<Halt>)> {
        let stopping = self.executor.inner.stopping.clone();
        let mut why = self.asked().or(stopping.is_cancelled().then_some(Halt::HandBack));
        let mut left = Vec::new();
        let mut workers = JoinSet::new();
        loop {
            if why.is_some() {
                job.halt.cancel();
            }
            while why.is_none()
                && workers.len() < prepared
                && let Some(item) = todo.pop_front()
            {
                let job = Arc::clone(job);
                workers.spawn(async move { (item.ordinal, job.run(item).await) }.in_current_span());
            }
            if workers.is_empty() {
                // A former holder may have written after it had recorded what was there before.
                let untouched =
                    |i: &Item| Left { ordinal: i.ordinal, in_doubt: i.before.is_some() };
                left.extend(todo.iter().map(untouched));
                return Some((left, why));
            }
            tokio::select! {
                biased;
                () = self.lease.lost() => return None,
                ended = workers.join_next() => match ended {
                    Some(Ok((ordinal, Outcome::Halted { in_doubt }))) => {
                        left.push(Left { ordinal, in_doubt });
                    }
                    Some(Ok((_, Outcome::Ended))) | None => {}
                    Some(Ok((_, Outcome::Lost))) => return None,
                    Some(Err(panic)) => {
                        // The task is handed to the next claim, which redoes the node.
                        error!(%panic, "a worker panicked; the task is claimed anew");
                        return None;
                    }
                },
                changed = self.desired.changed() => match changed {
                    Ok(()) => why = self.asked().or(why),
                    // The slot is gone: another claim of this process has replaced this one.
                    Err(_) => return None,
                },
                () = stopping.cancelled(), if why.is_none() => why = Some(Halt::HandBack),
            }
        }
    }

    /// What the users want; cancelling outranks handing back.
    fn asked(&mut self) -> Option<Halt> {
        match *self.desired.borrow_and_update() {
            Desired::Run => None,
            Desired::Pause => Some(Halt::Pause),
            Desired::Cancel => Some(Halt::Cancel),
        }
    }

    async fn finish(self, left: Vec<Left>, why: Option<Halt>) {
        let progress = &self.executor.inner.progress;
        let task = self.claimed.task;
        let end = match why {
            Some(Halt::Pause) if !left.is_empty() => End::Paused,
            Some(Halt::HandBack) if !left.is_empty() => End::Released,
            Some(Halt::Cancel) if !left.is_empty() => {
                for Left { ordinal, in_doubt } in left {
                    let _ = progress.record(task, ordinal, cancelled(in_doubt));
                }
                End::Finished { status: TaskStatus::Cancelled, error: None }
            }
            _ => {
                let outcome = progress.outlook(task).map_or(TaskStatus::Failed, |c| c.outcome());
                End::Finished { status: outcome, error: None }
            }
        };
        self.end(end).await;
    }

    /// Ends a task that cannot be carried out: what was not done counts as failed.
    async fn give_up(self, todo: VecDeque<Item>, why: String) {
        let progress = &self.executor.inner.progress;
        for item in todo {
            let doubt = item.before.is_some().then_some("; the change may have been made");
            let failed = ItemUpdate {
                status: Some(ItemStatus::Failed),
                message: Some(format!("{why}{}", doubt.unwrap_or_default())),
                ..ItemUpdate::default()
            };
            let _ = progress.record(self.claimed.task, item.ordinal, failed);
        }
        self.end(End::Finished { status: TaskStatus::Failed, error: Some(why) }).await;
    }

    async fn end(self, end: End) {
        let inner = &self.executor.inner;
        let word = match &end {
            End::Finished { status, .. } => status.as_str(),
            End::Paused => "paused",
            End::Released => "handed back",
        };
        match inner.progress.end(self.claimed.task, end.clone()).durable().await {
            Ok(()) => {
                if let End::Finished { status, .. } = end {
                    inner.metrics.tasks_finished.with_label_values(&[status.as_str()]).inc();
                }
                info!(status = word, "task ends here");
            }
            Err(lost) => warn!(%lost, status = word, "the task's end could not be stored"),
        }
    }
}
