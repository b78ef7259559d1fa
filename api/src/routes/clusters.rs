//! `/api/v1/clusters`.

use http::StatusCode;
use jiff::Timestamp;
use knm_shared::access::Action;
use knm_shared::session::Identity;
use serde::{Deserialize, Serialize};
use serde_json::json as value;
use utoipa::ToSchema;

use super::State;
use super::freezes::FreezeView;
use crate::clusters::{Answer, Cluster, Source, Sync};
use crate::db::clusters::Stored;
use crate::db::freezes::Freeze;
use crate::http::audit::Note;
use crate::http::router::Outcome;
use crate::http::{Problem, Request, body, json, no_content, problem};

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

/// Where a cluster is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceName {
    /// In the configuration file.
    Configuration,
    /// In the database, by an administrator.
    Database,
}

impl From<Source> for SourceName {
    fn from(source: Source) -> Self {
        match source {
            Source::Configuration => Self::Configuration,
            Source::Database => Self::Database,
        }
    }
}

/// A cluster, as the replica that answers sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ClusterView {
    /// Its name.
    #[schema(example = "default")]
    name: String,
    /// Whether requests that name no cluster mean this one.
    default: bool,
    /// Where it is written down.
    source: SourceName,
    /// The API server.
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    /// Whether the API server answers; absent before it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    reachable: Option<bool>,
    /// Kubernetes' version, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// Whether what is known of its nodes is current.
    state: SyncName,
    /// Why it is not, or what keeps the cluster from being used.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// How many nodes it has.
    nodes: usize,
    /// Whether this replica's tasks leave it alone for a moment, because it answered several times in a
    /// row that it is overloaded, or not at all.
    backing_off: bool,
    /// Why no task goes on there; both that of the cluster and that of all clusters.
    freezes: Vec<FreezeView>,
}

impl ClusterView {
    fn of(cluster: &Cluster, is_default: bool, freezes: &[Freeze]) -> Self {
        let sync = cluster.nodes.state();
        let (reachable, version, unreachable) = match cluster.health.get() {
            Answer::Unknown => (None, None, None),
            Answer::Reachable { version } => (Some(true), version, None),
            Answer::Unreachable { error, .. } => (Some(false), None, Some(error)),
        };
        let stale = match &sync {
            Sync::Live => None,
            Sync::Never { error } => error.clone(),
            Sync::Stale { error, .. } => Some(error.clone()),
        };
        Self {
            name: cluster.name.to_string(),
            default: is_default,
            source: cluster.source.into(),
            server: Some(cluster.server.to_string()),
            reachable,
            version: version.map(|v| v.to_string()),
            state: (&sync).into(),
            error: stale.or(unreachable).map(|e| e.to_string()),
            nodes: cluster.nodes.len(),
            backing_off: cluster.gate.closed_for().is_some(),
            freezes: of(&cluster.name, freezes),
        }
    }

    fn broken(name: &str, why: &str, freezes: &[Freeze]) -> Self {
        Self {
            name: name.to_owned(),
            default: false,
            source: SourceName::Database,
            server: None,
            reachable: None,
            version: None,
            state: SyncName::NeverSynced,
            error: Some(why.to_owned()),
            nodes: 0,
            backing_off: false,
            freezes: of(name, freezes),
        }
    }
}

fn of(cluster: &str, freezes: &[Freeze]) -> Vec<FreezeView> {
    freezes.iter().filter(|f| f.covers(cluster)).cloned().map(Into::into).collect()
}

/// Every cluster.
#[derive(Debug, Serialize, ToSchema)]
pub struct ClusterList {
    /// By name.
    clusters: Vec<ClusterView>,
}

/// A cluster to be added.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCluster {
    /// Its name: lower-case letters, digits and dashes, at most 63.
    #[schema(example = "prod-east")]
    name: String,
    /// As in [`ClusterAccess`].
    kubeconfig: String,
    /// As in [`ClusterAccess`].
    context: Option<String>,
}

/// How a cluster is reached.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterAccess {
    /// A kubeconfig (YAML or JSON) with its credentials in it: one that would run a program or read a
    /// file is refused. Stored encrypted, never shown.
    kubeconfig: String,
    /// The context to use; its current one without.
    context: Option<String>,
}

/// A cluster as it is stored.
#[derive(Debug, Serialize, ToSchema)]
pub struct StoredCluster {
    /// Its name.
    name: String,
    /// The API server.
    server: String,
    /// Since when it is there.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<Stored> for StoredCluster {
    fn from(stored: Stored) -> Self {
        let Stored { name, server, created_at, updated_at, .. } = stored;
        Self { name, server, created_at, updated_at }
    }
}

/// List clusters
///
/// Those that the caller may read.
#[utoipa::path(
    get, path = "/api/v1/clusters", tag = "clusters",
    responses((status = 200, body = ClusterList))
)]
pub async fn list(state: State, _request: Request, identity: Identity) -> Outcome {
    let mut clusters = views(&state).await?;
    clusters.retain(|view| identity.access.may_on(&view.name, Action::ReadCluster));
    json(StatusCode::OK, &ClusterList { clusters })
}

/// Look at a cluster
#[utoipa::path(
    get, path = "/api/v1/clusters/{cluster}", tag = "clusters",
    params(("cluster" = String, Path, description = "The cluster's name")),
    responses(
        (status = 200, body = ClusterView),
        (status = 404, body = problem::Document, content_type = "application/problem+json"),
    )
)]
pub async fn get(state: State, request: Request, _identity: Identity) -> Outcome {
    let name = request.param("cluster");
    let unknown = || Problem::not_found(format!("there is no cluster {name:?}"));
    let view = views(&state).await?.into_iter().find(|view| view.name == name);
    json(StatusCode::OK, &view.ok_or_else(unknown)?)
}

async fn views(state: &State) -> Result<Vec<ClusterView>, Problem> {
    let freezes = state.cluster_admin.freezes().await?;
    let default = state.clusters.default_name();
    let open = state.clusters.all();
    let open = open.iter().map(|c| ClusterView::of(c, *c.name == *default, &freezes));
    let broken = state.clusters.broken();
    let broken = broken.iter().map(|(name, why)| ClusterView::broken(name, why, &freezes));
    let mut views: Vec<_> = open.chain(broken).collect();
    views.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(views)
}

/// Add a cluster
///
/// Every replica watches it within seconds. Needs `KNM_ENCRYPTION_KEY`.
#[utoipa::path(
    post, path = "/api/v1/clusters", tag = "clusters",
    request_body = NewCluster,
    responses(
        (status = 201, body = StoredCluster),
        (status = 403, body = problem::Document, content_type = "application/problem+json"),
        (status = 409, body = problem::Document, content_type = "application/problem+json"),
        (status = 422, body = problem::Document, content_type = "application/problem+json"),
    )
)]
pub async fn add(state: State, request: Request, identity: Identity) -> Outcome {
    let NewCluster { name, kubeconfig, context } = body::json(&request)?;
    let admin = &state.cluster_admin;
    let stored = admin.add(identity.user, &name, &kubeconfig, context.as_deref()).await;
    let stored = stored.map_err(|e| Problem::from(e).noting(Note::about(&name).on(&name)))?;
    let note = told(&stored);
    Ok(note.on_response(json(StatusCode::CREATED, &StoredCluster::from(stored))?))
}

/// Change how a cluster is reached
///
/// Tasks that run there go on with it.
#[utoipa::path(
    put, path = "/api/v1/clusters/{cluster}", tag = "clusters",
    params(("cluster" = String, Path, description = "The cluster's name")),
    request_body = ClusterAccess,
    responses(
        (status = 200, body = StoredCluster),
        (status = 403, body = problem::Document, content_type = "application/problem+json"),
        (status = 404, body = problem::Document, content_type = "application/problem+json"),
        (status = 409, body = problem::Document, content_type = "application/problem+json"),
        (status = 422, body = problem::Document, content_type = "application/problem+json"),
    )
)]
pub async fn replace(state: State, request: Request, _identity: Identity) -> Outcome {
    let ClusterAccess { kubeconfig, context } = body::json(&request)?;
    let name = request.param("cluster");
    let replaced = state.cluster_admin.replace(name, &kubeconfig, context.as_deref()).await;
    let (before, stored) =
        replaced.map_err(|e| Problem::from(e).noting(Note::about(name).on(name)))?;
    let note = told(&stored).before(value!({"server": before}));
    Ok(note.on_response(json(StatusCode::OK, &StoredCluster::from(stored))?))
}

/// What the audit log keeps of a cluster: nothing of its credentials.
fn told(stored: &Stored) -> Note {
    Note::about(&stored.name).on(&stored.name).after(value!({"server": stored.server}))
}

/// Remove a cluster
///
/// Refused while tasks on it have not ended. Its history stays.
#[utoipa::path(
    delete, path = "/api/v1/clusters/{cluster}", tag = "clusters",
    params(("cluster" = String, Path, description = "The cluster's name")),
    responses(
        (status = 204),
        (status = 403, body = problem::Document, content_type = "application/problem+json"),
        (status = 404, body = problem::Document, content_type = "application/problem+json"),
        (status = 409, body = problem::Document, content_type = "application/problem+json"),
    )
)]
pub async fn remove(state: State, request: Request, _identity: Identity) -> Outcome {
    let name = request.param("cluster");
    let removed = state.cluster_admin.remove(name).await;
    let server = removed.map_err(|e| Problem::from(e).noting(Note::about(name).on(name)))?;
    let note = Note::about(name).on(name).before(value!({"server": server}));
    Ok(note.on_response(no_content()))
}
