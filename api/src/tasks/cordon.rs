//! `cordon` and `uncordon`: whether a node takes new pods, and who said so, when and why.
//!
//! The latter stands in annotations under this project's prefix from the cordon to the uncordon.
//! A node that somebody else has cordoned is left as it is.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;
use serde_json::{Map, Value, json};

use super::plan::{Author, Change, Plan};

/// Who cordoned the node.
pub const BY: &str = "kube-node-manager.io/cordoned-by";
/// When, RFC 3339.
pub const AT: &str = "kube-node-manager.io/cordoned-at";
/// Why; absent without a reason.
pub const REASON: &str = "kube-node-manager.io/cordon-reason";

const ANNOTATIONS: [&str; 3] = [BY, AT, REASON];

/// The key of `spec.unschedulable` among a change's keys.
pub const UNSCHEDULABLE: &str = "unschedulable";

/// Makes a node unschedulable and leaves the author's note.
#[must_use]
pub fn cordon(node: &Node, author: &Author) -> Plan {
    if is_unschedulable(node) {
        return Plan::Unchanged;
    }
    let reason = Some(author.reason.as_str()).filter(|r| !r.is_empty());
    let note = [(BY, Some(author.username.as_str())), (AT, Some(&author.at)), (REASON, reason)];
    change(node, true, note)
}

/// Makes a node schedulable and takes the note away, also one that a cordon by other means has left.
#[must_use]
pub fn uncordon(node: &Node) -> Plan {
    let noted = ANNOTATIONS.iter().any(|key| annotations(node).contains_key(*key));
    if !is_unschedulable(node) && !noted {
        return Plan::Unchanged;
    }
    change(node, false, ANNOTATIONS.map(|key| (key, None)))
}

/// Brings these keys back to these values.
#[must_use]
pub fn restore(node: &Node, values: &Map<String, Value>) -> Plan {
    let to = values.get(UNSCHEDULABLE).and_then(Value::as_bool);
    let have = annotations(node);
    let note = ANNOTATIONS.map(|key| {
        let kept = have.get(key).map(String::as_str);
        (key, values.get(key).map_or(kept, Value::as_str))
    });
    change(node, to.unwrap_or_else(|| is_unschedulable(node)), note)
}

/// The values of these keys; absent ones are `null`.
#[must_use]
pub fn values<'a>(node: &Node, keys: impl Iterator<Item = &'a String>) -> Map<String, Value> {
    let value = |key: &String| match key.as_str() {
        UNSCHEDULABLE => is_unschedulable(node).into(),
        key => annotations(node).get(key).cloned().into(),
    };
    keys.map(|key| (key.clone(), value(key))).collect()
}

/// Whether `spec.unschedulable` is set.
#[must_use]
pub fn is_unschedulable(node: &Node) -> bool {
    node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false)
}

fn change(node: &Node, to: bool, note: [(&str, Option<&str>); 3]) -> Plan {
    let (mut before, mut after) = (Map::new(), Map::new());
    let mut patch = json!({});
    let from = is_unschedulable(node);
    if from != to {
        before.insert(UNSCHEDULABLE.into(), from.into());
        after.insert(UNSCHEDULABLE.into(), to.into());
        // As kubectl does it: the field is there or not.
        patch["spec"][UNSCHEDULABLE] = if to { true.into() } else { Value::Null };
    }
    let have = annotations(node);
    for (key, to) in note {
        let from = have.get(key).map(String::as_str);
        if from != to {
            before.insert(key.into(), from.into());
            after.insert(key.into(), to.into());
            patch["metadata"]["annotations"][key] = to.into();
        }
    }
    Plan::Change(Change { before, after, patch })
}

fn annotations(node: &Node) -> &BTreeMap<String, String> {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    node.metadata.annotations.as_ref().unwrap_or(&NONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(unschedulable: bool, annotations: &Value) -> Node {
        let spec = if unschedulable { json!({"unschedulable": true}) } else { json!({}) };
        serde_json::from_value(json!({"metadata": {"annotations": annotations}, "spec": spec}))
            .expect("a node")
    }

    fn author(reason: &str) -> Author {
        Author { username: "ann".into(), reason: reason.into(), at: "2026-01-02T03:04:05Z".into() }
    }

    #[test]
    fn a_cordon_says_who_when_and_why_and_an_uncordon_takes_it_back() {
        let Plan::Change(there) = cordon(&node(false, &json!({"x": "y"})), &author("disk")) else {
            panic!("a change")
        };
        assert_eq!(
            there.merge_patch("3"),
            json!({
                "metadata": {"resourceVersion": "3", "annotations": {
                    BY: "ann", AT: "2026-01-02T03:04:05Z", REASON: "disk",
                }},
                "spec": {"unschedulable": true},
            })
        );
        assert_eq!(
            Value::from(there.before.clone()),
            json!({"unschedulable": false, BY: null, AT: null, REASON: null})
        );
        let cordoned = node(true, &json!({BY: "ann", AT: "then", REASON: "disk", "x": "y"}));
        assert_eq!(cordon(&cordoned, &author("again")), Plan::Unchanged);
        let Plan::Change(back) = uncordon(&cordoned) else { panic!("a change") };
        assert_eq!(
            back.patch,
            json!({
                "metadata": {"annotations": {BY: null, AT: null, REASON: null}},
                "spec": {"unschedulable": null},
            })
        );
        assert_eq!(values(&cordoned, back.before.keys()), back.before);
    }

    #[test]
    fn without_a_reason_there_is_none_on_the_node() {
        let Plan::Change(change) = cordon(&node(false, &json!({})), &author("")) else {
            panic!("a change")
        };
        assert!(!change.after.contains_key(REASON));
    }

    #[test]
    fn a_note_that_a_kubectl_uncordon_left_goes_and_a_plain_node_stays() {
        let Plan::Change(change) = uncordon(&node(false, &json!({BY: "ann"}))) else {
            panic!("a change")
        };
        assert_eq!(change.patch, json!({"metadata": {"annotations": {BY: null}}}));
        assert_eq!(uncordon(&node(false, &json!({"x": "y"}))), Plan::Unchanged);
    }
}
