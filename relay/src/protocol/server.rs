//! Messages to clients. They borrow what they say, because they are encoded once and dropped.

use jiff::Timestamp;
use knm_shared::epoch::{Cursor, Epoch};
use knm_shared::ids::{Ordinal, Seq, TaskId, UserId};
use knm_shared::status::{Counts, ItemStatus, TaskStatus};
use serde::{Serialize, Serializer};

/// What the relay may say. Clients ignore fields they do not know.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage<'a> {
    /// The first frame of every connection.
    Hello {
        /// Of the protocol; 1.
        version: u32,
        /// Which pod's relay this is.
        pod: &'a str,
        /// Its release.
        release: &'a str,
        /// The history that sequence numbers belong to.
        epoch: &'a Epoch,
        /// How changes arrive now.
        mode: ModeKind,
        /// A client that hears nothing for twice this long may give the connection up.
        ping_interval_ms: u64,
    },
    /// A task as it stands at `seq`, one page of it. It counts once the page with `last` is there.
    Snapshot {
        /// Which task.
        task_id: TaskId,
        /// The history of `seq`.
        epoch: &'a Epoch,
        /// What the snapshot contains: everything up to here.
        seq: Seq,
        /// The cursor to resume from, once the last page has arrived.
        cursor: CursorText<'a>,
        /// From 0.
        page: usize,
        /// Whether this is the last page.
        last: bool,
        /// The task itself, the same in every page.
        task: &'a Head,
        /// At most 1,000 items, by ordinal.
        items: &'a [ItemRow],
    },
    /// A task moved on.
    Progress(StepBody<'a>),
    /// A task has ended: the frame of the final `seq`.
    Complete(StepBody<'a>),
    /// The user's list of tasks.
    Tasks {
        /// Whether this replaces the list, or names only the tasks that changed.
        full: bool,
        /// Newest last.
        tasks: Vec<&'a Head>,
    },
    /// How changes arrive from now on.
    Mode(&'a Mode),
    /// Sequence numbers mean nothing any more; snapshots follow.
    Resync {
        /// The new history.
        epoch: &'a Epoch,
        /// Why.
        reason: ResyncReason,
    },
    /// Something was refused or failed.
    Error {
        /// For programs.
        code: ErrorCode,
        /// For people.
        message: &'a str,
        /// The task it is about.
        #[serde(skip_serializing_if = "Option::is_none")]
        task_id: Option<TaskId>,
    },
    /// The relay stops; the close frame follows.
    Goodbye {
        /// For people.
        reason: &'a str,
        /// When to come back: different for each client.
        reconnect_after_ms: u64,
    },
}

/// The body of `progress` and `complete`.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Serialize)]
pub struct StepBody<'a> {
    /// Which task.
    pub task_id: TaskId,
    /// The history of `prev` and `seq`.
    pub epoch: &'a Epoch,
    /// Where the client stood before.
    pub prev: Seq,
    /// Where it stands now.
    pub seq: Seq,
    /// The cursor to resume from.
    pub cursor: CursorText<'a>,
    /// When the change was written, by the database's clock, in microseconds since 1970.
    pub published_us: i64,
    /// The items that changed, each with its latest state.
    pub items: Vec<ItemUpdate<'a>>,
    /// The task's state at `seq`.
    #[serde(flatten)]
    pub progress: &'a Progress,
}

/// `epoch:seq`.
#[derive(Debug, Clone, Copy)]
pub struct CursorText<'a>(&'a Epoch, Seq);

impl<'a> CursorText<'a> {
    /// Names a position.
    #[must_use]
    pub const fn new(epoch: &'a Epoch, seq: Seq) -> Self {
        Self(epoch, seq)
    }
}

impl Serialize for CursorText<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&Cursor { epoch: self.0.clone(), seq: self.1 })
    }
}

/// A changed item: what a step says of it.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ItemUpdate<'a> {
    /// Which item.
    pub ordinal: Ordinal,
    /// Its state.
    pub status: ItemStatus,
    /// Its message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<&'a str>,
}

/// An item as rows and snapshots have it.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ItemRow {
    /// Which item.
    pub ordinal: Ordinal,
    /// Its node's name.
    pub node: Box<str>,
    /// Its state.
    pub status: ItemStatus,
    /// Its message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Box<str>>,
    /// The task's sequence number when it last changed.
    #[serde(skip)]
    pub seq: Seq,
}

/// How far a task is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Its state.
    pub status: TaskStatus,
    /// Its counters.
    pub counts: Counts,
    /// Why it failed as a whole.
    pub error: Option<Box<str>>,
}

/// [`Progress`] as it travels.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Serialize)]
pub(super) struct WireProgress<'a> {
    /// The task's state.
    status: TaskStatus,
    /// Items that have ended.
    current: u32,
    /// All items.
    total: u32,
    /// 0 to 100 with one decimal, rounded down.
    percent: f64,
    /// Items by state.
    counts: Counts,
    /// Why it failed as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

impl Serialize for Progress {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let Self { status, counts, error } = self;
        WireProgress {
            status: *status,
            current: counts.done(),
            total: counts.total,
            percent: percent(counts),
            counts: *counts,
            error: error.as_deref(),
        }
        .serialize(s)
    }
}

/// The share of items that have ended, 0 to 100 with one decimal. Rounded down: 100 means all.
#[must_use]
pub fn percent(counts: &Counts) -> f64 {
    let done = u64::from(counts.done()) * 1_000;
    let tenths = done.checked_div(u64::from(counts.total)).unwrap_or(0);
    // At most 1,000, which every f64 holds exactly.
    tenths as f64 / 10.0
}

/// A task without its items.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Head {
    /// Which task.
    pub id: TaskId,
    /// Whose.
    pub user_id: UserId,
    /// On which cluster.
    pub cluster: Box<str>,
    /// What it does.
    pub action: Box<str>,
    /// Why, in its user's words.
    pub reason: Box<str>,
    /// How far it is.
    #[serde(flatten)]
    pub progress: Progress,
    /// At which sequence number.
    pub seq: Seq,
    /// When it was submitted.
    pub created_at: Timestamp,
    /// When it was first worked on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// How changes reach the relay.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ModeKind {
    /// As they happen.
    Live,
    /// LISTEN has just come back; what was missed is being read.
    CatchingUp,
    /// By reading rows at intervals.
    Polling,
}

impl ModeKind {
    /// The word in messages and in `/state`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::CatchingUp => "catching_up",
            Self::Polling => "polling",
        }
    }
}

/// The mode, since when and why.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mode {
    /// Which.
    #[serde(rename = "mode")]
    pub kind: ModeKind,
    /// Since when.
    pub since: Timestamp,
    /// Why it is not `live`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Box<str>>,
    /// How often rows are read while polling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poll_interval_ms: Option<u64>,
}

/// Why sequence numbers were given up.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ResyncReason {
    /// The database continues another history: a failover or a restored backup.
    Epoch,
}

/// `error.code`
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Not a message of this protocol. The next one closes the connection.
    BadMessage,
    /// There is no such task, or no longer.
    UnknownTask,
    /// The user may not read it.
    Forbidden,
    /// The connection follows as many tasks as it may.
    TooManySubscriptions,
    /// The relay's own fault; try again.
    Internal,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_percent_means_all() {
        let mut counts = Counts { total: 3_000, succeeded: 2_999, pending: 1, ..Counts::default() };
        assert!((percent(&counts) - 99.9).abs() < 1e-9);
        counts.shift(ItemStatus::Pending, ItemStatus::Failed);
        assert!((percent(&counts) - 100.0).abs() < 1e-9);
        assert!(percent(&Counts::default()).abs() < 1e-9);
    }
}
