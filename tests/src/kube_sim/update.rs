//! The middle of every change of an object: from a patched draft to sections that may be stored.

use serde_json::{Map, Value, json};

use super::{
    apply, defaults,
    managed_fields::{self, Entry, Manager, Operation},
    object::{Draft, Object},
    resource::Resource,
    route::ResourcePath,
    schema::TypeError,
    status::{ApiError, FieldError},
    strategy,
    write_options::{FieldValidation, WriteOptions},
};

/// Takes a changed draft through decoding, preconditions, validation and field ownership. What
/// comes back replaces sections of the object; nothing if the change is none.
///
/// `make` makes the draft; it is asked a second time where an error has to quote the result.
pub(crate) fn finish(
    path: &ResourcePath,
    old: &Object,
    make: &dyn Fn() -> Result<Draft, ApiError>,
    options: &WriteOptions,
    notes: &mut Vec<String>,
) -> Result<Option<Draft>, ApiError> {
    let resource = path.resource;
    let mut draft = make()?;
    check_type(resource, &mut draft)?;
    let (mut decoded, unknown) = match decode(resource, draft) {
        Ok(decoded) => decoded,
        Err(error) => return Err(undecodable(old, make()?, &error.to_string())),
    };
    if options.validation == FieldValidation::Strict && !unknown.is_empty() {
        return Err(undecodable(old, make()?, &strict_message(&unknown)));
    }
    *notes = warnings(options, &unknown);
    check_identity(path, old, &mut decoded)?;
    strategy::restrict_update(resource, path.subresource.as_deref(), old, &mut decoded);
    strategy::validate_update(resource, old, &decoded)?;

    decoded.retain(|section, value| !unchanged(old, section, value));
    if decoded.is_empty() {
        return Ok(None);
    }
    let diff = managed_fields::changes(resource, Some(old), &decoded);
    let mut managers = managed_fields::read(old);
    let manager = options.manager(Operation::Update, path.subresource.as_deref());
    managed_fields::record_update(&mut managers, resource, manager, &diff);
    Ok(Some(with_managers(old, decoded, managers)))
}

/// The same for server-side apply.
pub(crate) fn finish_apply(
    path: &ResourcePath,
    old: &Object,
    mut config: Draft,
    options: &WriteOptions,
    notes: &mut Vec<String>,
) -> Result<Option<Draft>, ApiError> {
    let resource = path.resource;
    check_type(resource, &mut config)?;
    // A dry decode: it finds what does not belong, but its defaults are not the manager's wish.
    let (_, unknown) = decode(resource, config.clone())
        .map_err(|error| ApiError::bad_request(error.to_string()))?;
    if !unknown.is_empty() {
        return Err(ApiError::bad_request(strict_message(&unknown)));
    }
    notes.clear();
    check_identity(path, old, &mut {
        let mut identity = config.clone();
        if let Some(metadata) = identity.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.entry("uid").or_insert(old.uid().into());
        }
        identity
    })?;
    if let Some(metadata) = config.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("resourceVersion");
    }
    strategy::restrict_update(resource, path.subresource.as_deref(), old, &mut config);
    let manager = options.manager(Operation::Apply, path.subresource.as_deref());
    let applied = apply::apply(old, &config, manager, options.force)?;
    let (mut draft, _) = decode(resource, applied.draft)
        .map_err(|error| ApiError::bad_request(error.to_string()))?;
    strategy::validate_update(resource, old, &draft)?;
    if let Some(metadata) = draft.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    draft.retain(|section, value| !unchanged(old, section, value));
    if draft.is_empty() && managed_fields::same(&applied.managers, &managed_fields::read(old)) {
        return Ok(None);
    }
    Ok(Some(with_managers(old, draft, applied.managers)))
}

/// Whether a section says what the object says. The list of managers is made last and does not count.
fn unchanged(old: &Object, section: &str, value: &Value) -> bool {
    let before = old.section(section);
    match (section, before.and_then(Value::as_object), value.as_object()) {
        ("metadata", Some(before), Some(after)) => {
            let managed = usize::from(before.contains_key("managedFields"));
            before.len() - managed == after.len()
                && after.iter().all(|(field, value)| before.get(field) == Some(value))
        }
        _ => before.unwrap_or(&Value::Null) == value,
    }
}

/// A change by a component of the cluster, attributed to it; past decoding and validation.
pub(crate) fn attribute(
    old: &Object,
    mut draft: Draft,
    manager: &str,
    subresource: Option<&str>,
) -> Option<Draft> {
    draft.retain(|section, value| !unchanged(old, section, value));
    if draft.is_empty() {
        return None;
    }
    let manager = Manager { name: manager, operation: Operation::Update, subresource };
    let diff = managed_fields::changes(old.resource(), Some(old), &draft);
    let mut managers = managed_fields::read(old);
    managed_fields::record_update(&mut managers, old.resource(), manager, &diff);
    Some(with_managers(old, draft, managers))
}

/// Puts the list of managers into the metadata of a change, and counts changes of the specification.
fn with_managers(old: &Object, mut draft: Draft, managers: Vec<Entry>) -> Draft {
    let mut metadata = match draft.remove("metadata") {
        Some(Value::Object(metadata)) => metadata,
        _ => old.metadata().as_object().cloned().unwrap_or_default(),
    };
    managed_fields::write(&mut metadata, managers);
    if draft.contains_key("spec") && old.resource().info().generation {
        metadata.insert("generation".to_owned(), (old.generation() + 1).into());
    }
    draft.insert("metadata".to_owned(), Value::Object(metadata));
    draft
}

/// Takes `kind` and `apiVersion` off after a look at them.
pub(crate) fn check_type(resource: Resource, draft: &mut Draft) -> Result<(), ApiError> {
    let info = resource.info();
    for (field, expected) in [("apiVersion", info.api_version), ("kind", info.kind)] {
        if let Some(Value::String(given)) = draft.remove(field)
            && given != expected
            && !given.is_empty()
        {
            return Err(ApiError::bad_request(if field == "kind" {
                format!(
                    "{given} in version \"{}\" cannot be handled as a {expected}: no kind \
                     \"{given}\" is registered for it",
                    info.version
                )
            } else {
                format!(
                    "the API version in the data ({given}) does not match the expected API \
                     version ({expected})"
                )
            }));
        }
    }
    Ok(())
}

/// Checks name and resource version and puts back what only the server sets.
fn check_identity(path: &ResourcePath, old: &Object, draft: &mut Draft) -> Result<(), ApiError> {
    let resource = path.resource;
    let Some(metadata) = draft.get_mut("metadata").and_then(Value::as_object_mut) else {
        return Ok(());
    };
    let text = |metadata: &Map<String, Value>, field: &str| {
        metadata.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let name = text(metadata, "name");
    if name != old.name() && !name.is_empty() {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            old.name()
        )));
    }
    let revision = text(metadata, "resourceVersion");
    if !revision.is_empty() && revision != "0" && revision != old.revision().to_string() {
        return Err(ApiError::modified(resource, old.name()));
    }
    if text(metadata, "uid").is_empty() {
        metadata.remove("uid");
    }
    let server_side = [
        "name",
        "namespace",
        "resourceVersion",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
    ];
    metadata.remove("managedFields");
    for field in server_side {
        match old.metadata().get(field) {
            Some(value) => metadata.insert(field.to_owned(), value.clone()),
            None => metadata.remove(field),
        };
    }
    if let Some(uid) = old.metadata().get("uid") {
        metadata.entry("uid").or_insert(uid.clone());
    }
    Ok(())
}

/// Decodes the sections that are there, without filling in the others. One that is left with nothing
/// stays as null and is removed from the object.
fn decode(resource: Resource, draft: Draft) -> Result<(Draft, Vec<String>), TypeError> {
    let schema = resource.info().schema;
    let mut unknown = Vec::new();
    let mut decoded = Draft::new();
    for (section, value) in draft {
        match schema.member(&section) {
            Some(schema) => {
                let value = schema.decode(value, &section, &mut unknown)?;
                decoded.insert(section, value.unwrap_or(Value::Null));
            }
            None => unknown.push(section),
        }
    }
    defaults::apply(resource, &mut decoded);
    Ok((decoded, unknown))
}

/// Quotes the whole object as the change would have left it.
fn undecodable(old: &Object, change: Draft, error: &str) -> ApiError {
    let mut whole = old.to_value();
    if let Some(whole) = whole.as_object_mut() {
        whole.extend(change);
    }
    if let Some(managers) = old.metadata().get("managedFields") {
        whole["metadata"]["managedFields"] = managers.clone();
    }
    let error = FieldError::invalid("patch", &whole.to_string(), error);
    ApiError::invalid("", "", "", &[error])
}

/// What `fieldValidation=Strict` says of unknown fields.
pub(crate) fn strict_message(unknown: &[String]) -> String {
    let fields: Vec<String> = unknown.iter().map(|field| unknown_field(field)).collect();
    format!("strict decoding error: {}", fields.join(", "))
}

fn unknown_field(field: &str) -> String {
    format!("unknown field {}", json!(field))
}

/// What `fieldValidation=Warn` says of them.
pub(crate) fn warnings(options: &WriteOptions, unknown: &[String]) -> Vec<String> {
    match options.validation {
        FieldValidation::Warn => unknown.iter().map(|field| unknown_field(field)).collect(),
        FieldValidation::Ignore | FieldValidation::Strict => Vec::new(),
    }
}
