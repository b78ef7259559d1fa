//! Carries tasks out: which ones this process holds, who claims them, who works on them.
//!
//! ```text
//! Reserved ──stored under our lease──▶ Held ──▶ (runner ends) ──▶ gone
//!     │ not stored                       │ lease lost: the runner stops at once
//!     └──▶ gone                          └──▶ gone
//! ```
//!
//! Roles: `claimer` finds and renews leases; `runner` works through one task, in the order of its
//! `schedule`; `item` does one node, which is to `apply` a change (knowing the node's `past`) or to
//! `drain` it (when it is its `turn`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use knm_shared::config;
use knm_shared::ids::{LeaseToken, OwnerId, Seq, TaskId};
use knm_shared::pg::Pool;
use knm_shared::status::{Desired, ItemStatus, TaskStatus};
use knm_shared::telemetry::current_request;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, info_span};
use uuid::Uuid;

use crate::clusters::Clusters;
use crate::db::claim::{Claimed, Item};
use crate::db::tasks::NewTask;
use crate::lease::{Lease, Moment};
use crate::metrics::Metrics;
use crate::progress::Progress;

mod apply;
mod backoff;
mod claimer;
mod drain;
mod failure;
mod item;
mod past;
mod runner;
mod schedule;
mod session;
mod turn;

pub(crate) use claimer::CONTACT_KEPT;
pub use claimer::Claimer;
pub use failure::Failure;

/// What a held task's runner listens to, and who it is held as.
#[derive(Debug)]
enum Slot {
    /// About to be stored under our lease: the poll leaves it alone.
    Reserved,
    /// Ours.
    Held { token: LeaseToken, lease: Arc<Lease>, desired: watch::Sender<Desired> },
}

/// See the module's description. Cheap to clone.
#[derive(Clone)]
pub struct Executor {
    inner: Arc<Inner>,
}

struct Inner {
    owner: OwnerId,
    clusters: Clusters,
    /// For questions that are not the writer's nor the claimer's.
    pool: Pool,
    limits: config::Executor,
    /// The node that this process runs on, if it knows.
    own_node: Option<String>,
    progress: Progress,
    metrics: Metrics,
    slots: Mutex<HashMap<TaskId, Slot>>,
    runners: TaskTracker,
    /// Held from a claim to the start of its runners.
    claiming: tokio::sync::Mutex<()>,
    /// A slot has become free.
    freed: Notify,
    /// More tasks wait than there is room for: whoever comes now waits behind them.
    has_backlog: AtomicBool,
    /// No new claims, no new nodes: what is held is handed back.
    stopping: CancellationToken,
}

impl Executor {
    /// An executor under a fresh owner id.
    #[must_use]
    pub fn new(
        clusters: Clusters,
        pool: Pool,
        limits: config::Executor,
        progress: Progress,
        metrics: Metrics,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                owner: OwnerId(Uuid::new_v4()),
                clusters,
                pool,
                limits,
                own_node: config::env::node_name(),
                progress,
                metrics,
                slots: Mutex::default(),
                runners: TaskTracker::new(),
                claiming: tokio::sync::Mutex::default(),
                freed: Notify::new(),
                has_backlog: AtomicBool::new(false),
                stopping: CancellationToken::new(),
            }),
        }
    }

    /// One process start: half of every fencing pair.
    #[must_use]
    pub fn owner(&self) -> OwnerId {
        self.inner.owner
    }

    /// Lets the accepting replica claim a task in the transaction that stores it.
    #[must_use]
    pub fn admission(&self) -> Admission {
        Admission { executor: self.clone() }
    }

    /// Ends what is in flight and hands everything back. Returns when nothing is held any more, and
    /// nothing can come to be: claims and submissions on their way have been waited for.
    pub async fn stop(&self) {
        self.inner.stopping.cancel();
        drop(self.inner.claiming.lock().await);
        loop {
            let freed = self.inner.freed.notified();
            if self.slots().is_empty() {
                break;
            }
            freed.await;
        }
        self.inner.runners.close();
        self.inner.runners.wait().await;
    }

    /// Frees a task's slot if it is still as `chosen` says; true if so.
    fn free(&self, task: TaskId, chosen: impl Fn(&Slot) -> bool) -> bool {
        let mut slots = self.slots();
        let frees = slots.get(&task).is_some_and(chosen);
        if frees {
            slots.remove(&task);
        }
        self.inner.metrics.tasks_held.set(i64::try_from(slots.len()).unwrap_or(i64::MAX));
        drop(slots);
        self.inner.freed.notify_waiters();
        frees
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<TaskId, Slot>> {
        self.inner.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Free places for tasks when so many are taken.
    fn room(&self, taken: usize) -> usize {
        let most = self.inner.limits.max_concurrent_tasks as usize;
        if self.inner.stopping.is_cancelled() {
            return 0;
        }
        most.saturating_sub(taken)
    }

    /// Starts a runner for a task whose claim, sent at `sent`, is ours.
    fn start(&self, claimed: Claimed, items: Vec<Item>, sent: Moment) {
        // None for what the claimer finds: only the replica that took the request knows it.
        let request = current_request();
        let (task, request_id) = (&claimed.task, request.as_deref());
        // Not a part of the request: it outlives it.
        let span = info_span!(parent: None, "task", %task, request_id);
        span.follows_from(tracing::Span::current());
        let lease = Arc::new(Lease::claimed(sent));
        let (desired, steering) = watch::channel(claimed.desired);
        let slot = Slot::Held { token: claimed.token, lease: Arc::clone(&lease), desired };
        let mut slots = self.slots();
        slots.insert(claimed.task, slot);
        self.inner.metrics.tasks_held.set(i64::try_from(slots.len()).unwrap_or(i64::MAX));
        drop(slots);
        let place = Place { executor: self.clone(), task: claimed.task, token: claimed.token };
        let runner = runner::Runner::new(self, claimed, lease, steering);
        let work = async move {
            runner.run(items).await;
            drop(place);
        };
        self.inner.runners.spawn(work.instrument(span));
    }
}

/// Frees a task's slot when its runner ends, also by a panic. Then nobody renews the lease, and the
/// next poll finds a task of our own that nobody works on, and takes it up again.
struct Place {
    executor: Executor,
    task: TaskId,
    token: LeaseToken,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mine = |slot: &Slot| matches!(slot, Slot::Held { token, .. } if *token == self.token);
        if self.executor.free(self.task, mine) {
            self.executor.inner.progress.close(self.task);
        }
    }
}

/// The way into the executor for a task that is just being stored.
#[derive(Clone)]
pub struct Admission {
    executor: Executor,
}

impl Admission {
    /// Keeps a place for a task about to be stored; `None` when there is no room, and the task is left
    /// to whoever polls first.
    #[must_use]
    pub fn reserve(&self, task: TaskId) -> Option<Reservation> {
        // Under the lock that a stop looks under: it finds this place, or this finds it stopping.
        let mut slots = self.executor.slots();
        let has_backlog = &self.executor.inner.has_backlog;
        if self.executor.room(slots.len()) == 0 {
            // What is submitted now is the next, not what comes when there is room again.
            has_backlog.store(true, Ordering::Relaxed);
        }
        if has_backlog.load(Ordering::Relaxed) {
            return None;
        }
        slots.insert(task, Slot::Reserved);
        drop(slots);
        Some(Reservation { executor: self.executor.clone(), task, sent: Moment::now() })
    }
}

/// A kept place. Dropped without [`Reservation::confirm`], it is free again; a task that was stored
/// all the same is found by the poll, as one of this process that nobody works on.
pub struct Reservation {
    executor: Executor,
    task: TaskId,
    sent: Moment,
}

impl Reservation {
    /// Who the task is to be stored under.
    #[must_use]
    pub fn owner(&self) -> OwnerId {
        self.executor.inner.owner
    }

    /// The task is stored with our lease: work begins.
    pub fn confirm(self, task: &NewTask) {
        let claimed = Claimed {
            task: task.id,
            user: task.user,
            cluster: task.cluster.clone(),
            action: task.action.to_owned(),
            params: task.params.clone(),
            options: task.options.clone(),
            username: task.username.clone(),
            reason: task.reason.clone(),
            status: TaskStatus::Queued,
            desired: Desired::Run,
            seq: Seq(1),
            token: LeaseToken(1),
            attempt: 1,
        };
        let undo = |ordinal: u32| task.undo.get(ordinal as usize).cloned();
        let item = |(ordinal, (node, uid)): (u32, (&String, &String))| Item {
            ordinal,
            node: node.clone(),
            uid: uid.clone(),
            status: ItemStatus::Pending,
            attempts: 0,
            before: None,
            before_version: None,
            undo: undo(ordinal),
        };
        let items = (0..).zip(task.nodes.iter().zip(&task.uids)).map(item).collect();
        self.executor.start(claimed, items, self.sent);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.executor.free(self.task, |slot| matches!(slot, Slot::Reserved));
    }
}
