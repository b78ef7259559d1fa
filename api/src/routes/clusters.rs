//! `/api/v1/clusters`.

use http::StatusCode;
use knm_shared::session::Identity;
use serde::Serialize;
use utoipa::ToSchema;

use super::State;
use crate::clusters::{Cluster, Sync};
use crate::http::router::Outcome;
use crate::http::{Request, json};

/// Whether what is known of a cluster is current.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SyncName {
    /// No complete list of nodes has arrived yet.
    NeverSynced,
    /// The watch is running.
    Live,
    /// Nodes are shown as they were when the watch broke.
    Stale,
}

impl From<&Sync> for SyncName {
    fn from(sync: &Sync) -> Self {
        match sync {
            Sync::Never { .. } => Self::NeverSynced,
            Sync::Live => Self::Live,
            Sync::Stale { .. } => Self::Stale,
        }
    }
}

/// A cluster.
#[derive(Debug, Serialize, ToSchema)]
pub struct ClusterView {
    /// Its name.
    #[schema(example = "default")]
    name: String,
    /// Whether requests that name no cluster mean this one.
    default: bool,
    /// Whether what is known of it is current.
    state: SyncName,
    /// Why it is not, when it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// How many nodes it has.
    nodes: usize,
}

/// Every cluster.
#[derive(Debug, Serialize, ToSchema)]
pub struct ClusterList {
    /// By name.
    clusters: Vec<ClusterView>,
}

/// List clusters
#[utoipa::path(
    get, path = "/api/v1/clusters", tag = "clusters",
    responses((status = 200, body = ClusterList))
)]
pub async fn list(state: State, _request: Request, _identity: Identity) -> Outcome {
    let default = state.clusters.default_name();
    let view = |cluster: &Cluster| {
        let sync = cluster.nodes.state();
        ClusterView {
            name: cluster.name.to_string(),
            default: *cluster.name == *default,
            state: (&sync).into(),
            error: match &sync {
                Sync::Live => None,
                Sync::Never { error } => error.as_deref().map(str::to_owned),
                Sync::Stale { error, .. } => Some(error.to_string()),
            },
            nodes: cluster.nodes.len(),
        }
    };
    json(StatusCode::OK, &ClusterList { clusters: state.clusters.iter().map(view).collect() })
}
