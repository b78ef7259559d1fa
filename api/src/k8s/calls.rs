//! The calls that operations make, each under a lease and with a deadline.

use std::time::Duration;

use http::Request;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use kube::core::Request as Resource;
use kube::core::request::Error as BuildError;
use kube::{Api, Client, Resource as _};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::fence::Fenced;
use super::outcome::CallError;
use crate::metrics::Metrics;

/// Recorded with every write; shows up in `managedFields`.
const FIELD_MANAGER: &str = "kube-node-manager";

/// How long reading an answer's body may take beyond its head.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Node calls of one cluster.
#[derive(Clone)]
pub struct Nodes {
    client: Client,
    resource: Resource,
    metrics: Metrics,
}

impl Nodes {
    /// Calls through `client`.
    #[must_use]
    pub fn new(client: Client, metrics: Metrics) -> Self {
        Self { client, resource: Resource::new(Node::url_path(&(), None)), metrics }
    }

    /// Reads a node.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn get(&self, name: &str, fence: &Fenced) -> Result<Node, CallError> {
        let request = self.resource.get(name, &kube::api::GetParams::default());
        self.send("get", request, fence).await
    }

    /// Patches a node with a JSON merge patch
    /// (<https://kubernetes.io/docs/reference/using-api/api-concepts/#patch-and-apply>).
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn merge_patch(
        &self,
        name: &str,
        patch: &Value,
        fence: &Fenced,
    ) -> Result<Node, CallError> {
        let params =
            PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let request = self.resource.patch(name, &params, &Patch::Merge(patch));
        self.send("patch", request, fence).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        verb: &'static str,
        request: Result<Request<Vec<u8>>, BuildError>,
        fence: &Fenced,
    ) -> Result<T, CallError> {
        let mut request = request.map_err(kube::Error::BuildRequest)?;
        request.extensions_mut().insert(fence.clone());
        let bound = fence.timeout + BODY_TIMEOUT;
        let answer = match tokio::time::timeout(bound, self.client.request(request)).await {
            Ok(answer) => answer.map_err(CallError::from),
            Err(_) => Err(CallError::NoAnswer(format!("no answer within {bound:?}"))),
        };
        let code = answer.as_ref().err().map_or_else(|| "200".to_owned(), CallError::code);
        self.metrics.kube_requests.with_label_values(&[verb, &code]).inc();
        answer
    }

    /// The same client for calls without a lease.
    #[must_use]
    pub fn api(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }
}
