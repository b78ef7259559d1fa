//! What the API server does to objects of a kind before it stores them: admission, fields that a
//! writer may not touch, validation.

mod pod;

use serde_json::{Map, Value, json};

use super::{
    object::{Draft, Object},
    resource::Resource,
    status::{ApiError, FieldError},
    syntax,
};

/// The taint that admission puts on every new node until it is known to be ready.
const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// Annotations may not be larger than this in total.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

/// Admission of a new object, after its fields have been attributed to their manager.
pub(crate) fn admit(resource: Resource, draft: &mut Draft) {
    match resource {
        Resource::Nodes => not_ready_yet(draft),
        Resource::Pods => pod::admit(draft),
        _ => {}
    }
}

fn not_ready_yet(draft: &mut Draft) {
    let spec = draft.entry("spec").or_insert_with(|| json!({}));
    let Some(spec) = spec.as_object_mut() else {
        return;
    };
    let taints = spec.entry("taints").or_insert_with(|| json!([]));
    if let Some(taints) = taints.as_array_mut() {
        let present = taints.iter().any(|taint| taint.get("key") == Some(&json!(NOT_READY)));
        if !present {
            taints.push(json!({ "key": NOT_READY, "effect": "NoSchedule" }));
        }
    }
}

/// Sets what a client cannot choose for a new object: a status of its own least of all.
pub(crate) fn reset_new(resource: Resource, draft: &mut Draft) {
    let info = resource.info();
    if info.generation
        && let Some(metadata) = draft.get_mut("metadata").and_then(Value::as_object_mut)
    {
        metadata.insert("generation".to_owned(), 1.into());
    }
    let status = match resource {
        // A node may bring its status along.
        Resource::Nodes => return,
        Resource::Pods => pod::new_status(draft),
        Resource::Namespaces => json!({ "phase": "Active" }),
        _ if info.status => {
            let empty = info.schema.member("status");
            let empty = empty.map(|status| status.decode(json!({}), "", &mut Vec::new()));
            empty.and_then(Result::ok).flatten().unwrap_or_else(|| json!({}))
        }
        _ => return,
    };
    draft.insert("status".to_owned(), status);
}

/// The sections that a creation does not attribute to its manager.
pub(crate) fn unowned_on_create(resource: Resource) -> &'static [&'static str] {
    if resource.info().status { &["status"] } else { &[] }
}

/// Removes the sections that a write through this path may not change.
pub(crate) fn restrict_update(
    resource: Resource,
    subresource: Option<&str>,
    old: &Object,
    draft: &mut Draft,
) {
    match subresource {
        None if resource.info().status => {
            draft.remove("status");
        }
        Some("status") => {
            draft.retain(|section, _| section == "status" || section == "metadata");
            if resource == Resource::Pods {
                pod::keep_class(old, draft);
            }
        }
        _ => {}
    }
}

/// Validates a new object.
pub(crate) fn validate_create(resource: Resource, draft: &Draft) -> Result<(), ApiError> {
    let metadata = draft.get("metadata").unwrap_or(&Value::Null);
    let name = metadata.get("name").and_then(Value::as_str).unwrap_or_default();
    let mut errors = Vec::new();
    if name.is_empty() {
        errors.push(FieldError::required("metadata.name", "name or generateName is required"));
    } else {
        for error in syntax::subdomain(name) {
            errors.push(FieldError::invalid("metadata.name", name, &error));
        }
    }
    errors.extend(metadata_errors(metadata));
    errors.extend(taint_errors(resource, draft));
    errors.extend(spec_errors(resource, draft));
    refuse(resource, name, &errors)
}

/// Validates a change of an object. `draft` has the touched sections only.
pub(crate) fn validate_update(
    resource: Resource,
    old: &Object,
    draft: &Draft,
) -> Result<(), ApiError> {
    let mut errors = Vec::new();
    if let Some(metadata) = draft.get("metadata") {
        let once = metadata_errors(metadata);
        // The server runs these checks in several layers and reports each finding of each layer:
        // four times for metadata, twice for taints.
        for _ in 0..4 {
            errors.extend(once.iter().cloned());
        }
        let uid = metadata.get("uid").and_then(Value::as_str).unwrap_or_default();
        if uid != old.uid() {
            errors.push(FieldError::invalid("metadata.uid", uid, "field is immutable"));
        }
    }
    let taints = taint_errors(resource, draft);
    errors.extend(taints.iter().cloned());
    errors.extend(taints);
    errors.extend(spec_errors(resource, draft));
    if resource == Resource::Pods
        && let Some(error) = pod::frozen_error(old, draft)
    {
        errors.push(error);
    }
    if resource == Resource::Nodes
        && let Some(spec) = draft.get("spec")
        && frozen(spec) != frozen(old.section("spec").unwrap_or(&Value::Null))
    {
        errors.push(FieldError::forbidden(
            "spec",
            "node updates may only change labels, taints, or capacity (or configSource, if the \
             DynamicKubeletConfig feature gate is enabled)",
        ));
    }
    refuse(resource, old.name(), &errors)
}

fn spec_errors(resource: Resource, draft: &Draft) -> Vec<FieldError> {
    match (resource, draft.get("spec")) {
        (Resource::Pods, Some(spec)) => pod::spec_errors(spec),
        (Resource::Budgets, Some(spec))
            if spec.get("minAvailable").is_some() && spec.get("maxUnavailable").is_some() =>
        {
            let detail = "minAvailable and maxUnavailable cannot be both set";
            vec![FieldError::invalid("spec", &spec.to_string(), detail)]
        }
        _ => Vec::new(),
    }
}

fn refuse(resource: Resource, name: &str, errors: &[FieldError]) -> Result<(), ApiError> {
    if errors.is_empty() {
        return Ok(());
    }
    let info = resource.info();
    Err(ApiError::invalid(info.group, info.kind, name, errors))
}

/// The part of a node's spec that stays as it is: a pod network or a provider may be added once.
fn frozen(spec: &Value) -> Map<String, Value> {
    let mut spec = spec.as_object().cloned().unwrap_or_default();
    for free in ["taints", "unschedulable", "podCIDR", "podCIDRs", "providerID"] {
        spec.remove(free);
    }
    spec
}

fn metadata_errors(metadata: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let members =
        |field: &str| metadata.get(field).and_then(Value::as_object).into_iter().flatten();
    for (key, value) in members("labels") {
        for error in syntax::label_key(key) {
            errors.push(FieldError::invalid("metadata.labels", key, &error));
        }
        let value = value.as_str().unwrap_or_default();
        for error in syntax::label_value(value) {
            errors.push(FieldError::invalid("metadata.labels", value, &error));
        }
    }
    let mut size = 0;
    for (key, value) in members("annotations") {
        // Annotation keys are compared without case, label keys are not.
        for error in syntax::label_key(&key.to_lowercase()) {
            errors.push(FieldError::invalid("metadata.annotations", key, &error));
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > ANNOTATIONS_LIMIT {
        errors.push(FieldError::too_long("metadata.annotations", ANNOTATIONS_LIMIT));
    }
    errors
}

/// The field path says `metadata.taints`, as the server's does.
fn taint_errors(resource: Resource, draft: &Draft) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if resource != Resource::Nodes {
        return errors;
    }
    let taints = draft.get("spec").and_then(|spec| spec.get("taints")).and_then(Value::as_array);
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (index, taint) in taints.into_iter().flatten().enumerate() {
        let text = |field: &str| taint.get(field).and_then(Value::as_str).unwrap_or_default();
        let (key, value, effect) = (text("key"), text("value"), text("effect"));
        let path = format!("metadata.taints[{index}]");
        for error in syntax::label_key(key) {
            errors.push(FieldError::invalid(format!("{path}.key"), key, &error));
        }
        let wrong = syntax::label_value(value);
        if !wrong.is_empty() {
            errors.push(FieldError::invalid(format!("{path}.value"), value, &wrong.join(";")));
        }
        match effect {
            "NoSchedule" | "PreferNoSchedule" | "NoExecute" => {}
            "" => errors.push(FieldError::required(format!("{path}.effect"), "")),
            other => errors.push(FieldError::unsupported(
                format!("{path}.effect"),
                &super::status::quote(other),
                "\"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
            )),
        }
        if seen.contains(&(key, effect)) {
            let added = taint.get("timeAdded").unwrap_or(&Value::Null);
            // The server prints its internal structure, in the order of its fields.
            let printed = format!(
                "{{\"Key\":{},\"Value\":{},\"Effect\":{},\"TimeAdded\":{added}}}",
                json!(key),
                json!(value),
                json!(effect)
            );
            errors.push(FieldError::duplicate(
                path,
                &printed,
                "taints must be unique by key and effect pair",
            ));
        }
        seen.push((key, effect));
    }
    errors
}
