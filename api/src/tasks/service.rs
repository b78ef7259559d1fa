//! What the routes ask of tasks: submit, look, steer.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use knm_shared::access::{Action as Right, Reach};
use knm_shared::config::Executor;
use knm_shared::ids::{Ordinal, OwnerId, Seq, TaskId};
use knm_shared::pg::Pool;
use knm_shared::session::{Identity, Role};
use knm_shared::status::Desired;
use uuid::Uuid;

use super::action::Action;
use super::error::{FieldError, TaskError};
use super::once::Idempotency;
use super::options::Options;
use super::plan::Author;
use super::preview::{Preview, PreviewView};
use super::submit::Submission;
use super::targets::{self, targets};
use super::view::{ItemPage, ItemQuery, ListQuery, TaskPage, TaskView};
use crate::clusters::{Cluster, Clusters, Sync};
use crate::db;
use crate::db::tasks::{NewTask, Stored, Telling};
use crate::executor::{Admission, Reservation};
use crate::k8s::{Pods, Terms};
use crate::metrics::Metrics;
use crate::webhook::Allowed;

/// Longest reason (octets).
const MAX_REASON: usize = 1024;
/// Tasks or items a page when the caller does not say, and at most.
const TASKS_PAGE: (u32, u32) = (50, 200);
const ITEMS_PAGE: (u32, u32) = (500, 1000);

/// See the module's description. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Pool,
    clusters: Clusters,
    limits: Executor,
    admission: Admission,
    webhooks: Allowed,
    metrics: Metrics,
}

impl Service {
    /// A service that stores tasks through `pool` and offers them to this process's executor first.
    #[must_use]
    pub fn new(
        pool: Pool,
        clusters: Clusters,
        limits: Executor,
        admission: Admission,
        webhooks: Allowed,
        metrics: Metrics,
    ) -> Self {
        Self { inner: Arc::new(Inner { pool, clusters, limits, admission, webhooks, metrics }) }
    }

    /// What a task would do, without storing or changing anything.
    ///
    /// # Errors
    /// [`TaskError`], as for [`Service::submit`], but for the role: a preview says which one it takes.
    /// `Unavailable` when too many ask about pods.
    pub async fn preview(
        &self,
        identity: &Identity,
        body: Submission,
    ) -> Result<PreviewView, TaskError> {
        let limits = &self.inner.limits;
        let (action, options) = check(&body, limits)?;
        self.webhook(body.webhook.as_deref())?;
        let cluster = self.cluster(identity, body.cluster.as_deref())?;
        let nodes = targets(&cluster, &body.nodes, limits)?;
        let author = Author::new(identity.username.clone(), body.reason, Timestamp::now());
        let (pods, terms) = self.pods(&cluster);
        let preview = Preview { cluster: &cluster, action: &action, author: &author, pods, terms };
        preview.view(&options, &nodes, &identity.access).await
    }

    /// Checks and stores a task. The targets are frozen here, by name and UID.
    ///
    /// # Errors
    /// [`TaskError`]; nothing is stored then, except that `Unavailable` may hide a task that was: the
    /// same idempotency key tells.
    pub async fn submit(
        &self,
        identity: &Identity,
        body: Submission,
        idempotency_key: Option<String>,
    ) -> Result<TaskView, TaskError> {
        let idempotency = Idempotency::of(&body, idempotency_key)?;
        self.once(identity, idempotency, async |key| self.submit_anew(identity, body, key).await)
            .await
    }

    async fn submit_anew(
        &self,
        identity: &Identity,
        body: Submission,
        idempotency: Option<Idempotency>,
    ) -> Result<TaskView, TaskError> {
        let limits = &self.inner.limits;
        let (action, options) = check(&body, limits)?;
        let cluster = self.cluster(identity, body.cluster.as_deref())?;
        require(identity, &cluster.name, &action.needs())?;
        let targets = targets(&cluster, &body.nodes, limits)?;
        let webhook = self.webhook(body.webhook.as_deref())?;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let frozen = |node: &Arc<Node>| (text(&node.metadata.name), text(&node.metadata.uid));
        let (nodes, uids) = targets.iter().map(frozen).unzip();
        let task = NewTask {
            id: TaskId(Uuid::now_v7()),
            user: identity.user,
            username: identity.username.clone(),
            cluster: cluster.name.to_string(),
            cluster_stored: self.cluster_stored(&cluster.name),
            action: action.name(),
            params: action.params(),
            options: options.to_value(),
            reason: body.reason,
            nodes,
            uids,
            undo: Vec::new(),
            parent: None,
            webhook,
            idempotency,
        };
        self.store(identity, task).await
    }

    /// Stores a task under this process's lease while it has room.
    pub(super) async fn store(
        &self,
        identity: &Identity,
        task: NewTask,
    ) -> Result<TaskView, TaskError> {
        let pool = &self.inner.pool;
        let admitted = self.inner.admission.reserve(task.id);
        let mut client = pool.get().await?;
        let owner = admitted.as_ref().map(Reservation::owner);
        let mut inserted = insert(&mut client, &task, owner, Telling::Aloud).await;
        if inserted.as_ref().is_err_and(db::is_queue_full) {
            self.inner.metrics.notify_failures.inc();
            inserted = insert(&mut client, &task, owner, Telling::Silent).await;
        }
        match inserted {
            Ok(Inserted::New(stored)) => {
                // The one line that has both: the request's id and the task's.
                tracing::info!(task = %task.id, action = task.action, "task submitted");
                if let Some(reservation) = admitted.filter(|_| stored.held) {
                    reservation.confirm(&task);
                }
                Ok(stored.view)
            }
            Ok(Inserted::Child(view)) => Ok(view),
            Ok(Inserted::Nothing) => {
                drop(client);
                match self.first_with(identity, task.idempotency.as_ref()).await? {
                    Some(first) => Ok(first),
                    None => Err(self.why_nothing(&task).await?),
                }
            }
            // The answer was lost, not necessarily the task.
            Err(error) if error.as_db_error().is_none() => {
                drop(client);
                let client = pool.get().await?;
                db::tasks::get(&**client, task.id).await?.ok_or_else(|| error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What stands against a task that could not be stored.
    async fn why_nothing(&self, task: &NewTask) -> Result<TaskError, TaskError> {
        let client = self.inner.pool.get().await?;
        let author = db::accounts::get(&**client, task.user).await?;
        Ok(match author {
            Some(user) if user.disabled_at.is_none() => no_cluster(&task.cluster),
            _ => TaskError::Forbidden(format!("the account of {} is closed", task.username)),
        })
    }

    /// Who is told of a task's end.
    pub(super) fn webhook(&self, wanted: Option<&str>) -> Result<Option<String>, TaskError> {
        let webhooks = &self.inner.webhooks;
        webhooks.of_task(wanted).map_err(|error| {
            TaskError::Invalid(vec![FieldError::new("webhook", error.to_string())])
        })
    }

    /// A cluster that exists for the caller.
    fn cluster(&self, identity: &Identity, name: Option<&str>) -> Result<Cluster, TaskError> {
        let name = name.unwrap_or_else(|| self.inner.clusters.default_name());
        if !readable(identity, name) {
            return Err(hidden(identity, name, no_cluster(name)));
        }
        let cluster = self.inner.clusters.get(name).ok_or_else(|| no_cluster(name))?;
        match cluster.nodes.state() {
            Sync::Never { error } => Err(TaskError::Unavailable(format!(
                "the nodes of cluster {name:?} are not known yet: {}",
                error.as_deref().unwrap_or("the first list has not arrived")
            ))),
            _ => Ok(cluster),
        }
    }

    /// Whether a cluster is one of the table, rather than the configured one.
    pub(super) fn cluster_stored(&self, name: &str) -> bool {
        name != self.inner.clusters.default_name()
    }

    /// Calls about pods of a cluster, to show them.
    #[must_use]
    pub fn pods(&self, cluster: &Cluster) -> (Pods, Terms) {
        let Inner { limits, metrics, .. } = &*self.inner;
        let pods = Pods::new(cluster.client.clone(), cluster.gate.clone(), metrics.clone());
        (pods, Terms::Look { timeout: limits.request_timeout })
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.inner.pool
    }

    /// One task, of a cluster that the caller may read; another does not exist for them.
    ///
    /// # Errors
    /// [`TaskError`]
    pub async fn get(&self, identity: &Identity, task: TaskId) -> Result<TaskView, TaskError> {
        let client = self.inner.pool.get().await?;
        let found = db::tasks::get(&**client, task).await?.ok_or(TaskError::NotFound)?;
        if readable(identity, &found.cluster) {
            return Ok(found);
        }
        Err(hidden(identity, &found.cluster, TaskError::NotFound))
    }

    /// A page of tasks, newest first.
    ///
    /// # Errors
    /// [`TaskError`]
    pub async fn list(&self, identity: &Identity, query: ListQuery) -> Result<TaskPage, TaskError> {
        let status = query.status.as_deref().map(|s| parse("status", s)).transpose()?;
        let before = query.cursor.as_deref().map(|c| parse_cursor(c, str::parse)).transpose()?;
        let filter = db::tasks::Filter {
            status,
            cluster: query.cluster,
            action: query.action,
            user: query.mine.then_some(identity.user),
            readable: readable_clusters(identity),
            before,
        };
        let limit = page_size(query.limit, TASKS_PAGE)?;
        let client = self.inner.pool.get().await?;
        // One more than asked for tells whether there is a next page.
        let mut tasks = db::tasks::list(&**client, &filter, limit + 1).await?;
        let next_cursor = cut(&mut tasks, limit).map(|last| last.id.to_string());
        Ok(TaskPage { tasks, next_cursor })
    }

    /// A page of items, by (seq, ordinal).
    ///
    /// # Errors
    /// [`TaskError`]
    pub async fn items(
        &self,
        identity: &Identity,
        task: TaskId,
        query: ItemQuery,
    ) -> Result<ItemPage, TaskError> {
        let status = query.status.as_deref().map(|s| parse("status", s)).transpose()?;
        let start = (Seq(query.after_seq.unwrap_or(-1)), db::items::LAST_ORDINAL);
        let after = query.cursor.as_deref().map(|c| parse_cursor(c, place)).transpose()?;
        let filter = db::items::Filter { status, after: after.unwrap_or(start) };
        let limit = page_size(query.limit, ITEMS_PAGE)?;
        self.get(identity, task).await?;
        let client = self.inner.pool.get().await?;
        let (seq, mut items) = db::items::page(&**client, task, filter, limit + 1)
            .await?
            .ok_or(TaskError::NotFound)?;
        let next_cursor =
            cut(&mut items, limit).map(|last| format!("{}:{}", last.seq, last.ordinal));
        Ok(ItemPage { items, seq: seq.0, next_cursor })
    }

    /// Stores what a user wants of a task; whoever holds it sees that within half a second. Returns the
    /// task before and after.
    ///
    /// # Errors
    /// [`TaskError`]: `Conflict` when the task has ended or was cancelled before.
    pub async fn request(
        &self,
        identity: &Identity,
        task: TaskId,
        desired: Desired,
    ) -> Result<[TaskView; 2], TaskError> {
        let before = self.get(identity, task).await?;
        let own = before.user_id == identity.user.0;
        let right = if own { Right::SteerOwnTask } else { Right::SteerAnyTask };
        require(identity, &before.cluster, &[right])?;
        if desired == Desired::Run {
            // Whoever may not do that any more does not have it done.
            self.require_again(identity, &before).await?;
        }
        let client = self.inner.pool.get().await?;
        let ask = || db::tasks::request(&**client, task, desired);
        let mut view = ask().await?.ok_or(TaskError::NotFound)?;
        let settled = [desired.as_str(), Desired::Cancel.as_str()];
        if view.completed_at.is_none() && !settled.contains(&view.desired.as_str()) {
            // The task was changed while the statement waited for it, and shows how it was before.
            view = ask().await?.ok_or(TaskError::NotFound)?;
        }
        // What has ended as it was wanted is no news; nothing else can be wanted of it.
        let has_ended = view.completed_at.is_some();
        if view.desired == desired.as_str() && (!has_ended || view.status == "cancelled") {
            return Ok([before, view]);
        }
        Err(TaskError::Conflict(if view.completed_at.is_some() {
            format!("the task has ended: it is {}", view.status)
        } else {
            "the task is being cancelled, and that is final".into()
        }))
    }
}

/// What became of a task that was to be stored.
enum Inserted {
    New(Stored),
    /// Another that does the same to the same parent is under way.
    Child(TaskView),
    /// The idempotency key was used before, the cluster was removed, or the account was closed.
    Nothing,
}

/// One statement; or, for a task with a parent, one transaction that lets nobody else have another
/// such child at the same time.
async fn insert(
    client: &mut knm_shared::pg::Client,
    task: &NewTask,
    owner: Option<OwnerId>,
    telling: Telling,
) -> Result<Inserted, tokio_postgres::Error> {
    let Some(parent) = task.parent else {
        return Ok(db::tasks::insert(&***client, task, owner, telling)
            .await?
            .map_or(Inserted::Nothing, Inserted::New));
    };
    let transaction = client.transaction().await?;
    crate::db::bound(&transaction).await?;
    db::tasks::lock(&transaction, parent).await?;
    if let Some(child) = db::tasks::unfinished_child(&transaction, parent, task).await? {
        return Ok(Inserted::Child(child));
    }
    let stored = db::tasks::insert(&transaction, task, owner, telling).await?;
    transaction.commit().await?;
    Ok(stored.map_or(Inserted::Nothing, Inserted::New))
}

/// What the caller may not read does not exist for them.
fn hidden(identity: &Identity, cluster: &str, told: TaskError) -> TaskError {
    let why = format!("{} may not read cluster {cluster}", identity.username);
    TaskError::Hidden { told: Box::new(told), why }
}

fn no_cluster(name: &str) -> TaskError {
    TaskError::Invalid(vec![FieldError::new("cluster", format!("no cluster {name:?}"))])
}

fn check(body: &Submission, limits: &Executor) -> Result<(Action, Options), TaskError> {
    let action = Action::submitted(&body.action, &body.params);
    let options = Options::check(&body.options, action.as_ref().ok(), limits, Timestamp::now());
    let mut faults = targets::faults(&body.nodes, limits);
    if body.reason.len() > MAX_REASON {
        faults.push(FieldError::new("reason", format!("must be no more than {MAX_REASON} bytes")));
    }
    if body.reason.contains('\0') {
        faults.push(FieldError::new("reason", "must not contain NUL"));
    }
    match (action, options) {
        (Ok(action), Ok(options)) if faults.is_empty() => Ok((action, options)),
        (action, options) => {
            let more = action.err().into_iter().chain(options.err()).flatten();
            Err(TaskError::Invalid(more.chain(faults).collect()))
        }
    }
}

/// Asks the table for all of these on a cluster.
pub(super) fn require(
    identity: &Identity,
    cluster: &str,
    rights: &[Right],
) -> Result<(), TaskError> {
    let lacks = |right: &&Right| !identity.access.may_on(cluster, **right);
    let Some(right) = rights.iter().find(lacks) else { return Ok(()) };
    let has = identity.access.role_on(cluster).map_or("nobody", Role::as_str);
    Err(TaskError::Forbidden(format!(
        "{} needs the role {} on cluster {cluster}; {} is {has} there",
        right.words(),
        right.rule().role.as_str(),
        identity.username,
    )))
}

pub(super) fn readable(identity: &Identity, cluster: &str) -> bool {
    identity.access.may_on(cluster, Right::ReadCluster)
}

/// `None`: all of them.
fn readable_clusters(identity: &Identity) -> Option<Vec<String>> {
    match &identity.access.reach {
        Reach::Everywhere => None,
        Reach::Only(clusters) => {
            Some(clusters.keys().filter(|name| readable(identity, name)).cloned().collect())
        }
    }
}

fn parse<T: std::str::FromStr>(field: &str, word: &str) -> Result<T, TaskError>
where
    T::Err: std::fmt::Display,
{
    word.parse().map_err(|e| TaskError::Invalid(vec![FieldError::new(field, format!("{e}"))]))
}

fn parse_cursor<T, E>(cursor: &str, read: impl Fn(&str) -> Result<T, E>) -> Result<T, TaskError> {
    read(cursor).map_err(|_| {
        TaskError::Invalid(vec![FieldError::new(
            "cursor",
            "must be the next_cursor of the page before",
        )])
    })
}

/// `seq:ordinal`
fn place(cursor: &str) -> Result<(Seq, Ordinal), std::num::ParseIntError> {
    let (seq, ordinal) = cursor.split_once(':').unwrap_or((cursor, ""));
    Ok((Seq(seq.parse()?), ordinal.parse()?))
}

fn page_size(asked: Option<u32>, (usual, most): (u32, u32)) -> Result<u32, TaskError> {
    match asked {
        None => Ok(usual),
        Some(n) if (1..=most).contains(&n) => Ok(n),
        Some(_) => Err(TaskError::Invalid(vec![FieldError::new(
            "limit",
            format!("must be between 1 and {most}"),
        )])),
    }
}

/// Cuts a list that was read with one entry too many; returns the last entry when more follow.
fn cut<T>(rows: &mut Vec<T>, limit: u32) -> Option<&T> {
    let limit = limit as usize;
    if rows.len() <= limit {
        return None;
    }
    rows.truncate(limit);
    rows.last()
}
