//! In which history the hub is, and what makes it go over to another.
//!
//! After a failover the old server may live on, and connections that were opened before lead to it for as
//! long as they last. What is read over them belongs to a history that is over. So a read leads from a
//! timeline to a higher one of the same server and not back; the connection that it came over is closed
//! instead. There are ways back all the same, as a server can be reset to what it once was:
//! - the listener, when it has just connected: a new connection leads where the name leads now;
//! - reads, when nothing else has been answered for so long that every connection is a new one.

use knm_shared::epoch::{DatabaseEpoch, Epoch};
use knm_shared::ids::TaskId;

use super::Hub;

/// Answers in a row. Each costs the pool its idle connections, and it has fewer than half as many: none of
/// those that brought the last answers had been open when the first came.
const INSISTENCE: u32 = 10;

/// The present history: what the database says of itself, and our name for it.
#[derive(Debug)]
pub(super) struct Known {
    db: DatabaseEpoch,
    pub(super) epoch: Epoch,
    /// Answers from an earlier one since the last from this.
    stale: u32,
}

impl Known {
    const fn new(db: DatabaseEpoch, epoch: Epoch) -> Self {
        Self { db, epoch, stale: 0 }
    }
}

/// An answer that counts for nothing, because it is of a server that has been succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer is of a server that has been succeeded")]
pub struct Stale;

impl Hub {
    /// The present history, once the database has told it.
    #[must_use]
    pub fn epoch(&self) -> Option<&Epoch> {
        self.epoch.as_ref().map(|k| &k.epoch)
    }

    /// Whether this is the present history.
    #[must_use]
    pub fn is_in(&self, db: DatabaseEpoch) -> bool {
        self.epoch.as_ref().is_some_and(|known| known.db == db)
    }

    /// Takes note of the history that an answer is of.
    ///
    /// # Errors
    /// When the hub is in a later one, and stays there.
    pub fn observe(&mut self, db: DatabaseEpoch) -> Result<(), Stale> {
        if let Some(known) = &mut self.epoch {
            if known.db == db {
                known.stale = 0;
            } else if db.precedes(known.db) {
                known.stale += 1;
                if known.stale < INSISTENCE {
                    return Err(Stale);
                }
            }
        }
        self.enter(db);
        Ok(())
    }

    /// Takes note of what the database says its history is, over a connection that has just been opened.
    pub fn enter(&mut self, db: DatabaseEpoch) {
        match &self.epoch {
            Some(known) if known.db == db => {}
            Some(_) => {
                self.metrics.resyncs.epoch.inc();
                self.start_epoch(Known::new(db, Epoch::of(db)));
            }
            None => self.epoch = Some(Known::new(db, Epoch::of(db))),
        }
    }

    /// A row has fallen behind although the database claims the same history.
    pub(super) fn diverge(&mut self, db: DatabaseEpoch) {
        self.metrics.resyncs.diverged.inc();
        self.start_epoch(Known::new(db, Epoch::diverged(db)));
    }

    fn start_epoch(&mut self, known: Known) {
        tracing::warn!(epoch = %known.epoch, "the database continues another history; starting over");
        self.epoch = Some(known);
        for (id, session) in &mut self.sessions {
            session.start_over();
            session.wake(*id, &mut self.wakes);
        }
        self.wanted.clear();
        let tasks: Vec<TaskId> = self.tasks.keys().copied().collect();
        for id in tasks {
            if let Some(task) = self.tasks.get_mut(&id) {
                *task = task.start_over();
            }
            self.want_read(id);
        }
        for list in self.lists.values_mut() {
            list.start_over();
        }
        self.stirred = true;
    }
}
