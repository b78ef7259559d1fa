//! The API server's own limit: PATCHes with nothing around them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use http::Method;
use knm_tests::api::Api;
use serde_json::json;
use tokio::task::JoinSet;

/// The label that the batch case sets.
pub(crate) const KEY: &str = "bench.example.com/round";

/// Somebody who PATCHes.
#[allow(clippy::large_enum_variant, reason = "there is only a handful of them")]
#[derive(Clone)]
pub(crate) enum Client {
    /// hyper with nothing around it, over plain HTTP.
    Plain(Api),
    /// kube's, for a cluster with TLS and credentials.
    Kube(kube::Client),
}

impl Client {
    pub(crate) async fn of(kubeconfig: &Path) -> anyhow::Result<Self> {
        let file = kube::config::Kubeconfig::read_from(kubeconfig)?;
        let config = kube::Config::from_custom_kubeconfig(file, &Default::default()).await?;
        Ok(Self::Kube(kube::Client::try_from(config)?))
    }

    async fn send(&self, method: Method, path: &str, body: String) -> anyhow::Result<String> {
        const MERGE: &str = "application/merge-patch+json";
        match self {
            Self::Plain(api) => {
                let answer = api.send(method, path, &[("content-type", MERGE)], body).await?;
                ensure!(answer.status.is_success(), "{}: {}", answer.status, answer.text());
                Ok(answer.text())
            }
            Self::Kube(client) => {
                let request = http::Request::builder().method(method).uri(path);
                let request = request.header("content-type", MERGE).body(body.into_bytes())?;
                Ok(client.request_text(request).await?)
            }
        }
    }

    /// All nodes.
    pub(crate) async fn nodes(&self) -> anyhow::Result<Vec<String>> {
        self.named("").await
    }

    /// The nodes that have the label with this value.
    pub(crate) async fn labelled(&self, value: &str) -> anyhow::Result<Vec<String>> {
        self.named(&format!("?labelSelector={KEY}%3D{value}")).await
    }

    async fn named(&self, query: &str) -> anyhow::Result<Vec<String>> {
        let text = self.send(Method::GET, &format!("/api/v1/nodes{query}"), String::new()).await?;
        let list: serde_json::Value = serde_json::from_str(&text)?;
        let items = list["items"].as_array().context("no list of nodes")?;
        let name = |node: &serde_json::Value| node["metadata"]["name"].as_str().map(str::to_owned);
        Ok(items.iter().filter_map(name).collect())
    }

    /// Sets the label, or takes it off, so many nodes at a time; says how long it took.
    pub(crate) async fn label(
        &self,
        nodes: &[String],
        value: Option<&str>,
        at_a_time: usize,
    ) -> anyhow::Result<Duration> {
        let body = json!({"metadata": {"labels": {KEY: value}}}).to_string();
        let (nodes, next): (Arc<[String]>, _) = (nodes.into(), Arc::new(AtomicUsize::new(0)));
        let (begun, mut workers) = (Instant::now(), JoinSet::new());
        for _ in 0..at_a_time {
            let (client, nodes, next) = (self.clone(), Arc::clone(&nodes), Arc::clone(&next));
            let body = body.clone();
            workers.spawn(async move {
                while let Some(node) = nodes.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let path = format!("/api/v1/nodes/{node}?fieldManager=knm-bench");
                    client.send(Method::PATCH, &path, body.clone()).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(ended) = workers.join_next().await {
            ended??;
        }
        Ok(begun.elapsed())
    }
}
