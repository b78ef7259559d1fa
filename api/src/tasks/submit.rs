//! The body of `POST /api/v1/tasks`, as it arrives.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A batch operation on nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    /// Cluster to act on; the default cluster when left out.
    #[serde(default)]
    pub cluster: Option<String>,
    /// What to do.
    #[schema(example = "label")]
    pub action: String,
    /// Which nodes.
    pub nodes: NodeSelection,
    /// Parameters of the action, in kubectl's words.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub params: serde_json::Value,
    /// How to go about it.
    #[serde(default)]
    pub options: SubmittedOptions,
    /// Why, for those who read the history.
    #[serde(default)]
    pub reason: String,
}

/// Exactly one of the four.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeSelection {
    /// By name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
    /// By label selector, as `kubectl get nodes -l` takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// By field selector, as `kubectl get nodes --field-selector` takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field_selector: Option<String>,
    /// Every node of the cluster; must be `true` when given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all: Option<bool>,
}

/// How a task goes about its nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmittedOptions {
    /// Nodes worked on at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub concurrency: Option<u32>,
}

/// Parameters of `label`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LabelParams {
    /// Labels to set.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Keys of labels to remove.
    #[serde(default)]
    pub remove: Vec<String>,
    /// Whether a label may be given another value than it has.
    #[serde(default = "yes")]
    pub overwrite: bool,
    /// Whether keys under `kubernetes.io/` and `k8s.io/` may be changed.
    #[serde(default)]
    pub allow_protected: bool,
}

const fn yes() -> bool {
    true
}
