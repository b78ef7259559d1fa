//! Works through one task under its lease.
//!
//! ```text
//! Working ──no item left──▶ finish by the counters
//!    ├─ a rule says so ──▶ Stopped(why)      ─ in-flight nodes are finished, but for those that
//!    │                                         still wait for their turn ─▶ rest cancelled
//!    ├─ pause asked   ──▶ Halting(Pause)    ─ in-flight nodes end ─▶ paused, lease given up
//!    ├─ cancel asked  ──▶ Halting(Cancel)   ─ in-flight nodes end ─▶ rest cancelled, finished
//!    ├─ process stops, or the cluster is another now
//!    │                ──▶ Halting(HandBack) ─ in-flight nodes end ─▶ lease given up
//!    └─ lease lost    ──▶ everything is dropped where it stands, nothing more is written
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use knm_shared::ids::Ordinal;
use knm_shared::status::{Desired, ItemStatus, TaskStatus};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, error, info, warn};

use super::Executor;
use super::item::{DRAIN_HAD_BEGUN, Job, Outcome};
use super::schedule::{Next, Schedule};
use super::turn::Turns;
use crate::db::claim::{Claimed, Item};
use crate::k8s::{Nodes, Pods};
use crate::lease::{Lease, Lost};
use crate::progress::{Claim, End, ItemUpdate};
use crate::tasks::{Action, Author, Options};

/// Claims in a row without a finished item after which a task counts as one that kills its holders.
/// High enough that faults which only happen to fall on the same task do not condemn it: with one every
/// ten seconds, three in a row were seen.
const MAX_ATTEMPTS: i32 = 5;

/// Nodes that are prepared (their `before` made durable) while others occupy the calls: keeps the
/// calls busy during a commit. Not where a rule may forbid the next node at any moment: a node that is
/// prepared is a node that is begun.
const PREPARED_PER_CALL: usize = 2;

/// Calls of a drain at a time, for each node that it works on, and in all.
const DRAIN_CALLS_PER_NODE: usize = 10;
const DRAIN_CALLS: usize = 100;

/// How often it is looked whether a node that has to wait may be started, or none any more: the clock that
/// tells may be set.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Why no new node is started.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Halt {
    Pause,
    Cancel,
    HandBack,
    /// By a rule of the task's options. Nodes in flight are finished, if they have had their turn.
    Stopped(String),
}

/// A node that was not done when the runner stopped.
struct Left {
    ordinal: Ordinal,
    /// What may have been done to it all the same.
    doubt: Option<String>,
}

impl Left {
    /// Not touched under this claim; but perhaps by a former holder.
    fn untouched(item: &Item, action: &Action) -> Self {
        let begun = item.has_begun();
        let doubt = if action.is_drain() {
            DRAIN_HAD_BEGUN
        } else {
            "a call got no answer: the change may have been made"
        };
        Self { ordinal: item.ordinal, doubt: begun.then(|| doubt.to_owned()) }
    }

    /// Its final state in a task that ends without it.
    fn given_up(self, why: Option<&str>) -> (Ordinal, ItemUpdate) {
        let update = match self.doubt {
            None => ItemUpdate {
                status: Some(ItemStatus::Cancelled),
                message: why.map(|why| format!("not started: {why}")),
                ..ItemUpdate::default()
            },
            Some(doubt) => ItemUpdate {
                status: Some(ItemStatus::Failed),
                message: Some(format!("{}: {doubt}", why.unwrap_or("cancelled"))),
                ..ItemUpdate::default()
            },
        };
        (self.ordinal, update)
    }
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

    pub(super) async fn run(mut self, mut items: Vec<Item>) {
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
        if attempt > MAX_ATTEMPTS {
            let died = attempt - 1;
            let why = format!(
                "given up: {died} processes in a row died or lost the task without finishing a node"
            );
            return self.give_up(items, why).await;
        }
        let (action, options) = match self.read() {
            Ok(read) => read,
            Err(why) => {
                return self.give_up(items, format!("cannot be carried out: {why}")).await;
            }
        };
        self.take_up(&mut items);
        let Some(cluster) = inner.clusters.get(&self.claimed.cluster) else {
            // Removed here since the claim, or a cancelled task's that cannot be opened.
            let open = items.iter().filter(|item| !item.status.is_terminal());
            let left = open.map(|item| Left::untouched(item, &action)).collect();
            let why = self.asked().unwrap_or(Halt::HandBack);
            return self.finish(left, Some(why)).await;
        };
        let concurrency = options.concurrency as usize;
        let (calls, prepared) = if action.is_drain() {
            ((concurrency * DRAIN_CALLS_PER_NODE).min(DRAIN_CALLS), concurrency)
        } else if options.max_failures.is_some() || options.not_after.is_some() {
            (concurrency, concurrency)
        } else {
            (concurrency, concurrency * PREPARED_PER_CALL)
        };
        let limited = options.max_unavailable.filter(|_| action.is_drain()).map(|share| {
            let nodes: Vec<_> = items.iter().map(|item| item.node.clone()).collect();
            (share.of(nodes.len()), nodes)
        });
        let schedule = Schedule::new(items, &action, &options, inner.own_node.as_deref());
        let job = Arc::new(Job {
            task,
            nodes: Nodes::new(cluster.client.clone(), cluster.gate.clone(), inner.metrics.clone()),
            pods: Pods::new(cluster.client, cluster.gate.clone(), inner.metrics.clone()),
            gate: cluster.gate,
            closed: cluster.closed,
            cache: cluster.nodes,
            progress: inner.progress.clone(),
            lease: Arc::clone(&self.lease),
            calls: Semaphore::new(calls),
            action,
            options,
            author: Author::new(
                self.claimed.username.clone(),
                self.claimed.reason.clone(),
                Timestamp::now(),
            ),
            turns: Turns {
                pool: inner.pool.clone(),
                cluster: self.claimed.cluster.clone(),
                task,
                claim: (inner.owner, self.claimed.token),
            },
            limited,
            request_timeout: inner.limits.request_timeout,
            retry_timeout: inner.limits.retry_timeout,
            metrics: inner.metrics.clone(),
            halt: CancellationToken::new(),
            no_new: CancellationToken::new(),
            desired: self.desired.clone(),
            daemonsets: Mutex::default(),
        });
        match self.items(&job, schedule, prepared).await {
            Some((left, why)) => self.finish(left, why).await,
            None => inner.progress.close(task),
        }
    }

    /// What a former holder was at is under way only once it is started again. That may be much later, or
    /// never, if the task is paused by now; and as long as its row says `running`, a node is kept from
    /// other drains and counts as away.
    fn take_up(&self, items: &mut [Item]) {
        for item in items.iter_mut().filter(|item| item.status == ItemStatus::Running) {
            item.status = ItemStatus::Pending;
            // Its past and its tries stay.
            let update = ItemUpdate { status: Some(item.status), ..ItemUpdate::default() };
            let _ = self.executor.inner.progress.record(self.claimed.task, item.ordinal, update);
        }
    }

    fn read(&self) -> Result<(Action, Options), String> {
        let Claimed { action, params, options, .. } = &self.claimed;
        let action = Action::parse(action, params).map_err(|faults| {
            let why: Vec<_> =
                faults.iter().map(|f| format!("{}: {}", f.field, f.message)).collect();
            why.join("; ")
        })?;
        let options = Options::from_row(options, &self.executor.inner.limits)
            .map_err(|why| format!("options: {why}"))?;
        Ok((action, options))
    }

    /// Returns what was not done and why, or `None` when the lease is lost.
    async fn items(
        &mut self,
        job: &Arc<Job>,
        mut schedule: Schedule,
        prepared: usize,
    ) -> Option<(Vec<Left>, Option<Halt>)> {
        let stopping = self.executor.inner.stopping.clone();
        let mut why = self.asked().or(stopping.is_cancelled().then_some(Halt::HandBack));
        let mut left = BTreeMap::new();
        let mut workers = JoinSet::new();
        let mut told = None;
        loop {
            // Not only when there is room for another node: those that wait for their turn have not been
            // started either.
            why = why.or_else(|| schedule.is_over(Timestamp::now()).map(Halt::Stopped));
            let mut waits = false;
            while why.is_none() && workers.len() < prepared {
                match schedule.next(&job.cache, Timestamp::now(), Instant::now()) {
                    Next::Start(item) => {
                        let job = Arc::clone(job);
                        workers.spawn(
                            async move { (item.ordinal, job.run(*item).await) }.in_current_span(),
                        );
                    }
                    Next::Wait(ordinal, reason) => {
                        waits = true;
                        self.tell(&mut told, ordinal, reason);
                        break;
                    }
                    Next::Stop(reason) => why = Some(Halt::Stopped(reason)),
                    Next::Empty => break,
                }
            }
            if why.is_some() {
                job.no_new.cancel();
            }
            if !matches!(why, None | Some(Halt::Stopped(_))) {
                job.halt.cancel();
            }
            if workers.is_empty() && !waits {
                let rest = schedule.into_rest();
                let ends = matches!(why, Some(Halt::Cancel | Halt::Stopped(_)));
                let rest = if ends {
                    Self::clear_up(job, rest).await?
                } else {
                    rest.iter().map(|item| Left::untouched(item, &job.action)).collect()
                };
                return Some((left.into_values().chain(rest).collect(), why));
            }
            let left_to_start = schedule.time_left(Timestamp::now()).filter(|_| why.is_none());
            let looks_again = waits || left_to_start.is_some();
            let pause = left_to_start.map_or(LOOK_AGAIN, |left| left.min(LOOK_AGAIN));
            tokio::select! {
                biased;
                () = self.lease.lost() => return None,
                ended = workers.join_next(), if !workers.is_empty() => match ended {
                    Some(Ok((ordinal, Outcome::Halted { doubt }))) => {
                        schedule.ended(ordinal, ItemStatus::Pending);
                        left.insert(ordinal, Left { ordinal, doubt });
                    }
                    Some(Ok((ordinal, Outcome::Ended(status)))) => schedule.ended(ordinal, status),
                    None => {}
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
                () = stopping.cancelled(), if matches!(why, None | Some(Halt::Stopped(_))) => {
                    why = Some(Halt::HandBack);
                }
                () = job.closed.cancelled(), if matches!(why, None | Some(Halt::Stopped(_))) => {
                    why = Some(Halt::HandBack);
                }
                () = tokio::time::sleep(pause), if looks_again => {}
            }
        }
    }

    /// Nodes that former holders have begun and nobody is going to finish are left as the options ask.
    /// `None` when the lease is lost.
    async fn clear_up(job: &Arc<Job>, rest: VecDeque<Item>) -> Option<Vec<Left>> {
        let at_once = job.options.concurrency as usize;
        let cleared = stream::iter(rest).map(|item| async move {
            let mut left = Left::untouched(&item, &job.action);
            if let Some(note) = job.clear_up(item).await? {
                left.doubt = left.doubt.map(|doubt| format!("{doubt}; {note}"));
            }
            Ok(left)
        });
        let cleared: Result<_, Lost> = cleared.buffered(at_once).try_collect().await;
        cleared.ok()
    }

    /// Shows on the node that comes next why it has to wait.
    fn tell(&self, told: &mut Option<(Ordinal, String)>, ordinal: Ordinal, reason: String) {
        let news = Some((ordinal, reason));
        if *told == news {
            return;
        }
        if let Some((ordinal, reason)) = &news {
            let update = ItemUpdate {
                status: Some(ItemStatus::Pending),
                message: Some(format!("waiting: {reason}")),
                ..ItemUpdate::default()
            };
            let _ = self.executor.inner.progress.record(self.claimed.task, *ordinal, update);
        }
        *told = news;
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
                self.leave(left, None);
                End::Finished { status: TaskStatus::Cancelled, error: None }
            }
            Some(Halt::Stopped(why)) if !left.is_empty() => {
                self.leave(left, Some(&why));
                let status = progress.outlook(task).map_or(TaskStatus::Failed, |c| c.outcome());
                End::Finished { status, error: Some(format!("stopped: {why}")) }
            }
            _ => {
                let outcome = progress.outlook(task).map_or(TaskStatus::Failed, |c| c.outcome());
                End::Finished { status: outcome, error: None }
            }
        };
        self.end(end).await;
    }

    /// Ends the nodes that a task leaves when it ends without them.
    fn leave(&self, left: Vec<Left>, why: Option<&str>) {
        for left in left {
            let (ordinal, update) = left.given_up(why);
            let _ = self.executor.inner.progress.record(self.claimed.task, ordinal, update);
        }
    }

    /// Ends a task that cannot be carried out: what was not done counts as failed.
    async fn give_up(self, items: Vec<Item>, why: String) {
        let progress = &self.executor.inner.progress;
        for item in items.into_iter().filter(|i| !i.status.is_terminal()) {
            let begun = item.has_begun();
            let doubt = if begun { "; the change may have been made" } else { "" };
            let failed = ItemUpdate {
                status: Some(ItemStatus::Failed),
                message: Some(format!("{why}{doubt}")),
                ..ItemUpdate::default()
            };
            let _ = progress.record(self.claimed.task, item.ordinal, failed);
        }
        self.end(End::Finished { status: TaskStatus::Failed, error: Some(why) }).await;
    }

    /// Also of a task whose options this release cannot read.
    fn is_dry_run(&self) -> bool {
        self.claimed.options.get("dry_run").and_then(serde_json::Value::as_bool).unwrap_or(false)
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
                    inner.metrics.tasks_finished(status, self.is_dry_run()).inc();
                }
                info!(status = word, "task ends here");
            }
            Err(lost) => warn!(%lost, status = word, "the task's end could not be stored"),
        }
    }
}
