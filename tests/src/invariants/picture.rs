//! What a client knows of a task: the last snapshot and every step since.

use std::collections::BTreeSet;

use knm_shared::status::{Counts, ItemStatus, TaskStatus};

use super::Violation;
use crate::ws::frame::{Delta, DeltaItem, HeadProgress, SnapshotItem};

/// One item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemView {
    /// Its node.
    pub node: String,
    /// Its state.
    pub status: ItemStatus,
    /// Its message.
    pub message: Option<String>,
}

/// A whole task at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    epoch: String,
    seq: i64,
    progress: HeadProgress,
    items: Vec<ItemView>,
}

impl Picture {
    /// From all items of a snapshot.
    pub(super) fn new(
        epoch: String,
        seq: i64,
        progress: HeadProgress,
        items: Vec<SnapshotItem>,
    ) -> Result<Self, Violation> {
        for (place, item) in (0..).zip(&items) {
            if item.ordinal != place {
                return Err(Violation::Ordinal { place, found: item.ordinal });
            }
        }
        let view =
            |i: SnapshotItem| ItemView { node: i.node, status: i.status, message: i.message };
        let picture = Self { epoch, seq, progress, items: items.into_iter().map(view).collect() };
        picture.check()?;
        Ok(picture)
    }

    /// History of the sequence number.
    #[must_use]
    pub fn epoch(&self) -> &str {
        &self.epoch
    }

    /// Sequence number.
    #[must_use]
    pub fn seq(&self) -> i64 {
        self.seq
    }

    /// `epoch:seq`
    #[must_use]
    pub fn cursor(&self) -> String {
        cursor(&self.epoch, self.seq)
    }

    /// State and counters.
    #[must_use]
    pub fn progress(&self) -> &HeadProgress {
        &self.progress
    }

    /// The items by ordinal.
    #[must_use]
    pub fn items(&self) -> &[ItemView] {
        &self.items
    }

    /// Whether `next`, a snapshot, may replace this.
    pub(super) fn check_successor(&self, next: &Self) -> Result<(), Violation> {
        if self.epoch != next.epoch {
            return Ok(());
        }
        if next.seq < self.seq {
            return Err(Violation::SnapshotBehind { seq: next.seq, position: self.seq });
        }
        task_may_become(&self.progress, &next.progress)?;
        for ((ordinal, old), new) in (0..).zip(&self.items).zip(&next.items) {
            if old.node != new.node {
                let (old, new) = (old.node.clone(), new.node.clone());
                return Err(Violation::Renamed { ordinal, old, new });
            }
            item_may_become(ordinal, old, new.status, new.message.as_deref())?;
        }
        Ok(())
    }

    /// Applies a step.
    pub(super) fn step(&mut self, delta: &Delta) -> Result<(), Violation> {
        if delta.epoch != self.epoch || delta.prev != self.seq {
            return Err(Violation::Gap { prev: delta.prev, position: self.seq });
        }
        task_may_become(&self.progress, &delta.progress)?;
        let mut named = BTreeSet::new();
        for DeltaItem { ordinal, status, message } in &delta.items {
            let stray = Violation::StrayItem { ordinal: *ordinal };
            if !named.insert(*ordinal) {
                return Err(stray);
            }
            let item = self.items.get_mut(*ordinal as usize).ok_or(stray)?;
            item_may_become(*ordinal, item, *status, message.as_deref())?;
            item.status = *status;
            item.message.clone_from(message);
        }
        self.seq = delta.seq;
        self.progress = delta.progress.clone();
        self.check()
    }

    fn check(&self) -> Result<(), Violation> {
        let HeadProgress { current, total, percent, counts, .. } = &self.progress;
        let are = Counts::of(self.items.iter().map(|i| &i.status));
        if *counts != are {
            return Err(Violation::Counts { said: *counts, are });
        }
        arithmetic(*current, *total, *percent, *counts)
    }
}

/// `epoch:seq`
pub(super) fn cursor(epoch: &str, seq: i64) -> String {
    format!("{epoch}:{seq}")
}

/// `current`, `total` and `percent` follow from the counters.
pub(super) fn arithmetic(
    current: u32,
    total: u32,
    percent: f64,
    counts: Counts,
) -> Result<(), Violation> {
    let [all, parts @ ..] = counts.to_array();
    let exact = 100.0 * f64::from(current) / f64::from(total.max(1));
    // One decimal, rounded or cut.
    let ok = all == total
        && parts.iter().sum::<u32>() == total
        && current == counts.done()
        && (percent - exact).abs() <= 0.1;
    if ok { Ok(()) } else { Err(Violation::Arithmetic { current, total, percent, counts }) }
}

fn task_may_become(old: &HeadProgress, new: &HeadProgress) -> Result<(), Violation> {
    if old.total != new.total {
        return Err(Violation::TotalChanged { was: old.total, is: new.total });
    }
    let (from, to): (TaskStatus, TaskStatus) = (old.status, new.status);
    // A merged step may pass over states, and every state that is passed over leads on.
    if from == to || from.allows(to) {
        return Ok(());
    }
    Err(Violation::TaskTransition { from, to })
}

fn item_may_become(
    ordinal: u32,
    old: &ItemView,
    to: ItemStatus,
    message: Option<&str>,
) -> Result<(), Violation> {
    if !old.status.is_terminal() {
        // Also back to pending: a hand-back.
        return Ok(());
    }
    if old.status != to {
        return Err(Violation::ItemReopened { ordinal, from: old.status, to });
    }
    if old.message.as_deref() != message {
        return Err(Violation::ItemRewritten { ordinal });
    }
    Ok(())
}
