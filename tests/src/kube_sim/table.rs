//! Tables: the form in which `kubectl get` asks for objects.

mod workload;

use std::sync::Arc;

use serde_json::{Value, json};

use super::{object::Object, resource::Resource};

/// What a row carries beside its cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Include {
    Nothing,
    Metadata,
    Object,
}

/// How objects are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rendering {
    /// As they are.
    Object,
    /// As rows of a `meta.k8s.io/v1` Table.
    Table(Include),
}

impl Rendering {
    /// Reads `Accept` and `includeObject`.
    pub(crate) fn of(accept: &str, include: Option<&str>) -> Self {
        let wants_table = accept.split(',').next().is_some_and(|first| {
            first.contains("application/json")
                && first.contains("as=Table")
                && first.contains("v=v1")
                && !first.contains("v=v1beta1")
        });
        if !wants_table {
            return Self::Object;
        }
        Self::Table(match include {
            Some("None") => Include::Nothing,
            Some("Object") => Include::Object,
            _ => Include::Metadata,
        })
    }
}

/// A column: name, format, priority (1 is for `-o wide`).
type Column = (&'static str, &'static str, u8);

const NODE_COLUMNS: &[Column] = &[
    ("Name", "name", 0),
    ("Status", "", 0),
    ("Roles", "", 0),
    ("Age", "", 0),
    ("Version", "", 0),
    ("Internal-IP", "", 1),
    ("External-IP", "", 1),
    ("OS-Image", "", 1),
    ("Kernel-Version", "", 1),
    ("Container-Runtime", "", 1),
];

const OTHER_COLUMNS: &[Column] = &[("Name", "name", 0), ("Age", "", 0)];

/// Makes a table of objects.
pub(crate) fn render(
    resource: Resource,
    objects: &[Arc<Object>],
    metadata: Value,
    include: Include,
    with_columns: bool,
) -> Value {
    let columns = match resource {
        Resource::Nodes => NODE_COLUMNS,
        other => workload::columns(other).unwrap_or(OTHER_COLUMNS),
    };
    let definitions: Vec<Value> = columns
        .iter()
        .filter(|_| with_columns)
        .map(|(name, format, priority)| {
            json!({
                "name": name,
                "type": "string",
                "format": format,
                "description": "",
                "priority": priority,
            })
        })
        .collect();
    let rows: Vec<Value> = objects.iter().map(|object| row(resource, object, include)).collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": definitions,
        "rows": rows,
    })
}

fn row(resource: Resource, object: &Object, include: Include) -> Value {
    let cells = match resource {
        Resource::Nodes => node_cells(object),
        _ => workload::cells(object).unwrap_or_else(|| vec![object.name().to_owned(), age(object)]),
    };
    match include {
        Include::Nothing => json!({ "cells": cells }),
        Include::Object => json!({ "cells": cells, "object": object.to_value() }),
        Include::Metadata => json!({
            "cells": cells,
            "object": {
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": object.metadata(),
            },
        }),
    }
}

fn node_cells(node: &Object) -> Vec<String> {
    const ROLE: &str = "node-role.kubernetes.io/";
    let status = node.section("status").unwrap_or(&Value::Null);
    let find = |list: &str, kind: &str, field: &str| -> Option<&str> {
        let items = status.get(list)?.as_array()?;
        let item = items.iter().find(|item| item.get("type").and_then(Value::as_str) == Some(kind));
        item?.get(field)?.as_str()
    };
    let mut state = match find("conditions", "Ready", "status") {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    let spec = node.section("spec").unwrap_or(&Value::Null);
    if spec.get("unschedulable") == Some(&Value::Bool(true)) {
        state.push_str(",SchedulingDisabled");
    }
    let labels = node.metadata().get("labels").and_then(Value::as_object);
    let roles: Vec<&str> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, _)| key.strip_prefix(ROLE))
        .filter(|role| !role.is_empty())
        .collect();
    let or = |text: Option<&str>, otherwise: &str| -> String {
        text.filter(|text| !text.is_empty()).unwrap_or(otherwise).to_owned()
    };
    let info = |field: &str| status.get("nodeInfo").and_then(|i| i.get(field)?.as_str());
    vec![
        node.name().to_owned(),
        state,
        or(Some(&roles.join(",")), "<none>"),
        age(node),
        or(info("kubeletVersion"), ""),
        or(find("addresses", "InternalIP", "address"), "<none>"),
        or(find("addresses", "ExternalIP", "address"), "<none>"),
        or(info("osImage"), "<unknown>"),
        or(info("kernelVersion"), "<unknown>"),
        or(info("containerRuntimeVersion"), "<unknown>"),
    ]
}

fn age(object: &Object) -> String {
    let created = object.metadata().get("creationTimestamp").and_then(Value::as_str);
    match created.and_then(|text| text.parse::<jiff::Timestamp>().ok()) {
        Some(created) => human(jiff::Timestamp::now().as_second() - created.as_second()),
        None => "<unknown>".to_owned(),
    }
}

/// A duration the way kubectl writes it: two units at most, fewer the longer it is.
fn human(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let pair = |big: i64, unit: char, small: i64, sub: char| {
        if small == 0 { format!("{big}{unit}") } else { format!("{big}{unit}{small}{sub}") }
    };
    match seconds {
        ..0 => "<invalid>".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => pair(minutes, 'm', seconds % 60, 's'),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => pair(hours, 'h', minutes % 60, 'm'),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => pair(days, 'd', hours % 24, 'h'),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => pair(days / 365, 'y', days % 365, 'd'),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::human;

    #[test]
    fn ages_read_as_in_kubectl() {
        let cases = [
            (5, "5s"),
            (119, "119s"),
            (120, "2m"),
            (185, "3m5s"),
            (700, "11m"),
            (10_860, "3h1m"),
            (90_000, "25h"),
            (180_000, "2d2h"),
            (864_000, "10d"),
        ];
        for (seconds, text) in cases {
            assert_eq!(human(seconds), text);
        }
    }
}
