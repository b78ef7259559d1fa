//! How a task's progress becomes rows and notifications.
//!
//! The executor *records* changes; one [`writer`] per process stores them. A ledger per task
//! holds what is durable, what is being written and what waits, and folds what waits to the newest
//! state of each item. Results queue up while a flush is in flight; the next one takes them all.
//!
//! ```text
//! record() ─▶ ledger.waiting ─take▶ ledger.in_flight ─commit▶ ledger.durable
//!                  ▲                      │
//!                  └──────rebase──────────┘   the row fell back: write everything again
//! ```

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use knm_shared::ids::{Ordinal, TaskId};
use knm_shared::status::{ItemStatus, TaskStatus};
use tokio::sync::{Notify, oneshot};

use crate::lease::{Lease, Lost, Moment};

mod batch;
mod json;
mod ledger;
mod pace;
pub mod writer;

pub use batch::Batch;
pub use json::Json;
pub use ledger::{Claim, Ledger, Step, Verdict};

/// One change of one item, as the executor reports it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ItemUpdate {
    /// The state that the item has now.
    pub status: Option<ItemStatus>,
    /// Shown to users; cut to 1 KiB, NUL bytes removed.
    pub message: Option<String>,
    /// Tries so far.
    pub attempts: u32,
    /// Values before the change; `None` leaves what is stored.
    pub before: Option<Json>,
    /// The node's resource version that `before` was read at; stored with it.
    pub before_version: Option<String>,
    /// Values after the change; `None` leaves what is stored.
    pub after: Option<Json>,
    /// When work on the item began; `None` leaves what is stored.
    pub started: Option<Moment>,
}

/// How a holder parts from a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// For good.
    Finished {
        /// A terminal state.
        status: TaskStatus,
        /// Why the task itself failed, when it did.
        error: Option<String>,
    },
    /// Stopped by a user: no lease until it goes on.
    Paused,
    /// Handed back: anybody may claim it at once.
    Released,
}

/// Why a recorded change is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotStored {
    /// Another holder has the task.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// PostgreSQL refused this very item; it has been stored as failed.
    #[error("the item's data could not be stored")]
    Unstorable,
}

/// Resolves when the change is durable.
#[derive(Debug)]
#[must_use = "a change that nobody waits for is recorded with `let _ =`"]
pub struct Receipt(oneshot::Receiver<Result<(), NotStored>>);

impl Receipt {
    /// Waits until the change, or a newer one of the same item, is committed.
    ///
    /// # Errors
    /// [`NotStored`]
    pub async fn durable(self) -> Result<(), NotStored> {
        self.0.await.unwrap_or(Err(NotStored::Lost(Lost)))
    }
}

/// One task under a lease, as executor, claimer and writer share it.
#[derive(Debug)]
struct Entry {
    ledger: Ledger,
    lease: Arc<Lease>,
}

/// The ledgers of all tasks that this process holds. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    entries: Mutex<HashMap<TaskId, Entry>>,
    work: Notify,
}

impl Progress {
    fn entries(&self) -> MutexGuard<'_, HashMap<TaskId, Entry>> {
        // A panic under this lock is a bug that ends the process; the data is still whole.
        self.shared.entries.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Takes up a claimed task. Its first flush makes it `running`.
    pub fn open(&self, claim: Claim, lease: Arc<Lease>) {
        let task = claim.task;
        self.entries().insert(task, Entry { ledger: Ledger::open(claim), lease });
        self.shared.work.notify_one();
    }

    /// Records a change of one item.
    pub fn record(&self, task: TaskId, ordinal: Ordinal, update: ItemUpdate) -> Receipt {
        let (sender, receipt) = oneshot::channel();
        match self.entries().get_mut(&task) {
            Some(entry) => {
                entry.ledger.record(ordinal, update, sender);
                self.shared.work.notify_one();
            }
            None => drop(sender.send(Err(NotStored::Lost(Lost)))),
        }
        Receipt(receipt)
    }

    /// Parts from a task once everything recorded is stored. The task is closed when this resolves.
    pub fn end(&self, task: TaskId, end: End) -> Receipt {
        let (sender, receipt) = oneshot::channel();
        match self.entries().get_mut(&task) {
            Some(entry) => {
                entry.ledger.end(end, sender);
                self.shared.work.notify_one();
            }
            None => drop(sender.send(Err(NotStored::Lost(Lost)))),
        }
        Receipt(receipt)
    }

    /// The states and counters as they will be once everything recorded is stored.
    #[must_use]
    pub fn outlook(&self, task: TaskId) -> Option<knm_shared::status::Counts> {
        self.entries().get(&task).map(|e| e.ledger.outlook())
    }

    /// Gives a task up without another write: its lease is another's.
    pub fn close(&self, task: TaskId) {
        if let Some(entry) = self.entries().remove(&task) {
            entry.lease.lose();
        }
    }

    /// Whether any task is open.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.entries().is_empty()
    }
}
