//! Each user's own list of tasks, for the clients that watch it.
//!
//! The list is convenience, not truth: counters in it move with the notifications, everything else
//! is read again, a moment later and for all changes together.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use knm_shared::access::Action;
use knm_shared::epoch::DatabaseEpoch;
use knm_shared::ids::{TaskId, UserId};
use knm_shared::notification::Notification;

use super::frame::Frame;
use super::{ConnId, Hub, Stale};
use crate::protocol::{Head, Progress};

/// How much a list may outgrow what was read before it is read whole again.
const MAX_GROWTH: usize = 100;

/// Tasks to read again one by one, at most. Overflow: the list is read whole. Anyone in the database can
/// name any number of tasks.
const MAX_DIRTY: usize = 1_000;

/// A watched list.
#[derive(Debug, Default)]
pub(super) struct UserList {
    heads: BTreeMap<TaskId, Listed>,
    /// Raised by every change.
    version: u64,
    /// The version at which the list was last replaced whole; 0: not read yet.
    replaced: u64,
    /// How many tasks it had then.
    read_len: usize,
    /// The version that the watchers have been woken for.
    told: u64,
    watchers: HashSet<ConnId>,
    /// Tasks to read again.
    dirty: BTreeSet<TaskId>,
    /// The whole list is to be read again.
    stale: bool,
    in_flight: Option<u64>,
}

#[derive(Debug)]
struct Listed {
    head: Arc<Head>,
    changed: u64,
}

/// The version that a client has.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ListCursor(u64);

/// One read of a user's list to carry out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListJob {
    /// Whose.
    pub user: UserId,
    /// What of it.
    pub query: ListQuery,
    began: u64,
}

/// What to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListQuery {
    /// Every unfinished task and the newest 100.
    Whole,
    /// These.
    Some(Vec<TaskId>),
}

impl UserList {
    pub(super) fn start_over(&mut self) {
        let watchers = std::mem::take(&mut self.watchers);
        let version = self.version;
        *self = Self { watchers, version, told: version, stale: true, ..Self::default() };
    }

    fn is_read(&self) -> bool {
        self.replaced > 0
    }

    fn put(&mut self, head: Head) {
        let old = self.heads.get(&head.id).map(|l| &l.head);
        // What a notification has told since the read began stays.
        if old.is_some_and(|old| old.seq > head.seq || **old == head) {
            return;
        }
        self.version += 1;
        self.heads.insert(head.id, Listed { head: Arc::new(head), changed: self.version });
    }

    fn replace(&mut self, heads: Vec<Head>) {
        let same_tasks =
            self.heads.len() == heads.len() && heads.iter().all(|h| self.heads.contains_key(&h.id));
        if !same_tasks || !self.is_read() {
            self.version += 1;
            self.replaced = self.version;
            let keep: HashSet<TaskId> = heads.iter().map(|h| h.id).collect();
            self.heads.retain(|id, _| keep.contains(id));
        }
        self.read_len = heads.len();
        for head in heads {
            self.put(head);
        }
    }

    /// Has a task read again, or for the first time; reading finds out whether it is this user's at all.
    fn doubt(&mut self, task: TaskId) {
        if self.dirty.len() < MAX_DIRTY {
            self.dirty.insert(task);
        } else {
            self.dirty.clear();
            self.stale = true;
        }
    }

    fn note(&mut self, note: &Notification) {
        let listed = self.heads.get_mut(&note.task);
        let Some(listed) = listed.filter(|l| l.head.progress.status == note.status) else {
            return self.doubt(note.task);
        };
        if note.seq <= listed.head.seq {
            return;
        }
        // Something is missing, or somebody makes it up: only the row knows.
        if note.prev != listed.head.seq {
            return self.doubt(note.task);
        }
        self.version += 1;
        let updated_at = Timestamp::from_microsecond(note.published_us);
        let error = note.error.as_deref().map(Into::into);
        listed.changed = self.version;
        listed.head = Arc::new(Head {
            progress: Progress { status: note.status, counts: note.counts, error },
            seq: note.seq,
            updated_at: updated_at.unwrap_or(listed.head.updated_at),
            ..Head::clone(&listed.head)
        });
    }

    fn next(&self, cursor: &mut ListCursor) -> Option<Frame> {
        let since = std::mem::replace(cursor, ListCursor(self.version)).0;
        if !self.is_read() || since == self.version {
            return None;
        }
        let full = since < self.replaced;
        let heads = self.heads.values().filter(|l| full || l.changed > since);
        Some(Frame::List { full, heads: heads.map(|l| Arc::clone(&l.head)).collect() })
    }

    fn take(&mut self) -> Option<ListQuery> {
        if self.in_flight.is_some() {
            return None;
        }
        if self.heads.len() > self.read_len + MAX_GROWTH {
            self.stale = true;
        }
        if std::mem::take(&mut self.stale) {
            self.dirty.clear();
            return Some(ListQuery::Whole);
        }
        let dirty: Vec<_> = std::mem::take(&mut self.dirty).into_iter().collect();
        (!dirty.is_empty()).then_some(ListQuery::Some(dirty))
    }
}

impl Hub {
    /// Starts to tell a client its user's list.
    pub fn watch_tasks(&mut self, id: ConnId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.list = Some(ListCursor::default());
        let list = self.lists.entry(session.owner.user).or_default();
        list.watchers.insert(id);
        if !list.is_read() {
            list.stale |= list.in_flight.is_none();
            self.stirred = true;
        }
    }

    /// Stops telling it.
    pub fn unwatch_tasks(&mut self, id: ConnId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.list.take().is_some() {
            let user = session.owner.user;
            self.leave_list(id, user);
        }
    }

    pub(super) fn leave_list(&mut self, id: ConnId, user: UserId) {
        if let Some(list) = self.lists.get_mut(&user) {
            list.watchers.remove(&id);
            if list.watchers.is_empty() {
                self.lists.remove(&user);
            }
        }
    }

    /// A list that has not been read yet takes notice, too: the read on its way may have looked before.
    pub(super) fn note_in_list(&mut self, note: &Notification) {
        if let Some(list) = self.lists.get_mut(&note.user) {
            list.note(note);
        }
    }

    pub(super) fn hint_in_list(&mut self, task: TaskId, user: UserId) {
        if let Some(list) = self.lists.get_mut(&user) {
            list.doubt(task);
        }
    }

    pub(super) fn next_of_list(&mut self, id: ConnId) -> Option<Frame> {
        let session = self.sessions.get_mut(&id)?;
        let cursor = session.list.as_mut()?;
        let list = self.lists.get(&session.owner.user)?;
        // Until the next beat, changes gather.
        if cursor.0 > 0 && list.told <= cursor.0 {
            return None;
        }
        let readable = |head: &Arc<Head>| session.access.may_on(&head.cluster, Action::ReadCluster);
        match list.next(cursor)? {
            Frame::List { full, mut heads } => {
                heads.retain(readable);
                (full || !heads.is_empty()).then_some(Frame::List { full, heads })
            }
            other => Some(other),
        }
    }

    /// Every list is to be read whole again.
    pub fn reload_lists(&mut self) {
        for list in self.lists.values_mut() {
            list.stale = true;
        }
    }

    /// The beat of the lists: tells the watchers what has gathered, and says what is to be read.
    pub fn take_lists(&mut self) -> Vec<ListJob> {
        let mut jobs = Vec::new();
        let mut last = self.last;
        for (user, list) in &mut self.lists {
            if list.version > list.told {
                list.told = list.version;
                for id in &list.watchers {
                    if let Some(session) = self.sessions.get_mut(id) {
                        session.wake(*id, &mut self.wakes);
                    }
                }
            }
            if let Some(query) = list.take() {
                last += 1;
                list.in_flight = Some(last);
                jobs.push(ListJob { user: *user, query, began: last });
            }
        }
        self.last = last;
        jobs
    }

    /// Takes in what a read of a list saw.
    ///
    /// # Errors
    /// When it counts for nothing: the read has failed then.
    pub fn list_done(
        &mut self,
        job: &ListJob,
        db: DatabaseEpoch,
        heads: Vec<Head>,
    ) -> Result<(), Stale> {
        if self.list_in_flight(job).is_some() {
            self.observe(db)?;
        }
        // In another history, all reads begin anew.
        let Some(list) = self.lists.get_mut(&job.user).filter(|l| l.in_flight == Some(job.began))
        else {
            return Ok(());
        };
        list.in_flight = None;
        match job.query {
            ListQuery::Whole => list.replace(heads),
            ListQuery::Some(_) => heads.into_iter().for_each(|head| list.put(head)),
        }
        list.told = list.version;
        for id in &list.watchers {
            if let Some(session) = self.sessions.get_mut(id) {
                session.wake(*id, &mut self.wakes);
            }
        }
        Ok(())
    }

    /// Takes note that a read of a list failed: the next beat asks for the whole.
    pub fn list_failed(&mut self, job: &ListJob) {
        if let Some(list) = self.list_in_flight(job) {
            list.in_flight = None;
            list.stale = true;
        }
    }

    fn list_in_flight(&mut self, job: &ListJob) -> Option<&mut UserList> {
        self.lists.get_mut(&job.user).filter(|l| l.in_flight == Some(job.began))
    }
}
