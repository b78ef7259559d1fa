//! Calls about nodes.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::{Node, NodeSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{GetParams, Patch, PatchParams, WatchEvent, WatchParams};
use kube::core::Request as Resource;
use kube::{Client, Resource as _};
use serde::Deserialize;
use serde_json::Value;

use super::calls::{Caller, Terms};
use super::gate::Gate;
use super::outcome::CallError;
use super::{DryRun, FIELD_MANAGER};
use crate::metrics::Metrics;

/// How long the first event of a node's history is waited for.
const HISTORY_TIMEOUT: Duration = Duration::from_secs(5);

/// Gone: what is asked for lies before the history that the server keeps.
const EXPIRED: u16 = 410;

/// A PATCH's answer, as far as anybody looks at it. Managed fields and status, most of it, are passed over where
/// they stand: nothing is built of them only to be dropped.
#[derive(Debug, Deserialize)]
struct Patched {
    metadata: PatchedMeta,
    spec: Option<NodeSpec>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PatchedMeta {
    name: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
}

impl From<Patched> for Node {
    fn from(Patched { metadata, spec }: Patched) -> Self {
        let PatchedMeta { name, uid, resource_version, labels, annotations } = metadata;
        let metadata = ObjectMeta {
            name,
            uid,
            resource_version,
            labels,
            annotations,
            ..ObjectMeta::default()
        };
        Self { metadata, spec, status: None }
    }
}

/// Node calls of one cluster.
#[derive(Clone)]
pub struct Nodes {
    caller: Caller,
    resource: Resource,
}

impl Nodes {
    /// Calls through `client`; the gate learns from those that are made for tasks.
    #[must_use]
    pub fn new(client: Client, gate: Gate, metrics: Metrics) -> Self {
        let resource = Resource::new(Node::url_path(&(), None));
        Self { caller: Caller::new(client, gate, metrics), resource }
    }

    /// Reads a node.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn get(&self, name: &str, terms: &Terms) -> Result<Node, CallError> {
        self.caller.send("get", self.resource.get(name, &GetParams::default()), terms).await
    }

    /// Patches a node with a JSON merge patch
    /// (<https://kubernetes.io/docs/reference/using-api/api-concepts/#patch-and-apply>). Returns what can be
    /// changed about it: labels, annotations and the spec, with its name, uid and version.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn merge_patch(
        &self,
        name: &str,
        patch: &Value,
        dry_run: DryRun,
        terms: &Terms,
    ) -> Result<Node, CallError> {
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            dry_run: dry_run == DryRun::Yes,
            ..PatchParams::default()
        };
        let request = self.resource.patch(name, &params, &Patch::Merge(patch));
        self.caller.send("patch", request, terms).await.map(|patched: Patched| patched.into())
    }

    /// The node as the first change after `version` left it: whoever made it, no write that insisted
    /// on that version can have taken effect after it. `None` when the server does not know any more:
    /// it keeps its history for some minutes.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn first_change_after(
        &self,
        name: &str,
        version: &str,
    ) -> Result<Option<Node>, CallError> {
        let timeout = u32::try_from(HISTORY_TIMEOUT.as_secs()).unwrap_or(1);
        let params =
            WatchParams::default().fields(&format!("metadata.name={name}")).timeout(timeout);
        let request = self.resource.watch(&params, version).map_err(kube::Error::BuildRequest)?;
        match tokio::time::timeout(HISTORY_TIMEOUT, self.first_event(request)).await {
            Ok(Err(CallError::Refused(refusal))) if refusal.code == EXPIRED => Ok(None),
            Ok(answer) => answer.map(Some),
            Err(_) => Err(CallError::NoAnswer(format!("no event within {HISTORY_TIMEOUT:?}"))),
        }
    }

    async fn first_event(&self, request: http::Request<Vec<u8>>) -> Result<Node, CallError> {
        let events = self.caller.client.request_events::<Node>(request).await?;
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            match event? {
                WatchEvent::Added(node)
                | WatchEvent::Modified(node)
                | WatchEvent::Deleted(node) => return Ok(node),
                WatchEvent::Bookmark(_) => {}
                WatchEvent::Error(status) => return Err(CallError::from_status(&status, None)),
            }
        }
        Err(CallError::NoAnswer("the watch ended without an event".into()))
    }
}
