//! `/api/v1/clusters/{cluster}/nodes`, from memory.

pub mod detail;
pub mod events;
mod order;
mod view;

use http::StatusCode;
use knm_shared::session::Identity;
use serde::Serialize;
use utoipa::ToSchema;

use super::State;
use super::clusters::SyncName;
use crate::clusters::{Cluster, FieldSelector, LabelSelector, Sync};
use crate::http::query::Query;
use crate::http::router::Outcome;
use crate::http::{Problem, Request, json, problem};

pub use detail::NodeDetail;
pub use events::EventStreams;
use order::{Order, Place};
pub use view::{NodeView, StatusWord, TaintView};

/// Nodes a page when the caller does not say, and at most.
const PAGE: (u32, u32) = (500, 10_000);

/// A page of nodes.
#[derive(Debug, Serialize, ToSchema)]
pub struct NodePage {
    /// In the order that was asked for, by name without one.
    nodes: Vec<NodeView>,
    /// Nodes of the cluster.
    total: usize,
    /// Nodes that the filters let through, on all pages.
    matched: usize,
    /// The cluster's version of what is shown here; null without nodes.
    resource_version: Option<String>,
    /// Whether this is how the cluster is now.
    state: SyncName,
    /// Pass as `continue` for the next page; absent on the last.
    #[serde(rename = "continue", skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

struct Filter {
    labels: LabelSelector,
    fields: FieldSelector,
    text: Option<String>,
    status: Option<StatusWord>,
    order: Order,
    after: Option<Place>,
    limit: usize,
}

impl Filter {
    fn read(request: &Request) -> Result<Self, Problem> {
        let mut query = Query::new(&request.parts.uri);
        let filter = Self {
            labels: query.parsed("label_selector").unwrap_or_default(),
            fields: query.parsed("field_selector").unwrap_or_default(),
            text: query.text("q").map(|q| q.to_lowercase()),
            status: query.parsed("status"),
            order: query.parsed("sort").unwrap_or_default(),
            after: query.parsed("continue"),
            limit: query.number("limit", 1, PAGE.1).unwrap_or(PAGE.0) as usize,
        };
        query.finish()?;
        Ok(filter)
    }

    fn lets_through(&self, node: &NodeView) -> bool {
        self.status.is_none_or(|status| node.status.contains(&status))
            && self.text.as_ref().is_none_or(|text| node.mentions(text))
    }
}

/// List nodes
///
/// From memory, as of the last event of a watch.
#[utoipa::path(
    get, path = "/api/v1/clusters/{cluster}/nodes", tag = "clusters",
    params(
        ("cluster" = String, Path, description = "The cluster's name"),
        ("label_selector" = Option<String>, Query, description = "As `kubectl get nodes -l` takes it"),
        ("field_selector" = Option<String>, Query,
            description = "As `kubectl get nodes --field-selector` takes it"),
        ("q" = Option<String>, Query,
            description = "Part of a name, role, address, label or taint, in any case"),
        ("status" = Option<StatusWord>, Query, description = "A word of the node's status"),
        ("sort" = Option<String>, Query,
            description = "`name` (when left out), `status`, `version`, `created` or `ip`; with a `-` \
                           in front for the opposite order"),
        ("limit" = Option<u32>, Query, description = "Nodes a page, 1 to 10000; 500 when left out"),
        ("continue" = Option<String>, Query, description = "`continue` of the page before"),
    ),
    responses(
        (status = 200, body = NodePage),
        (status = 404, body = problem::Document, content_type = "application/problem+json"),
        (status = 422, body = problem::Document, content_type = "application/problem+json"),
        (status = 503, body = problem::Document, content_type = "application/problem+json"),
    )
)]
pub async fn list(state: State, request: Request, _identity: Identity) -> Outcome {
    let cluster = cluster(&state, &request)?;
    let filter = Filter::read(&request)?;
    let sync = known(&cluster)?;
    let total = cluster.nodes.len();
    let resource_version = cluster.nodes.resource_version().map(|v| v.to_string());
    let selected = cluster.nodes.select(&filter.labels, &filter.fields);
    let views = selected.iter().map(|node| NodeView::from(&**node));
    let order = filter.order;
    let mut placed: Vec<(Place, NodeView)> = views
        .filter(|node| filter.lets_through(node))
        .map(|node| (order.place(&node), node))
        .collect();
    let matched = placed.len();
    if let Some(after) = &filter.after {
        placed.retain(|(place, _)| order.compare(place, after).is_gt());
    }
    placed.sort_by(|(a, _), (b, _)| order.compare(a, b));
    let more = placed.len() > filter.limit;
    placed.truncate(filter.limit);
    let next = placed.last().filter(|_| more).map(|(last, _)| last.token());
    let nodes = placed.into_iter().map(|(_, node)| node).collect();
    let state = (&sync).into();
    json(StatusCode::OK, &NodePage { nodes, total, matched, resource_version, state, next })
}

/// The cluster of the path.
fn cluster(state: &State, request: &Request) -> Result<Cluster, Problem> {
    let name = request.param("cluster");
    let unknown = || Problem::not_found(format!("there is no cluster {name}"));
    state.clusters.get(name).ok_or_else(unknown)
}

/// The state of its watch, once it has begun.
fn known(cluster: &Cluster) -> Result<Sync, Problem> {
    match cluster.nodes.state() {
        Sync::Never { error } => {
            let why = error.as_deref().unwrap_or("the first list has not arrived");
            let name = &cluster.name;
            Err(Problem::unavailable(format!(
                "the nodes of cluster {name} are not known yet: {why}"
            )))
        }
        sync => Ok(sync),
    }
}
