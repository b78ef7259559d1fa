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

/// A read that has to come before the clients can be told that nothing is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Awaited {
    task: TaskId,
    /// Reads with a higher number began late enough to see what was missed.
    after: u64,
}

impl Hub {
    /// Reads every task again whose first read has not come: it may have looked before LISTEN, at what
    /// has moved on since, and there is no number yet to compare.
    pub fn reread_unknown(&mut self) -> Vec<Awaited> {
        let unknown = self.tasks.iter().filter(|(_, task)| task.known.is_none());
        let unknown: Vec<TaskId> = unknown.map(|(id, _)| *id).collect();
        unknown.into_iter().map(|task| self.await_read(task)).collect()
    }

    /// Reads what a comparison after an outage has found behind, where it still is.
    pub fn reread_behind(&mut self, behind: &[Behind]) -> Vec<Awaited> {
        let needed: Vec<Behind> = behind.iter().copied().filter(|b| self.repair(*b)).collect();
        needed.into_iter().map(|behind| self.await_read(behind.task)).collect()
    }

    fn await_read(&mut self, task: TaskId) -> Awaited {
        self.want_read(task);
        Awaited { task, after: self.last }
    }

    /// Whether a read has come, or nobody follows its task any more.
    #[must_use]
    pub fn has_come(&self, awaited: Awaited) -> bool {
        self.tasks.get(&awaited.task).is_none_or(|task| task.read_by > awaited.after)
    }

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
    #[cfg(test)]
    pub(super) fn is_settled(&self) -> bool {
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
