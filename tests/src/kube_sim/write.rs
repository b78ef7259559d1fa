//! Create, update, patch and delete: from a decoded request to a change in the store.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    apply, clock,
    managed_fields::{self, Operation},
    object::Draft,
    patch::Patch,
    route::ResourcePath,
    status::ApiError,
    store::{self, Change, Store},
    strategy, update,
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
    Ok(Written { change, warnings, created: true })
}

fn prepare_create(
    path: &ResourcePath,
    mut body: Map<String, Value>,
    options: &WriteOptions,
    operation: Operation,
) -> Result<(Draft, Vec<String>), ApiError> {
    let resource = path.resource;
    update::check_type(resource, &mut body)?;
    let mut unknown = Vec::new();
    let decoded = resource.info().schema.decode(Value::Object(body), "", &mut unknown);
    let mut draft = match decoded.map_err(|error| ApiError::bad_request(error.to_string()))? {
        Some(Value::Object(draft)) => draft,
        _ => Draft::new(),
    };
    if options.validation == FieldValidation::Strict && !unknown.is_empty() {
        return Err(ApiError::bad_request(update::strict_message(&unknown)));
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
    for server_side in ["resourceVersion", "managedFields", "selfLink", "deletionTimestamp"] {
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
    Ok((draft, update::warnings(options, &unknown)))
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
        update::finish(path, old, &|| Ok(draft.clone()), options, &mut notes)
    })?;
    Ok(Written { change, warnings: notes, created: false })
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
    let change = store.update(path.resource, &key, name, options.dry_run, |old| match patch {
        Patch::Apply(config) => {
            update::finish_apply(path, old, config.clone(), options, &mut notes)
        }
        patch => update::finish(path, old, &|| patch.apply_to(old), options, &mut notes),
    })?;
    Ok(Written { change, warnings: notes, created: false })
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
