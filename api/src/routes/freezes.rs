//! `/api/v1/freezes`.

use http::StatusCode;
use jiff::Timestamp;
use knm_shared::access::Action;
use knm_shared::session::Identity;
use serde::{Deserialize, Serialize};
use serde_json::json as value;
use utoipa::ToSchema;

use super::State;
use crate::db::freezes::{EVERYWHERE, Freeze};
use crate::http::audit::Note;
use crate::http::router::Outcome;
use crate::http::{Request, body, json, no_content, problem};

/// Why a cluster is left alone.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct FreezeView {
    /// Which one; `*` is every cluster.
    #[schema(example = "*")]
    cluster: String,
    /// Why.
    reason: String,
    /// The name of whoever asked for it.
    username: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
}

impl From<Freeze> for FreezeView {
    fn from(freeze: Freeze) -> Self {
        let Freeze { cluster, reason, username, since } = freeze;
        Self { cluster, reason, username, since }
    }
}

/// Every freeze.
#[derive(Debug, Serialize, ToSchema)]
pub struct FreezeList {
    /// That of all clusters first.
    freezes: Vec<FreezeView>,
}

/// What a freeze needs.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FreezeRequest {
    /// Why; everyone sees it. No more than 1,024 octets.
    reason: String,
}

/// List freezes
#[utoipa::path(
    get, path = "/api/v1/freezes", tag = "clusters",
    responses((status = 200, body = FreezeList))
)]
pub async fn list(state: State, _request: Request, identity: Identity) -> Outcome {
    let freezes = state.cluster_admin.freezes().await?.into_iter();
    let shown = |freeze: &Freeze| {
        let everywhere = freeze.cluster == EVERYWHERE;
        everywhere || identity.access.may_on(&freeze.cluster, Action::ReadCluster)
    };
    json(StatusCode::OK, &FreezeList { freezes: freezes.filter(shown).map(Into::into).collect() })
}

/// Freeze a cluster
///
/// Or all of them, as `*`: running tasks pause within a second, nodes in progress end, and no task is
/// claimed. Tasks may be submitted and cancelled meanwhile. A freeze that is there already gets the new
/// reason.
#[utoipa::path(
    put, path = "/api/v1/freezes/{cluster}", tag = "clusters",
    params(("cluster" = String, Path, description = "The cluster's name, or `*` for all")),
    request_body = FreezeRequest,
    responses(
        (status = 200, body = FreezeView),
        (status = 403, body = problem::Document, content_type = "application/problem+json"),
        (status = 404, body = problem::Document, content_type = "application/problem+json"),
        (status = 422, body = problem::Document, content_type = "application/problem+json"),
    )
)]
pub async fn freeze(state: State, request: Request, identity: Identity) -> Outcome {
    let FreezeRequest { reason } = body::json(&request)?;
    let cluster = request.param("cluster");
    let (before, freeze) = state.cluster_admin.freeze(identity.user, cluster, &reason).await?;
    let mut note = Note::about(cluster).on(cluster).after(value!({"reason": freeze.reason}));
    note.before = before.map(|reason| value!({"reason": reason}));
    Ok(note.on_response(json(StatusCode::OK, &FreezeView::from(freeze))?))
}

/// Lift a freeze
///
/// Tasks that it has paused go on by themselves; those that were paused by hand stay so.
#[utoipa::path(
    delete, path = "/api/v1/freezes/{cluster}", tag = "clusters",
    params(("cluster" = String, Path, description = "As it was frozen")),
    responses(
        (status = 204),
        (status = 403, body = problem::Document, content_type = "application/problem+json"),
        (status = 404, body = problem::Document, content_type = "application/problem+json"),
    )
)]
pub async fn thaw(state: State, request: Request, _identity: Identity) -> Outcome {
    let cluster = request.param("cluster");
    let reason = state.cluster_admin.thaw(cluster).await?;
    let note = Note::about(cluster).on(cluster).before(value!({"reason": reason}));
    Ok(note.on_response(no_content()))
}
