//! `revert`: brings a node back to what another task had found, as far as that task's change still
//! stands. Pure: no clock, no network.
//!
//! All of a node's keys or none: where one of them is not as the task had left it, somebody has
//! changed it since, and the node is left alone.

use k8s_openapi::api::core::v1::Node;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::cordon;
use super::keys::{self, Field};
use super::plan::Plan;
use super::submit::{KeyParams, NewTaint, TaintName, TaintParams};
use super::taint;

/// Parameters of a task that reverts another. Nobody submits them: `POST /tasks/{id}/revert` does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevertParams {
    /// The task that is reverted.
    pub task: Uuid,
    /// What kind of keys it has changed.
    pub keys: Keys,
}

/// What the keys of a change are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Keys {
    /// Labels.
    Labels,
    /// Annotations.
    Annotations,
    /// Taints, `key:effect`.
    Taints,
    /// `unschedulable`, and the annotations that say why.
    Cordon,
}

/// What is to be undone on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    /// What the node must have.
    pub expect: Map<String, Value>,
    /// What it gets back.
    pub restore: Map<String, Value>,
}

impl Keys {
    /// What a node has of these keys; absent ones are `null`.
    #[must_use]
    pub fn values<'a>(
        self,
        node: &Node,
        keys: impl Iterator<Item = &'a String>,
    ) -> Map<String, Value> {
        let none = std::collections::BTreeMap::new();
        match self {
            Self::Labels => keys::values(node.metadata.labels.as_ref().unwrap_or(&none), keys),
            Self::Annotations => {
                keys::values(node.metadata.annotations.as_ref().unwrap_or(&none), keys)
            }
            Self::Taints => taint::values(taint::of(node), keys),
            Self::Cordon => cordon::values(node, keys),
        }
    }

    /// What has to be done to undo a change of such keys.
    #[must_use]
    pub fn undo(self, node: &Node, undo: &Undo) -> Plan {
        let now = self.values(node, undo.restore.keys());
        if now == undo.restore {
            return Plan::Unchanged;
        }
        let changed: Vec<_> = undo
            .expect
            .iter()
            .filter(|(key, left)| now.get(*key) != Some(*left))
            .map(|(key, _)| format!("{key} is now {}", now.get(key).unwrap_or(&Value::Null)))
            .collect();
        if !changed.is_empty() {
            let changed = changed.join(", ");
            return Plan::Superseded(format!("changed since by somebody else: {changed}"));
        }
        let none = std::collections::BTreeMap::new();
        let metadata = &node.metadata;
        match self {
            Self::Labels => {
                let have = metadata.labels.as_ref().unwrap_or(&none);
                keys::plan(Field::Labels, have, &key_params(&undo.restore))
            }
            Self::Annotations => {
                let have = metadata.annotations.as_ref().unwrap_or(&none);
                keys::plan(Field::Annotations, have, &key_params(&undo.restore))
            }
            Self::Taints => taint::plan(taint::of(node), &taint_params(&undo.restore)),
            Self::Cordon => cordon::restore(node, &undo.restore),
        }
    }
}

fn key_params(restore: &Map<String, Value>) -> KeyParams {
    let mut params = KeyParams {
        set: std::collections::BTreeMap::new(),
        remove: Vec::new(),
        overwrite: true,
        allow_protected: true,
    };
    for (key, value) in restore {
        match value {
            Value::String(value) => drop(params.set.insert(key.clone(), value.clone())),
            _ => params.remove.push(key.clone()),
        }
    }
    params
}

fn taint_params(restore: &Map<String, Value>) -> TaintParams {
    let mut params =
        TaintParams { set: Vec::new(), remove: Vec::new(), overwrite: true, allow_protected: true };
    for (name, value) in restore {
        // An effect has no colon.
        let Some((key, effect)) = name.rsplit_once(':') else { continue };
        let (key, effect) = (key.to_owned(), effect.to_owned());
        match value {
            Value::String(value) => params.set.push(NewTaint { key, value: value.clone(), effect }),
            _ => params.remove.push(TaintName { key, effect: Some(effect) }),
        }
    }
    params
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::tasks::{Action, Author};

    fn node(labels: &Value, taints: &Value, unschedulable: bool) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": "n", "labels": labels, "annotations": labels},
            "spec": {"taints": taints, "unschedulable": unschedulable},
        }))
        .expect("a node")
    }

    /// The node as the API server leaves it.
    fn patched(node: &Node, patch: &Value) -> Node {
        let mut object = serde_json::to_value(node).expect("JSON");
        merge(&mut object, patch);
        serde_json::from_value(object).expect("a node")
    }

    fn merge(into: &mut Value, patch: &Value) {
        let Value::Object(patch) = patch else {
            *into = patch.clone();
            return;
        };
        if !into.is_object() {
            *into = json!({});
        }
        for (key, value) in patch {
            if value.is_null() {
                into.as_object_mut().expect("an object").remove(key);
            } else {
                merge(&mut into[key], value);
            }
        }
    }

    fn there_and_back(start: &Node, action: &str, params: &Value, kind: Keys) {
        let action = Action::parse(action, params).expect("valid");
        let author = Author { username: "ann".into(), ..Author::default() };
        let Plan::Change(change) = action.plan(start, &author) else { return };
        let there = patched(start, &change.patch);
        let undo = Undo { expect: change.after, restore: change.before };
        let Plan::Change(back) = kind.undo(&there, &undo) else { panic!("stands") };
        let back = patched(&there, &back.patch);
        let text = |node: &Node| {
            let mut node = node.clone();
            let spec = node.spec.get_or_insert_default();
            spec.unschedulable = spec.unschedulable.filter(|u| *u);
            let order = |t: &k8s_openapi::api::core::v1::Taint| (t.key.clone(), t.effect.clone());
            if let Some(taints) = &mut spec.taints {
                taints.sort_by_key(order);
            }
            spec.taints = spec.taints.take().filter(|t| !t.is_empty());
            let labels = node.metadata.labels.take().filter(|l| !l.is_empty());
            let annotations = node.metadata.annotations.take().filter(|l| !l.is_empty());
            (labels, annotations, serde_json::to_value(&node.spec).expect("JSON"))
        };
        assert_eq!(text(&back), text(start));
        assert_eq!(kind.undo(&back, &undo), Plan::Unchanged);
    }

    #[test]
    fn every_kind_of_change_leads_back() {
        let start = node(
            &json!({"a": "1", "b": "2"}),
            &json!([{"key": "k", "value": "1", "effect": "NoSchedule"}]),
            false,
        );
        let keys = json!({"set": {"a": "x", "c": "3"}, "remove": ["b"]});
        there_and_back(&start, "label", &keys, Keys::Labels);
        there_and_back(&start, "annotate", &keys, Keys::Annotations);
        let taints = json!({
            "set": [{"key": "l", "effect": "NoExecute"}, {"key": "k", "value": "2", "effect": "NoSchedule"}],
        });
        there_and_back(&start, "taint", &taints, Keys::Taints);
        there_and_back(&start, "taint", &json!({"remove": [{"key": "k"}]}), Keys::Taints);
        there_and_back(&start, "cordon", &json!({}), Keys::Cordon);
        let cordoned = node(&json!({cordon::BY: "bob", "x": "y"}), &json!([]), true);
        there_and_back(&cordoned, "uncordon", &json!({}), Keys::Cordon);
    }

    #[test]
    fn where_somebody_has_changed_a_key_since_nothing_is_touched() {
        let undo = Undo {
            expect: Map::from_iter([("a".into(), "x".into()), ("c".into(), "3".into())]),
            restore: Map::from_iter([("a".into(), "1".into()), ("c".into(), Value::Null)]),
        };
        let now = node(&json!({"a": "x", "c": "theirs"}), &json!([]), false);
        let Plan::Superseded(why) = Keys::Labels.undo(&now, &undo) else { panic!("superseded") };
        assert!(why.contains("c is now \"theirs\"") && !why.contains("a is"), "{why}");
        let restored = node(&json!({"a": "1"}), &json!([]), false);
        assert_eq!(Keys::Labels.undo(&restored, &undo), Plan::Unchanged);
    }

    proptest! {
        #[test]
        fn labels_always_lead_back(
            have in proptest::collection::btree_map("[a-d]", "[xyz]", 0..4),
            set in proptest::collection::btree_map("[a-d]", "[xyz]", 1..4),
        ) {
            let start = node(&json!(have), &json!([]), false);
            there_and_back(&start, "label", &json!({"set": set}), Keys::Labels);
        }
    }
}
