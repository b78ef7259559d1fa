//! `taint`: the difference between the taints that a node has and those that it should have.
//!
//! A taint is known by its key and its effect: two effects of one key are two taints
//! (<https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/>). The list is
//! replaced as a whole by every kind of patch, so a change always carries the resource version that
//! it was read at.

use k8s_openapi::api::core::v1::{Node, Taint};
use serde_json::{Map, Value, json};

use super::plan::{Change, Plan};
use super::submit::TaintParams;

/// Compares `have` with what `params` want.
#[must_use]
pub(super) fn plan(have: &[Taint], params: &TaintParams) -> Plan {
    let (mut before, mut after) = (Map::new(), Map::new());
    let mut taints = have.to_vec();
    for wanted in &params.set {
        let name = name(&wanted.key, &wanted.effect);
        match taints.iter_mut().find(|t| t.key == wanted.key && t.effect == wanted.effect) {
            Some(taint) if value(taint) == wanted.value => {}
            Some(taint) if !params.overwrite => {
                return Plan::Refused(format!(
                    "the node already has the taint {name} with another value ({}), and overwrite \
                     is false",
                    value(taint)
                ));
            }
            Some(taint) => {
                before.insert(name.clone(), value(taint).into());
                after.insert(name, wanted.value.as_str().into());
                taint.value = stored(&wanted.value);
            }
            None => {
                before.insert(name.clone(), Value::Null);
                after.insert(name, wanted.value.as_str().into());
                taints.push(Taint {
                    key: wanted.key.clone(),
                    value: stored(&wanted.value),
                    effect: wanted.effect.clone(),
                    time_added: None,
                });
            }
        }
    }
    taints.retain(|taint| {
        let unwanted = params.remove.iter().any(|r| r.matches(&taint.key, &taint.effect));
        if unwanted {
            let name = name(&taint.key, &taint.effect);
            before.insert(name.clone(), value(taint).into());
            after.insert(name, Value::Null);
        }
        !unwanted
    });
    if after.is_empty() {
        return Plan::Unchanged;
    }
    let list = if taints.is_empty() { Value::Null } else { json!(taints) };
    Plan::Change(Change { before, after, patch: json!({"spec": {"taints": list}}) })
}

/// A node's taints.
pub(super) fn of(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|s| s.taints.as_deref()).unwrap_or_default()
}

/// The values of these taints; absent ones are `null`.
#[must_use]
pub(super) fn values<'a>(
    have: &[Taint],
    names: impl Iterator<Item = &'a String>,
) -> Map<String, Value> {
    let find = |wanted: &String| have.iter().find(|t| name(&t.key, &t.effect) == *wanted);
    names.map(|wanted| (wanted.clone(), find(wanted).map(value).into())).collect()
}

/// What a taint that `params` change is given, by its name.
pub(super) fn value_after(params: &TaintParams, wanted: &str) -> Value {
    let set = params.set.iter().find(|t| name(&t.key, &t.effect) == wanted);
    set.map(|taint| taint.value.as_str()).into()
}

/// `key:effect`
fn name(key: &str, effect: &str) -> String {
    format!("{key}:{effect}")
}

/// The server leaves empty values out.
fn value(taint: &Taint) -> &str {
    taint.value.as_deref().unwrap_or_default()
}

fn stored(value: &str) -> Option<String> {
    Some(value.to_owned()).filter(|v| !v.is_empty())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::tasks::submit::{NewTaint, TaintName};

    fn taint((key, effect, value): (&str, &str, &str)) -> Taint {
        Taint { key: key.into(), effect: effect.into(), value: stored(value), ..Taint::default() }
    }

    fn params(
        set: &[(&str, &str, &str)],
        remove: &[(&str, Option<&str>)],
        overwrite: bool,
    ) -> TaintParams {
        let new = |(key, effect, value): &(&str, &str, &str)| NewTaint {
            key: (*key).into(),
            value: (*value).into(),
            effect: (*effect).into(),
        };
        let named = |(key, effect): &(&str, Option<&str>)| TaintName {
            key: (*key).into(),
            effect: effect.map(str::to_owned),
        };
        TaintParams {
            set: set.iter().map(new).collect(),
            remove: remove.iter().map(named).collect(),
            overwrite,
            allow_protected: false,
        }
    }

    #[test]
    fn one_effect_of_a_key_changes_and_the_other_stays() {
        let have = [taint(("k", "NoSchedule", "1")), taint(("k", "NoExecute", "1"))];
        let Plan::Change(change) = plan(&have, &params(&[("k", "NoSchedule", "2")], &[], true))
        else {
            panic!("differs")
        };
        assert_eq!(Value::from(change.before.clone()), json!({"k:NoSchedule": "1"}));
        assert_eq!(
            change.merge_patch("9"),
            json!({
                "metadata": {"resourceVersion": "9"},
                "spec": {"taints": [
                    {"key": "k", "value": "2", "effect": "NoSchedule"},
                    {"key": "k", "value": "1", "effect": "NoExecute"},
                ]},
            })
        );
    }

    #[test]
    fn removal_is_by_key_or_by_key_and_effect() {
        let have = [taint(("k", "NoSchedule", "")), taint(("k", "NoExecute", ""))];
        let Plan::Change(one) = plan(&have, &params(&[], &[("k", Some("NoExecute"))], true)) else {
            panic!("differs")
        };
        assert_eq!(one.patch["spec"]["taints"], json!([{"key": "k", "effect": "NoSchedule"}]));
        let Plan::Change(both) = plan(&have, &params(&[], &[("k", None)], true)) else {
            panic!("differs")
        };
        assert_eq!(both.patch["spec"]["taints"], Value::Null);
        assert_eq!(plan(&have, &params(&[], &[("other", None)], true)), Plan::Unchanged);
    }

    #[test]
    fn without_overwrite_another_value_is_refused_and_another_effect_is_not() {
        let have = [taint(("k", "NoSchedule", "1"))];
        let refused = plan(&have, &params(&[("k", "NoSchedule", "2")], &[], false));
        assert!(matches!(refused, Plan::Refused(why) if why.contains("k:NoSchedule")));
        let added = plan(&have, &params(&[("k", "NoExecute", "2")], &[], false));
        assert!(matches!(added, Plan::Change(_)));
    }

    type Model = BTreeMap<(String, String), String>;

    fn model() -> impl Strategy<Value = Model> {
        proptest::collection::btree_map(
            ("[abc]", "NoSchedule|NoExecute|PreferNoSchedule"),
            "|x|y",
            0..6,
        )
    }

    fn list(model: &Model) -> Vec<Taint> {
        model.iter().map(|((k, e), v)| taint((k, e, v))).collect()
    }

    fn read(taints: &[Taint]) -> Model {
        taints.iter().map(|t| ((t.key.clone(), t.effect.clone()), value(t).to_owned())).collect()
    }

    proptest! {
        #[test]
        fn the_change_leads_to_what_the_model_says_and_keeps_everything_else(
            have in model(), set in model(),
            remove in proptest::collection::btree_map("[abc]", proptest::option::of("NoSchedule|NoExecute"), 0..3)
        ) {
            // Validation refuses a taint that is both set and removed.
            let remove: BTreeMap<_, _> = remove
                .into_iter()
                .filter(|(k, e)| !set.keys().any(|(sk, se)| sk == k && e.as_ref().is_none_or(|e| e == se)))
                .collect();
            let mut expected = have.clone();
            expected.extend(set.clone());
            expected.retain(|(k, e), _| remove.get(k).is_none_or(|r| r.as_ref().is_some_and(|r| r != e)));
            let set: Vec<_> = set.iter().map(|((k, e), v)| (k.as_str(), e.as_str(), v.as_str())).collect();
            let remove: Vec<_> = remove.iter().map(|(k, e)| (k.as_str(), e.as_deref())).collect();
            let params = params(&set, &remove, true);
            let taints = list(&have);
            match plan(&taints, &params) {
                Plan::Unchanged => prop_assert_eq!(expected, have),
                Plan::Change(change) => {
                    let now: Vec<Taint> =
                        serde_json::from_value::<Option<_>>(change.patch["spec"]["taints"].clone())
                            .expect("taints")
                            .unwrap_or_default();
                    prop_assert_eq!(read(&now), expected);
                    prop_assert_eq!(plan(&now, &params), Plan::Unchanged);
                    prop_assert_eq!(values(&taints, change.before.keys()), change.before.clone());
                    prop_assert_eq!(values(&now, change.after.keys()), change.after);
                }
                refused => prop_assert!(false, "{:?}", refused),
            }
        }
    }
}
