//! Create, update, patch and delete: from a decoded request to a change in the store.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    apply, clock, defaults,
    deletion::{self, DeleteOptions, Deletion},
    managed_fields::{self, Operation},
    object::Draft,
    patch::Patch,
    resource::Resource,
    route::ResourcePath,
    status::ApiError,
    store::{self, Cause, Change, Store},
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
    store.create(path.resource, draft(path, body, manager)?, false)
}

/// A new object of the simulator's own, ready to be stored.
pub(crate) fn draft(
    path: &ResourcePath,
    body: Map<String, Value>,
    manager: &str,
) -> Result<Draft, ApiError> {
    let options = WriteOptions::by(manager);
    let (mut draft, _) = prepare_create(path, body, &options, Operation::Update)?;
    // Nodes come as they are; the rest takes what admission gives, unless it says otherwise.
    if path.resource != Resource::Nodes {
        let status = draft.remove("status");
        strategy::admit(path.resource, &mut draft);
        strategy::reset_new(path.resource, &mut draft);
        if let (Some(Value::Object(given)), Some(own)) = (status, draft.get_mut("status"))
            && let Some(own) = own.as_object_mut()
        {
            own.extend(given);
        }
    }
    Ok(draft)
}

fn create_with(
    store: &Store,
    path: &ResourcePath,
    body: Map<String, Value>,
    options: &WriteOptions,
    operation: Operation,
) -> Result<Written, ApiError> {
    if path.resource.info().namespaced {
        let namespace = path.namespace.as_deref().ok_or_else(ApiError::method_not_allowed)?;
        if store.get(Resource::Namespaces, namespace).is_none() {
            return Err(ApiError::not_found(Resource::Namespaces, namespace));
        }
    }
    let (mut draft, warnings) = prepare_create(path, body, options, operation)?;
    strategy::admit(path.resource, &mut draft);
    strategy::reset_new(path.resource, &mut draft);
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
    defaults::apply(resource, &mut draft);
    let mut metadata = match draft.remove("metadata") {
        Some(Value::Object(metadata)) => metadata,
        _ => Map::new(),
    };
    if let Some(namespace) = &path.namespace {
        if metadata.get("namespace").is_some_and(|given| given != namespace.as_str()) {
            return Err(ApiError::bad_request(
                "the namespace of the provided object does not match the namespace sent on the \
                 request",
            ));
        }
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
    let server_side = [
        "resourceVersion",
        "managedFields",
        "selfLink",
        "generation",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ];
    for field in server_side {
        metadata.remove(field);
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
    finish_deletion(store, path, &change);
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
    finish_deletion(store, path, &change);
    Ok(Written { change, warnings: notes, created: false })
}

/// DELETE of one object; `user` is who does it.
pub(crate) fn delete(
    store: &Store,
    path: &ResourcePath,
    options: &DeleteOptions,
    user: &str,
) -> Result<Deletion, ApiError> {
    let name = path.name.as_deref().unwrap_or_default();
    let key = store::key(path.namespace.as_deref(), name);
    let what = format!("a deletion of {key} by {user}");
    store.transact(Cause::Disruption(&what), |transaction| {
        let object = transaction.find(path.resource, &key, name)?;
        deletion::delete(transaction, &object, options)
    })
}

/// Takes a pod away that waited for its last finalizer to go.
fn finish_deletion(store: &Store, path: &ResourcePath, change: &Change) {
    if let Some(object) = change.after.as_ref().filter(|_| change.effective)
        && object.is_terminating()
    {
        store.transact(Cause::Other, |transaction| {
            if let Some(object) = transaction.get(path.resource, &object.key()) {
                deletion::finish(transaction, &object);
            }
        });
    }
}
