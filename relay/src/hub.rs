//! The hub: what this relay knows of each followed task, and where each of its clients stands.
//!
//! A pure state machine: it knows neither SQL nor sockets nor clocks, and every rule that keeps a
//! client from losing, doubling or reordering anything lives here, where it is tested over arbitrary
//! interleavings. Around it, the listener feeds notifications, the feed carries out the reads it
//! asks for, and each session pulls its own next frame when its socket can take one.
//!
//! The rules:
//! - Rows are the truth. A notification advances a task only by being contiguous with what is known;
//!   anything else asks for a read. A task's end is always confirmed by its row, because any role in
//!   the database can NOTIFY.
//! - One read at a time per task, from the lowest cursor that needs it, serves everybody; what
//!   arrives meanwhile is held and replayed.
//! - A client is a position per task, not a queue: what it missed while it was slow becomes one
//!   larger step.
//! - A row that is behind what was known before the read began belongs to another history: all state
//!   is dropped and everybody gets snapshots under a new epoch.
//! - Of the histories of one server a later one is never left for an earlier one because a read came from
//!   there.

mod answer;
mod audit;
mod closing;
mod deliver;
mod epoch;
mod frame;
mod handle;
mod lists;
mod metrics;
mod reads;
mod ring;
mod session;
mod step;
mod task;
#[cfg(test)]
mod tests;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use knm_shared::access::{Access, Action};
use knm_shared::epoch::{Cursor, Epoch};
use knm_shared::ids::{TaskId, UserId};
use knm_shared::notification::Notification;
use tokio::sync::Notify;
use uuid::Uuid;

pub use self::answer::{Answer, Found};
pub use self::audit::{Awaited, Behind};
pub use self::epoch::Stale;
pub use self::frame::{Frame, Next, encode};
pub use self::handle::HubHandle;
pub use self::lists::{ListJob, ListQuery};
pub use self::metrics::HubMetrics;
pub use self::reads::{Failed, Job};
pub use self::session::Refused;
pub use self::step::Step;

use self::epoch::Known;
use self::lists::UserList;
use self::reads::Read;
use self::session::{Position, Session};
use self::task::Task;
use crate::protocol::{CloseReason, ErrorCode, Mode, ModeKind};

/// Tasks that one connection may follow.
pub const MAX_SUBSCRIPTIONS: usize = 100;

/// One WebSocket connection, for as long as this process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(u64);

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The session or token that opened it.
    pub session: Uuid,
    /// Its user.
    pub user: UserId,
}

/// What a new connection is told first.
#[derive(Debug, Clone)]
pub struct Welcome {
    /// The connection's name from now on.
    pub id: ConnId,
    /// The present history.
    pub epoch: Epoch,
    /// The present mode.
    pub mode: ModeKind,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Hub {
    epoch: Option<Known>,
    mode: Arc<Mode>,
    tasks: HashMap<TaskId, Task>,
    sessions: HashMap<ConnId, Session>,
    /// Open connections of each user who has any.
    of_user: HashMap<UserId, usize>,
    max_of_user: usize,
    lists: HashMap<UserId, UserList>,
    /// Tasks whose read waits to be started, by the number of the wish: those in [`Read::Wanted`].
    wanted: BTreeMap<u64, TaskId>,
    /// Numbers connections, reads and list reads.
    last: u64,
    /// Set when there may be reads to start.
    stirred: bool,
    wakes: Vec<(ConnId, Arc<Notify>)>,
    closing: bool,
    metrics: HubMetrics,
}

/// What a notification did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forwarded {
    /// How many clients follow the task.
    pub subscribers: usize,
}

impl Hub {
    /// An empty hub. A user may have `max_of_user` connections.
    #[must_use]
    pub fn new(mode: Mode, max_of_user: usize, metrics: HubMetrics) -> Self {
        Self {
            epoch: None,
            mode: Arc::new(mode),
            tasks: HashMap::new(),
            sessions: HashMap::new(),
            of_user: HashMap::new(),
            max_of_user,
            lists: HashMap::new(),
            wanted: BTreeMap::new(),
            last: 0,
            stirred: false,
            wakes: Vec::new(),
            closing: false,
            metrics,
        }
    }

    /// The present mode.
    #[must_use]
    pub fn mode(&self) -> &Arc<Mode> {
        &self.mode
    }

    /// Open connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.sessions.len()
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Takes in a connection.
    ///
    /// # Errors
    /// Before the database has named its history and while stopping, and when the user has as many
    /// as one may have.
    pub fn connect(
        &mut self,
        owner: Owner,
        access: Access,
        wake: Arc<Notify>,
    ) -> Result<Welcome, CloseReason> {
        let Some(epoch) = self.epoch().filter(|_| !self.closing).cloned() else {
            return Err(CloseReason::Restart);
        };
        let of_user = self.of_user.entry(owner.user).or_default();
        if *of_user >= self.max_of_user {
            return Err(CloseReason::TooManyOfUser);
        }
        *of_user += 1;
        let id = ConnId(self.number());
        let mode = self.mode.kind;
        // `hello` names the mode; what it cannot say (why, since when) follows.
        let tell_mode = mode != ModeKind::Live;
        self.sessions.insert(id, Session::new(owner, access, wake, tell_mode));
        self.metrics.connections.inc();
        Ok(Welcome { id, epoch, mode })
    }

    /// Forgets a connection, and every task and list that nobody else follows.
    pub fn disconnect(&mut self, id: ConnId) {
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        self.metrics.connections.dec();
        if let Entry::Occupied(mut of_user) = self.of_user.entry(session.owner.user) {
            *of_user.get_mut() -= 1;
            if *of_user.get() == 0 {
                of_user.remove();
            }
        }
        for task in session.subs.keys() {
            self.release(id, *task);
        }
        if session.list.is_some() {
            self.leave_list(id, session.owner.user);
        }
    }

    /// Starts to follow a task. A task already followed starts over from `cursor`.
    ///
    /// # Errors
    /// When the connection follows as many as it may.
    pub fn subscribe(
        &mut self,
        id: ConnId,
        task_id: TaskId,
        cursor: Option<Cursor>,
    ) -> Result<(), Refused> {
        let after = self.last;
        let epoch = self.epoch().cloned();
        let Some(session) = self.sessions.get_mut(&id) else {
            return Ok(());
        };
        if session.subs.len() >= MAX_SUBSCRIPTIONS && !session.subs.contains_key(&task_id) {
            return Err(Refused::TooManySubscriptions);
        }
        let position = match cursor {
            Some(c) if Some(&c.epoch) == epoch.as_ref() => Position::Resume { seq: c.seq, after },
            Some(_) => {
                self.metrics.resyncs.foreign_cursor.inc();
                Position::Snapshot
            }
            None => Position::Snapshot,
        };
        session.place(task_id, position);
        let task = self.tasks.entry(task_id).or_default();
        task.subscribers.insert(id);
        // Where the cluster is not known yet, the read that everybody waits for tells it.
        if let Some(cluster) = task.cluster.clone() {
            self.turn_away(task_id, &cluster);
        }
        self.settle(id, task_id);
        Ok(())
    }

    /// Ends the subscriptions of those who may not read the cluster that a task is on.
    fn turn_away(&mut self, task_id: TaskId, cluster: &str) {
        let Some(task) = self.tasks.get_mut(&task_id) else {
            return;
        };
        task.cluster.get_or_insert_with(|| cluster.into());
        let sessions = &self.sessions;
        let may_not = |id: &&ConnId| {
            let session = sessions.get(id);
            session.is_some_and(|s| !s.access.may_on(cluster, Action::ReadCluster))
        };
        let refused: Vec<ConnId> = task.subscribers.iter().filter(may_not).copied().collect();
        for id in refused {
            self.fail_subscription(id, task_id, ErrorCode::Forbidden);
            self.release(id, task_id);
        }
    }

    /// Stops following a task.
    pub fn unsubscribe(&mut self, id: ConnId, task: TaskId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.forget(task) {
            // It may have been the one that others wait for.
            if session.has_parked() {
                session.wake(id, &mut self.wakes);
            }
            self.release(id, task);
        }
    }

    fn release(&mut self, id: ConnId, task_id: TaskId) {
        if let Some(task) = self.tasks.get_mut(&task_id) {
            task.subscribers.remove(&id);
            if task.subscribers.is_empty() {
                if let Read::Wanted(wish) = task.read {
                    self.wanted.remove(&wish);
                }
                self.tasks.remove(&task_id);
            }
        }
    }

    /// Takes in a notification.
    pub fn notify(&mut self, note: &Notification) -> Forwarded {
        self.note_in_list(note);
        let (Some(known), Some(task)) = (&self.epoch, self.tasks.get_mut(&note.task)) else {
            return Forwarded { subscribers: 0 };
        };
        let subscribers = task.subscribers.len();
        let noted = task.note(note, &known.epoch, self.last);
        if noted.gap {
            self.metrics.gaps.inc();
        }
        if noted.advanced {
            self.wake_subscribers(note.task);
        }
        if noted.read {
            self.want_read(note.task);
        }
        Forwarded { subscribers }
    }

    /// Something about a task, of this user's as it says, was said that cannot be used: its row has to be
    /// read.
    pub fn hint(&mut self, task: TaskId, user: Option<UserId>) -> Forwarded {
        if let Some(user) = user {
            self.hint_in_list(task, user);
        }
        let subscribers = self.tasks.get(&task).map_or(0, |t| t.subscribers.len());
        if subscribers > 0 {
            self.want_read(task);
        }
        Forwarded { subscribers }
    }

    /// Wakes those that have reached the edge of what was known, or had claimed to be beyond it.
    fn wake_subscribers(&mut self, task_id: TaskId) {
        let Some(task) = self.tasks.get(&task_id) else {
            return;
        };
        for id in &task.subscribers {
            let Some(session) = self.sessions.get_mut(id) else {
                continue;
            };
            session.ready(task_id);
            session.wake(*id, &mut self.wakes);
        }
    }

    /// Tells everybody how changes arrive from now on.
    pub fn set_mode(&mut self, mode: Mode) {
        if self.mode.kind == mode.kind && self.mode.reason == mode.reason {
            return;
        }
        self.mode = Arc::new(mode);
        for (id, session) in &mut self.sessions {
            session.tell_mode = true;
            session.wake(*id, &mut self.wakes);
        }
    }

    fn fail_subscription(&mut self, id: ConnId, task: TaskId, code: ErrorCode) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.forget(task);
            session.refuse(task, code);
            session.wake(id, &mut self.wakes);
        }
    }

    /// Whom to wake: their next frame may be there. To be called after every change.
    pub fn take_wakes(&mut self) -> Vec<(ConnId, Arc<Notify>)> {
        std::mem::take(&mut self.wakes)
    }

    /// Whether there may be something to read since the last call.
    pub fn take_stirred(&mut self) -> bool {
        std::mem::take(&mut self.stirred)
    }
}

/// The time of a row, as notifications give theirs.
fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}
