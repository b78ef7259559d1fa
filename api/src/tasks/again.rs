//! Tasks that follow from others: retry and revert, and what was done to a node.

use jiff::Timestamp;
use knm_shared::access::Action as Right;
use knm_shared::ids::TaskId;
use knm_shared::session::Identity;
use knm_shared::status::ItemStatus;
use serde_json::Value;
use uuid::Uuid;

use super::action::Action;
use super::error::TaskError;
use super::once::Idempotency;
use super::revert::{RevertParams, Undo};
use super::service::{Service, require};
use super::view::{HistoryView, ItemView, TaskView};
use crate::db;
use crate::db::tasks::NewTask;

/// For what nobody knows any more, or yet.
const WHATEVER_IT_TAKES: [Right; 3] =
    [Right::Drain, Right::EvictByTaint, Right::ChangeProtectedKeys];

/// Entries of a node's history.
const HISTORY: u32 = 100;

impl Service {
    /// Does again what has failed or was cancelled. While such a task is under way, the same again.
    ///
    /// # Errors
    /// [`TaskError`]: `Conflict` when the task has not ended, or nothing of it has failed.
    pub async fn retry(
        &self,
        identity: &Identity,
        task: TaskId,
        idempotency_key: Option<String>,
    ) -> Result<TaskView, TaskError> {
        let idempotency = Idempotency::of(&("retry", task), idempotency_key)?;
        self.once(identity, idempotency, async |key| self.retry_anew(identity, task, key).await)
            .await
    }

    async fn retry_anew(
        &self,
        identity: &Identity,
        task: TaskId,
        idempotency: Option<Idempotency>,
    ) -> Result<TaskView, TaskError> {
        let (parent, action) = self.ended(identity, task).await?;
        let items = db::items::all(&**self.pool().get().await?, task).await?;
        let failed = [ItemStatus::Failed, ItemStatus::Cancelled].map(ItemStatus::as_str);
        let again: Vec<_> =
            items.into_iter().filter(|i| failed.contains(&i.status.as_str())).collect();
        if again.is_empty() {
            return Err(TaskError::Conflict(
                "there is nothing to retry: no node of the task has failed or was cancelled".into(),
            ));
        }
        let undo = match action {
            Action::Revert(_) => self.undo_of(task, &again).await?,
            _ => Vec::new(),
        };
        require_for_undo(identity, &parent.cluster, &undo)?;
        let mut options = parent.options.clone();
        if let Some(options) = options.as_object_mut() {
            // A window that is over was for the first try.
            let is_over = |end: &Value| {
                let end: Option<Timestamp> = end.as_str().and_then(|end| end.parse().ok());
                end.is_none_or(|end| end <= Timestamp::now())
            };
            if options.get("not_after").is_some_and(is_over) {
                options.remove("not_after");
            }
        }
        let what = (action.name(), action.params(), options);
        self.follow(identity, &parent, what, again, undo, idempotency).await
    }

    /// Restores what the task changed, on the nodes where that still stands. While such a task is
    /// under way, the same again.
    ///
    /// # Errors
    /// [`TaskError`]: `Conflict` when the task has not ended, or has changed nothing.
    pub async fn revert(
        &self,
        identity: &Identity,
        task: TaskId,
        idempotency_key: Option<String>,
    ) -> Result<TaskView, TaskError> {
        let idempotency = Idempotency::of(&("revert", task), idempotency_key)?;
        self.once(identity, idempotency, async |key| self.revert_anew(identity, task, key).await)
            .await
    }

    async fn revert_anew(
        &self,
        identity: &Identity,
        task: TaskId,
        idempotency: Option<Idempotency>,
    ) -> Result<TaskView, TaskError> {
        let (parent, action) = self.ended(identity, task).await?;
        if parent.options["dry_run"] == true {
            return Err(TaskError::Conflict(
                "there is nothing to revert: the task was a dry run".into(),
            ));
        }
        let items = db::items::all(&**self.pool().get().await?, task).await?;
        let (mut nodes, mut undo) = (Vec::new(), Vec::new());
        for item in items {
            let Some(Value::Object(before)) = &item.before else { continue };
            let after = match &item.after {
                Some(Value::Object(after)) => after.clone(),
                // Whoever made the change did not get to see the node after it.
                _ => action.leaves(before, &parent.username),
            };
            if *before != after && !before.is_empty() {
                undo.push(Undo { expect: after, restore: before.clone() });
                nodes.push(item);
            }
        }
        if nodes.is_empty() {
            return Err(TaskError::Conflict(
                "there is nothing to revert: the task has changed no node".into(),
            ));
        }
        require_for_undo(identity, &parent.cluster, &undo)?;
        let params = Action::Revert(RevertParams { task: task.0, keys: action.keys() }).params();
        let options = serde_json::json!({"concurrency": parent.options["concurrency"]});
        let what = ("revert", params, options);
        self.follow(identity, &parent, what, nodes, undo, idempotency).await
    }

    /// What was done to a node, newest first.
    ///
    /// # Errors
    /// [`TaskError`]
    pub async fn history(&self, cluster: &str, node: &str) -> Result<Vec<HistoryView>, TaskError> {
        let client = self.pool().get().await?;
        Ok(db::items::of_node(&**client, cluster, node, HISTORY).await?)
    }

    /// Asks for what a task took when it was submitted, before it goes on.
    ///
    /// # Errors
    /// [`TaskError`]
    pub(super) async fn require_again(
        &self,
        identity: &Identity,
        task: &TaskView,
    ) -> Result<(), TaskError> {
        let Ok(action) = action_of(task) else {
            // Another release's.
            return require(identity, &task.cluster, &WHATEVER_IT_TAKES);
        };
        require(identity, &task.cluster, &self.needs(&action).await?)?;
        if matches!(action, Action::Revert(_)) {
            let client = self.pool().get().await?;
            let items = db::claim::items(&**client, TaskId(task.id)).await?;
            let undo: Vec<_> = items.into_iter().filter_map(|item| item.undo).collect();
            require_for_undo(identity, &task.cluster, &undo)?;
        }
        Ok(())
    }

    /// A task that has ended, of an action that the caller may submit.
    async fn ended(
        &self,
        identity: &Identity,
        task: TaskId,
    ) -> Result<(TaskView, Action), TaskError> {
        let view = self.get(identity, task).await?;
        let action = action_of(&view)?;
        require(identity, &view.cluster, &self.needs(&action).await?)?;
        if view.completed_at.is_none() {
            let status = &view.status;
            return Err(TaskError::Conflict(format!("the task has not ended: it is {status}")));
        }
        Ok((view, action))
    }

    /// What an action takes; a revert takes what the task did at whose beginning it is.
    async fn needs(&self, action: &Action) -> Result<Vec<Right>, TaskError> {
        let mut needs = action.needs();
        let mut origin = origin(action);
        while let Some(task) = origin {
            let client = self.pool().get().await?;
            let Some(view) = db::tasks::get(&**client, task).await? else {
                // It has been removed by now.
                needs.extend(WHATEVER_IT_TAKES);
                break;
            };
            let action = action_of(&view)?;
            needs.extend(action.needs());
            origin = self::origin(&action);
        }
        Ok(needs)
    }

    /// What a revert that is retried had to undo.
    async fn undo_of(&self, task: TaskId, items: &[ItemView]) -> Result<Vec<Undo>, TaskError> {
        let client = self.pool().get().await?;
        let all = db::claim::items(&**client, task).await?;
        let of = |item: &ItemView| {
            all.iter().find(|i| i.ordinal == item.ordinal).and_then(|i| i.undo.clone())
        };
        items
            .iter()
            .map(|item| of(item).ok_or_else(|| anyhow::anyhow!("an item without its undo").into()))
            .collect()
    }

    async fn follow(
        &self,
        identity: &Identity,
        parent: &TaskView,
        (action, params, options): (&'static str, Value, Value),
        items: Vec<ItemView>,
        undo: Vec<Undo>,
        idempotency: Option<Idempotency>,
    ) -> Result<TaskView, TaskError> {
        let (nodes, uids) = items.into_iter().map(|i| (i.node, i.node_uid)).unzip();
        let task = NewTask {
            id: TaskId(Uuid::now_v7()),
            user: identity.user,
            username: identity.username.clone(),
            cluster: parent.cluster.clone(),
            cluster_stored: self.cluster_stored(&parent.cluster),
            action,
            params,
            options,
            reason: parent.reason.clone(),
            nodes,
            uids,
            undo,
            parent: Some(TaskId(parent.id)),
            webhook: self.webhook(None)?,
            idempotency,
        };
        self.store(identity, task).await
    }
}

/// The task that a revert is for.
const fn origin(action: &Action) -> Option<TaskId> {
    match action {
        Action::Revert(RevertParams { task, .. }) => Some(TaskId(*task)),
        _ => None,
    }
}

/// A taint that comes back evicts as one that is set, whoever had removed it.
fn require_for_undo(identity: &Identity, cluster: &str, undo: &[Undo]) -> Result<(), TaskError> {
    let evicts =
        |(name, value): (&String, &Value)| name.ends_with(":NoExecute") && value.is_string();
    if undo.iter().any(|undo| undo.restore.iter().any(evicts)) {
        require(identity, cluster, &[Right::EvictByTaint])?;
    }
    Ok(())
}

fn action_of(task: &TaskView) -> Result<Action, TaskError> {
    Action::parse(&task.action, &task.params).map_err(|_| {
        TaskError::Conflict(format!("this release does not know the action {}", task.action))
    })
}
