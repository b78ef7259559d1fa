//! The defaults of the API: what the server fills in where a client says nothing.
//!
//! They follow `k8s.io/kubernetes/pkg/apis/{core,apps}/v1/defaults.go` and are applied when an
//! object is decoded, so that they belong to whoever wrote the object.

use serde_json::{Map, Value, json};

use super::{object::Draft, resource::Resource};

/// Completes the specification in a decoded draft, if the draft has one.
pub(crate) fn apply(resource: Resource, draft: &mut Draft) {
    let Some(spec) = draft.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    match resource {
        Resource::Pods => {
            pod_spec(spec);
            // A template does not get these: they belong to the pods that are made of it.
            fill(spec, "enableServiceLinks", || true.into());
            let containers = spec.get_mut("containers").and_then(Value::as_array_mut);
            containers.into_iter().flatten().for_each(requests_of_limits);
        }
        Resource::DaemonSets => {
            fill(spec, "revisionHistoryLimit", || 10.into());
            fill(spec, "updateStrategy", || rolling(json!({ "maxUnavailable": 1, "maxSurge": 0 })));
        }
        Resource::ReplicaSets => fill(spec, "replicas", || 1.into()),
        Resource::StatefulSets => {
            fill(spec, "replicas", || 1.into());
            fill(spec, "podManagementPolicy", || "OrderedReady".into());
            fill(spec, "revisionHistoryLimit", || 10.into());
            fill(spec, "updateStrategy", || rolling(json!({ "partition": 0 })));
            fill(
                spec,
                "persistentVolumeClaimRetentionPolicy",
                || json!({ "whenDeleted": "Retain", "whenScaled": "Retain" }),
            );
        }
        Resource::Deployments => {
            fill(spec, "replicas", || 1.into());
            fill(spec, "revisionHistoryLimit", || 10.into());
            fill(spec, "progressDeadlineSeconds", || 600.into());
            let quarter = json!({ "maxUnavailable": "25%", "maxSurge": "25%" });
            fill(spec, "strategy", || rolling(quarter));
        }
        _ => {}
    }
    if let Some(template) = spec.get_mut("template").and_then(|template| template.get_mut("spec"))
        && let Some(template) = template.as_object_mut()
    {
        pod_spec(template);
    }
}

fn rolling(parameters: Value) -> Value {
    json!({ "type": "RollingUpdate", "rollingUpdate": parameters })
}

fn pod_spec(spec: &mut Map<String, Value>) {
    for list in ["initContainers", "containers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
            defaults_of_container(container);
        }
    }
    for volume in spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        for source in ["configMap", "secret", "projected", "downwardAPI"] {
            if let Some(source) = volume.get_mut(source).and_then(Value::as_object_mut) {
                fill(source, "defaultMode", || 420.into());
            }
        }
        if let Some(source) = volume.get_mut("hostPath").and_then(Value::as_object_mut) {
            fill(source, "type", || "".into());
        }
    }
    fill(spec, "restartPolicy", || "Always".into());
    fill(spec, "terminationGracePeriodSeconds", || 30.into());
    fill(spec, "dnsPolicy", || "ClusterFirst".into());
    fill(spec, "securityContext", || json!({}));
    fill(spec, "schedulerName", || "default-scheduler".into());
    if let Some(account) = spec.get("serviceAccountName").cloned() {
        fill(spec, "serviceAccount", || account);
    }
}

fn defaults_of_container(container: &mut Map<String, Value>) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    // The tag is behind the last colon, unless that one belongs to the registry's port.
    let tag = image.rsplit('/').next().and_then(|last| last.split_once(':')).map(|(_, tag)| tag);
    let latest = matches!(tag, None | Some("latest")) && !image.contains('@');
    fill(container, "imagePullPolicy", || if latest { "Always" } else { "IfNotPresent" }.into());
    fill(container, "terminationMessagePath", || "/dev/termination-log".into());
    fill(container, "terminationMessagePolicy", || "File".into());
    for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(port) = port.as_object_mut() {
            fill(port, "protocol", || "TCP".into());
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe).and_then(Value::as_object_mut) {
            fill(probe, "timeoutSeconds", || 1.into());
            fill(probe, "periodSeconds", || 10.into());
            fill(probe, "successThreshold", || 1.into());
            fill(probe, "failureThreshold", || 3.into());
        }
    }
}

/// Who limits a resource and does not request it requests the limit.
fn requests_of_limits(container: &mut Value) {
    let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut) else {
        return;
    };
    let limits = resources.get("limits").and_then(Value::as_object).cloned().unwrap_or_default();
    if limits.is_empty() {
        return;
    }
    fill(resources, "requests", || json!({}));
    if let Some(requests) = resources.get_mut("requests").and_then(Value::as_object_mut) {
        for (name, limit) in limits {
            fill(requests, &name, || limit);
        }
    }
}

fn fill(members: &mut Map<String, Value>, name: &str, value: impl FnOnce() -> Value) {
    if members.get(name).is_none_or(Value::is_null) {
        members.insert(name.to_owned(), value());
    }
}
