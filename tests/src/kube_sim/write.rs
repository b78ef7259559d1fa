//! Create, update, patch and delete: from a decoded request to a change in the store.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    apply, clock,
    managed_fields::{self, Operation},
    object::{Draft, Object},
    patch::Patch,
    resource::Resource,
    route::ResourcePath,
    schema::TypeError,
    status::{ApiError, FieldError},
    store::{self, Change, Store},
    strategy,
    write_options::{FieldValidation, WriteOptions},
};

/// What a write has done.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) change: Change,
    /// For the `Warning` headers.
    pub(crate) warnings: Vec<String>,
    /// Whether the object is new.
    pub(crate) created: bool,
}

/// POST of a new object.
pub(crate) fn create(
    store: &Store,
    path: &ResourcePath,
    body: Map<String, Value>,
    options: &WriteOptions,
) -> Result<Written, ApiError> {
    create_with(store, path, body, options, Operation::Update)
}

/// Stores a new object as it is, past admission: for objects that the simulator itself makes.
pub(crate) fn seed(
    store: &Store,
    path: &ResourcePath,
    body: Map<String, Value>,
    manager: &str,
) -> Result<Change, ApiError> {
    let options = WriteOptions::by(manager);
    let (draft, _) = prepare_create(path, body, &options, Operation::Update)?;
    store.create(path.resource, draft, false)
}

fn create_with(
    store: &Store,
    path: &ResourcePath,
    body: Map<String, Value>,
    options: &WriteOptions,
    operation: Operation,
) -> Result<Written, ApiError> {
    let (mut draft, warnings) = prepare_create(path, body, options, operation)?;
    strategy::admit(path.resource, &mut draft);
    strategy::validate_create(path.resource, &draft)?;
    let change = store.create(path.resource, draft, options.dry_run)?;
    Ok(Written {
        change,
        warnings,
        created: true,
    })
}

fn prepare_create(
    path: &ResourcePath,
    mut body: Map<String, Value>,
    options: &WriteOptions,
    operation: Operation,
) -> Result<(Draft, Vec<String>), ApiError> {
    let resource = path.resource;
    check_type(resource, &mut body)?;
    let mut unknown = Vec::new();
    let decoded = resource
        .info()
        .schema
        .decode(Value::Object(body), "", &mut unknown);
    let mut draft = match decoded.map_err(|error| ApiError::bad_request(error.to_string()))? {
        Some(Value::Object(draft)) => draft,
        _ => Draft::new(),
    };
    if options.validation == FieldValidation::Strict && !unknown.is_empty() {
        return Err(ApiError::bad_request(strict_message(&unknown)));
    }
    let mut metadata = match draft.remove("metadata") {
        Some(Value::Object(metadata)) => metadata,
        _ => Map::new(),
    };
    if let Some(namespace) = &path.namespace {
        metadata.insert("namespace".to_owned(), namespace.as_str().into());
    }
    if metadata.get("name").is_none()
        && let Some(prefix) = metadata.get("generateName").and_then(Value::as_str)
    {
        let suffix = Uuid::new_v4().simple().to_string();
        let name = format!("{prefix}{}", &suffix[..5]);
        metadata.insert("name".to_owned(), name.into());
    }
    metadata.insert("uid".to_owned(), Uuid::new_v4().to_string().into());
    // A creation time may be given by the simulator's own objects, never by a client.
    if !options.keep_creation_time || metadata.get("creationTimestamp").is_none() {
        metadata.insert("creationTimestamp".to_owned(), clock::now().into());
    }
    for server_side in [
        "resourceVersion",
        "managedFields",
        "selfLink",
        "deletionTimestamp",
    ] {
        metadata.remove(server_side);
    }
    draft.insert("metadata".to_owned(), Value::Object(metadata));

    let manager = options.manager(operation, None);
    let mut owned = draft.clone();
    for section in strategy::unowned_on_create(resource) {
        owned.remove(*section);
    }
    let managers = match operation {
        Operation::Apply => apply::first_managers(resource, &owned, manager),
        Operation::Update => {
            let diff = managed_fields::changes(resource, None, &owned);
            let mut managers = Vec::new();
            managed_fields::record_update(&mut managers, resource, manager, &diff);
            managers
        }
    };
    if let Some(Value::Object(metadata)) = draft.get_mut("metadata") {
        managed_fields::write(metadata, managers);
    }
    Ok((draft, warnings(options, &unknown)))
}

/// PUT of a whole object.
pub(crate) fn replace(
    store: &Store,
    path: &ResourcePath,
    body: Map<String, Value>,
    options: &WriteOptions,
) -> Result<Written, ApiError> {
    let name = path.name.as_deref().unwrap_or_default();
    let key = store::key(path.namespace.as_deref(), name);
    let mut notes = Vec::new();
    let change = store.update(path.resource, &key, name, options.dry_run, |old| {
        let mut draft = body;
        // Whatever the new object does not have is gone.
        for section in old.full_draft().into_iter().map(|(section, _)| section) {
            draft.entry(section).or_insert(Value::Null);
        }
        // The server fills in what identifies the object if the client leaves it out.
        if let Some(metadata) = draft.get_mut("metadata").and_then(Value::as_object_mut) {
            for field in ["uid", "creationTimestamp"] {
                if let Some(value) = old.metadata().get(field) {
                    metadata.entry(field).or_insert(value.clone());
                }
            }
        }
        finish(path, old, draft, options, &mut notes)
    })?;
    Ok(Written {
        change,
        warnings: notes,
        created: false,
    })
}

/// PATCH in any of the four formats.
pub(crate) fn patch(
    store: &Store,
    path: &ResourcePath,
    patch: &Patch,
    options: &WriteOptions,
) -> Result<Written, ApiError> {
    let name = path.name.as_deref().unwrap_or_default();
    let key = store::key(path.namespace.as_deref(), name);
    if let Patch::Apply(config) = patch
        && store.get(path.resource, &key).is_none()
    {
        return create_with(store, path, config.clone(), options, Operation::Apply);
    }
    let mut notes = Vec::new();
    let change = store.update(
        path.resource,
        &key,
        name,
        options.dry_run,
        |old| match patch {
            Patch::Apply(config) => finish_apply(path, old, config.clone(), options, &mut notes),
            patch => finish(path, old, patch.apply_to(old)?, options, &mut notes),
        },
    )?;
    Ok(Written {
        change,
        warnings: notes,
        created: false,
    })
}

/// DELETE of one object.
pub(crate) fn delete(
    store: &Store,
    path: &ResourcePath,
    body: &Map<String, Value>,
    dry_run: bool,
) -> Result<Change, ApiError> {
    let name = path.name.as_deref().unwrap_or_default();
    let key = store::key(path.namespace.as_deref(), name);
    let wanted = |field: &str| body.get("preconditions")?.get(field)?.as_str();
    store.delete(path.resource, &key, name, dry_run, |object| {
        if let Some(uid) = wanted("uid")
            && uid != object.uid()
        {
            let why = format!(
                "the UID in the precondition ({uid}) does not match the UID in record ({}). The \
                 object might have been deleted and then recreated",
                object.uid()
            );
            return Err(ApiError::conflict(path.resource, name, &why));
        }
        if let Some(revision) = wanted("resourceVersion")
            && revision != object.revision().to_string()
        {
            let why = format!(
                "the ResourceVersion in the precondition ({revision}) does not match the \
                 ResourceVersion in record ({}). The object might have been modified",
                object.revision()
            );
            return Err(ApiError::conflict(path.resource, name, &why));
        }
        Ok(())
    })
}

/// Takes a changed draft through decoding, preconditions, validation and field ownership.
fn finish(
    path: &ResourcePath,
    old: &Object,
    mut draft: Draft,
    options: &WriteOptions,
    notes: &mut Vec<String>,
) -> Result<Option<Draft>, ApiError> {
    let resource = path.resource;
    check_type(resource, &mut draft)?;
    let patched = || {
        let mut whole = old.full_draft();
        whole.extend(draft.clone());
        Value::Object(with_type(resource, whole)).to_string()
    };
    let (mut decoded, unknown) = match decode(resource, draft.clone()) {
        Ok(decoded) => decoded,
        Err(error) => return Err(undecodable(&patched(), &error.to_string())),
    };
    if options.validation == FieldValidation::Strict && !unknown.is_empty() {
        return Err(undecodable(&patched(), &strict_message(&unknown)));
    }
    *notes = warnings(options, &unknown);
    // A section that is left with nothing is removed, unless the kind always has it.
    for section in draft.keys() {
        decoded.entry(section.clone()).or_insert(Value::Null);
    }
    check_identity(path, old, &mut decoded)?;
    strategy::restrict_update(resource, path.subresource.as_deref(), &mut decoded);
    strategy::validate_update(resource, old, &decoded)?;

    decoded.retain(|section, value| old.section(section).unwrap_or(&Value::Null) != value);
    if decoded.is_empty() {
        return Ok(None);
    }
    let diff = managed_fields::changes(resource, Some(old), &decoded);
    let mut managers = managed_fields::read(old);
    let manager = options.manager(Operation::Update, path.subresource.as_deref());
    managed_fields::record_update(&mut managers, resource, manager, &diff);
    let mut metadata = match decoded.remove("metadata") {
        Some(Value::Object(metadata)) => metadata,
        _ => old.metadata().as_object().cloned().unwrap_or_default(),
    };
    managed_fields::write(&mut metadata, managers);
    decoded.insert("metadata".to_owned(), Value::Object(metadata));
    Ok(Some(decoded))
}

fn finish_apply(
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
    strategy::restrict_update(resource, path.subresource.as_deref(), &mut config);
    let manager = options.manager(Operation::Apply, path.subresource.as_deref());
    let applied = apply::apply(old, &config, manager, options.force)?;
    let (mut draft, _) = decode(resource, applied.draft)
        .map_err(|error| ApiError::bad_request(error.to_string()))?;
    strategy::validate_update(resource, old, &draft)?;
    draft.retain(|section, value| old.section(section).unwrap_or(&Value::Null) != value);
    if draft.is_empty() && managed_fields::same(&applied.managers, &managed_fields::read(old)) {
        return Ok(None);
    }
    let mut metadata = match draft.remove("metadata") {
        Some(Value::Object(metadata)) => metadata,
        _ => old.metadata().as_object().cloned().unwrap_or_default(),
    };
    managed_fields::write(&mut metadata, applied.managers);
    draft.insert("metadata".to_owned(), Value::Object(metadata));
    Ok(Some(draft))
}

/// Takes `kind` and `apiVersion` off after a look at them.
fn check_type(resource: Resource, draft: &mut Draft) -> Result<(), ApiError> {
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

fn with_type(resource: Resource, mut draft: Draft) -> Draft {
    draft.insert("kind".to_owned(), resource.info().kind.into());
    draft.insert("apiVersion".to_owned(), resource.info().api_version.into());
    draft
}

/// Checks name and resource version and puts back what only the server sets.
fn check_identity(path: &ResourcePath, old: &Object, draft: &mut Draft) -> Result<(), ApiError> {
    let resource = path.resource;
    let Some(metadata) = draft.get_mut("metadata").and_then(Value::as_object_mut) else {
        return Ok(());
    };
    let text = |metadata: &Map<String, Value>, field: &str| {
        metadata
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
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
        "generation",
        "managedFields",
    ];
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

/// Decodes the sections that are there, without filling in the others.
fn decode(resource: Resource, draft: Draft) -> Result<(Draft, Vec<String>), TypeError> {
    let schema = resource.info().schema;
    let mut unknown = Vec::new();
    let mut decoded = Draft::new();
    for (section, value) in draft {
        match schema.member(&section) {
            Some(schema) => {
                if let Some(value) = schema.decode(value, &section, &mut unknown)? {
                    decoded.insert(section, value);
                }
            }
            None => unknown.push(section),
        }
    }
    Ok((decoded, unknown))
}

fn undecodable(object: &str, error: &str) -> ApiError {
    ApiError::invalid("", "", "", &[FieldError::invalid("patch", object, error)])
}

fn strict_message(unknown: &[String]) -> String {
    let fields: Vec<String> = unknown.iter().map(|field| unknown_field(field)).collect();
    format!("strict decoding error: {}", fields.join(", "))
}

fn unknown_field(field: &str) -> String {
    format!("unknown field {}", json!(field))
}

fn warnings(options: &WriteOptions, unknown: &[String]) -> Vec<String> {
    match options.validation {
        FieldValidation::Warn => unknown.iter().map(|field| unknown_field(field)).collect(),
        FieldValidation::Ignore | FieldValidation::Strict => Vec::new(),
    }
}
