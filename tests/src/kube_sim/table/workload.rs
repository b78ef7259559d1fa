//! The rows of pods, of what makes them and of what protects them.

use serde_json::Value;

use super::{Column, age};
use crate::kube_sim::{object::Object, pod, resource::Resource};

const POD: &[Column] = &[
    ("Name", "name", 0),
    ("Ready", "", 0),
    ("Status", "", 0),
    ("Restarts", "", 0),
    ("Age", "", 0),
    ("IP", "", 1),
    ("Node", "", 1),
];
const BUDGET: &[Column] = &[
    ("Name", "name", 0),
    ("Min Available", "", 0),
    ("Max Unavailable", "", 0),
    ("Allowed Disruptions", "", 0),
    ("Age", "", 0),
];
const REPLICA_SET: &[Column] = &[
    ("Name", "name", 0),
    ("Desired", "", 0),
    ("Current", "", 0),
    ("Ready", "", 0),
    ("Age", "", 0),
];
const STATEFUL_SET: &[Column] = &[("Name", "name", 0), ("Ready", "", 0), ("Age", "", 0)];
const DAEMON_SET: &[Column] = &[
    ("Name", "name", 0),
    ("Desired", "", 0),
    ("Current", "", 0),
    ("Ready", "", 0),
    ("Up-to-date", "", 0),
    ("Available", "", 0),
    ("Age", "", 0),
];

/// The columns of a kind that has its own.
pub(super) fn columns(resource: Resource) -> Option<&'static [Column]> {
    Some(match resource {
        Resource::Pods => POD,
        Resource::Budgets => BUDGET,
        Resource::ReplicaSets => REPLICA_SET,
        Resource::StatefulSets => STATEFUL_SET,
        Resource::DaemonSets => DAEMON_SET,
        _ => return None,
    })
}

/// The cells of an object of such a kind.
pub(super) fn cells(object: &Object) -> Option<Vec<String>> {
    let plain = |value: Option<&Value>, otherwise: &str| match value {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => otherwise.to_owned(),
    };
    let spec = |field: &str, otherwise: &str| plain(object.spec(field), otherwise);
    let status = |field: &str| plain(object.status(field), "0");
    let mut cells = vec![object.name().to_owned()];
    cells.extend(match object.resource() {
        Resource::Pods => pod_cells(object),
        Resource::Budgets => vec![
            spec("minAvailable", "N/A"),
            spec("maxUnavailable", "N/A"),
            status("disruptionsAllowed"),
            age(object),
        ],
        Resource::ReplicaSets => {
            vec![spec("replicas", "1"), status("replicas"), status("readyReplicas"), age(object)]
        }
        Resource::StatefulSets => {
            vec![format!("{}/{}", status("readyReplicas"), spec("replicas", "1")), age(object)]
        }
        Resource::DaemonSets => vec![
            status("desiredNumberScheduled"),
            status("currentNumberScheduled"),
            status("numberReady"),
            status("updatedNumberScheduled"),
            status("numberAvailable"),
            age(object),
        ],
        _ => return None,
    });
    Some(cells)
}

fn pod_cells(object: &Object) -> Vec<String> {
    let containers = object.spec("containers").and_then(Value::as_array).map_or(0, Vec::len);
    let statuses = object.status("containerStatuses").and_then(Value::as_array);
    let statuses = statuses.map(Vec::as_slice).unwrap_or_default();
    let ready = statuses.iter().filter(|status| status["ready"] == true).count();
    let restarts: i64 = statuses.iter().filter_map(|status| status["restartCount"].as_i64()).sum();
    let reason = object.status("reason").and_then(Value::as_str);
    let state = match pod::phase(object) {
        _ if object.is_terminating() => "Terminating",
        "Succeeded" => "Completed",
        phase => reason.unwrap_or(phase),
    };
    let ip = object.status("podIP").and_then(Value::as_str).unwrap_or("<none>");
    vec![
        format!("{ready}/{containers}"),
        state.to_owned(),
        restarts.to_string(),
        age(object),
        ip.to_owned(),
        pod::node(object).unwrap_or("<none>").to_owned(),
    ]
}
