//! One node: everything that memory has of it, its pods, and what was done to it.

use std::collections::BTreeMap;

use http::StatusCode;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use knm_shared::session::Identity;
use serde::Serialize;
use utoipa::ToSchema;

use super::{NodeView, cluster, known};
use crate::clusters::Cluster;
use crate::http::query::Query;
use crate::http::router::Outcome;
use crate::http::{Problem, Request, json, problem};
use crate::routes::State;
use crate::tasks::pods::controller;
use crate::tasks::preview::{Unseen, turn_at_nodes};
use crate::tasks::view::HistoryView;

/// A node with all that is known of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct NodeDetail {
    /// As in lists.
    node: NodeView,
    /// What the kubelet and others say of it.
    conditions: Vec<ConditionView>,
    /// Its addresses by type.
    addresses: Vec<AddressView>,
    /// What it has.
    capacity: BTreeMap<String, String>,
    /// What it has for pods.
    allocatable: BTreeMap<String, String>,
    /// Operating system, kernel, container runtime and so on.
    info: BTreeMap<String, String>,
    /// With `pods=true`: its pods, by namespace and name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pods: Option<Vec<PodView>>,
    /// What tasks have done to it, newest first, at most 100.
    history: Vec<HistoryView>,
    /// What could not be looked up.
    warnings: Vec<String>,
}

/// A condition of a node.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConditionView {
    /// `Ready`, `MemoryPressure`, …
    #[serde(rename = "type")]
    kind: String,
    /// `True`, `False` or `Unknown`.
    status: String,
    /// In a word.
    reason: Option<String>,
    /// In a sentence.
    message: Option<String>,
    /// Since when.
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
}

/// An address of a node.
#[derive(Debug, Serialize, ToSchema)]
pub struct AddressView {
    /// `InternalIP`, `Hostname`, …
    #[serde(rename = "type")]
    kind: String,
    /// The address.
    address: String,
}

/// A pod on a node.
#[derive(Debug, Serialize, ToSchema)]
pub struct PodView {
    /// Its namespace.
    namespace: String,
    /// Its name.
    name: String,
    /// `Running`, `Pending`, …; `Terminating` when it is on its way out.
    status: String,
    /// Whether all of its containers are ready.
    ready: bool,
    /// What would replace it, like `ReplicaSet/web`.
    owner: Option<String>,
    /// Since when.
    #[schema(value_type = Option<String>, format = DateTime)]
    created_at: Option<Timestamp>,
}

/// Look at a node
///
/// From memory; its pods from the cluster, when they are asked for.
#[utoipa::path(
    get, path = "/api/v1/clusters/{cluster}/nodes/{node}", tag = "clusters",
    params(
        ("cluster" = String, Path, description = "The cluster's name"),
        ("node" = String, Path, description = "The node's name"),
        ("pods" = Option<bool>, Query, description = "Whether its pods are shown, too"),
    ),
    responses(
        (status = 200, body = NodeDetail),
        (status = 404, body = problem::Document, content_type = "application/problem+json"),
        (status = 503, body = problem::Document, content_type = "application/problem+json"),
    )
)]
pub async fn detail(state: State, request: Request, _identity: Identity) -> Outcome {
    let cluster = cluster(&state, &request)?;
    known(&cluster)?;
    let name = request.param("node");
    let mut query = Query::new(&request.parts.uri);
    let wants_pods = query.flag("pods");
    query.finish()?;
    let unknown =
        || Problem::not_found(format!("there is no node {name} in cluster {}", cluster.name));
    let node = cluster.nodes.get(name).ok_or_else(unknown)?;
    let mut warnings = Vec::new();
    let mut pods = None;
    if wants_pods {
        match look_at_pods(&state, &cluster, name).await {
            Ok(found) => pods = Some(found),
            Err(error) => warnings.push(format!("the pods could not be listed: {error}")),
        }
    }
    let history = state.tasks.history(&cluster.name, name).await.unwrap_or_else(|error| {
        warnings.push(format!("the history could not be read: {error}"));
        Vec::new()
    });
    json(StatusCode::OK, &NodeDetail::of(&node, pods, history, warnings))
}

/// The list itself is gone when the turn ends: what is shown of it is little.
async fn look_at_pods(
    state: &State,
    cluster: &Cluster,
    node: &str,
) -> Result<Vec<PodView>, Unseen> {
    let _turn = turn_at_nodes().await?;
    let (calls, terms) = state.tasks.pods(cluster);
    let found = calls.on_node(node, "", &terms).await?;
    Ok(pod_views(&found))
}

impl NodeDetail {
    fn of(
        node: &Node,
        pods: Option<Vec<PodView>>,
        history: Vec<HistoryView>,
        warnings: Vec<String>,
    ) -> Self {
        let status = node.status.clone().unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default().into_iter().map(|c| ConditionView {
            kind: c.type_,
            status: c.status,
            reason: c.reason.filter(|r| !r.is_empty()),
            message: c.message.filter(|m| !m.is_empty()),
            since: c.last_transition_time.map(|t| t.0),
        });
        let addresses = status.addresses.unwrap_or_default().into_iter();
        let addresses = addresses.map(|a| AddressView { kind: a.type_, address: a.address });
        let quantities = |list: Option<BTreeMap<String, Quantity>>| {
            list.unwrap_or_default().into_iter().map(|(k, v)| (k, v.0)).collect()
        };
        let info = status.node_info.map(|i| {
            [
                ("architecture", i.architecture),
                ("container_runtime", i.container_runtime_version),
                ("kernel", i.kernel_version),
                ("kubelet", i.kubelet_version),
                ("operating_system", i.operating_system),
                ("os_image", i.os_image),
            ]
        });
        let info = info.into_iter().flatten().map(|(key, value)| (key.to_owned(), value));
        Self {
            node: node.into(),
            conditions: conditions.collect(),
            addresses: addresses.collect(),
            capacity: quantities(status.capacity),
            allocatable: quantities(status.allocatable),
            info: info.collect(),
            pods,
            history,
            warnings,
        }
    }
}

fn pod_views(pods: &[Pod]) -> Vec<PodView> {
    let mut views: Vec<_> = pods.iter().map(pod_view).collect();
    views.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    views
}

fn pod_view(pod: &Pod) -> PodView {
    let meta = &pod.metadata;
    let status = pod.status.as_ref();
    let phase = status.and_then(|s| s.phase.clone()).unwrap_or_default();
    let conditions = status.and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let owner = controller(pod);
    PodView {
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
        status: if meta.deletion_timestamp.is_some() { "Terminating".into() } else { phase },
        ready: conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True"),
        owner: owner.map(|o| format!("{}/{}", o.kind, o.name)),
        created_at: meta.creation_timestamp.as_ref().map(|t| t.0),
    }
}
