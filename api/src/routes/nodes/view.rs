//! A node as `kubectl get nodes` shows it, and a little more.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Taint};
use serde::Serialize;
use utoipa::ToSchema;

/// A word of kubectl's STATUS column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub enum StatusWord {
    /// The kubelet says so.
    Ready,
    /// The kubelet says so, or has not been heard of.
    NotReady,
    /// The node has never said how it is.
    Unknown,
    /// Cordoned.
    SchedulingDisabled,
}

impl StatusWord {
    /// For sorting: what needs a look comes first.
    pub(super) const fn rank(self) -> char {
        match self {
            Self::NotReady => '0',
            Self::Unknown => '1',
            Self::SchedulingDisabled => '2',
            Self::Ready => '3',
        }
    }
}

impl std::str::FromStr for StatusWord {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let words = [
            ("ready", Self::Ready),
            ("notready", Self::NotReady),
            ("unknown", Self::Unknown),
            ("schedulingdisabled", Self::SchedulingDisabled),
        ];
        let found = words.into_iter().find(|(word, _)| s.eq_ignore_ascii_case(word));
        found
            .map(|(_, word)| word)
            .ok_or_else(|| "must be one of Ready, NotReady, Unknown, SchedulingDisabled".to_owned())
    }
}

/// A taint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TaintView {
    /// Key.
    key: String,
    /// Value; empty for none.
    value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    #[schema(example = "NoSchedule")]
    effect: String,
}

impl From<&Taint> for TaintView {
    fn from(taint: &Taint) -> Self {
        let Taint { key, value, effect, .. } = taint.clone();
        Self { key, value: value.unwrap_or_default(), effect }
    }
}

/// A node.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// Tells it from an earlier node of the same name.
    uid: String,
    /// As kubectl shows it: `Ready`, `NotReady` or `Unknown`, and `SchedulingDisabled` when cordoned.
    pub status: Vec<StatusWord>,
    /// From its `node-role.kubernetes.io/` labels.
    roles: BTreeSet<String>,
    /// Whether it is cordoned.
    unschedulable: bool,
    /// Its taints.
    taints: Vec<TaintView>,
    /// Its labels.
    labels: BTreeMap<String, String>,
    /// Its annotations.
    annotations: BTreeMap<String, String>,
    /// Its address within the cluster.
    pub(super) internal_ip: Option<String>,
    /// Its kubelet's version.
    #[schema(example = "v1.36.0")]
    pub(super) version: String,
    /// When it joined.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) created_at: Option<Timestamp>,
    /// Version of the object.
    resource_version: String,
}

impl NodeView {
    /// Whether `text`, in lower case, is part of anything that people look for.
    pub(super) fn mentions(&self, text: &str) -> bool {
        let has = |s: &str| s.to_lowercase().contains(text);
        has(&self.name)
            || self.internal_ip.as_deref().is_some_and(has)
            || self.roles.iter().any(|role| has(role))
            || self.labels.iter().any(|(k, v)| has(&format!("{k}={v}")))
            || self.taints.iter().any(|t| has(&format!("{}={}:{}", t.key, t.value, t.effect)))
    }
}

impl From<&Node> for NodeView {
    fn from(node: &Node) -> Self {
        let Node { metadata: meta, spec, status } = node;
        let unschedulable = spec.as_ref().and_then(|s| s.unschedulable).unwrap_or(false);
        let taints = spec.as_ref().and_then(|s| s.taints.as_deref()).unwrap_or_default();
        let labels = meta.labels.clone().unwrap_or_default();
        let addresses = status.as_ref().and_then(|s| s.addresses.as_deref()).unwrap_or_default();
        let internal = addresses.iter().find(|a| a.type_ == "InternalIP");
        let info = status.as_ref().and_then(|s| s.node_info.as_ref());
        Self {
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            status: words(node, unschedulable),
            roles: roles(&labels),
            unschedulable,
            taints: taints.iter().map(Into::into).collect(),
            labels,
            annotations: meta.annotations.clone().unwrap_or_default(),
            internal_ip: internal.map(|a| a.address.clone()),
            version: info.map(|i| i.kubelet_version.clone()).unwrap_or_default(),
            created_at: meta.creation_timestamp.as_ref().map(|t| t.0),
            resource_version: meta.resource_version.clone().unwrap_or_default(),
        }
    }
}

fn words(node: &Node, unschedulable: bool) -> Vec<StatusWord> {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let ready = match conditions.iter().find(|c| c.type_ == "Ready").map(|c| c.status.as_str()) {
        Some("True") => StatusWord::Ready,
        Some(_) => StatusWord::NotReady,
        None => StatusWord::Unknown,
    };
    let cordoned = unschedulable.then_some(StatusWord::SchedulingDisabled);
    std::iter::once(ready).chain(cordoned).collect()
}

fn roles(labels: &BTreeMap<String, String>) -> BTreeSet<String> {
    let role = |(key, value): (&String, &String)| match key.strip_prefix("node-role.kubernetes.io/")
    {
        Some("") => None,
        Some(role) => Some(role.to_owned()),
        None => (key == "kubernetes.io/role" && !value.is_empty()).then(|| value.clone()),
    };
    labels.iter().filter_map(role).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(json: serde_json::Value) -> NodeView {
        let node: Node = serde_json::from_value(json).expect("a node");
        NodeView::from(&node)
    }

    #[test]
    fn it_looks_as_in_kubectl() {
        let view = node(serde_json::json!({
            "metadata": {
                "name": "cp-1", "uid": "u", "resourceVersion": "12",
                "creationTimestamp": "2026-01-02T03:04:05Z",
                "labels": {"node-role.kubernetes.io/control-plane": "", "zone": "a"}
            },
            "spec": {
                "unschedulable": true,
                "taints": [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]
            },
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [
                    {"type": "Hostname", "address": "cp-1"},
                    {"type": "InternalIP", "address": "10.0.0.1"}
                ]
            }
        }));
        assert_eq!(view.status, [StatusWord::Ready, StatusWord::SchedulingDisabled]);
        assert_eq!(view.roles, BTreeSet::from(["control-plane".to_owned()]));
        assert_eq!(view.internal_ip.as_deref(), Some("10.0.0.1"));
        for text in ["cp-", "control", "10.0.0", "zone=a", "unschedulable="] {
            assert!(view.mentions(text), "{text}");
        }
        assert!(!view.mentions("zone=b"));
    }

    #[test]
    fn a_kubelet_that_is_silent_is_not_ready_and_none_is_unknown() {
        for (status, word) in [
            (
                serde_json::json!({"conditions": [{"type": "Ready", "status": "Unknown"}]}),
                StatusWord::NotReady,
            ),
            (serde_json::json!({}), StatusWord::Unknown),
        ] {
            let view = node(serde_json::json!({"metadata": {"name": "a"}, "status": status}));
            assert_eq!(view.status, [word]);
        }
    }
}
