//! `label` and `annotate`: the difference between the keys that a node has and those that it should
//! have. Only the named keys ever travel.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::plan::{Change, Plan};
use super::submit::KeyParams;

/// Which of a node's two maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    /// `metadata.labels`
    Labels,
    /// `metadata.annotations`
    Annotations,
}

impl Field {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Labels => "labels",
            Self::Annotations => "annotations",
        }
    }
}

/// Compares `have` with what `params` want.
#[must_use]
pub(super) fn plan(field: Field, have: &BTreeMap<String, String>, params: &KeyParams) -> Plan {
    let wanted = params.set.iter().map(|(k, v)| (k, Some(v)));
    let unwanted = params.remove.iter().map(|k| (k, None));
    let (mut before, mut after) = (Map::new(), Map::new());
    for (key, to) in wanted.chain(unwanted) {
        let from = have.get(key);
        if from == to {
            continue;
        }
        if let (Some(from), Some(_), false) = (from, to, params.overwrite) {
            return Plan::Refused(format!(
                "'{key}' already has a value ({from}), and overwrite is false"
            ));
        }
        before.insert(key.clone(), from.cloned().into());
        after.insert(key.clone(), to.cloned().into());
    }
    if after.is_empty() {
        return Plan::Unchanged;
    }
    let patch = json!({"metadata": {field.as_str(): &after}});
    Plan::Change(Change { before, after, patch })
}

/// The values of these keys; absent ones are `null`.
#[must_use]
pub(super) fn values<'a>(
    have: &BTreeMap<String, String>,
    keys: impl Iterator<Item = &'a String>,
) -> Map<String, Value> {
    keys.map(|key| (key.clone(), have.get(key).cloned().into())).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn params(set: &[(&str, &str)], remove: &[&str], overwrite: bool) -> KeyParams {
        KeyParams {
            set: labels(set),
            remove: remove.iter().map(|k| (*k).to_owned()).collect(),
            overwrite,
            allow_protected: false,
        }
    }

    #[test]
    fn only_keys_that_differ_travel() {
        let have = labels(&[("a", "1"), ("b", "2"), ("c", "3")]);
        let params = params(&[("a", "1"), ("b", "x")], &["c", "d"], true);
        let Plan::Change(change) = plan(Field::Labels, &have, &params) else { panic!("differs") };
        assert_eq!(Value::from(change.before.clone()), json!({"b": "2", "c": "3"}));
        assert_eq!(
            change.merge_patch("7"),
            json!({"metadata": {"resourceVersion": "7", "labels": {"b": "x", "c": null}}})
        );
        let Plan::Change(change) = plan(Field::Annotations, &have, &params) else {
            panic!("differs")
        };
        assert_eq!(change.patch, json!({"metadata": {"annotations": {"b": "x", "c": null}}}));
        let now = values(&have, change.before.keys());
        assert_eq!(now, change.before);
    }

    #[test]
    fn without_overwrite_a_differing_value_is_refused_and_an_equal_one_is_not() {
        let have = labels(&[("a", "1")]);
        let plan = |params| plan(Field::Labels, &have, &params);
        assert_eq!(
            plan(params(&[("a", "2")], &[], false)),
            Plan::Refused("'a' already has a value (1), and overwrite is false".into())
        );
        assert_eq!(plan(params(&[("a", "1")], &[], false)), Plan::Unchanged);
        assert!(matches!(plan(params(&[], &["a"], false)), Plan::Change(_)));
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
                KeyParams { set: set.clone(), remove: remove.clone(), overwrite: true, allow_protected: false };
            let mut model = have.clone();
            model.extend(set);
            model.retain(|k, _| !remove.contains(k));
            match plan(Field::Labels, &have, &params) {
                Plan::Unchanged => prop_assert_eq!(model, have),
                Plan::Change(change) => {
                    let mut now = have.clone();
                    apply(&mut now, &change.after);
                    prop_assert_eq!(&now, &model);
                    prop_assert_eq!(plan(Field::Labels, &now, &params), Plan::Unchanged);
                    apply(&mut now, &change.before);
                    prop_assert_eq!(now, have);
                }
                refused => prop_assert!(false, "{:?}", refused),
            }
        }
    }
}
