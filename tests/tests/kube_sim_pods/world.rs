//! What the tests of simulated pods share.

use std::time::Duration;

use anyhow::Context;
use knm_tests::kube_sim::{KubeSim, SimOptions};
use serde_json::{Value, json};

use crate::client::{Answer, Client};

pub(crate) const JSON: Option<&str> = Some("application/json");
pub(crate) const WEB: &[(&str, &str)] = &[("app", "web")];

pub(crate) async fn start(nodes: usize) -> anyhow::Result<(KubeSim, Client)> {
    let sim = KubeSim::start(SimOptions { nodes, ..SimOptions::default() }).await?;
    let client = Client::new(sim.url());
    Ok((sim, client))
}

pub(crate) async fn evict(client: &Client, name: &str, options: Value) -> anyhow::Result<Answer> {
    let path = format!("/api/v1/namespaces/shop/pods/{name}/eviction");
    let body = json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": { "name": name, "namespace": "shop" },
        "deleteOptions": options,
    });
    client.send("POST", &path, JSON, Some(&body)).await
}

pub(crate) async fn delete(client: &Client, name: &str, query: &str) -> anyhow::Result<Answer> {
    let path = format!("/api/v1/namespaces/shop/pods/{name}{query}");
    client.send("DELETE", &path, None, None).await
}

/// Waits for what must come soon.
pub(crate) async fn until(
    sim: &KubeSim,
    condition: impl FnMut(&KubeSim) -> bool,
) -> anyhow::Result<()> {
    let soon = Duration::from_secs(10);
    tokio::time::timeout(soon, sim.wait_until(condition)).await.context("it does not happen")
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(crate) fn uid(pod: &Value) -> String {
    text(&pod["metadata"]["uid"])
}

pub(crate) fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let ready = |c: &Value| c["type"] == "Ready" && c["status"] == "True";
    pod["metadata"]["deletionTimestamp"].is_null() && conditions.iter().any(ready)
}

pub(crate) fn ready(sim: &KubeSim, app: &str) -> usize {
    let pods = sim.pods();
    pods.iter().filter(|pod| pod["metadata"]["labels"]["app"] == app && is_ready(pod)).count()
}

pub(crate) fn cordon(sim: &KubeSim, node: &str, unschedulable: bool) -> anyhow::Result<()> {
    let patch = json!({ "spec": { "unschedulable": unschedulable } });
    sim.change_node(node, patch.as_object().cloned().unwrap_or_default())?;
    Ok(())
}

pub(crate) fn allowed(sim: &KubeSim) -> Option<i64> {
    sim.budget("shop", "web")?["status"]["disruptionsAllowed"].as_i64()
}
