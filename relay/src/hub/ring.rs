//! The latest steps of a task: what serves clients that are a little behind without a read.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use knm_shared::ids::Seq;

use super::step::{Changes, Step};

/// Steps kept at most. At 200 changes a second, more than a second's worth. Few in unit tests, so that what
/// happens when it is full happens there.
pub(super) const MAX_STEPS: usize = if cfg!(test) { 5 } else { 256 };
/// Roughly the memory they may take.
const MAX_BYTES: usize = 256 * 1024;
/// A client this many steps behind gets them one by one, as everybody else did; beyond, merged.
const MAX_SINGLE: usize = if cfg!(test) { 3 } else { 8 };
/// Merged steps kept for others with the same cursor.
pub(super) const MAX_MERGED: usize = if cfg!(test) { 2 } else { 8 };

/// Consecutive steps, the last of which leads to where the task is.
#[derive(Debug, Default)]
pub(super) struct Ring {
    steps: VecDeque<Arc<Step>>,
    bytes: usize,
    /// The newest merged steps to the present end.
    pub(super) merged: VecDeque<Arc<Step>>,
}

impl Ring {
    /// Appends a step that starts where the last one ended.
    pub(super) fn push(&mut self, step: Arc<Step>) {
        debug_assert!(self.steps.back().is_none_or(|last| last.seq == step.prev));
        self.merged.clear();
        self.bytes += step.bytes();
        self.steps.push_back(step);
        while self.steps.len() > MAX_STEPS || self.bytes > MAX_BYTES {
            let Some(old) = self.steps.pop_front() else {
                break;
            };
            self.bytes -= old.bytes();
        }
    }

    /// Forgets everything: the next step does not start where the last one ended.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// How many steps lie between `cursor` and the end; `None` when the ring does not reach back.
    pub(super) fn behind(&self, cursor: Seq) -> Option<usize> {
        let first = self.first_after(cursor)?;
        Some(self.steps.len() - first)
    }

    fn first_after(&self, cursor: Seq) -> Option<usize> {
        let first = self.steps.partition_point(|s| s.seq <= cursor);
        // A step may start before the cursor: items carry states, not differences, so telling some
        // of them again changes nothing.
        (self.steps.get(first)?.prev <= cursor).then_some(first)
    }

    /// The next step for a client at `cursor`; `None` when the ring does not reach back to it.
    pub(super) fn next(&mut self, cursor: Seq) -> Option<Arc<Step>> {
        let first = self.first_after(cursor)?;
        let step = &self.steps[first];
        if step.prev == cursor && self.steps.len() - first <= MAX_SINGLE {
            return Some(Arc::clone(step));
        }
        if let Some(merged) = self.merged.iter().find(|s| s.prev == cursor) {
            return Some(Arc::clone(merged));
        }
        let last = self.steps.back()?;
        let merged = Arc::new(Step {
            task: last.task,
            epoch: last.epoch.clone(),
            prev: cursor,
            seq: last.seq,
            published_us: last.published_us,
            progress: Arc::clone(&last.progress),
            end: last.end,
            changes: Changes::Merged(self.steps.range(first..).cloned().collect()),
            encoded: OnceLock::new(),
        });
        if self.merged.len() == MAX_MERGED {
            self.merged.pop_front();
        }
        self.merged.push_back(Arc::clone(&merged));
        Some(merged)
    }
}
