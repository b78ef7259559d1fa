//! What the hub knows of one connection: where it stands in each task, and what it is still to hear.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use knm_shared::access::Access;
use knm_shared::ids::{Seq, TaskId};
use tokio::sync::Notify;

use super::answer::Answer;
use super::lists::ListCursor;
use super::step::{Changes, Step};
use super::{ConnId, Owner};
use crate::protocol::{CloseReason, ErrorCode, PAGE_ITEMS};

/// Refusals a client may have waiting. Overflow: it is closed as too slow.
const MAX_REFUSALS: usize = 256;

/// Items in the answers that are held for a client until it has taken them: two pages, or one answer. What
/// does not fit is read again when the client has taken everything else.
const MAX_HELD_ITEMS: usize = 2 * PAGE_ITEMS;

/// Why a request of a client was not taken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It follows [`super::MAX_SUBSCRIPTIONS`] tasks.
    #[error("a connection may follow {} tasks", super::MAX_SUBSCRIPTIONS)]
    TooManySubscriptions,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) owner: Owner,
    pub(super) access: Access,
    wake: Arc<Notify>,
    /// It has been woken, or has not yet seen that there is nothing.
    awake: bool,
    pub(super) subs: HashMap<TaskId, Subscription>,
    /// Tasks that may have a frame for it, in turn.
    pub(super) ready: VecDeque<TaskId>,
    pub(super) refusals: VecDeque<(TaskId, ErrorCode)>,
    pub(super) tell_resync: bool,
    pub(super) tell_mode: bool,
    pub(super) list: Option<ListCursor>,
    pub(super) close: Option<CloseReason>,
}

#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) position: Position,
    /// Whether the task is in the session's `ready`.
    queued: bool,
    /// Its read has come and could not be held; another is asked for when there is room.
    pub(super) parked: bool,
}

impl Subscription {
    /// The number that a read for this client has to start from.
    pub(super) fn needs(&self) -> Option<Seq> {
        self.position.needs().filter(|_| !self.parked)
    }
}

/// Where a client stands in a task.
///
/// ```text
/// Snapshot ──▶ Paging ──┐         Resume ──▶ Snapshot (ahead of the row)
///                       ▼           │
///        Waiting ◀──▶  At ◀─────────┘
///           │           ▲ │
///           └─▶ Behind ─┘ └──▶ Ended
/// ```
#[derive(Debug, Clone)]
pub(super) enum Position {
    /// It has nothing and waits for a read of everything.
    Snapshot,
    /// It gets a snapshot, page by page.
    Paging { answer: Arc<Answer>, page: usize },
    /// It says that it has everything up to `seq`, which is more than is known here.
    Resume {
        seq: Seq,
        /// Reads with a higher number began after it said so: they decide.
        after: u64,
    },
    /// It has everything up to `seq`.
    At {
        seq: Seq,
        /// Where the task was when the client came: steps beyond reach it as they happen.
        joined: Seq,
    },
    /// What follows `seq` is no longer in the ring and waits for a read.
    Waiting { seq: Seq, joined: Seq },
    /// The read has come.
    Behind { step: Arc<Step>, joined: Seq },
    /// It has been told of the task's end.
    Ended,
}

impl Position {
    /// How many items are held for it.
    fn held(&self) -> usize {
        match self {
            Self::Paging { answer, .. } => answer.len(),
            Self::Behind { step, .. } => match &step.changes {
                Changes::Rows(answer) => answer.len(),
                _ => 0,
            },
            _ => 0,
        }
    }

    fn needs(&self) -> Option<Seq> {
        match self {
            Self::Snapshot => Some(Seq(0)),
            Self::Resume { seq, .. } | Self::Waiting { seq, .. } => Some(*seq),
            Self::Paging { .. } | Self::At { .. } | Self::Behind { .. } | Self::Ended => None,
        }
    }
}

impl Session {
    pub(super) fn new(owner: Owner, access: Access, wake: Arc<Notify>, tell_mode: bool) -> Self {
        Self {
            owner,
            access,
            wake,
            awake: true,
            subs: HashMap::new(),
            ready: VecDeque::new(),
            refusals: VecDeque::new(),
            tell_resync: false,
            tell_mode,
            list: None,
            close: None,
        }
    }

    /// Puts the client at a position of a task, old or new.
    pub(super) fn place(&mut self, task: TaskId, position: Position) {
        let queued = self.subs.get(&task).is_some_and(|s| s.queued);
        self.subs.insert(task, Subscription { position, queued, parked: false });
    }

    /// Whether an answer of so many items may be held for the client.
    pub(super) fn has_room_for(&self, items: usize) -> bool {
        let held: usize = self.subs.values().map(|sub| sub.position.held()).sum();
        held == 0 || held + items <= MAX_HELD_ITEMS
    }

    /// A task whose read may be asked for again.
    pub(super) fn unpark(&mut self) -> Option<TaskId> {
        let (task, sub) = self.subs.iter_mut().find(|(_, sub)| sub.parked)?;
        sub.parked = false;
        Some(*task)
    }

    pub(super) fn has_parked(&self) -> bool {
        self.subs.values().any(|sub| sub.parked)
    }

    /// Ends a subscription; whether there was one. Nothing of it stays: a client may subscribe and
    /// unsubscribe as often as it likes.
    pub(super) fn forget(&mut self, task: TaskId) -> bool {
        let Some(sub) = self.subs.remove(&task) else {
            return false;
        };
        if sub.queued {
            self.ready.retain(|queued| *queued != task);
        }
        true
    }

    /// Marks a task as one that may have a frame.
    pub(super) fn ready(&mut self, task: TaskId) {
        if let Some(sub) = self.subs.get_mut(&task)
            && !sub.queued
        {
            sub.queued = true;
            self.ready.push_back(task);
        }
    }

    /// The next task that may have a frame.
    pub(super) fn take_ready(&mut self) -> Option<TaskId> {
        let task = self.ready.pop_front()?;
        if let Some(sub) = self.subs.get_mut(&task) {
            sub.queued = false;
        }
        Some(task)
    }

    pub(super) fn wake(&mut self, id: ConnId, wakes: &mut Vec<(ConnId, Arc<Notify>)>) {
        if !self.awake {
            self.awake = true;
            wakes.push((id, Arc::clone(&self.wake)));
        }
    }

    /// Wakes it also while its client takes its time.
    pub(super) fn interrupt(&mut self, id: ConnId, wakes: &mut Vec<(ConnId, Arc<Notify>)>) {
        self.awake = true;
        wakes.push((id, Arc::clone(&self.wake)));
    }

    /// There is nothing for it: the next change has to wake it.
    pub(super) fn sleep(&mut self) {
        self.awake = false;
    }

    pub(super) fn is_awake(&self) -> bool {
        self.awake
    }

    pub(super) fn refuse(&mut self, task: TaskId, code: ErrorCode) {
        if self.refusals.len() < MAX_REFUSALS {
            self.refusals.push_back((task, code));
        } else {
            self.close.get_or_insert(CloseReason::TooSlow);
        }
    }

    /// A new history: everything is sent again.
    pub(super) fn start_over(&mut self) {
        self.tell_resync = true;
        for sub in self.subs.values_mut() {
            sub.position = Position::Snapshot;
            sub.parked = false;
        }
        if let Some(list) = &mut self.list {
            *list = ListCursor::default();
        }
    }
}
