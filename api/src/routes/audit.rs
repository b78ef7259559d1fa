//! `/api/v1/audit`: what everybody has done, for administrators of the installation.

mod csv;
mod export;

use http::StatusCode;
use jiff::Timestamp;
use knm_shared::session::Identity;
use serde::Serialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::State;
use crate::db::audit::{Entry, Filter};
use crate::http::query::Query;
use crate::http::router::Outcome;
use crate::http::{Request, json, problem};

pub use export::{__path_export, Exports, export};

/// Entries a page when the caller does not say, and at most.
const PAGE: (u32, u32) = (100, 1000);

/// Somebody did, or tried to do, something.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct AuditEntry {
    /// Rising, with gaps.
    id: i64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Who; null where nobody was signed in.
    user_id: Option<Uuid>,
    /// Their name at that time; of a sign-in that failed, as it was given.
    #[schema(example = "jane")]
    username: String,
    /// The session or token that was used.
    session_id: Option<Uuid>,
    /// From where; `local` for the command line.
    #[schema(example = "192.0.2.7")]
    address: String,
    /// What: `session.create`, `task.submit`, `user.change`, …; `request` for a refusal of what only
    /// looks.
    #[schema(example = "task.submit")]
    action: String,
    /// To what: a task's, token's or session's id, a user's name, or the path of a refused request.
    target: String,
    /// On which cluster.
    cluster: String,
    /// `done`, `refused` or `failed`.
    #[schema(example = "done")]
    result: String,
    /// The HTTP status; 0 for the command line.
    status: i32,
    /// Why not.
    detail: String,
    /// How it was.
    #[schema(value_type = Option<Object>)]
    before: Option<Value>,
    /// How it is, or what was asked for.
    #[schema(value_type = Option<Object>)]
    after: Option<Value>,
    /// Under which the processes' logs have more.
    request_id: String,
}

impl From<Entry> for AuditEntry {
    fn from(entry: Entry) -> Self {
        Self {
            id: entry.id,
            at: entry.at,
            user_id: entry.user,
            username: entry.username,
            session_id: entry.session,
            address: entry.address,
            action: entry.action,
            target: entry.target,
            cluster: entry.cluster,
            result: entry.result,
            status: entry.status,
            detail: entry.detail,
            before: entry.before,
            after: entry.after,
            request_id: entry.request_id,
        }
    }
}

/// A page of entries.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditPage {
    /// Newest first.
    entries: Vec<AuditEntry>,
    /// Pass as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<i64>,
}

/// Which entries.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what filter() reads")]
pub struct AuditQuery {
    /// Of the user of this name.
    user: Option<String>,
    /// Of this kind; with a dot at the end, of all that begin so, like `task.`.
    action: Option<String>,
    /// `done`, `refused` or `failed`.
    result: Option<String>,
    /// About this.
    target: Option<String>,
    /// On this cluster.
    cluster: Option<String>,
    /// Of this request.
    request_id: Option<String>,
    /// Not before (RFC 3339).
    since: Option<String>,
    /// Before (RFC 3339).
    until: Option<String>,
}

fn filter(query: &mut Query) -> Filter {
    let result = query.text("result");
    if result.as_deref().is_some_and(|r| !["done", "refused", "failed"].contains(&r)) {
        query.fault("result", "must be done, refused or failed");
    }
    Filter {
        username: query.text("user"),
        action: query.text("action"),
        result,
        target: query.text("target"),
        cluster: query.text("cluster"),
        request_id: query.text("request_id"),
        since: query.parsed("since"),
        until: query.parsed("until"),
        before: None,
    }
}

/// Read the audit log
///
/// Every sign-in, change and task, and every refusal; newest first. Of more than 60 refusals of one
/// party in a minute, the rest is only counted.
#[utoipa::path(
    get, path = "/api/v1/audit", tag = "audit",
    params(
        AuditQuery,
        ("limit" = Option<u32>, Query, description = "Entries a page, 1 to 1000; 100 when left out"),
        ("cursor" = Option<i64>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, body = AuditPage),
        (status = 403, body = problem::Document, content_type = "application/problem+json"),
        (status = 422, body = problem::Document, content_type = "application/problem+json"),
    )
)]
pub async fn list(state: State, request: Request, _identity: Identity) -> Outcome {
    let mut query = Query::new(&request.parts.uri);
    let mut filter = filter(&mut query);
    filter.before = query.parsed("cursor");
    let limit = query.number("limit", 1, PAGE.1).unwrap_or(PAGE.0);
    query.finish()?;
    let mut entries = state.audit.page(&filter, limit + 1).await?;
    let more = entries.len() > limit as usize;
    entries.truncate(limit as usize);
    let next_cursor = entries.last().filter(|_| more).map(|last| last.id);
    let entries = entries.into_iter().map(Into::into).collect();
    json(StatusCode::OK, &AuditPage { entries, next_cursor })
}
