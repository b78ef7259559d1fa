//! The list of the user's tasks: replaced whole, then changed task by task.

use std::collections::BTreeMap;

use knm_shared::ids::TaskId;

use super::Violation;
use super::picture::arithmetic;
use crate::ws::frame::Tasks;

/// What is known of the list.
#[derive(Debug, Clone, Default)]
pub(super) struct TaskList {
    whole: bool,
    seqs: BTreeMap<TaskId, i64>,
}

impl TaskList {
    /// A new connection: the whole list comes first.
    pub(super) fn forget(&mut self) {
        self.whole = false;
        self.forget_numbers();
    }

    /// A new epoch, or another relay that has not caught up yet: numbers cannot be compared.
    pub(super) fn forget_numbers(&mut self) {
        self.seqs.clear();
    }

    pub(super) fn apply(&mut self, tasks: &Tasks) -> Result<(), Violation> {
        if !self.whole && !tasks.full {
            return Err(Violation::ListMissing);
        }
        self.whole = true;
        for head in &tasks.tasks {
            let p = &head.progress;
            arithmetic(p.current, p.total, p.percent, p.counts)?;
            let (task, to) = (head.id, head.seq);
            if let Some(from) = self.seqs.insert(task, to)
                && to < from
            {
                return Err(Violation::ListWentBack { task, from, to });
            }
        }
        Ok(())
    }
}
