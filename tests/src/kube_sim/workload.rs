//! Workloads and budgets as tests describe them.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{millis, pod, resource::Resource, sim_pod};

/// On the owner of a pod that stands alone: its controller leaves everything as it is.
pub(crate) const IDLE: &str = "kube-sim/idle";

/// The controllers that there are.
#[expect(clippy::enum_variant_names, reason = "the names are those of Kubernetes")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkloadKind {
    /// Any pods, replaced at once under another name.
    #[default]
    ReplicaSet,
    /// Numbered pods, replaced under the same name once the old one is gone.
    StatefulSet,
    /// One pod on every node, cordoned or not.
    DaemonSet,
}

/// A controller and its pods.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Workload {
    /// Where it is; made if it is missing.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: WorkloadKind,
    /// How many pods; not for a DaemonSet.
    pub replicas: u32,
    /// The pods' labels; `app` with the name if there are none.
    pub labels: BTreeMap<String, String>,
    /// How long a pod takes to become ready once it has a node; `Duration::MAX` is never.
    #[serde(rename = "starts_in_ms", with = "millis")]
    pub starts_in: Duration,
    /// How long a pod takes to stop, its grace period at most; `Duration::MAX` is never.
    #[serde(rename = "stops_in_ms", with = "millis")]
    pub stops_in: Duration,
    /// The pods' grace period.
    pub grace_period_seconds: u32,
    /// Whether the pods have a volume whose content goes with them.
    pub empty_dir: bool,
    /// Whether a StatefulSet's pods start without waiting for those of lower numbers.
    pub parallel: bool,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            namespace: "default".to_owned(),
            name: String::new(),
            kind: WorkloadKind::default(),
            replicas: 1,
            labels: BTreeMap::new(),
            starts_in: pod::DEFAULT_DELAY,
            stops_in: pod::DEFAULT_DELAY,
            grace_period_seconds: 30,
            empty_dir: false,
            parallel: false,
        }
    }
}

impl WorkloadKind {
    /// The stored kind.
    pub(crate) fn resource(self) -> Resource {
        match self {
            Self::ReplicaSet => Resource::ReplicaSets,
            Self::StatefulSet => Resource::StatefulSets,
            Self::DaemonSet => Resource::DaemonSets,
        }
    }
}

impl Workload {
    fn new(kind: WorkloadKind, namespace: &str, name: &str, replicas: u32) -> Self {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        Self { kind, namespace, name, replicas, ..Self::default() }
    }

    /// A ReplicaSet.
    pub fn replica_set(namespace: &str, name: &str, replicas: u32) -> Self {
        Self::new(WorkloadKind::ReplicaSet, namespace, name, replicas)
    }

    /// A StatefulSet, in which every pod waits for those of lower numbers to be ready.
    pub fn stateful_set(namespace: &str, name: &str, replicas: u32) -> Self {
        Self::new(WorkloadKind::StatefulSet, namespace, name, replicas)
    }

    /// A DaemonSet whose pods tolerate every taint.
    pub fn daemon_set(namespace: &str, name: &str) -> Self {
        Self::new(WorkloadKind::DaemonSet, namespace, name, 0)
    }

    /// The body of the controller's object.
    pub(crate) fn body(&self) -> Map<String, Value> {
        let labels = match self.labels.is_empty() {
            true => json!({ "app": self.name }),
            false => json!(self.labels),
        };
        let mut template = sim_pod::spec(self.empty_dir, self.grace_period_seconds);
        if self.kind == WorkloadKind::DaemonSet {
            template["tolerations"] = json!([{ "operator": "Exists" }]);
        }
        let mut spec = json!({
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": {
                        pod::STARTS_IN: pod::written_delay(self.starts_in),
                        pod::STOPS_IN: pod::written_delay(self.stops_in),
                    },
                },
                "spec": template,
            },
        });
        match self.kind {
            WorkloadKind::ReplicaSet => spec["replicas"] = self.replicas.into(),
            WorkloadKind::StatefulSet => {
                spec["replicas"] = self.replicas.into();
                spec["serviceName"] = self.name.as_str().into();
                if self.parallel {
                    spec["podManagementPolicy"] = "Parallel".into();
                }
            }
            WorkloadKind::DaemonSet => {}
        }
        Map::from_iter([
            ("metadata".to_owned(), json!({ "name": self.name, "labels": labels })),
            ("spec".to_owned(), spec),
        ])
    }
}

/// A number of pods, or a share of them. In JSON `2` or `"50%"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Value")]
pub enum Amount {
    /// So many.
    Count(u32),
    /// So many of a hundred, rounded up.
    Percent(u32),
}

impl From<u32> for Amount {
    fn from(count: u32) -> Self {
        Self::Count(count)
    }
}

impl TryFrom<Value> for Amount {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let number = |text: &str| text.parse().ok();
        let count = value.as_u64().and_then(|count| u32::try_from(count).ok()).map(Self::Count);
        let share = value.as_str().and_then(|text| text.strip_suffix('%')).and_then(number);
        count
            .or(share.map(Self::Percent))
            .ok_or_else(|| format!("{value} is neither a number nor a percentage"))
    }
}

/// What a disruption budget allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allow {
    /// So many have to stay.
    MinAvailable(Amount),
    /// So many may be missing.
    MaxUnavailable(Amount),
}

impl Allow {
    /// So many have to stay.
    pub fn min_available(count: u32) -> Self {
        Self::MinAvailable(count.into())
    }

    /// So many may be missing.
    pub fn max_unavailable(count: u32) -> Self {
        Self::MaxUnavailable(count.into())
    }

    /// The body of a budget for the pods with these labels.
    pub(crate) fn body(self, name: &str, labels: &BTreeMap<String, String>) -> Map<String, Value> {
        let (field, amount) = match self {
            Self::MinAvailable(amount) => ("minAvailable", amount),
            Self::MaxUnavailable(amount) => ("maxUnavailable", amount),
        };
        let amount: Value = match amount {
            Amount::Count(count) => count.into(),
            Amount::Percent(percent) => format!("{percent}%").into(),
        };
        let spec = json!({ field: amount, "selector": { "matchLabels": labels } });
        Map::from_iter([
            ("metadata".to_owned(), json!({ "name": name })),
            ("spec".to_owned(), spec),
        ])
    }
}
