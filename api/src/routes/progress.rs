//! `/api/v1/progress/ws`: the relay's WebSocket, for browsers that only reach the api.

use knm_shared::session::Identity;

use super::State;
use crate::http::router::Outcome;
use crate::http::{Request, problem};

/// Watch progress live
///
/// A WebSocket, passed on to the relay in the same pod. Behind an Ingress that splits the path, the
/// relay answers by itself.
#[utoipa::path(
    get, path = "/api/v1/progress/ws", tag = "progress",
    responses(
        (status = 101, description = "The connection is a WebSocket now"),
        (status = 426, body = problem::Document, content_type = "application/problem+json"),
        (status = 502, body = problem::Document, content_type = "application/problem+json"),
    )
)]
pub async fn websocket(state: State, request: Request, _identity: Identity) -> Outcome {
    state.tunnels.open(request).await
}
