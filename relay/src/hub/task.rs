//! What is known of one task, and the rules by which that advances.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, OnceLock};

use knm_shared::epoch::Epoch;
use knm_shared::ids::Seq;
use knm_shared::notification::Notification;

use super::ConnId;
use super::answer::Answer;
use super::reads::Read;
use super::ring::Ring;
use super::step::{Changes, MAX_STEP_ITEMS, Step};
use crate::protocol::Progress;

/// Notifications held per task while a read is on its way. Overflow: they are dropped, and another
/// read follows the one that is on its way.
const MAX_HELD: usize = 1_024;

/// One followed task.
#[derive(Debug, Default)]
pub(super) struct Task {
    /// Where the task is; `None` until the first read.
    pub(super) known: Option<Standing>,
    /// The cluster that it is on; `None` until the first read. Nothing is told before.
    pub(super) cluster: Option<Box<str>>,
    /// Notifications that wait for a read, by where they start.
    held: BTreeMap<Seq, Held>,
    /// Who follows it. Never empty between two calls of the hub.
    pub(super) subscribers: HashSet<ConnId>,
    pub(super) read: Read,
    /// Reads in a row that failed.
    pub(super) failures: u32,
    /// The number of the latest read that has come; 0: none has.
    pub(super) read_by: u64,
}

/// Where a task is.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) seq: Seq,
    pub(super) progress: Arc<Progress>,
    /// Whether its row has said that it ended. Nothing follows then.
    pub(super) end: bool,
    pub(super) published_us: i64,
    pub(super) ring: Ring,
}

#[derive(Debug)]
struct Held {
    note: Notification,
    /// Reads with a higher number began after it arrived, and so saw what it tells of.
    after: u64,
}

impl Held {
    /// Whether it may be applied once the task is where it starts.
    fn is_applicable(&self) -> bool {
        self.note.items.is_some() && !self.note.status.is_terminal()
    }
}

/// What a notification did to a task.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Noted {
    /// The task has moved on.
    pub(super) advanced: bool,
    /// A step before it is missing.
    pub(super) gap: bool,
    /// A read has to follow.
    pub(super) read: bool,
}

/// A row behind what was known before it was read.
#[derive(Debug)]
pub(super) struct Diverged;

impl Task {
    /// The same followers in a new history.
    pub(super) fn start_over(&mut self) -> Self {
        Self { subscribers: std::mem::take(&mut self.subscribers), ..Self::default() }
    }

    pub(super) fn seq(&self) -> Option<Seq> {
        self.known.as_ref().map(|k| k.seq)
    }

    /// Takes in a notification. `last` is the number of the latest read that has begun.
    pub(super) fn note(&mut self, note: &Notification, epoch: &Epoch, last: u64) -> Noted {
        let gap = match &self.known {
            Some(known) if known.end || note.seq <= known.seq => return Noted::default(),
            Some(known) => note.prev != known.seq,
            None => false,
        };
        let overflow = self.held.len() >= MAX_HELD;
        if overflow {
            self.held.clear();
        }
        self.held.insert(note.prev, Held { note: note.clone(), after: last });
        let advanced = self.replay(epoch) > 0;
        // What is held when a read comes back is looked at then.
        let under_way = matches!(self.read, Read::InFlight { .. });
        Noted { advanced, gap, read: overflow || !(self.held.is_empty() || under_way) }
    }

    /// Applies what is held as far as it is contiguous, and drops what is older.
    fn replay(&mut self, epoch: &Epoch) -> usize {
        let Some(known) = &mut self.known else {
            return 0;
        };
        let mut applied = 0;
        while let Some(entry) = self.held.first_entry() {
            if known.end || entry.get().note.seq <= known.seq {
                entry.remove();
            } else if *entry.key() == known.seq && entry.get().is_applicable() {
                known.apply(entry.remove().note, epoch);
                applied += 1;
            } else {
                break;
            }
        }
        applied
    }

    /// Takes in what a read saw. `began` is the read's number, `floor` what was known when it began.
    ///
    /// Afterwards the task is at the row's number or beyond; whether notifications are left that
    /// need yet another read is the answer.
    pub(super) fn absorb(
        &mut self,
        answer: &Arc<Answer>,
        began: u64,
        floor: Option<Seq>,
    ) -> Result<bool, Diverged> {
        if floor.is_some_and(|floor| answer.seq() < floor) {
            return Err(Diverged);
        }
        self.failures = 0;
        self.read_by = began;
        let published_us = self.published(answer);
        match &mut self.known {
            Some(known) => known.advance(answer, published_us),
            known @ None => *known = Some(Standing::new(answer, published_us)),
        }
        self.replay(answer.epoch());
        // A read that began after a notification had arrived saw the commit that it tells of. If the
        // row is not there, nobody committed that: it was forged, or meant another history.
        self.held.retain(|_, held| held.after >= began);
        Ok(!self.held.is_empty())
    }

    /// When the row's state was written, as exactly as is known.
    fn published(&self, answer: &Answer) -> i64 {
        let told = self.held.values().find(|h| h.note.seq == answer.seq());
        told.map_or_else(|| answer.updated_us(), |h| h.note.published_us)
    }

    /// How many notifications wait.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }
}

impl Standing {
    fn new(answer: &Answer, published_us: i64) -> Self {
        Self {
            seq: answer.seq(),
            progress: Arc::clone(answer.progress()),
            end: answer.end(),
            published_us,
            ring: Ring::default(),
        }
    }

    fn apply(&mut self, note: Notification, epoch: &Epoch) {
        let Notification { status, counts, error, .. } = note;
        let progress = Arc::new(Progress { status, counts, error: error.map(Into::into) });
        let prev = self.seq;
        self.stand(note.seq, &progress, false, note.published_us);
        self.ring.push(Arc::new(Step {
            task: note.task,
            epoch: epoch.clone(),
            prev,
            seq: note.seq,
            published_us: note.published_us,
            progress,
            end: false,
            changes: Changes::Items(note.items.unwrap_or_default()),
            encoded: OnceLock::new(),
        }));
    }

    fn advance(&mut self, answer: &Arc<Answer>, published_us: i64) {
        if answer.seq() == self.seq {
            // The row knows better than the notifications that led here.
            self.progress = Arc::clone(answer.progress());
            self.end = answer.end();
        } else if answer.seq() > self.seq {
            let prev = self.seq;
            self.stand(answer.seq(), answer.progress(), answer.end(), published_us);
            if answer.since(prev).count() > MAX_STEP_ITEMS {
                return self.ring.clear();
            }
            self.ring.push(Arc::new(Step {
                task: answer.task(),
                epoch: answer.epoch().clone(),
                prev,
                seq: answer.seq(),
                published_us,
                progress: Arc::clone(answer.progress()),
                end: answer.end(),
                changes: Changes::Items(answer.changes_since(prev)),
                encoded: OnceLock::new(),
            }));
        }
    }

    fn stand(&mut self, seq: Seq, progress: &Arc<Progress>, end: bool, published_us: i64) {
        self.seq = seq;
        self.progress = Arc::clone(progress);
        self.end = end;
        self.published_us = published_us;
    }

    /// The end alone, for a client that already has everything else.
    pub(super) fn bare_end(&self, task: knm_shared::ids::TaskId, epoch: &Epoch) -> Step {
        Step {
            task,
            epoch: epoch.clone(),
            prev: self.seq,
            seq: self.seq,
            published_us: self.published_us,
            progress: Arc::clone(&self.progress),
            end: true,
            changes: Changes::Nothing,
            encoded: OnceLock::new(),
        }
    }
}
