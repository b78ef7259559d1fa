//! Pods, workloads and budgets that are there without a client's doing.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::kube_sim::{
    cluster::{
        offspring::{self, Birth},
        scheduler::{self, Wish},
    },
    object::Object,
    pod,
    resource::Resource,
    route::ResourcePath,
    sim_pod::SimPod,
    status::ApiError,
    store::{Cause, Store, Transaction},
    update,
    workload::{Allow, IDLE, Workload, WorkloadKind},
    write,
};

use super::SIDE_WRITER;

/// The namespaces that every cluster has.
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// Makes the namespaces that every cluster has.
pub(crate) fn make_namespaces(store: &Store) -> Result<(), ApiError> {
    store.transact(Cause::Other, |transaction| {
        NAMESPACES.iter().try_for_each(|name| ensure_namespace(transaction, name))
    })
}

fn ensure_namespace(transaction: &mut Transaction<'_>, name: &str) -> Result<(), ApiError> {
    if transaction.get(Resource::Namespaces, name).is_some() {
        return Ok(());
    }
    let path = ResourcePath {
        resource: Resource::Namespaces,
        namespace: None,
        name: None,
        subresource: None,
    };
    let labels = json!({ "kubernetes.io/metadata.name": name });
    let body = Map::from_iter([
        ("metadata".to_owned(), json!({ "name": name, "labels": labels })),
        ("spec".to_owned(), json!({ "finalizers": ["kubernetes"] })),
    ]);
    let draft = write::draft(&path, body, SIDE_WRITER)?;
    transaction.create(Resource::Namespaces, draft).map(|_| ())
}

/// Adds a pod; returns it as stored.
pub(crate) fn add_pod(store: &Store, pod: &SimPod) -> Result<Value, ApiError> {
    let (namespace, _) = pod.place();
    store.transact(Cause::Other, |transaction| {
        ensure_namespace(transaction, namespace)?;
        let owner = match pod.owned_by() {
            Some((kind, name)) => Some(ensure_owner(transaction, namespace, kind, name)?),
            None => None,
        };
        let path = ResourcePath::collection(Resource::Pods, namespace);
        let draft = write::draft(&path, pod.body(owner.as_deref()), SIDE_WRITER)?;
        transaction.create(Resource::Pods, draft).map(|object| object.to_value())
    })
}

/// The UID of the owner of a pod that stands alone. One that is made here does nothing but count.
fn ensure_owner(
    transaction: &mut Transaction<'_>,
    namespace: &str,
    kind: &str,
    name: &str,
) -> Result<String, ApiError> {
    let Some(resource) = Resource::of_kind(kind) else {
        return Ok(Uuid::new_v4().to_string());
    };
    if let Some(owner) = transaction.get(resource, &format!("{namespace}/{name}")) {
        if owner.annotation(IDLE).is_some() && owner.spec("replicas").is_some() {
            let mut spec = owner.section("spec").cloned().unwrap_or_default();
            spec["replicas"] = (offspring::replicas(&owner) + 1).into();
            let draft = Map::from_iter([("spec".to_owned(), spec)]);
            if let Some(draft) = update::attribute(&owner, draft, SIDE_WRITER, None) {
                transaction.update(&owner, draft);
            }
        }
        return Ok(owner.uid().to_owned());
    }
    let template = Workload { name: name.to_owned(), ..Workload::default() };
    let mut body = template.body();
    body["metadata"]["annotations"] = json!({ IDLE: "true" });
    if matches!(resource, Resource::DaemonSets | Resource::Jobs)
        && let Some(spec) = body["spec"].as_object_mut()
    {
        spec.remove("replicas");
    }
    let path = ResourcePath::collection(resource, namespace);
    let draft = write::draft(&path, body, SIDE_WRITER)?;
    transaction.create(resource, draft).map(|owner| owner.uid().to_owned())
}

/// Adds a workload and its first pods, which run already: on the given nodes in turn, or spread over
/// those that take pods. Returns their names.
pub(crate) fn add_workload(
    store: &Store,
    workload: &Workload,
    nodes: Option<&[String]>,
    seed: u64,
) -> Result<Vec<String>, ApiError> {
    let resource = workload.kind.resource();
    store.transact(Cause::Other, |transaction| {
        ensure_namespace(transaction, &workload.namespace)?;
        let path = ResourcePath::collection(resource, &workload.namespace);
        let draft = write::draft(&path, workload.body(), SIDE_WRITER)?;
        let owner = transaction.create(resource, draft)?;
        let places = places(transaction, workload, &owner, nodes);
        let mut names = Vec::with_capacity(places.len());
        let mut last = String::new();
        for (index, place) in places.into_iter().enumerate() {
            let name = match workload.kind {
                WorkloadKind::StatefulSet => format!("{}-{index}", workload.name),
                _ => offspring::name(transaction, &owner, seed),
            };
            let place = place.or_else(|| {
                let spec = &owner.spec("template")?["spec"];
                let wish = Wish { spec, owner: Some(owner.uid()), avoid: None };
                scheduler::pick(transaction, wish, &last)
            });
            let birth = place.as_deref().map_or(Birth::Anywhere, Birth::RunningOn);
            let pod = offspring::make(transaction, &owner, &name, birth)?;
            pod::node(&pod).unwrap_or_default().clone_into(&mut last);
            names.push(name);
        }
        Ok(names)
    })
}

/// One entry a pod: its node, or nothing if any will do.
fn places(
    transaction: &Transaction<'_>,
    workload: &Workload,
    owner: &Arc<Object>,
    nodes: Option<&[String]>,
) -> Vec<Option<String>> {
    let replicas = offspring::replicas(owner);
    match (workload.kind, nodes) {
        (WorkloadKind::DaemonSet, _) => {
            transaction.list(Resource::Nodes).map(|node| Some(node.name().to_owned())).collect()
        }
        (_, Some(nodes)) if !nodes.is_empty() => {
            nodes.iter().cycle().take(replicas).cloned().map(Some).collect()
        }
        _ => vec![None; replicas],
    }
}

/// Adds a budget; returns it with its first status.
pub(crate) fn add_budget(
    store: &Store,
    namespace: &str,
    name: &str,
    labels: &BTreeMap<String, String>,
    allow: Allow,
) -> Result<Value, ApiError> {
    let key = format!("{namespace}/{name}");
    store.transact(Cause::Other, |transaction| {
        ensure_namespace(transaction, namespace)?;
        let path = ResourcePath::collection(Resource::Budgets, namespace);
        let draft = write::draft(&path, allow.body(name, labels), SIDE_WRITER)?;
        transaction.create(Resource::Budgets, draft).map(|_| ())
    })?;
    Ok(store.get(Resource::Budgets, &key).map_or(Value::Null, |budget| budget.to_value()))
}

/// Removes a budget.
pub(crate) fn remove_budget(store: &Store, namespace: &str, name: &str) -> Result<(), ApiError> {
    store.transact(Cause::Other, |transaction| {
        let key = format!("{namespace}/{name}");
        let budget = transaction.find(Resource::Budgets, &key, name)?;
        transaction.remove(&budget);
        Ok(())
    })
}

/// Stops or resumes the disruption controller.
pub(crate) fn hold_budgets(store: &Store, hold: bool) {
    for key in store.disruption(|disruption| disruption.hold(hold)) {
        store.transact(Cause::Other, |transaction| transaction.recheck_budget(&key));
    }
}
