//! The rules for pods.

use serde_json::{Map, Value, json};

use crate::kube_sim::{
    object::{Draft, Object},
    status::FieldError,
};

/// How long a pod stays on a node that is not ready or cannot be reached.
const TOLERATION_SECONDS: u64 = 300;

/// The plugins DefaultTolerationSeconds and Priority.
pub(super) fn admit(draft: &mut Draft) {
    let Some(spec) = draft.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    let mut tolerations = match spec.remove("tolerations") {
        Some(Value::Array(tolerations)) => tolerations,
        _ => Vec::new(),
    };
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerates = |toleration: &Value| {
            let text = |field: &str| toleration.get(field).and_then(Value::as_str);
            text("key").is_none_or(|own| own == key)
                && text("effect").is_none_or(|effect| effect == "NoExecute")
        };
        if !tolerations.iter().any(tolerates) {
            tolerations.push(json!({
                "key": key,
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": TOLERATION_SECONDS,
            }));
        }
    }
    spec.insert("tolerations".to_owned(), tolerations.into());
    spec.entry("priority").or_insert(0.into());
    spec.entry("preemptionPolicy").or_insert("PreemptLowerPriority".into());
}

/// The status of every new pod.
pub(super) fn new_status(draft: &Draft) -> Value {
    json!({ "phase": "Pending", "qosClass": class(draft) })
}

/// The class of a new pod by its requests and limits.
/// <https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/>
pub(in crate::kube_sim) fn class(draft: &Draft) -> &'static str {
    let containers = draft.get("spec").and_then(|spec| spec.get("containers"));
    let containers = containers.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let of = |container: &Value, which: &str| -> Map<String, Value> {
        let amounts = container.get("resources").and_then(|resources| resources.get(which));
        let mut amounts = amounts.and_then(Value::as_object).cloned().unwrap_or_default();
        amounts.retain(|name, _| name == "cpu" || name == "memory");
        amounts
    };
    let pairs: Vec<_> = containers.iter().map(|c| (of(c, "requests"), of(c, "limits"))).collect();
    if pairs.iter().all(|(requests, limits)| requests.is_empty() && limits.is_empty()) {
        "BestEffort"
    } else if pairs.iter().all(|(requests, limits)| limits.len() == 2 && requests == limits) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

/// A status without a class keeps the one that the pod has.
pub(super) fn keep_class(old: &Object, draft: &mut Draft) {
    if let Some(status) = draft.get_mut("status").and_then(Value::as_object_mut)
        && let Some(class) = old.status("qosClass")
    {
        status.entry("qosClass").or_insert(class.clone());
    }
}

pub(super) fn spec_errors(spec: &Value) -> Vec<FieldError> {
    let containers = spec.get("containers").and_then(Value::as_array);
    let Some(containers) = containers.filter(|containers| !containers.is_empty()) else {
        return vec![FieldError::required("spec.containers", "")];
    };
    let mut errors = Vec::new();
    for (index, container) in containers.iter().enumerate() {
        for field in ["name", "image"] {
            if container.get(field).and_then(Value::as_str).unwrap_or_default().is_empty() {
                errors.push(FieldError::required(format!("spec.containers[{index}].{field}"), ""));
            }
        }
    }
    errors
}

/// A running pod's specification stays as it is, but for little. The real message ends with a
/// comparison of the two in Go's notation.
pub(super) fn frozen_error(old: &Object, draft: &Draft) -> Option<FieldError> {
    let new = frozen(draft.get("spec")?);
    (new != frozen(old.section("spec")?)).then(|| {
        FieldError::forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,\
             `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only \
             additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to \
             be set to 1 if it was previously negative)",
        )
    })
}

fn frozen(spec: &Value) -> Value {
    let mut spec = spec.clone();
    if let Some(members) = spec.as_object_mut() {
        members.remove("activeDeadlineSeconds");
        members.remove("tolerations");
        for list in ["containers", "initContainers"] {
            let items = members.get_mut(list).and_then(Value::as_array_mut);
            for item in items.into_iter().flatten().filter_map(Value::as_object_mut) {
                item.remove("image");
            }
        }
    }
    spec
}
