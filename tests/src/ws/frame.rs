//! The frames of the protocol, as a client reads and writes them.
//!
//! Deliberately not the relay's own types: what is on the wire is the interface.

use jiff::Timestamp;
use knm_shared::ids::TaskId;
use knm_shared::status::{Counts, ItemStatus, TaskStatus};
use serde::{Deserialize, Serialize};

/// What a client says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClientFrame {
    /// Wants a task's progress, from the cursor on.
    Subscribe {
        /// Which task.
        task_id: TaskId,
        /// What has been applied already, `EPOCH:SEQ`.
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<String>,
    },
    /// Wants no more of it.
    Unsubscribe {
        /// Which task.
        task_id: TaskId,
    },
    /// Wants the list of the user's tasks.
    WatchTasks,
    /// Wants no more of that.
    UnwatchTasks,
}

/// What the relay says.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerFrame {
    /// The first frame.
    Hello(Hello),
    /// A page of a task's whole state.
    Snapshot(Box<Snapshot>),
    /// A step.
    Progress(Delta),
    /// The last step.
    Complete(Delta),
    /// The user's tasks.
    Tasks(Tasks),
    /// How the relay learns of changes from now on.
    Mode(Mode),
    /// Sequence numbers have lost their meaning; snapshots follow.
    Resync(Resync),
    /// Something that the client asked for cannot be done.
    Error(Error),
    /// The relay is about to close.
    Goodbye(Goodbye),
    /// A frame of a later version.
    #[serde(other)]
    Unknown,
}

/// `hello`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Hello {
    /// Of the protocol; 1.
    pub version: u32,
    /// Which pod answers.
    pub pod: String,
    /// Its release.
    pub release: String,
    /// The epoch of all cursors from here on.
    pub epoch: String,
    /// `live`, `catching_up` or `polling`.
    pub mode: String,
    /// How often the relay pings.
    pub ping_interval_ms: u64,
}

/// An item in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SnapshotItem {
    /// Its place in the task.
    pub ordinal: u32,
    /// Its node.
    pub node: String,
    /// Its state.
    pub status: ItemStatus,
    /// Its message.
    pub message: Option<String>,
}

/// An item in a step.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DeltaItem {
    /// Its place in the task.
    pub ordinal: u32,
    /// Its state.
    pub status: ItemStatus,
    /// Its message.
    pub message: Option<String>,
}

/// A task without its items.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Head {
    /// Which.
    pub id: TaskId,
    /// Who submitted it.
    pub user_id: String,
    /// Where.
    pub cluster: String,
    /// What.
    pub action: String,
    /// Why.
    pub reason: String,
    /// Its sequence number.
    pub seq: i64,
    /// When it was submitted.
    pub created_at: Timestamp,
    /// When it was first claimed.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// How far it is.
    #[serde(flatten)]
    pub progress: HeadProgress,
}

/// How far a task is.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct HeadProgress {
    /// Its state.
    pub status: TaskStatus,
    /// Items that have ended.
    pub current: u32,
    /// All items.
    pub total: u32,
    /// 0 to 100, one decimal.
    pub percent: f64,
    /// Items by state.
    pub counts: Counts,
    /// Why it failed as a whole.
    pub error: Option<String>,
}

/// `snapshot`
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Snapshot {
    /// Which task.
    pub task_id: TaskId,
    /// History of `seq`.
    pub epoch: String,
    /// The same in every page.
    pub seq: i64,
    /// `EPOCH:SEQ`; counts once the last page has come.
    pub cursor: String,
    /// From 0.
    pub page: u32,
    /// No page follows.
    pub last: bool,
    /// The task.
    pub task: Head,
    /// At most 1,000.
    pub items: Vec<SnapshotItem>,
}

/// `progress` and `complete`
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Delta {
    /// Which task.
    pub task_id: TaskId,
    /// History of `seq`.
    pub epoch: String,
    /// The client's position before.
    pub prev: i64,
    /// And after.
    pub seq: i64,
    /// `EPOCH:SEQ`
    pub cursor: String,
    /// The database's clock when the change was written, in microseconds since 1970.
    pub published_us: Option<i64>,
    /// The items that changed since `prev`.
    pub items: Vec<DeltaItem>,
    /// How far the task is now.
    #[serde(flatten)]
    pub progress: HeadProgress,
}

/// `tasks`
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Tasks {
    /// The whole list, or just what changed.
    pub full: bool,
    /// Unfinished ones and the newest 100.
    pub tasks: Vec<Head>,
}

/// `mode`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Mode {
    /// `live`, `catching_up` or `polling`.
    pub mode: String,
    /// From when on.
    pub since: Timestamp,
    /// Why, when not live.
    pub reason: Option<String>,
    /// How old what is shown may be.
    pub poll_interval_ms: Option<u64>,
}

/// `resync`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Resync {
    /// The new epoch.
    pub epoch: String,
    /// `epoch`
    pub reason: String,
}

/// `error`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Error {
    /// One of the protocol's codes.
    pub code: String,
    /// For people.
    pub message: String,
    /// Which task it is about.
    pub task_id: Option<TaskId>,
}

/// `goodbye`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Goodbye {
    /// Why.
    pub reason: String,
    /// How long to wait before the next attempt.
    pub reconnect_after_ms: u64,
}
