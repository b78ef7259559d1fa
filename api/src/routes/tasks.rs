//! `/api/v1/tasks`.

use http::header::LOCATION;
use http::{HeaderName, HeaderValue, StatusCode};
use knm_shared::ids::TaskId;
use knm_shared::session::Identity;
use knm_shared::status::Desired;
use serde_json::json as value;

use super::State;
use crate::http::audit::Note;
use crate::http::query::Query;
use crate::http::router::Outcome;
use crate::http::{FieldError, Problem, Request, body, json, problem};
use crate::tasks::Submission;
use crate::tasks::preview::PreviewView;
use crate::tasks::view::{ItemPage, ItemQuery, ListQuery, TaskPage, TaskView};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Submit a task
///
/// Checks it, freezes its target nodes and stores it; some replica carries it out. The same
/// `Idempotency-Key` with the same body gives the task of the first time.
#[utoipa::path(
    post, path = "/api/v1/tasks", tag = "tasks",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repeat harmless")),
    request_body = Submission,
    responses(
        (status = 202, body = TaskView, headers(("Location" = String))),
        (status = 403, body = problem::Document, content_type = "application/problem+json"),
        (status = 409, body = problem::Document, content_type = "application/problem+json"),
        (status = 422, body = problem::Document, content_type = "application/problem+json"),
    )
)]
pub async fn submit(state: State, request: Request, identity: Identity) -> Outcome {
    let key = idempotency_key(&request)?;
    let submission: Submission = body::json(&request)?;
    // What is refused is told, too.
    let asked = Note::default()
        .on(submission.cluster.clone().unwrap_or_else(|| state.meta.default_cluster.clone()))
        .after(value!({"action": submission.action, "params": submission.params}));
    let task = state.tasks.submit(&identity, submission, key).await;
    accepted(&task.map_err(|e| Problem::from(e).noting(asked))?)
}

/// Preview a task
///
/// What the same body would do if it was submitted: for each node what would change, what is so
/// already and what would be refused; for drains and NoExecute taints the pods, and the disruption
/// budgets in their way; and which rights this system lacks in the cluster. Nothing is stored or
/// changed. Nodes are looked at in memory.
#[utoipa::path(
    post, path = "/api/v1/tasks/preview", tag = "tasks",
    request_body = Submission,
    responses(
        (status = 200, body = PreviewView),
        (status = 422, body = problem::Document, content_type = "application/problem+json"),
        (status = 503, body = problem::Document, content_type = "application/problem+json"),
    )
)]
pub async fn preview(state: State, request: Request, identity: Identity) -> Outcome {
    let submission: Submission = body::json(&request)?;
    json(StatusCode::OK, &state.tasks.preview(&identity, submission).await?)
}

fn idempotency_key(request: &Request) -> Result<Option<String>, Problem> {
    let mut values = request.parts.headers.get_all(IDEMPOTENCY_KEY).iter();
    let invalid =
        |message| Err(Problem::invalid(vec![FieldError::new(IDEMPOTENCY_KEY.as_str(), message)]));
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => invalid("is given more than once"),
        (Some(value), None) => match value.to_str() {
            Ok(value) => Ok(Some(value.to_owned())),
            Err(_) => invalid("must be visible ASCII"),
        },
    }
}

/// List tasks
///
/// Newest first.
#[utoipa::path(
    get, path = "/api/v1/tasks", tag = "tasks", params(ListQuery),
    responses(
        (status = 200, body = TaskPage),
        (status = 422, body = problem::Document, content_type = "application/problem+json"),
    )
)]
pub async fn list(state: State, request: Request, identity: Identity) -> Outcome {
    let mut query = Query::new(&request.parts.uri);
    let filter = ListQuery {
        status: query.text("status"),
        cluster: query.text("cluster"),
        action: query.text("action"),
        mine: query.flag("mine"),
        limit: query.number("limit", 1, 200),
        cursor: query.text("cursor"),
    };
    query.finish()?;
    json(StatusCode::OK, &state.tasks.list(&identity, filter).await?)
}

/// Look at a task
#[utoipa::path(
    get, path = "/api/v1/tasks/{id}", tag = "tasks",
    params(("id" = Uuid, Path, description = "The task's id")),
    responses(
        (status = 200, body = TaskView),
        (status = 404, body = problem::Document, content_type = "application/problem+json"),
    )
)]
pub async fn get(state: State, request: Request, identity: Identity) -> Outcome {
    json(StatusCode::OK, &state.tasks.get(&identity, id(&request)?).await?)
}

/// Look at a task's nodes
///
/// By (seq, ordinal): `after_seq` gives what has changed since, each node once, in its latest state.
#[utoipa::path(
    get, path = "/api/v1/tasks/{id}/items", tag = "tasks",
    params(("id" = Uuid, Path, description = "The task's id"), ItemQuery),
    responses(
        (status = 200, body = ItemPage),
        (status = 404, body = problem::Document, content_type = "application/problem+json"),
        (status = 422, body = problem::Document, content_type = "application/problem+json"),
    )
)]
pub async fn items(state: State, request: Request, identity: Identity) -> Outcome {
    let id = id(&request)?;
    let mut query = Query::new(&request.parts.uri);
    let filter = ItemQuery {
        after_seq: query.parsed("after_seq"),
        status: query.text("status"),
        limit: query.number("limit", 1, 1000),
        cursor: query.text("cursor"),
    };
    query.finish()?;
    json(StatusCode::OK, &state.tasks.items(&identity, id, filter).await?)
}

/// Cancel a task
///
/// Nodes in progress end, the rest is never started. Final.
#[utoipa::path(
    post, path = "/api/v1/tasks/{id}/cancel", tag = "tasks",
    params(("id" = Uuid, Path, description = "The task's id")),
    responses(
        (status = 202, body = TaskView),
        (status = 403, body = problem::Document, content_type = "application/problem+json"),
        (status = 404, body = problem::Document, content_type = "application/problem+json"),
        (status = 409, body = problem::Document, content_type = "application/problem+json"),
    )
)]
pub async fn cancel(state: State, request: Request, identity: Identity) -> Outcome {
    steer(state, request, identity, Desired::Cancel).await
}

/// Pause a task
///
/// Nodes in progress end, no other is started until the task is resumed.
#[utoipa::path(
    post, path = "/api/v1/tasks/{id}/pause", tag = "tasks",
    params(("id" = Uuid, Path, description = "The task's id")),
    responses(
        (status = 202, body = TaskView),
        (status = 403, body = problem::Document, content_type = "application/problem+json"),
        (status = 404, body = problem::Document, content_type = "application/problem+json"),
        (status = 409, body = problem::Document, content_type = "application/problem+json"),
    )
)]
pub async fn pause(state: State, request: Request, identity: Identity) -> Outcome {
    steer(state, request, identity, Desired::Pause).await
}

/// Resume a task
#[utoipa::path(
    post, path = "/api/v1/tasks/{id}/resume", tag = "tasks",
    params(("id" = Uuid, Path, description = "The task's id")),
    responses(
        (status = 202, body = TaskView),
        (status = 403, body = problem::Document, content_type = "application/problem+json"),
        (status = 404, body = problem::Document, content_type = "application/problem+json"),
        (status = 409, body = problem::Document, content_type = "application/problem+json"),
    )
)]
pub async fn resume(state: State, request: Request, identity: Identity) -> Outcome {
    steer(state, request, identity, Desired::Run).await
}

/// Retry a task
///
/// A new task with the nodes that have failed or were cancelled. While there is such a task under way,
/// that one. Needs the right of the original action.
#[utoipa::path(
    post, path = "/api/v1/tasks/{id}/retry", tag = "tasks",
    params(
        ("id" = Uuid, Path, description = "The task's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeat harmless"),
    ),
    responses(
        (status = 202, body = TaskView, headers(("Location" = String))),
        (status = 403, body = problem::Document, content_type = "application/problem+json"),
        (status = 404, body = problem::Document, content_type = "application/problem+json"),
        (status = 409, body = problem::Document, content_type = "application/problem+json"),
    )
)]
pub async fn retry(state: State, request: Request, identity: Identity) -> Outcome {
    let id = id(&request)?;
    let key = idempotency_key(&request)?;
    let task = state.tasks.retry(&identity, id, key).await;
    accepted(&task.map_err(|e| Problem::from(e).noting(Note::about(id)))?)
}

/// Revert a task
///
/// A new task that gives back what the task has changed, key by key, on the nodes where that still
/// stands; others are skipped and say why. While there is such a task under way, that one. Needs the
/// right of the original action.
#[utoipa::path(
    post, path = "/api/v1/tasks/{id}/revert", tag = "tasks",
    params(
        ("id" = Uuid, Path, description = "The task's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeat harmless"),
    ),
    responses(
        (status = 202, body = TaskView, headers(("Location" = String))),
        (status = 403, body = problem::Document, content_type = "application/problem+json"),
        (status = 404, body = problem::Document, content_type = "application/problem+json"),
        (status = 409, body = problem::Document, content_type = "application/problem+json"),
    )
)]
pub async fn revert(state: State, request: Request, identity: Identity) -> Outcome {
    let id = id(&request)?;
    let key = idempotency_key(&request)?;
    let task = state.tasks.revert(&identity, id, key).await;
    accepted(&task.map_err(|e| Problem::from(e).noting(Note::about(id)))?)
}

/// 202, with the place to look.
fn accepted(task: &TaskView) -> Outcome {
    let mut response = json(StatusCode::ACCEPTED, task)?;
    let location = HeaderValue::from_str(&format!("/api/v1/tasks/{}", task.id));
    response.headers_mut().insert(LOCATION, location.expect("an id is a header value"));
    let note = Note::about(task.id).on(&task.cluster).after(value!({
        "action": task.action,
        "params": task.params,
        "options": task.options,
        "nodes": task.total,
        "reason": task.reason,
        "parent": task.parent_id,
    }));
    Ok(note.on_response(response))
}

async fn steer(state: State, request: Request, identity: Identity, desired: Desired) -> Outcome {
    let id = id(&request)?;
    let asked = state.tasks.request(&identity, id, desired).await;
    let [before, task] = asked.map_err(|e| Problem::from(e).noting(Note::about(id)))?;
    let note = Note::about(task.id).on(&task.cluster).before(value!({"desired": before.desired}));
    let note = note.after(value!({"action": task.action, "desired": task.desired}));
    Ok(note.on_response(json(StatusCode::ACCEPTED, &task)?))
}

fn id(request: &Request) -> Result<TaskId, Problem> {
    request.param("id").parse().map_err(|_| Problem::not_found("there is no such task"))
}
