//! What the shipped ClusterRole lets the pods do. Every world has these rights and no others, so that a
//! call that the manifests do not allow fails a test before it fails in a cluster.

use anyhow::Context as _;
use serde::Deserialize;

use crate::kube_sim::Rule;

const MANIFEST: &str = include_str!("../../../deploy/base/rbac.yaml");

#[derive(Deserialize)]
struct Document {
    kind: String,
    #[serde(default)]
    rules: Vec<PolicyRule>,
}

/// <https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/cluster-role-v1/>; a field
/// that is not here, like `resourceNames`, would have to be understood first.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PolicyRule {
    api_groups: Vec<String>,
    resources: Vec<String>,
    verbs: Vec<String>,
}

/// The rules of the ClusterRole in `deploy/base`.
///
/// # Errors
/// When the manifest cannot be read.
pub fn shipped_rights() -> anyhow::Result<Vec<Rule>> {
    let documents: Vec<Document> =
        serde_saphyr::from_multiple(MANIFEST).context("deploy/base/rbac.yaml")?;
    let role = documents.into_iter().find(|document| document.kind == "ClusterRole");
    let rules = role.context("deploy/base/rbac.yaml has no ClusterRole")?.rules;
    let rule = |rule: PolicyRule| Rule {
        verbs: rule.verbs,
        resources: rule.resources,
        groups: rule.api_groups,
        namespaces: Vec::new(),
    };
    Ok(rules.into_iter().map(rule).collect())
}
