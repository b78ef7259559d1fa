//! The resource kinds that the simulator stores, and what differs from one to the next.
//!
//! Everything else is generic over [`Resource`]: a new kind is one variant here, its schema, and its
//! rules in `strategy` and `table` if it has any.

use super::{
    object::Object,
    schema::{self, Schema},
};

/// A stored resource kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Resource {
    /// `v1` Node.
    Nodes,
    /// `v1` Pod.
    Pods,
    /// `v1` Namespace.
    Namespaces,
    /// `v1` Event.
    Events,
    /// `coordination.k8s.io/v1` Lease.
    Leases,
    /// `policy/v1` PodDisruptionBudget.
    Budgets,
    /// `apps/v1` DaemonSet.
    DaemonSets,
    /// `apps/v1` ReplicaSet.
    ReplicaSets,
    /// `apps/v1` StatefulSet.
    StatefulSets,
    /// `apps/v1` Deployment.
    Deployments,
    /// `batch/v1` Job.
    Jobs,
}

/// The static facts about a kind.
#[derive(Debug)]
pub(crate) struct Info {
    /// API group, empty for the core group.
    pub(crate) group: &'static str,
    /// Version inside the group.
    pub(crate) version: &'static str,
    /// `group/version` as objects spell it.
    pub(crate) api_version: &'static str,
    /// Plural name, as in paths.
    pub(crate) plural: &'static str,
    /// Kind, as in objects; in lower case it is the singular.
    pub(crate) kind: &'static str,
    /// What kubectl takes for the plural.
    pub(crate) short: &'static [&'static str],
    /// Whether objects live in a namespace.
    pub(crate) namespaced: bool,
    /// Whether there is a `status` subresource, which alone can change the status.
    pub(crate) status: bool,
    /// Whether the server counts changes of the specification in `metadata.generation`.
    pub(crate) generation: bool,
    /// The fields of the kind.
    pub(crate) schema: &'static Schema,
    /// The fields that a field selector may name.
    pub(crate) selectable: &'static [&'static str],
}

impl Info {
    /// The plural with its group, as error messages spell it.
    pub(crate) fn qualified_plural(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_owned()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }
}

const NAMES: &[&str] = &["metadata.name", "metadata.namespace"];

static NODES: Info = Info {
    group: "",
    version: "v1",
    api_version: "v1",
    plural: "nodes",
    kind: "Node",
    short: &["no"],
    namespaced: false,
    status: true,
    generation: false,
    schema: &schema::NODE,
    selectable: &["metadata.name", "spec.unschedulable"],
};
static PODS: Info = Info {
    group: "",
    version: "v1",
    api_version: "v1",
    plural: "pods",
    kind: "Pod",
    short: &["po"],
    namespaced: true,
    status: true,
    generation: true,
    schema: &schema::POD,
    selectable: &[
        "metadata.name",
        "metadata.namespace",
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ],
};
static NAMESPACES: Info = Info {
    group: "",
    version: "v1",
    api_version: "v1",
    plural: "namespaces",
    kind: "Namespace",
    short: &["ns"],
    namespaced: false,
    status: true,
    generation: false,
    schema: &schema::OPEN,
    selectable: &["metadata.name", "status.phase"],
};
static EVENTS: Info = Info {
    group: "",
    version: "v1",
    api_version: "v1",
    plural: "events",
    kind: "Event",
    short: &["ev"],
    namespaced: true,
    status: false,
    generation: false,
    schema: &schema::ANY_OBJECT,
    selectable: &[
        "metadata.name",
        "metadata.namespace",
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ],
};
static LEASES: Info = Info {
    group: "coordination.k8s.io",
    version: "v1",
    api_version: "coordination.k8s.io/v1",
    plural: "leases",
    kind: "Lease",
    short: &[],
    namespaced: true,
    status: false,
    generation: false,
    schema: &schema::OPEN,
    selectable: NAMES,
};
static BUDGETS: Info = Info {
    group: "policy",
    version: "v1",
    api_version: "policy/v1",
    plural: "poddisruptionbudgets",
    kind: "PodDisruptionBudget",
    short: &["pdb"],
    namespaced: true,
    status: true,
    generation: true,
    schema: &schema::BUDGET,
    selectable: NAMES,
};
static DAEMON_SETS: Info = Info {
    group: "apps",
    version: "v1",
    api_version: "apps/v1",
    plural: "daemonsets",
    kind: "DaemonSet",
    short: &["ds"],
    namespaced: true,
    status: true,
    generation: true,
    schema: &schema::DAEMON_SET,
    selectable: NAMES,
};
static REPLICA_SETS: Info = Info {
    group: "apps",
    version: "v1",
    api_version: "apps/v1",
    plural: "replicasets",
    kind: "ReplicaSet",
    short: &["rs"],
    namespaced: true,
    status: true,
    generation: true,
    schema: &schema::REPLICA_SET,
    selectable: NAMES,
};
static STATEFUL_SETS: Info = Info {
    group: "apps",
    version: "v1",
    api_version: "apps/v1",
    plural: "statefulsets",
    kind: "StatefulSet",
    short: &["sts"],
    namespaced: true,
    status: true,
    generation: true,
    schema: &schema::STATEFUL_SET,
    selectable: NAMES,
};
static DEPLOYMENTS: Info = Info {
    group: "apps",
    version: "v1",
    api_version: "apps/v1",
    plural: "deployments",
    kind: "Deployment",
    short: &["deploy"],
    namespaced: true,
    status: true,
    generation: true,
    schema: &schema::DEPLOYMENT,
    selectable: NAMES,
};
static JOBS: Info = Info {
    group: "batch",
    version: "v1",
    api_version: "batch/v1",
    plural: "jobs",
    kind: "Job",
    short: &[],
    namespaced: true,
    status: true,
    generation: true,
    schema: &schema::JOB,
    selectable: NAMES,
};

impl Resource {
    /// Every kind, in the order of the discriminants.
    pub(crate) const ALL: [Resource; 11] = [
        Self::Nodes,
        Self::Pods,
        Self::Namespaces,
        Self::Events,
        Self::Leases,
        Self::Budgets,
        Self::DaemonSets,
        Self::ReplicaSets,
        Self::StatefulSets,
        Self::Deployments,
        Self::Jobs,
    ];

    /// The facts about this kind.
    pub(crate) fn info(self) -> &'static Info {
        match self {
            Self::Nodes => &NODES,
            Self::Pods => &PODS,
            Self::Namespaces => &NAMESPACES,
            Self::Events => &EVENTS,
            Self::Leases => &LEASES,
            Self::Budgets => &BUDGETS,
            Self::DaemonSets => &DAEMON_SETS,
            Self::ReplicaSets => &REPLICA_SETS,
            Self::StatefulSets => &STATEFUL_SETS,
            Self::Deployments => &DEPLOYMENTS,
            Self::Jobs => &JOBS,
        }
    }

    /// The kind behind a path.
    pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|resource| {
            let info = resource.info();
            info.group == group && info.version == version && info.plural == plural
        })
    }

    /// The kind with this name, as owner references spell it.
    pub(crate) fn of_kind(kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|resource| resource.info().kind == kind)
    }

    /// The value of a selectable field, as the field selector compares it.
    pub(crate) fn field(self, object: &Object, path: &str) -> String {
        let mut parts = path.split('.');
        let mut value = parts.next().and_then(|section| object.section(section));
        for part in parts {
            value = value.and_then(|value| value.get(part));
        }
        match value {
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(serde_json::Value::Bool(flag)) => flag.to_string(),
            // A boolean that is not set is false, not empty.
            None if path == "spec.unschedulable" => "false".to_owned(),
            _ => String::new(),
        }
    }
}
