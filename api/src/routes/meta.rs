//! What anyone may know: which program this is, and how its API works.

use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::State;
use crate::http::router::{Gate as _, Outcome};
use crate::http::{Request, json, with_content_type};

/// This installation.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct MetaView {
    /// Always `kube-node-manager`.
    #[schema(example = "kube-node-manager")]
    pub name: &'static str,
    /// Release; only those who are signed in are told.
    #[schema(example = "1.2.3")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<&'static str>,
    /// Where browsers reach the relay, when not at this origin.
    pub relay_url: Option<String>,
    /// The cluster that requests mean when they name none.
    #[schema(example = "default")]
    pub default_cluster: String,
}

/// This installation
#[utoipa::path(
    get, path = "/api/v1/meta", tag = "meta", security(()),
    responses((status = 200, body = MetaView))
)]
pub async fn meta(state: State, request: Request) -> Outcome {
    // Without a database nobody can be known, and the page that says so needs the rest.
    let known = matches!(state.authenticate(&request.parts.headers).await, Ok(Some(_)));
    let mut view = state.meta.clone();
    view.version = view.version.filter(|_| known);
    json(StatusCode::OK, &view)
}

/// This document
#[utoipa::path(
    get, path = "/api/v1/openapi.json", tag = "meta", security(()),
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json"))
)]
pub async fn openapi(state: State, _request: Request) -> Outcome {
    Ok(with_content_type(StatusCode::OK, "application/json", state.openapi.clone()))
}
