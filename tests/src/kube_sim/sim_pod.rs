//! Pods as tests describe them.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{clock, millis, pod, resource::Resource};

/// What pods are when nothing else is said of them.
const IMAGE: &str = "registry.example/app:1";

/// A pod to add, in the words of a test. On a node it is running and ready from the start; without one
/// it waits for a scheduler.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimPod {
    namespace: String,
    name: String,
    node: Option<String>,
    labels: BTreeMap<String, String>,
    owner: Option<Owner>,
    mirror: bool,
    empty_dir: bool,
    phase: Option<String>,
    ready: bool,
    grace: u32,
    #[serde(rename = "starts_in_ms", with = "millis")]
    starts_in: Duration,
    #[serde(rename = "stops_in_ms", with = "millis")]
    stops_in: Duration,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Owner {
    kind: String,
    name: String,
}

impl Default for SimPod {
    fn default() -> Self {
        Self {
            namespace: "default".to_owned(),
            name: String::new(),
            node: None,
            labels: BTreeMap::new(),
            owner: None,
            mirror: false,
            empty_dir: false,
            phase: None,
            ready: true,
            grace: 30,
            starts_in: pod::DEFAULT_DELAY,
            stops_in: pod::DEFAULT_DELAY,
        }
    }
}

impl SimPod {
    /// A pod in the namespace `default`, without a node.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// In another namespace, which is made if it is missing.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// On a node.
    pub fn node(mut self, node: impl Into<String>) -> Self {
        self.node = Some(node.into());
        self
    }

    /// With these labels besides those that it has.
    pub fn labels(mut self, labels: &[(&str, &str)]) -> Self {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        self.labels.extend(labels);
        self
    }

    /// Owned by a controller of this kind, such as `ReplicaSet`. If there is none of the name it is
    /// stored, but it does nothing: nobody replaces the pod.
    pub fn owner(mut self, kind: &str, name: &str) -> Self {
        self.owner = Some(Owner { kind: kind.to_owned(), name: name.to_owned() });
        self
    }

    /// Owned by a DaemonSet.
    pub fn daemonset(self, name: &str) -> Self {
        self.owner("DaemonSet", name)
    }

    /// The mirror of a static pod: it comes back as soon as it is gone.
    pub fn mirror(mut self) -> Self {
        self.mirror = true;
        self
    }

    /// With a volume whose content goes with the pod.
    pub fn empty_dir(mut self) -> Self {
        self.empty_dir = true;
        self
    }

    /// In another phase than `Running`, and staying there.
    pub fn phase(mut self, phase: impl Into<String>) -> Self {
        self.phase = Some(phase.into());
        self
    }

    /// Ready or not, while it runs.
    pub fn ready(mut self, ready: bool) -> Self {
        self.ready = ready;
        self
    }

    /// The grace period in seconds; 30 if nothing is said.
    pub fn grace(mut self, seconds: u32) -> Self {
        self.grace = seconds;
        self
    }

    /// How long it takes to stop, its grace period at most; `Duration::MAX` is never, whatever the
    /// grace period.
    pub fn stops_in(mut self, delay: Duration) -> Self {
        self.stops_in = delay;
        self
    }

    /// Never stops.
    pub fn stuck(self) -> Self {
        self.stops_in(Duration::MAX)
    }

    /// How long it takes to start once it has a node; `Duration::MAX` is never.
    pub fn starts_in(mut self, delay: Duration) -> Self {
        self.starts_in = delay;
        self
    }

    /// Where it goes.
    pub(crate) fn place(&self) -> (&str, &str) {
        (&self.namespace, &self.name)
    }

    /// Kind and name of the owner.
    pub(crate) fn owned_by(&self) -> Option<(&str, &str)> {
        self.owner.as_ref().map(|owner| (owner.kind.as_str(), owner.name.as_str()))
    }

    /// The body of the pod; `owner` is the owner's UID.
    pub(crate) fn body(&self, owner: Option<&str>) -> Map<String, Value> {
        let mut annotations = Map::new();
        let pending = self.phase.as_deref() == Some("Pending");
        let starts_in = if pending { Duration::MAX } else { self.starts_in };
        annotations.insert(pod::STARTS_IN.to_owned(), pod::written_delay(starts_in).into());
        annotations.insert(pod::STOPS_IN.to_owned(), pod::written_delay(self.stops_in).into());
        if self.mirror {
            let hash = Uuid::new_v4().simple().to_string();
            annotations.insert(pod::MIRROR.to_owned(), hash.into());
            annotations.insert("kubernetes.io/config.source".to_owned(), "file".into());
        }
        let mut metadata = json!({
            "name": self.name,
            "namespace": self.namespace,
            "labels": self.labels,
            "annotations": annotations,
        });
        if let (Some(Owner { kind, name }), Some(uid)) = (&self.owner, owner) {
            metadata["ownerReferences"] = json!([reference(kind, name, uid)]);
        }
        let mut spec = spec(self.empty_dir, self.grace);
        let mut status = json!({});
        if let Some(node) = &self.node {
            spec["nodeName"] = node.as_str().into();
            status = match self.phase.as_deref() {
                None | Some("Running") => running(&spec, self.ready),
                Some(phase) => json!({ "phase": phase }),
            };
        }
        Map::from_iter([
            ("metadata".to_owned(), metadata),
            ("spec".to_owned(), spec),
            ("status".to_owned(), status),
        ])
    }
}

/// The specification of a pod with one container.
pub(crate) fn spec(empty_dir: bool, grace: u32) -> Value {
    let mut container = json!({
        "name": "main",
        "image": IMAGE,
        "resources": { "requests": { "cpu": "100m", "memory": "64Mi" } },
    });
    let mut spec = json!({ "terminationGracePeriodSeconds": grace });
    if empty_dir {
        container["volumeMounts"] = json!([{ "name": "scratch", "mountPath": "/scratch" }]);
        spec["volumes"] = json!([{ "name": "scratch", "emptyDir": {} }]);
    }
    spec["containers"] = json!([container]);
    spec
}

/// What a kubelet reports of a pod that runs.
pub(crate) fn running(spec: &Value, ready: bool) -> Value {
    let now = clock::now();
    let condition = |kind: &str, holds: bool| {
        json!({
            "type": kind,
            "status": if holds { "True" } else { "False" },
            "lastProbeTime": null,
            "lastTransitionTime": now,
        })
    };
    let containers = spec["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let statuses: Vec<Value> = containers
        .iter()
        .map(|container| {
            json!({
                "name": container["name"],
                "image": container["image"],
                "imageID": "",
                "containerID": format!("containerd://{}", Uuid::new_v4().simple()),
                "ready": ready,
                "started": true,
                "restartCount": 0,
                "state": { "running": { "startedAt": now } },
                "lastState": {},
            })
        })
        .collect();
    json!({
        "phase": "Running",
        "conditions": [
            condition("PodReadyToStartContainers", true),
            condition("Initialized", true),
            condition("Ready", ready),
            condition("ContainersReady", ready),
            condition("PodScheduled", true),
        ],
        "startTime": now,
        "containerStatuses": statuses,
    })
}

/// A reference to the controller that owns an object.
pub(crate) fn reference(kind: &str, name: &str, uid: &str) -> Value {
    let api_version = Resource::of_kind(kind).map_or("v1", |r| r.info().api_version);
    json!({
        "apiVersion": api_version,
        "kind": kind,
        "name": name,
        "uid": uid,
        "controller": true,
        "blockOwnerDeletion": true,
    })
}
