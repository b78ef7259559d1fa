//! The pods that a controller makes of its template.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::kube_sim::{
    faults, object::Object, resource::Resource, route::ResourcePath, sim_pod, status::ApiError,
    store::Transaction, write,
};

/// The field manager of what controllers write.
pub(crate) const MANAGER: &str = "kube-controller-manager";

/// How a new pod begins.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Birth<'a> {
    /// Without a node.
    Anywhere,
    /// On a node, to be started there.
    On(&'a str),
    /// On a node, where it has been running for long.
    RunningOn(&'a str),
}

/// Makes a pod.
pub(crate) fn make(
    transaction: &mut Transaction<'_>,
    owner: &Object,
    name: &str,
    birth: Birth<'_>,
) -> Result<Arc<Object>, ApiError> {
    let resource = owner.resource();
    let template = owner.spec("template").cloned().unwrap_or_else(|| json!({}));
    let mut spec = template["spec"].clone();
    let mut labels = template["metadata"]["labels"].clone();
    let mut metadata = json!({
        "name": name,
        "annotations": template["metadata"]["annotations"],
        "ownerReferences": [sim_pod::reference(resource.info().kind, owner.name(), owner.uid())],
    });
    if resource == Resource::StatefulSets {
        labels["statefulset.kubernetes.io/pod-name"] = name.into();
        let ordinal = name.rsplit('-').next().unwrap_or_default();
        labels["apps.kubernetes.io/pod-index"] = ordinal.into();
        spec["hostname"] = name.into();
        if let Some(service) = owner.spec("serviceName") {
            spec["subdomain"] = service.clone();
        }
    } else {
        metadata["generateName"] = format!("{}-", owner.name()).into();
    }
    metadata["labels"] = labels;
    let mut body = Map::new();
    if let Birth::On(node) | Birth::RunningOn(node) = birth {
        spec["nodeName"] = node.into();
    }
    if let Birth::RunningOn(_) = birth {
        body.insert("status".to_owned(), sim_pod::running(&spec, true));
    }
    body.insert("metadata".to_owned(), metadata);
    body.insert("spec".to_owned(), spec);
    let path = ResourcePath::collection(Resource::Pods, owner.namespace());
    let draft = write::draft(&path, body, MANAGER)?;
    transaction.create(Resource::Pods, draft)
}

/// A name for a new pod. The revision is never the same again, so that hardly ever two get the same.
pub(crate) fn name(transaction: &Transaction<'_>, owner: &Object, seed: u64) -> String {
    let mut state = faults::mix(seed ^ faults::mix(transaction.revision()));
    for byte in owner.name().bytes() {
        state = faults::mix(state ^ u64::from(byte));
    }
    loop {
        let name = format!("{}-{}", owner.name(), suffix(state));
        if transaction.get(Resource::Pods, &format!("{}/{name}", owner.namespace())).is_none() {
            return name;
        }
        state = faults::mix(state);
    }
}

fn suffix(state: u64) -> String {
    // The alphabet that Kubernetes makes names of: no vowels, so no words.
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    // Twelve bits a letter.
    let letter = |index: u32| ALPHABET[(state >> (index * 12)) as usize % ALPHABET.len()];
    (0..5).map(|index| char::from(letter(index))).collect()
}

/// How many pods a controller wants.
pub(crate) fn replicas(owner: &Object) -> usize {
    let replicas = owner.spec("replicas").and_then(Value::as_u64).unwrap_or(1);
    usize::try_from(replicas).unwrap_or(usize::MAX)
}
