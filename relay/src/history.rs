//! Which of two histories of one server is the later one.

use knm_shared::epoch::{DatabaseEpoch, Epoch};

/// A [`DatabaseEpoch`] with its place among those of the same server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    db: DatabaseEpoch,
    system: i64,
    timeline: i32,
}

impl History {
    /// From the columns of [`knm_shared::epoch::EPOCH_COLUMNS`].
    #[must_use]
    pub const fn new(system: i64, timeline: i32, database: i64, table: i64) -> Self {
        let db = DatabaseEpoch::new(system, timeline, database, table);
        Self { db, system, timeline }
    }

    /// Its name in cursors.
    #[must_use]
    pub fn epoch(self) -> Epoch {
        Epoch::of(self.db)
    }

    /// A new name for what has become another history although it claims to be this one.
    #[must_use]
    pub fn diverged(self) -> Epoch {
        Epoch::diverged(self.db)
    }

    /// Whether a promotion has led from this to `other`. Whoever is still in this one then is a server
    /// that has been succeeded, or else it was reset to what it was before.
    #[must_use]
    pub const fn precedes(self, other: Self) -> bool {
        self.system == other.system && self.timeline < other.timeline
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promotion_leads_on_and_another_server_does_neither() {
        let (first, second) = (History::new(1, 1, 2, 3), History::new(1, 2, 2, 3));
        assert!(first.precedes(second) && !second.precedes(first) && !first.precedes(first));
        let other = History::new(9, 1, 2, 3);
        assert!(!other.precedes(second) && !second.precedes(other));
        assert_ne!(first.epoch(), second.epoch());
        assert_ne!(first.diverged(), first.epoch());
    }
}
