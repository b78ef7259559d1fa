//! Every way in which a stream of frames can be wrong.

use knm_shared::ids::TaskId;
use knm_shared::status::{Counts, ItemStatus, TaskStatus};

/// A rule that does not hold.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Violation {
    /// Something came before `hello`.
    #[error("a frame before hello")]
    NoHello,
    /// `hello` comes once a connection.
    #[error("a second hello")]
    SecondHello,
    /// A frame for a task that this connection has not asked for.
    #[error("a frame for task {task}, which is not subscribed")]
    NotSubscribed {
        /// The task.
        task: TaskId,
    },
    /// Only `resync` changes the epoch of a connection.
    #[error("epoch {found} on a connection of epoch {expected}")]
    WrongEpoch {
        /// What `hello` or the last `resync` said.
        expected: String,
        /// What the frame says.
        found: String,
    },
    /// `resync` is for a new epoch.
    #[error("resync to {epoch}, which is not new")]
    OldEpoch {
        /// The epoch.
        epoch: String,
    },
    /// `cursor` is not `epoch:seq` of its own frame.
    #[error("cursor {found} in a frame at {expected}")]
    Cursor {
        /// From the frame's epoch and seq.
        expected: String,
        /// What the frame says.
        found: String,
    },
    /// Pages come in order from 0, without a frame of the same task between them.
    #[error("page {found} where page {expected} was due")]
    Page {
        /// The next one.
        expected: u32,
        /// The one that came.
        found: u32,
    },
    /// All pages of a snapshot show the same moment.
    #[error("pages of different moments: {first} and {other}")]
    MixedPages {
        /// Cursor of the first page.
        first: String,
        /// Cursor of the other.
        other: String,
    },
    /// A step between two pages.
    #[error("a step between the pages of a snapshot")]
    StepBetweenPages,
    /// A step without anything that it could build on.
    #[error("a step to {seq} before any snapshot")]
    StepWithoutPicture {
        /// Its sequence number.
        seq: i64,
    },
    /// A step that starts somewhere else.
    #[error("a step from {prev} for a client at {position}")]
    Gap {
        /// Where the step starts.
        prev: i64,
        /// Where the client is.
        position: i64,
    },
    /// A step that goes nowhere, or back.
    #[error("a step from {prev} to {seq}")]
    NotRising {
        /// Where it starts.
        prev: i64,
        /// Where it ends.
        seq: i64,
    },
    /// A snapshot that is older than what the client has.
    #[error("a snapshot at {seq} for a client at {position}")]
    SnapshotBehind {
        /// Of the snapshot.
        seq: i64,
        /// Where the client is.
        position: i64,
    },
    /// A snapshot has every ordinal once, in order.
    #[error("ordinal {found} at place {place} of the items")]
    Ordinal {
        /// Place in the list.
        place: u32,
        /// What is there.
        found: u32,
    },
    /// A step names an item twice, or one that does not exist.
    #[error("a step with item {ordinal}, which it names twice or the task does not have")]
    StrayItem {
        /// The item.
        ordinal: u32,
    },
    /// An item that had ended changed.
    #[error("item {ordinal} went from {from} to {to}")]
    ItemReopened {
        /// The item.
        ordinal: u32,
        /// Its last state.
        from: ItemStatus,
        /// Its new state.
        to: ItemStatus,
    },
    /// The message of an item that had ended changed.
    #[error("item {ordinal} had ended and got another message")]
    ItemRewritten {
        /// The item.
        ordinal: u32,
    },
    /// A node's name changed.
    #[error("item {ordinal} was {old} and became {new}")]
    Renamed {
        /// The item.
        ordinal: u32,
        /// Its node.
        old: String,
        /// Its other node.
        new: String,
    },
    /// A task's state changed in a way that is not allowed.
    #[error("the task went from {from} to {to}")]
    TaskTransition {
        /// Its last state.
        from: TaskStatus,
        /// Its new state.
        to: TaskStatus,
    },
    /// The number of items changed.
    #[error("the task had {was} items and has {is}")]
    TotalChanged {
        /// Before.
        was: u32,
        /// Now.
        is: u32,
    },
    /// The counters are not those of the items.
    #[error("the counters say {said:?}, the items {are:?}")]
    Counts {
        /// In the frame.
        said: Counts,
        /// Counted.
        are: Counts,
    },
    /// `current`, `total` or `percent` does not follow from the counters.
    #[error("{current} of {total} is {percent} %, with {counts:?}")]
    Arithmetic {
        /// In the frame.
        current: u32,
        /// In the frame.
        total: u32,
        /// In the frame.
        percent: f64,
        /// In the frame.
        counts: Counts,
    },
    /// `progress` is for tasks that go on.
    #[error("progress of a task that is {status}")]
    EndInProgress {
        /// Its state.
        status: TaskStatus,
    },
    /// `complete` is for tasks that have ended, with all their items.
    #[error("complete for a task that is {status} with {counts:?}")]
    NotAnEnd {
        /// Its state.
        status: TaskStatus,
        /// Its counters.
        counts: Counts,
    },
    /// The end comes once and last.
    #[error("a frame at {seq} after the end")]
    AfterTheEnd {
        /// Its sequence number.
        seq: i64,
    },
    /// The repeated end is not the end that was seen.
    #[error("an end without a step that differs from what was known")]
    EndDiffers,
    /// The first `tasks` frame is the whole list.
    #[error("changes of the task list before the list")]
    ListMissing,
    /// A task in the list went back in its sequence.
    #[error("task {task} went from {from} to {to} in the list")]
    ListWentBack {
        /// The task.
        task: TaskId,
        /// Its number before.
        from: i64,
        /// Its number now.
        to: i64,
    },
    /// The watch is over and there was no `complete`.
    #[error("task {task} never ended for this client")]
    NeverComplete {
        /// The task.
        task: TaskId,
    },
    /// The last picture is not what the rows say.
    #[error("{what}: the client has {client}, the rows have {rows}")]
    Rows {
        /// What differs.
        what: String,
        /// As the client knows it.
        client: String,
        /// As the database knows it.
        rows: String,
    },
}
