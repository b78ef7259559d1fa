//! The kubelets: pods start on their nodes, and end when they are told to.

use std::time::Duration;

use tokio::time::Instant;

use super::{Cluster, Due};
use crate::kube_sim::{
    deletion::{self, DeleteOptions},
    object::{Draft, Object},
    pod,
    resource::Resource,
    route::ResourcePath,
    sim_pod,
    store::{Cause, Store},
    update, write,
};

/// The field manager of what kubelets write.
const MANAGER: &str = "kubelet";

impl Cluster {
    pub(super) fn note_pod_for_kubelet(
        &mut self,
        previous: Option<&Object>,
        object: &Object,
        gone: bool,
    ) {
        let (key, uid) = (object.key(), object.uid().to_owned());
        if gone {
            self.avoid.remove(&uid);
            if pod::is_mirror(object) {
                restore(&self.store, object);
            }
            return;
        }
        if pod::node(object).is_none() {
            return;
        }
        let now = Instant::now();
        if object.is_terminating() {
            let grace = pod::remaining_grace(object);
            let known =
                previous.is_some_and(|p| p.is_terminating() && pod::remaining_grace(p) == grace);
            let grace = Duration::from_secs(grace.unwrap_or_default().unsigned_abs());
            if let (false, Some(delay)) = (known, pod::delay(object, pod::STOPS_IN)) {
                self.at(now + delay.min(grace), Due::Stop { key, uid });
            }
            return;
        }
        let known = previous.is_some_and(|previous| pod::node(previous).is_some());
        if !known
            && pod::phase(object) == "Pending"
            && let Some(delay) = pod::delay(object, pod::STARTS_IN)
        {
            self.at(now + delay, Due::Start { key, uid });
        }
    }
}

/// A pod's containers run and are ready.
pub(super) fn start(store: &Store, key: &str, uid: &str) {
    store.transact(Cause::Other, |transaction| {
        let Some(object) = transaction.get(Resource::Pods, key) else { return };
        let node = pod::node(&object).unwrap_or_default();
        let there = transaction.get(Resource::Nodes, node).is_some();
        let waits = object.uid() == uid && !object.is_terminating();
        if !there || !waits || pod::phase(&object) != "Pending" {
            return;
        }
        let spec = object.section("spec").cloned().unwrap_or_default();
        let mut status = sim_pod::running(&spec, true);
        if let Some(class) = object.status("qosClass") {
            status["qosClass"] = class.clone();
        }
        let draft = Draft::from_iter([("status".to_owned(), status)]);
        if let Some(draft) = update::attribute(&object, draft, MANAGER, Some("status")) {
            transaction.update(&object, draft);
        }
    });
}

/// A terminating pod's containers have ended. Only the node's own kubelet can tell.
pub(super) fn stop(store: &Store, key: &str, uid: &str) {
    store.transact(Cause::Other, |transaction| {
        let Some(object) = transaction.get(Resource::Pods, key) else { return };
        let node = pod::node(&object).unwrap_or_default();
        let there = transaction.get(Resource::Nodes, node).is_some();
        if there && object.uid() == uid && object.is_terminating() {
            // Only preconditions can be in the way, and there are none.
            let _ = deletion::delete(transaction, &object, &DeleteOptions::now());
        }
    });
}

/// Removes the pods of a node that has not come back.
pub(super) fn collect(store: &Store, node: &str) {
    store.transact(Cause::Other, |transaction| {
        if transaction.get(Resource::Nodes, node).is_some() {
            return;
        }
        let pods = transaction.list(Resource::Pods);
        let lost: Vec<_> = pods.filter(|p| pod::node(p) == Some(node)).cloned().collect();
        for object in lost {
            let _ = deletion::delete(transaction, &object, &DeleteOptions::now());
        }
    });
}

/// A mirror comes back as long as the kubelet has the file.
fn restore(store: &Store, object: &Object) {
    let node = pod::node(object).unwrap_or_default();
    if store.get(Resource::Nodes, node).is_none() {
        return;
    }
    let mut body = object.full_draft();
    if let Some(metadata) = body.get_mut("metadata").and_then(|metadata| metadata.as_object_mut()) {
        metadata.remove("creationTimestamp");
    }
    let path = ResourcePath::collection(Resource::Pods, object.namespace());
    if let Err(error) = write::seed(store, &path, body, MANAGER) {
        tracing::debug!(pod = object.key(), %error, "a mirror pod is there already");
    }
}
