//! Comparing what is known with the rows: while LISTEN is down, after it came back, and now and then.

use knm_shared::ids::{Seq, TaskId};

use super::Hub;

/// A task whose row is not where the hub is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behind {
    /// Which task.
    pub task: TaskId,
    /// Where the hub was when it asked.
    pub asked: Seq,
    /// Where its row is; `None` when it has none.
    pub row: Option<Seq>,
}

impl Hub {
    /// Where the hub is in every followed task that it knows.
    #[must_use]
    pub fn positions(&self) -> Vec<(TaskId, Seq)> {
        self.tasks.iter().filter_map(|(id, task)| Some((*id, task.seq()?))).collect()
    }

    /// Reads a task again if it is still not where its row was found to be; true if so.
    pub fn repair(&mut self, behind: Behind) -> bool {
        let Some(known) = self.tasks.get(&behind.task).and_then(super::task::Task::seq) else {
            return false;
        };
        let needed = match behind.row {
            // A row below what was asked about has gone backwards: the read will say so.
            Some(row) => row < behind.asked || row > known,
            None => true,
        };
        if needed {
            self.want_read(behind.task);
        }
        needed
    }

    /// Whether every read that was asked for has come.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.tasks.values().all(|t| t.read == super::reads::Read::Idle)
    }

    /// The deepest backlog: notifications held for a task, or steps that a client is behind.
    #[must_use]
    pub fn backlog(&self) -> usize {
        let held = self.tasks.values().map(super::task::Task::held).max().unwrap_or(0);
        let behind = self
            .sessions
            .values()
            .filter(|s| s.is_awake())
            .flat_map(|s| s.subs.iter())
            .filter_map(|(task, sub)| {
                let super::session::Position::At { seq, .. } = sub.position else {
                    return None;
                };
                let known = self.tasks.get(task)?.known.as_ref()?;
                known.ring.behind(seq)
            })
            .max()
            .unwrap_or(0);
        held.max(behind)
    }

    /// Shows the deepest backlog in the metrics.
    pub fn measure(&self) {
        self.metrics.queue_depth.set(i64::try_from(self.backlog()).unwrap_or(i64::MAX));
    }

    /// A comparison has found a task that no notification had brought here.
    pub fn count_repair(&self) {
        self.metrics.audit_repairs.inc();
    }
}
