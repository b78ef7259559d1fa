//! What one read of a task saw: its head and items in one statement, so that they belong together.

use std::sync::{Arc, OnceLock};

use knm_shared::epoch::Epoch;
use knm_shared::ids::{Seq, TaskId};
use knm_shared::notification::ItemChange;
use tokio_tungstenite::tungstenite::Bytes;

use super::frame::encode;
use super::micros;
use super::step::MAX_STEP_ITEMS;
use crate::protocol::{CursorText, Head, ItemRow, ItemUpdate, PAGE_ITEMS, ServerMessage};

/// Rows of one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The task's row.
    pub head: Head,
    /// Its items that changed after the number that the read was for, by ordinal.
    pub items: Vec<ItemRow>,
}

/// [`Found`], shared by everybody whom it serves.
#[derive(Debug)]
pub struct Answer {
    epoch: Epoch,
    /// Items are those changed after this.
    from: Seq,
    found: Found,
    progress: Arc<crate::protocol::Progress>,
    pages: Box<[OnceLock<Bytes>]>,
}

impl Answer {
    pub(super) fn new(epoch: Epoch, from: Seq, found: Found) -> Arc<Self> {
        let pages = found.items.len().div_ceil(PAGE_ITEMS).max(1);
        Arc::new(Self {
            epoch,
            from,
            progress: Arc::new(found.head.progress.clone()),
            found,
            pages: (0..pages).map(|_| OnceLock::new()).collect(),
        })
    }

    /// Whether it has every item, so that it can serve as a snapshot.
    pub(super) fn is_whole(&self) -> bool {
        self.from == Seq(0)
    }

    pub(super) fn from(&self) -> Seq {
        self.from
    }

    pub(super) fn seq(&self) -> Seq {
        self.found.head.seq
    }

    pub(super) fn task(&self) -> TaskId {
        self.found.head.id
    }

    pub(super) fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    pub(super) fn progress(&self) -> &Arc<crate::protocol::Progress> {
        &self.progress
    }

    /// Whether the row says that the task has ended.
    pub(super) fn end(&self) -> bool {
        self.progress.status.is_terminal()
    }

    pub(super) fn updated_us(&self) -> i64 {
        micros(self.found.head.updated_at)
    }

    /// The items that changed after `prev`, which is not before what the read was for.
    pub(super) fn since(&self, prev: Seq) -> impl Iterator<Item = ItemUpdate<'_>> {
        self.found.items.iter().filter(move |i| i.seq > prev).map(|i| ItemUpdate {
            ordinal: i.ordinal,
            status: i.status,
            message: i.message.as_deref(),
        })
    }

    /// Whether so much has changed after `prev` that a snapshot, which comes in pages, takes a client
    /// hardly more than a step, which does not.
    pub(super) fn is_better_whole(&self, prev: Seq) -> bool {
        let changed = self.since(prev).count();
        changed > MAX_STEP_ITEMS && 2 * changed >= self.progress.counts.total as usize
    }

    pub(super) fn changes_since(&self, prev: Seq) -> Vec<ItemChange> {
        self.since(prev)
            .map(|i| ItemChange {
                ordinal: i.ordinal,
                status: i.status,
                message: i.message.map(str::to_owned),
            })
            .collect()
    }

    /// How many items it has.
    pub(super) fn len(&self) -> usize {
        self.found.items.len()
    }

    /// How many frames the snapshot takes; at least one.
    pub fn pages(&self) -> usize {
        self.pages.len()
    }

    /// The rows themselves.
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// One page of the snapshot.
    ///
    /// # Panics
    /// When there is no such page.
    pub fn encode_page(&self, page: usize) -> Bytes {
        let frame = || {
            let seq = self.seq();
            let items = self.found.items.chunks(PAGE_ITEMS).nth(page).unwrap_or_default();
            encode(&ServerMessage::Snapshot {
                task_id: self.task(),
                epoch: &self.epoch,
                seq,
                cursor: CursorText::new(&self.epoch, seq),
                page,
                last: page + 1 == self.pages(),
                task: &self.found.head,
                items,
            })
        };
        self.pages[page].get_or_init(frame).clone()
    }
}
