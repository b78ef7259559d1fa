//! One task's progress between the executor and its rows. Knows neither SQL nor clocks of others.

use std::collections::BTreeMap;

use knm_shared::ids::{LeaseToken, Ordinal, Seq, TaskId, UserId};
use knm_shared::notification::{ItemChange, Notification};
use knm_shared::status::{Counts, ItemStatus, TaskStatus};
use tokio::sync::oneshot;

use super::{End, ItemUpdate, Json, NotStored};
use crate::lease::Lost;

type Waiter = oneshot::Sender<Result<(), NotStored>>;

/// A task as it was when it was claimed.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Which task.
    pub task: TaskId,
    /// Whose.
    pub user: UserId,
    /// This claim's half of the fencing pair.
    pub token: LeaseToken,
    /// The row's sequence number.
    pub seq: Seq,
    /// The row's state.
    pub status: TaskStatus,
    /// Every item's state, by ordinal.
    pub items: Vec<ItemStatus>,
}

/// One step from `prev` to `seq`: what one flush writes of one task. Repeated unchanged until its
/// fate is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Which task.
    pub task: TaskId,
    /// Whose.
    pub user: UserId,
    /// The claim that it is written under.
    pub token: LeaseToken,
    /// The sequence number that the row must have.
    pub prev: Seq,
    /// The task's state afterwards.
    pub status: TaskStatus,
    /// The task's error afterwards; `None` leaves what is stored.
    pub error: Option<String>,
    /// The counters afterwards.
    pub counts: Counts,
    /// Whether an item has ended in this step.
    pub finishes_item: bool,
    /// Whether the lease ends with this step.
    pub releases: bool,
    /// The changed items, each once.
    pub items: Vec<(Ordinal, ItemUpdate)>,
}

impl Step {
    /// The sequence number afterwards.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.prev.next()
    }

    /// About how many bytes it adds to a statement.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.items.iter().map(|(_, update)| weight(update)).sum()
    }

    /// Its notification, without the time.
    #[must_use]
    pub fn notification(&self) -> Notification {
        let items = self.items.iter().map(|(ordinal, update)| ItemChange {
            ordinal: *ordinal,
            status: update.status.unwrap_or(ItemStatus::Pending),
            message: update.message.clone(),
        });
        Notification {
            task: self.task,
            user: self.user,
            prev: self.prev,
            seq: self.seq(),
            published_us: 0,
            status: self.status,
            counts: self.counts,
            error: self.error.clone(),
            items: Some(items.collect()),
        }
    }
}

/// What became of a step, as the writer found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is in the database.
    Committed,
    /// It is not, and nothing else has changed: the same again.
    Again,
    /// The row has this claim but an older sequence number: the database lost commits.
    FellBack(Seq),
    /// The row has another claim, or is gone.
    Lost,
    /// PostgreSQL refuses its data.
    Refused,
}

#[derive(Debug, Default)]
struct Waiting {
    update: ItemUpdate,
    waiters: Vec<Waiter>,
}

#[derive(Debug)]
struct InFlight {
    step: Step,
    /// Who waits for each of the step's items, in the same order.
    waiters: Vec<Vec<Waiter>>,
    /// Set when this step ends the holder's part.
    end: Option<Waiter>,
}

/// See the module's description.
#[derive(Debug)]
pub struct Ledger {
    claim: Claim,
    seq: Seq,
    status: TaskStatus,
    items: Vec<ItemStatus>,
    counts: Counts,
    waiting: BTreeMap<Ordinal, Waiting>,
    in_flight: Option<InFlight>,
    end: Option<(End, Waiter)>,
    /// The latest state of every item changed since the claim, for [`Verdict::FellBack`].
    written: BTreeMap<Ordinal, ItemUpdate>,
    /// Upper bound of items in the next step; lowered while a bad item is searched for.
    most: usize,
}

/// PostgreSQL stores at most this of a message (octets).
const MAX_MESSAGE: usize = 1024;

impl Ledger {
    /// Starts from the rows as they were read after the claim had committed.
    #[must_use]
    pub fn open(claim: Claim) -> Self {
        Self {
            seq: claim.seq,
            status: claim.status,
            items: claim.items.clone(),
            counts: Counts::of(&claim.items),
            waiting: BTreeMap::new(),
            in_flight: None,
            end: None,
            written: BTreeMap::new(),
            most: usize::MAX,
            claim,
        }
    }

    /// The claim that it writes under.
    #[must_use]
    pub fn token(&self) -> LeaseToken {
        self.claim.token
    }

    /// Notes a change; folds it with one of the same item that still waits.
    ///
    /// # Panics
    /// In debug builds for an ordinal that the task does not have.
    pub fn record(&mut self, ordinal: Ordinal, update: ItemUpdate, waiter: Waiter) {
        debug_assert!((ordinal as usize) < self.items.len(), "item {ordinal} does not exist");
        let entry = self.waiting.entry(ordinal).or_default();
        fold(&mut entry.update, sanitise(update));
        entry.waiters.push(waiter);
    }

    /// Notes that the holder parts from the task after everything that waits.
    pub fn end(&mut self, end: End, waiter: Waiter) {
        self.end = Some((end, waiter));
    }

    /// Whether a step could be taken now.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.in_flight.is_none()
            && (!self.waiting.is_empty() || self.end.is_some() || self.must_start())
    }

    /// A claimed task says so with its first step.
    fn must_start(&self) -> bool {
        matches!(self.status, TaskStatus::Queued | TaskStatus::Paused)
    }

    /// How many item changes wait.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.waiting.len()
    }

    /// The counters as they will be once everything recorded is stored.
    #[must_use]
    pub fn outlook(&self) -> Counts {
        let mut items = self.items.clone();
        let in_flight = self.in_flight.iter().flat_map(|f| f.step.items.iter());
        let waiting = self.waiting.iter().map(|(o, w)| (o, &w.update));
        for (ordinal, update) in in_flight.map(|(o, u)| (o, u)).chain(waiting) {
            if let Some(status) = update.status {
                items[*ordinal as usize] = status;
            }
        }
        Counts::of(&items)
    }

    /// Takes the next step, of at most `max_items` items and about `max_bytes` of their data.
    /// `None` when there is nothing to write or the last step's fate is still open.
    pub fn take(&mut self, max_items: usize, max_bytes: usize) -> Option<Step> {
        if !self.is_due() {
            return None;
        }
        let (items, waiters) = self.take_items(max_items.min(self.most), max_bytes);
        let mut counts = self.counts;
        let mut finishes_item = false;
        for (ordinal, update) in &items {
            if let Some(to) = update.status {
                counts.shift(self.items[*ordinal as usize], to);
                finishes_item |= to.is_terminal();
            }
        }
        // The end is the last step's: only when nothing is left waiting.
        let end = self.end.take_if(|_| self.waiting.is_empty());
        if items.is_empty() && end.is_none() && !self.must_start() {
            return None;
        }
        let (status, error) = match &end {
            Some((End::Finished { status, error }, _)) => (*status, error.clone()),
            Some((End::Paused, _)) => (TaskStatus::Paused, None),
            Some((End::Released, _)) | None => (TaskStatus::Running, None),
        };
        let step = Step {
            task: self.claim.task,
            user: self.claim.user,
            token: self.claim.token,
            prev: self.seq,
            status,
            error: error.map(|e| clean(&e)),
            counts,
            finishes_item,
            releases: end.is_some(),
            items,
        };
        let end = end.map(|(_, waiter)| waiter);
        self.in_flight = Some(InFlight { step: step.clone(), waiters, end });
        Some(step)
    }

    fn take_items(
        &mut self,
        max_items: usize,
        max_bytes: usize,
    ) -> (Vec<(Ordinal, ItemUpdate)>, Vec<Vec<Waiter>>) {
        let (mut items, mut waiters, mut bytes) = (Vec::new(), Vec::new(), 0);
        while items.len() < max_items {
            let Some(entry) = self.waiting.first_entry() else {
                break;
            };
            let size = weight(&entry.get().update);
            if !items.is_empty() && bytes + size > max_bytes {
                break;
            }
            bytes += size;
            let (ordinal, taken) = entry.remove_entry();
            items.push((ordinal, taken.update));
            waiters.push(taken.waiters);
        }
        (items, waiters)
    }

    /// Learns the fate of the step in flight. Returns true when the ledger is to be closed.
    pub fn settle(&mut self, verdict: Verdict) -> bool {
        match verdict {
            Verdict::Again => false,
            Verdict::Committed => self.committed(),
            Verdict::FellBack(row) => {
                self.fell_back(row);
                false
            }
            Verdict::Refused => {
                self.refused();
                false
            }
            Verdict::Lost => {
                self.lost();
                true
            }
        }
    }

    fn committed(&mut self) -> bool {
        let Some(InFlight { step, waiters, end }) = self.in_flight.take() else {
            return false;
        };
        self.seq = step.seq();
        self.status = step.status;
        self.counts = step.counts;
        self.most = self.most.saturating_mul(2);
        for (ordinal, update) in step.items {
            if let Some(status) = update.status {
                self.items[ordinal as usize] = status;
            }
            fold(self.written.entry(ordinal).or_default(), update);
        }
        for waiter in waiters.into_iter().flatten() {
            let _ = waiter.send(Ok(()));
        }
        match end {
            Some(waiter) => {
                let _ = waiter.send(Ok(()));
                true
            }
            None => false,
        }
    }

    /// Everything that this claim has written may be gone: all of it waits again.
    fn fell_back(&mut self, row: Seq) {
        let newer = std::mem::take(&mut self.waiting);
        for (ordinal, update) in std::mem::take(&mut self.written) {
            self.waiting.entry(ordinal).or_default().update = update;
        }
        if let Some(InFlight { step, waiters, end }) = self.in_flight.take() {
            self.lay_over(step.items.into_iter().zip(waiters));
            self.restore_end(&step.status, step.error, step.releases, end);
        }
        self.lay_over(newer.into_iter().map(|(o, w)| ((o, w.update), w.waiters)));
        self.seq = row;
        self.status = self.claim.status;
        self.items.clone_from(&self.claim.items);
        self.counts = Counts::of(&self.items);
    }

    /// Searches for the item that PostgreSQL refuses by halving; alone, it is stored without its data.
    fn refused(&mut self) {
        let Some(InFlight { mut step, waiters, end }) = self.in_flight.take() else {
            return;
        };
        let n = step.items.len();
        self.most = (n / 2).max(1);
        if n > 1 {
            let newer = std::mem::take(&mut self.waiting);
            self.lay_over(step.items.into_iter().zip(waiters));
            self.lay_over(newer.into_iter().map(|(o, w)| ((o, w.update), w.waiters)));
        } else {
            for waiter in waiters.into_iter().flatten() {
                let _ = waiter.send(Err(NotStored::Unstorable));
            }
            if let Some((ordinal, update)) = step.items.pop() {
                let newer = self.waiting.remove(&ordinal);
                let bare = ((ordinal, unstorable(&update)), Vec::new());
                let newer = newer.map(|w| ((ordinal, w.update), w.waiters));
                self.lay_over([bare].into_iter().chain(newer));
            } else {
                step.error = step.error.map(|_| UNSTORABLE.to_owned());
            }
        }
        self.restore_end(&step.status, step.error, step.releases, end);
    }

    /// Adds changes, with who waits for them, on top of those that wait already.
    fn lay_over(
        &mut self,
        changes: impl IntoIterator<Item = ((Ordinal, ItemUpdate), Vec<Waiter>)>,
    ) {
        for ((ordinal, update), waiters) in changes {
            let entry = self.waiting.entry(ordinal).or_default();
            fold(&mut entry.update, update);
            entry.waiters.extend(waiters);
        }
    }

    fn restore_end(
        &mut self,
        status: &TaskStatus,
        error: Option<String>,
        releases: bool,
        waiter: Option<Waiter>,
    ) {
        let Some(waiter) = waiter.filter(|_| releases) else {
            return;
        };
        let end = match status {
            TaskStatus::Paused => End::Paused,
            status if status.is_terminal() => End::Finished { status: *status, error },
            _ => End::Released,
        };
        self.end = Some((end, waiter));
    }

    fn lost(&mut self) {
        let waiting = std::mem::take(&mut self.waiting).into_values().flat_map(|w| w.waiters);
        let in_flight = self.in_flight.take();
        let in_flight =
            in_flight.into_iter().flat_map(|f| f.waiters.into_iter().flatten().chain(f.end));
        for waiter in waiting.chain(in_flight).chain(self.end.take().map(|(_, w)| w)) {
            let _ = waiter.send(Err(NotStored::Lost(Lost)));
        }
    }
}

const UNSTORABLE: &str = "the result could not be stored: the database refuses its data";

/// The same step for an item whose data is refused. One that had not been written to Kubernetes yet
/// must not be: without its `before` it could not be undone.
fn unstorable(update: &ItemUpdate) -> ItemUpdate {
    let status = match update.status {
        Some(ItemStatus::Running) => Some(ItemStatus::Failed),
        other => other,
    };
    ItemUpdate {
        status,
        message: Some(UNSTORABLE.to_owned()),
        before: None,
        before_version: None,
        after: None,
        ..update.clone()
    }
}

/// The newer update wins; what it leaves open stays.
fn fold(older: &mut ItemUpdate, newer: ItemUpdate) {
    older.status = newer.status.or(older.status);
    older.message = newer.message;
    older.attempts = newer.attempts.max(older.attempts);
    if newer.before.is_some() {
        older.before = newer.before;
        older.before_version = newer.before_version;
    }
    older.after = newer.after.or_else(|| older.after.take());
    older.started = older.started.or(newer.started);
}

fn sanitise(mut update: ItemUpdate) -> ItemUpdate {
    update.message = update.message.map(|m| clean(&m)).filter(|m| !m.is_empty());
    update
}

/// PostgreSQL's text cannot hold NUL; what is longer than the column is cut at a character.
fn clean(text: &str) -> String {
    let mut text = text.replace('\0', "");
    if text.len() > MAX_MESSAGE {
        let ellipsis = '…';
        let mut end = MAX_MESSAGE - ellipsis.len_utf8();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push(ellipsis);
    }
    text
}

/// About how many bytes an update adds to a statement.
fn weight(update: &ItemUpdate) -> usize {
    let json = |json: &Option<Json>| json.as_ref().map_or(0, |json| json.as_str().len());
    64 + update.message.as_ref().map_or(0, String::len) + json(&update.before) + json(&update.after)
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
