//! The controllers of ReplicaSets, StatefulSets and DaemonSets, and the collector of what they leave.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};

use super::{
    Cluster,
    offspring::{self, Birth, MANAGER},
    owner, scheduler,
};
use crate::kube_sim::{
    deletion::{self, DeleteOptions},
    object::{Draft, Object},
    pod,
    resource::Resource,
    status::ApiError,
    store::{Cause, Transaction},
    update,
    workload::IDLE,
};

/// A pod that was made in place of another: its UID, and what names the one before.
type Born = (String, String);

impl Cluster {
    pub(super) fn note_owner(&mut self, previous: Option<&Object>, object: &Object, gone: bool) {
        if !gone {
            // Its status is our own doing.
            if previous.is_none_or(|previous| previous.section("spec") != object.section("spec")) {
                self.dirty.insert(owner(object));
            }
            return;
        }
        self.store.transact(Cause::Other, |transaction| {
            for orphan in transaction.owned(object.uid()) {
                remove(transaction, &orphan);
            }
        });
    }

    pub(super) fn note_pod_for_controllers(
        &mut self,
        previous: Option<&Object>,
        object: &Object,
        gone: bool,
    ) {
        let Some(controller) = object.controller() else { return };
        let kind = controller["kind"].as_str().unwrap_or_default();
        let Some(resource) = Resource::of_kind(kind) else { return };
        let name = controller["name"].as_str().unwrap_or_default();
        let uid = controller["uid"].as_str().unwrap_or_default();
        self.dirty.insert((resource as usize, format!("{}/{name}", object.namespace())));
        let was_terminating = previous.is_some_and(Object::is_terminating);
        let leaves = (object.is_terminating() || gone) && !was_terminating;
        if let (true, Some(node)) = (leaves, pod::node(object)) {
            let slot = match resource {
                Resource::ReplicaSets => uid.to_owned(),
                Resource::StatefulSets => format!("{uid}/{}", object.name()),
                _ => return,
            };
            self.vacated.entry(slot).or_default().push_back(node.to_owned());
        }
    }

    /// Lets every controller with something to look at do its work.
    pub(super) fn reconcile(&mut self) {
        for (index, key) in std::mem::take(&mut self.dirty) {
            let resource = Resource::ALL[index];
            let seed = self.seed;
            let born = self.store.transact(Cause::Other, |transaction| {
                let Some(owner) = transaction.get(resource, &key) else { return Ok(Vec::new()) };
                if owner.annotation(IDLE).is_some() {
                    return Ok(Vec::new());
                }
                match resource {
                    Resource::ReplicaSets => replica_set(transaction, &owner, seed),
                    Resource::StatefulSets => stateful_set(transaction, &owner),
                    Resource::DaemonSets => daemon_set(transaction, &owner, seed),
                    _ => Ok(Vec::new()),
                }
            });
            match born {
                Ok(born) => born.into_iter().for_each(|born| self.note_birth(born)),
                Err(error) => tracing::warn!(key, %error, "a simulated controller failed"),
            }
        }
    }

    fn note_birth(&mut self, (uid, slot): Born) {
        if let Some(nodes) = self.vacated.get_mut(&slot) {
            if let Some(node) = nodes.pop_front() {
                self.avoid.insert(uid, node);
            }
            if nodes.is_empty() {
                self.vacated.remove(&slot);
            }
        }
    }
}

fn remove(transaction: &mut Transaction<'_>, object: &Arc<Object>) {
    if !object.is_terminating() {
        // Only preconditions can be in the way, and there are none.
        let _ = deletion::delete(transaction, object, &DeleteOptions::default());
    }
}

fn replica_set(
    transaction: &mut Transaction<'_>,
    owner: &Object,
    seed: u64,
) -> Result<Vec<Born>, ApiError> {
    let mut active = transaction.owned(owner.uid());
    active.retain(|pod| !pod.is_terminating() && !pod::is_finished(pod));
    let wanted = offspring::replicas(owner);
    let mut born = Vec::new();
    for _ in active.len()..wanted {
        let name = offspring::name(transaction, owner, seed);
        let pod = offspring::make(transaction, owner, &name, Birth::Anywhere)?;
        born.push((pod.uid().to_owned(), owner.uid().to_owned()));
    }
    // Those that serve nobody yet go first.
    active.sort_by_key(|pod| (pod::is_ready(pod), pod.key()));
    for pod in active.iter().take(active.len().saturating_sub(wanted)) {
        remove(transaction, pod);
    }
    let mut active = transaction.owned(owner.uid());
    active.retain(|pod| !pod.is_terminating() && !pod::is_finished(pod));
    let ready = active.iter().filter(|pod| pod::is_ready(pod)).count();
    let status = json!({
        "replicas": active.len(),
        "fullyLabeledReplicas": active.len(),
        "readyReplicas": ready,
        "availableReplicas": ready,
        "observedGeneration": owner.generation(),
    });
    write_status(transaction, owner, status);
    Ok(born)
}

fn stateful_set(transaction: &mut Transaction<'_>, owner: &Object) -> Result<Vec<Born>, ApiError> {
    let ordered = owner.spec("podManagementPolicy") != Some(&json!("Parallel"));
    let wanted = offspring::replicas(owner);
    let mut born = Vec::new();
    let mut complete = true;
    for ordinal in 0..wanted {
        let name = format!("{}-{ordinal}", owner.name());
        let key = format!("{}/{name}", owner.namespace());
        match transaction.get(Resource::Pods, &key) {
            None => {
                let pod = offspring::make(transaction, owner, &name, Birth::Anywhere)?;
                born.push((pod.uid().to_owned(), format!("{}/{name}", owner.uid())));
                complete = false;
            }
            // It comes back once it is gone.
            Some(pod) if pod::is_finished(&pod) => {
                remove(transaction, &pod);
                complete = false;
            }
            Some(pod) => complete &= pod::is_ready(&pod) && !pod.is_terminating(),
        }
        if ordered && !complete {
            break;
        }
    }
    let ordinal =
        |pod: &Object| pod.name().rsplit('-').next().and_then(|n| n.parse::<usize>().ok());
    let mut surplus = transaction.owned(owner.uid());
    surplus.retain(|pod| ordinal(pod).is_some_and(|ordinal| ordinal >= wanted));
    surplus.sort_by_key(|pod| std::cmp::Reverse(ordinal(pod)));
    let at_once = if ordered { usize::from(complete) } else { surplus.len() };
    for pod in surplus.iter().take(at_once) {
        remove(transaction, pod);
    }
    let pods = transaction.owned(owner.uid());
    let serves = |pod: &&Arc<Object>| pod::is_ready(pod) && !pod.is_terminating();
    let ready = pods.iter().filter(serves).count();
    let status = json!({
        "observedGeneration": owner.generation(),
        "replicas": pods.len(),
        "readyReplicas": ready,
        "currentReplicas": pods.len(),
        "updatedReplicas": pods.len(),
        "availableReplicas": ready,
    });
    write_status(transaction, owner, status);
    Ok(born)
}

fn daemon_set(
    transaction: &mut Transaction<'_>,
    owner: &Object,
    seed: u64,
) -> Result<Vec<Born>, ApiError> {
    let template = owner.spec("template").and_then(|template| template.get("spec"));
    let template = template.cloned().unwrap_or_default();
    let pods = transaction.owned(owner.uid());
    for pod in pods.iter().filter(|pod| pod::is_finished(pod)) {
        remove(transaction, pod);
    }
    // A pod that is still going keeps its node.
    let taken: BTreeSet<&str> = pods.iter().filter_map(|pod| pod::node(pod)).collect();
    let nodes: Vec<String> = transaction
        .list(Resource::Nodes)
        .filter(|node| runs_daemons(&template, node))
        .map(|node| node.name().to_owned())
        .collect();
    for node in nodes.iter().filter(|node| !taken.contains(node.as_str())) {
        let name = offspring::name(transaction, owner, seed);
        offspring::make(transaction, owner, &name, Birth::On(node))?;
    }
    let pods = transaction.owned(owner.uid());
    let ready = pods.iter().filter(|pod| pod::is_ready(pod) && !pod.is_terminating()).count();
    let status = json!({
        "currentNumberScheduled": pods.len(),
        "numberMisscheduled": 0,
        "desiredNumberScheduled": nodes.len(),
        "numberReady": ready,
        "observedGeneration": owner.generation(),
        "updatedNumberScheduled": pods.len(),
        "numberAvailable": ready,
        "numberUnavailable": nodes.len().saturating_sub(ready),
    });
    write_status(transaction, owner, status);
    Ok(Vec::new())
}

/// Daemons stay through whatever befalls a node; only taints that somebody has put there count.
fn runs_daemons(template: &Value, node: &Object) -> bool {
    let taints = node.spec("taints").and_then(Value::as_array);
    let own = |taint: &Value| {
        taint["key"].as_str().is_some_and(|key| key.starts_with("node.kubernetes.io/"))
    };
    taints.is_none_or(|taints| taints.iter().all(own)) || scheduler::tolerates(template, node)
}

fn write_status(transaction: &mut Transaction<'_>, owner: &Object, mut status: Value) {
    let Some(present) = transaction.get(owner.resource(), &owner.key()) else { return };
    // As in storage: what is zero and may be left out is left out.
    let schema = owner.resource().info().schema.member("status");
    if let Some(schema) = schema
        && let Ok(Some(decoded)) = schema.decode(status.take(), "", &mut Vec::new())
    {
        let draft = Draft::from_iter([("status".to_owned(), decoded)]);
        if let Some(draft) = update::attribute(&present, draft, MANAGER, Some("status")) {
            transaction.update(&present, draft);
        }
    }
}
