//! One step of one task, encoded at most once however many clients get it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use knm_shared::epoch::Epoch;
use knm_shared::ids::{Ordinal, Seq, TaskId};
use knm_shared::notification::ItemChange;
use tokio_tungstenite::tungstenite::Bytes;

use super::answer::Answer;
use super::frame::encode;
use crate::protocol::{CursorText, ItemUpdate, Progress, ServerMessage, StepBody};

/// From `prev` to `seq`.
#[derive(Debug)]
pub struct Step {
    /// Which task.
    pub task: TaskId,
    /// The history of both numbers.
    pub epoch: Epoch,
    /// Where it starts.
    pub prev: Seq,
    /// Where it ends.
    pub seq: Seq,
    /// When the change was written, by the database's clock, in microseconds since 1970.
    pub published_us: i64,
    /// The task's state at `seq`.
    pub progress: Arc<Progress>,
    /// Whether `seq` is the task's last, as its row has confirmed.
    pub end: bool,
    /// What changed.
    pub changes: Changes,
    pub(super) encoded: OnceLock<Bytes>,
}

/// Where a step's items are.
#[derive(Debug)]
pub enum Changes {
    /// Nothing changed: the end alone is told.
    Nothing,
    /// Here.
    Items(Vec<ItemChange>),
    /// In these consecutive steps, the newest state of each item counting.
    Merged(Vec<Arc<Step>>),
    /// In the rows of a read, those after `prev`.
    Rows(Arc<Answer>),
}

/// Items of an ordinary step: no flush carries more. A larger one is not kept in the ring, where it would
/// drive out all others, and may give way to a snapshot.
pub(super) const MAX_STEP_ITEMS: usize = if cfg!(test) { 2 } else { 2_000 };

/// Roughly what a step with no items takes, with its share of the containers around it.
const BASE_BYTES: usize = 400;
/// An item in memory and in the encoded frame.
const ITEM_BYTES: usize = 100;

impl Step {
    /// Roughly the memory it takes, encoded frame included.
    pub(super) fn bytes(&self) -> usize {
        let Changes::Items(items) = &self.changes else {
            return BASE_BYTES;
        };
        let messages: usize =
            items.iter().filter_map(|i| i.message.as_ref()).map(String::len).sum();
        BASE_BYTES + items.len() * ITEM_BYTES + 2 * messages
    }

    /// The latest state of every item that changed.
    pub fn items(&self) -> Vec<ItemUpdate<'_>> {
        match &self.changes {
            Changes::Nothing => Vec::new(),
            Changes::Items(items) => items.iter().map(update).collect(),
            Changes::Merged(steps) => {
                let mut latest: BTreeMap<Ordinal, ItemUpdate<'_>> = BTreeMap::new();
                for item in steps.iter().flat_map(|s| s.items()) {
                    latest.insert(item.ordinal, item);
                }
                latest.into_values().collect()
            }
            Changes::Rows(answer) => answer.since(self.prev).collect(),
        }
    }

    /// The frame.
    pub fn encode(&self) -> Bytes {
        let frame = || {
            let body = StepBody {
                task_id: self.task,
                epoch: &self.epoch,
                prev: self.prev,
                seq: self.seq,
                cursor: CursorText::new(&self.epoch, self.seq),
                published_us: self.published_us,
                items: self.items(),
                progress: &self.progress,
            };
            encode(&if self.end {
                ServerMessage::Complete(body)
            } else {
                ServerMessage::Progress(body)
            })
        };
        self.encoded.get_or_init(frame).clone()
    }
}

fn update(item: &ItemChange) -> ItemUpdate<'_> {
    let ItemChange { ordinal, status, message } = item;
    ItemUpdate { ordinal: *ordinal, status: *status, message: message.as_deref() }
}
