//! What one flush carries: at most one step of each task.

use super::Step;

/// Item changes in one flush.
pub(super) const MAX_ITEMS: usize = 2_000;
/// Bytes of item data in one flush.
pub(super) const MAX_BYTES: usize = 1 << 20;

/// The steps of one statement.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// At most one of each task.
    pub steps: Vec<Step>,
    /// Whether the commit notifies; not when the server's queue is full.
    pub silent: bool,
}

impl Batch {
    /// Item changes in it.
    #[must_use]
    pub fn items(&self) -> usize {
        self.steps.iter().map(|s| s.items.len()).sum()
    }

    /// One batch a task: what is tried when the whole is refused.
    pub(super) fn split(self) -> impl Iterator<Item = Self> {
        let silent = self.silent;
        self.steps.into_iter().map(move |step| Self { steps: vec![step], silent })
    }
}
