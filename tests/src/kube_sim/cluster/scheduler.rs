//! The scheduler: pods get nodes.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::Cluster;
use crate::kube_sim::{
    clock,
    object::{Draft, Object},
    pod,
    resource::Resource,
    store::{Cause, Transaction},
};

/// What becomes of a pod without a node.
enum Verdict {
    /// It is none of ours any more.
    Settled,
    /// It is on a node now.
    Bound(String),
    /// There is no node for it.
    Waits,
}

impl Cluster {
    /// Finds nodes for the pods that have none.
    pub(super) fn schedule(&mut self) {
        if !std::mem::take(&mut self.may_fit) {
            return;
        }
        for key in self.pending.clone() {
            let verdict = self.store.transact(Cause::Other, |transaction| {
                let pod = transaction.get(Resource::Pods, &key);
                let pod = pod.filter(|p| pod::node(p).is_none() && !p.is_terminating());
                let Some(object) = pod else { return Verdict::Settled };
                let spec = object.section("spec").cloned().unwrap_or_default();
                let avoid = self.avoid.get(object.uid()).map(String::as_str);
                let place = Wish { spec: &spec, owner: object.controller_uid(), avoid };
                let Some(node) = pick(transaction, place, &self.last_node) else {
                    let unplaced = scheduled("False", "Unschedulable", "no nodes are available");
                    if pod::condition(&object, "PodScheduled").is_none() {
                        let status = with_condition(&object, unplaced);
                        transaction.update(&object, status);
                    }
                    return Verdict::Waits;
                };
                let mut draft = with_condition(&object, scheduled("True", "", ""));
                let mut spec = spec;
                spec["nodeName"] = node.as_str().into();
                draft.insert("spec".to_owned(), spec);
                transaction.update(&object, draft);
                Verdict::Bound(node)
            });
            match verdict {
                Verdict::Waits => {}
                Verdict::Settled => {
                    self.pending.remove(&key);
                }
                Verdict::Bound(node) => {
                    self.pending.remove(&key);
                    self.last_node = node;
                }
            }
        }
    }
}

fn scheduled(status: &str, reason: &str, message: &str) -> Value {
    let mut condition = json!({
        "type": "PodScheduled",
        "status": status,
        "lastProbeTime": null,
        "lastTransitionTime": clock::now(),
    });
    if !reason.is_empty() {
        condition["reason"] = reason.into();
        condition["message"] = message.into();
    }
    condition
}

fn with_condition(pod: &Object, condition: Value) -> Draft {
    let mut status = pod.section("status").cloned().unwrap_or_else(|| json!({}));
    let mut conditions = match status["conditions"].take() {
        Value::Array(conditions) => conditions,
        _ => Vec::new(),
    };
    conditions.retain(|other| other["type"] != condition["type"]);
    conditions.push(condition);
    status["conditions"] = conditions.into();
    Draft::from_iter([("status".to_owned(), status)])
}

/// What a pod asks of a node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish<'a> {
    pub(crate) spec: &'a Value,
    /// UID of the controller whose pods are to be spread.
    pub(crate) owner: Option<&'a str>,
    /// The node of the pod that this one replaces: the last resort.
    pub(crate) avoid: Option<&'a str>,
}

/// The node for a pod: the one with the fewest pods of the same controller, and among those the next
/// one after `last`.
pub(crate) fn pick(transaction: &Transaction<'_>, wish: Wish<'_>, last: &str) -> Option<String> {
    let mut siblings: HashMap<String, usize> = HashMap::new();
    for sibling in wish.owner.map(|uid| transaction.owned(uid)).unwrap_or_default() {
        if let Some(node) = pod::node(&sibling).filter(|_| !sibling.is_terminating()) {
            *siblings.entry(node.to_owned()).or_default() += 1;
        }
    }
    transaction
        .list(Resource::Nodes)
        .filter(|node| node.spec("unschedulable") != Some(&Value::Bool(true)))
        .filter(|node| tolerates(wish.spec, node) && selects(wish.spec, node))
        .map(|node| node.name())
        .min_by_key(|name| {
            let count = siblings.get(*name).copied().unwrap_or_default();
            (wish.avoid == Some(*name), count, *name <= last, *name)
        })
        .map(str::to_owned)
}

fn selects(spec: &Value, node: &Object) -> bool {
    let selector = spec.get("nodeSelector").and_then(Value::as_object);
    selector
        .is_none_or(|labels| labels.iter().all(|(key, value)| node.label(key) == value.as_str()))
}

/// Whether a pod with this specification can be placed beside the taints of a node.
pub(crate) fn tolerates(spec: &Value, node: &Object) -> bool {
    let taints = node.spec("taints").and_then(Value::as_array);
    let tolerations = spec.get("tolerations").and_then(Value::as_array);
    taints.into_iter().flatten().filter(|taint| taint["effect"] != "PreferNoSchedule").all(
        |taint| {
            tolerations
                .into_iter()
                .flatten()
                .filter_map(Value::as_object)
                .any(|toleration| is_tolerated(taint, toleration))
        },
    )
}

fn is_tolerated(taint: &Value, toleration: &Map<String, Value>) -> bool {
    let own = |field: &str| toleration.get(field).and_then(Value::as_str).unwrap_or_default();
    let of_taint = |field: &str| taint.get(field).and_then(Value::as_str).unwrap_or_default();
    let effect = own("effect").is_empty() || own("effect") == of_taint("effect");
    let key = own("key").is_empty() || own("key") == of_taint("key");
    let value = own("operator") == "Exists" || own("value") == of_taint("value");
    effect && key && value
}
