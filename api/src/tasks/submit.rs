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
    /// Who is told of its end, instead of the installation's own; below one of the addresses that the
    /// configuration allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "https://hooks.example.com/nodes")]
    pub webhook: Option<String>,
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

/// How a task goes about its nodes. What is left out has no limit, or the installation's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmittedOptions {
    /// Nodes worked on at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub concurrency: Option<u32>,
    /// Failed nodes that are put up with: with one more, nodes that have not been started are
    /// cancelled. 0 stops at the first failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_failures: Option<u32>,
    /// `drain`: how many of the task's nodes may be unschedulable or not Ready at a time, whoever made
    /// them so; a number, or a percentage of the task's nodes (rounded down, at least one).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<Amount>,
    /// `drain`: in groups, each started when the nodes of the one before are Ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waves: Option<SubmittedWaves>,
    /// No node is started after this moment (RFC 3339); the rest is cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "2026-12-01T04:00:00Z")]
    pub not_after: Option<String>,
    /// Every call to the cluster is a server-side dry run: nothing changes there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// `drain`: a node whose drain fails or is cancelled is made schedulable again, if this task had
    /// made it unschedulable.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uncordon_on_failure: bool,
}

/// Groups of nodes, in the order of the task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmittedWaves {
    /// Nodes in a wave: a number, or a percentage of the task's nodes (rounded down, at least one).
    pub size: Amount,
    /// How long the nodes of a wave have to become Ready before the rest is cancelled; 600 when left
    /// out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_timeout_seconds: Option<u32>,
}

/// A number, or a percentage like `"25%"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Amount {
    /// So many.
    Count(i64),
    /// So many in a hundred.
    #[schema(example = "25%")]
    Percent(String),
}

/// Parameters of `label` and `annotate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyParams {
    /// Keys to set, with their values.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Keys to remove.
    #[serde(default)]
    pub remove: Vec<String>,
    /// Whether a key may be given another value than it has.
    #[serde(default = "yes")]
    pub overwrite: bool,
    /// Whether keys under `kubernetes.io/` and `k8s.io/` may be changed.
    #[serde(default)]
    pub allow_protected: bool,
}

/// Parameters of `taint`. A taint is known by its key and its effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaintParams {
    /// Taints to set.
    #[serde(default)]
    pub set: Vec<NewTaint>,
    /// Taints to remove.
    #[serde(default)]
    pub remove: Vec<TaintName>,
    /// Whether a taint may be given another value than it has.
    #[serde(default = "yes")]
    pub overwrite: bool,
    /// Whether keys under `kubernetes.io/` and `k8s.io/` may be changed.
    #[serde(default)]
    pub allow_protected: bool,
}

/// A taint to be set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTaint {
    /// Its key.
    pub key: String,
    /// Its value; may be empty.
    #[serde(default)]
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    #[schema(example = "NoSchedule")]
    pub effect: String,
}

/// Taints to be removed: one of a key, or all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaintName {
    /// Their key.
    pub key: String,
    /// Only the one with this effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<String>,
}

impl TaintName {
    /// Whether a taint is meant.
    #[must_use]
    pub fn matches(&self, key: &str, effect: &str) -> bool {
        self.key == key && self.effect.as_ref().is_none_or(|e| e == effect)
    }
}

/// Parameters of `cordon` and `uncordon`: none. The task's reason is kept on the node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NoParams {}

/// Parameters of `drain`, those of `kubectl drain`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DrainParams {
    /// Seconds that each pod has to end; its own setting when left out or negative.
    pub grace_period_seconds: Option<i64>,
    /// After so many seconds a node's drain has failed; 0 waits for ever. A pod of this system that
    /// takes over an unfinished drain counts anew.
    pub timeout_seconds: u32,
    /// Whether pods of DaemonSets may stay; otherwise one keeps its node from being drained.
    pub ignore_daemonsets: bool,
    /// Whether pods with emptyDir volumes may go, with their data.
    pub delete_emptydir_data: bool,
    /// Whether pods that nothing would start again may go.
    pub force: bool,
    /// Only pods that this label selector matches.
    pub pod_selector: String,
    /// Deletes pods instead of evicting them: no disruption budget is asked.
    pub disable_eviction: bool,
    /// Pods that have been terminating for more seconds than this are not waited for; 0 waits.
    pub skip_wait_for_delete_timeout_seconds: u32,
}

impl DrainParams {
    /// Seconds that every pod is given to end in; `None` leaves each its own.
    #[must_use]
    pub fn grace(&self) -> Option<i64> {
        self.grace_period_seconds.filter(|seconds| *seconds >= 0)
    }
}

const fn yes() -> bool {
    true
}
