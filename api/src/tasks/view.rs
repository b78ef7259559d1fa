//! Tasks and items as the REST interface shows them.

use jiff::Timestamp;
use knm_shared::status::Counts;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// How many items are in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CountsView {
    /// All items.
    pub total: u32,
    /// Not started.
    pub pending: u32,
    /// In progress.
    pub running: u32,
    /// Done, or already as wanted.
    pub succeeded: u32,
    /// Not done.
    pub failed: u32,
    /// Deliberately left alone.
    pub skipped: u32,
    /// Never started because the task ended first.
    pub cancelled: u32,
}

impl From<Counts> for CountsView {
    fn from(c: Counts) -> Self {
        let [total, pending, running, succeeded, failed, skipped, cancelled] = c.to_array();
        Self { total, pending, running, succeeded, failed, skipped, cancelled }
    }
}

/// A task.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TaskView {
    /// Identifier (UUID version 7: sorts by creation).
    pub id: Uuid,
    /// Sequence number of its last change.
    pub seq: i64,
    /// Who submitted it.
    pub user_id: Uuid,
    /// Their name.
    pub username: String,
    /// Cluster that it acts on.
    pub cluster: String,
    /// What it does.
    #[schema(example = "label")]
    pub action: String,
    /// With which parameters, defaults filled in.
    #[schema(value_type = Object)]
    pub params: Value,
    /// How it goes about its nodes, defaults filled in.
    #[schema(value_type = Object)]
    pub options: Value,
    /// Why, in its submitter's words.
    pub reason: String,
    /// `queued`, `running`, `paused`, `completed`, `failed` or `cancelled`.
    #[schema(example = "running")]
    pub status: String,
    /// Items that have ended, however.
    pub current: u32,
    /// All items.
    pub total: u32,
    /// `current` of `total`, 0 to 100.
    pub percent: f64,
    /// Items by state.
    pub counts: CountsView,
    /// Why the task itself failed, when it did.
    pub error: Option<String>,
    /// What its users last asked for: `run`, `pause` or `cancel`.
    pub desired: String,
    /// Claims in a row that ended without one finished item.
    pub attempt: i32,
    /// The task that this one retries or reverts.
    pub parent_id: Option<Uuid>,
    /// When it was submitted.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When work on it began.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When it last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub completed_at: Option<Timestamp>,
}

/// `done` of `total` in percent, with one decimal, rounded down: 100 is the end.
#[must_use]
pub fn percent(done: u32, total: u32) -> f64 {
    if total == 0 {
        return 0.0;
    }
    (f64::from(done) * 1000.0 / f64::from(total)).floor() / 10.0
}

/// One node of a task.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ItemView {
    /// Its place in the task, from 0.
    pub ordinal: u32,
    /// The node's name.
    pub node: String,
    /// The node's UID when the task was submitted.
    pub node_uid: String,
    /// `pending`, `running`, `succeeded`, `failed`, `skipped` or `cancelled`.
    #[schema(example = "succeeded")]
    pub status: String,
    /// The task's sequence number when this item last changed.
    pub seq: i64,
    /// What happened, in words.
    pub message: Option<String>,
    /// Tries so far.
    pub attempts: u32,
    /// The changed keys before; absent ones are null.
    #[schema(value_type = Option<Object>)]
    pub before: Option<Value>,
    /// The changed keys after; absent ones are null.
    #[schema(value_type = Option<Object>)]
    pub after: Option<Value>,
    /// When work on it began.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
}

/// What a task did to a node.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct HistoryView {
    /// The task.
    pub task_id: Uuid,
    /// What it did.
    pub action: String,
    /// With which parameters.
    #[schema(value_type = Object)]
    pub params: Value,
    /// Why.
    pub reason: String,
    /// Who submitted it.
    pub username: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub submitted_at: Timestamp,
    /// What came of it on this node.
    pub status: String,
    /// In words.
    pub message: Option<String>,
    /// The changed keys before.
    #[schema(value_type = Option<Object>)]
    pub before: Option<Value>,
    /// The changed keys after.
    #[schema(value_type = Option<Object>)]
    pub after: Option<Value>,
    /// When it ended on this node.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
}

/// A page of tasks, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TaskPage {
    /// The tasks.
    pub tasks: Vec<TaskView>,
    /// Pass as `cursor` for the next page; absent on the last.
    pub next_cursor: Option<String>,
}

/// A page of items, by (seq, ordinal).
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ItemPage {
    /// The items.
    pub items: Vec<ItemView>,
    /// The task's sequence number in the same snapshot: pass as `after_seq` to see what comes later.
    pub seq: i64,
    /// Pass as `cursor` for the next page; absent on the last.
    pub next_cursor: Option<String>,
}

/// Query of `GET /tasks`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// Only tasks in this state.
    pub status: Option<String>,
    /// Only tasks on this cluster.
    pub cluster: Option<String>,
    /// Only tasks with this action.
    pub action: Option<String>,
    /// Only tasks of the caller.
    #[serde(default)]
    pub mine: bool,
    /// Tasks a page, 1 to 200.
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// Query of `GET /tasks/{id}/items`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ItemQuery {
    /// Only items that changed after this sequence number.
    pub after_seq: Option<i64>,
    /// Only items in this state.
    pub status: Option<String>,
    /// Items a page, 1 to 1000.
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_has_one_decimal_and_survives_nothing() {
        assert_eq!(percent(0, 0), 0.0);
        assert_eq!(percent(1, 3), 33.3);
        assert_eq!(percent(3, 3), 100.0);
        assert_eq!(percent(4_999, 5_000), 99.9, "not before the end");
    }
}
