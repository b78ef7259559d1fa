//! The difference between the labels a node has and those it should have. Pure: no clock, no network.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::submit::LabelParams;

/// What a label task has to do on one node.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// Everything is as wanted already.
    Unchanged,
    /// Not allowed on this node, for this reason.
    Refused(String),
    /// To be changed.
    Change(Change),
}

/// A change of some keys. Absent keys are `null` on either side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The keys as they are.
    pub before: Map<String, Value>,
    /// The keys as they will be.
    pub after: Map<String, Value>,
}

impl Change {
    /// The merge patch that makes the change, if the object still has this resource version.
    #[must_use]
    pub fn merge_patch(&self, resource_version: &str) -> Value {
        json!({"metadata": {"resourceVersion": resource_version, "labels": self.after}})
    }
}

/// Compares `labels` with what `params` want. Only the named keys are ever part of the answer.
#[must_use]
pub fn plan(labels: &BTreeMap<String, String>, params: &LabelParams) -> Plan {
    let wanted = params.set.iter().map(|(k, v)| (k, Some(v)));
    let unwanted = params.remove.iter().map(|k| (k, None));
    let mut change = Change { before: Map::new(), after: Map::new() };
    for (key, to) in wanted.chain(unwanted) {
        let from = labels.get(key);
        if from == to {
            continue;
        }
        if let (Some(from), Some(_), false) = (from, to, params.overwrite) {
            return Plan::Refused(format!(
                "'{key}' already has a value ({from}), and overwrite is false"
            ));
        }
        change.before.insert(key.clone(), from.cloned().into());
        change.after.insert(key.clone(), to.cloned().into());
    }
    if change.after.is_empty() { Plan::Unchanged } else { Plan::Change(change) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn params(set: &[(&str, &str)], remove: &[&str], overwrite: bool) -> LabelParams {
        LabelParams {
            set: labels(set),
            remove: remove.iter().map(|k| (*k).to_owned()).collect(),
            overwrite,
            allow_protected: false,
        }
    }

    #[test]
    fn only_keys_that_differ_travel() {
        let have = labels(&[("a", "1"), ("b", "2"), ("c", "3")]);
        let Plan::Change(change) =
            plan(&have, &params(&[("a", "1"), ("b", "x")], &["c", "d"], true))
        else {
            panic!("differs")
        };
        assert_eq!(Value::from(change.before.clone()), json!({"b": "2", "c": "3"}));
        assert_eq!(
            change.merge_patch("7"),
            json!({"metadata": {"resourceVersion": "7", "labels": {"b": "x", "c": null}}})
        );
    }

    #[test]
    fn without_overwrite_a_differing_value_is_refused_and_an_equal_one_is_not() {
        let have = labels(&[("a", "1")]);
        assert_eq!(
            plan(&have, &params(&[("a", "2")], &[], false)),
            Plan::Refused("'a' already has a value (1), and overwrite is false".into())
        );
        assert_eq!(plan(&have, &params(&[("a", "1")], &[], false)), Plan::Unchanged);
        assert!(matches!(plan(&have, &params(&[], &["a"], false)), Plan::Change(_)));
    }

    type Pairs = BTreeMap<String, String>;

    fn pairs() -> impl Strategy<Value = Pairs> {
        proptest::collection::btree_map("[a-e]", "[xyz]", 0..5)
    }

    fn apply(labels: &mut Pairs, patch: &Map<String, Value>) {
        for (key, value) in patch {
            match value {
                Value::String(v) => drop(labels.insert(key.clone(), v.clone())),
                _ => drop(labels.remove(key)),
            }
        }
    }

    proptest! {
        #[test]
        fn the_change_leads_there_touches_nothing_else_and_back(
            have in pairs(), set in pairs(), remove in proptest::collection::btree_set("[a-e]", 0..3)
        ) {
            let remove: Vec<_> = remove.into_iter().filter(|k| !set.contains_key(k)).collect();
            let params =
                LabelParams { set: set.clone(), remove: remove.clone(), overwrite: true, allow_protected: false };
            let mut model = have.clone();
            model.extend(set);
            model.retain(|k, _| !remove.contains(k));
            match plan(&have, &params) {
                Plan::Unchanged => prop_assert_eq!(model, have),
                Plan::Change(change) => {
                    let mut now = have.clone();
                    apply(&mut now, &change.after);
                    prop_assert_eq!(&now, &model);
                    prop_assert_eq!(plan(&now, &params), Plan::Unchanged);
                    apply(&mut now, &change.before);
                    prop_assert_eq!(now, have);
                }
                Plan::Refused(why) => prop_assert!(false, "{}", why),
            }
        }
    }
}
