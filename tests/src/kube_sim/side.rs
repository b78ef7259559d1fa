//! What happens to nodes without a client's doing: they join, they are changed by a second writer,
//! they go and come back.

pub(crate) mod pods;

use serde_json::{Map, Value};

use super::{
    deletion::DeleteOptions, handler::Shared, node_factory, patch::Patch, resource::Resource,
    route::ResourcePath, status::ApiError, store::Store, write, write_options::WriteOptions,
};

/// The field manager of changes from the side.
const SIDE_WRITER: &str = "side-writer";

fn path(name: Option<&str>) -> ResourcePath {
    ResourcePath {
        resource: Resource::Nodes,
        namespace: None,
        name: name.map(str::to_owned),
        subresource: None,
    }
}

/// Adds so many nodes, numbered on from those that there are, and returns their names.
pub(crate) fn make_nodes(store: &Store, count: usize) -> Result<Vec<String>, ApiError> {
    let mut names = Vec::with_capacity(count);
    let mut number = 1;
    while names.len() < count {
        let name = node_factory::name(number);
        if store.get(Resource::Nodes, &name).is_none() {
            write::seed(store, &path(None), node_factory::node(&name, number), "kubelet")?;
            names.push(name);
        }
        number += 1;
    }
    Ok(names)
}

/// Adds one node with a body of its own, ready at once.
pub(crate) fn add_node(store: &Store, body: Map<String, Value>) -> Result<Value, ApiError> {
    let change = write::seed(store, &path(None), body, "kubelet")?;
    Ok(change.after.map_or(Value::Null, |object| object.to_value()))
}

/// Changes a node with a merge patch; status may be changed too.
pub(crate) fn change_node(
    store: &Store,
    name: &str,
    patch: Map<String, Value>,
) -> Result<Value, ApiError> {
    let options = WriteOptions::by(SIDE_WRITER);
    let mut main = patch;
    let status = main.remove("status");
    let mut node = None;
    if !main.is_empty() {
        let written = write::patch(store, &path(Some(name)), &Patch::Merge(main), &options)?;
        node = written.change.after;
    }
    if let Some(status) = status {
        let mut path = path(Some(name));
        path.subresource = Some("status".to_owned());
        let patch = Patch::Merge([("status".to_owned(), status)].into_iter().collect());
        node = write::patch(store, &path, &patch, &options)?.change.after;
    }
    Ok(node.map_or(Value::Null, |node| node.to_value()))
}

/// Deletes a node.
pub(crate) fn delete_node(store: &Store, name: &str) -> Result<(), ApiError> {
    write::delete(store, &path(Some(name)), &DeleteOptions::default(), SIDE_WRITER).map(|_| ())
}

/// Deletes a node and adds it again as it was: the same but for UID, age and resource version.
pub(crate) fn recreate_node(store: &Store, name: &str) -> Result<Value, ApiError> {
    let old = store
        .get(Resource::Nodes, name)
        .ok_or_else(|| ApiError::not_found(Resource::Nodes, name))?;
    delete_node(store, name)?;
    let mut body = old.full_draft();
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("creationTimestamp");
    }
    add_node(store, body)
}

/// Breaks off every open watch and returns how many there were.
pub(crate) fn drop_watches(shared: &Shared) -> usize {
    let open = shared.drops.receiver_count();
    shared.drops.send_modify(|drops| *drops += 1);
    open
}
