//! An action with its parameters, checked: what the executor can rely on.

use k8s_openapi::api::core::v1::Node;
use knm_shared::access;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::check;
use super::cordon;
use super::error::FieldError;
use super::keys::{self, Field};
use super::plan::{Author, Plan};
use super::revert::{Keys, RevertParams};
use super::submit::{DrainParams, KeyParams, NoParams, TaintParams};
use super::taint;

/// What a task does to each of its nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Sets and removes labels.
    Label(KeyParams),
    /// Sets and removes annotations.
    Annotate(KeyParams),
    /// Sets and removes taints.
    Taint(TaintParams),
    /// Makes unschedulable.
    Cordon,
    /// Makes schedulable.
    Uncordon,
    /// Makes unschedulable and evicts the pods.
    Drain(DrainParams),
    /// Undoes another task.
    Revert(RevertParams),
}

impl Action {
    /// The actions that this release knows. It claims no others: during a rolling update a newer
    /// release may have stored some.
    pub const NAMES: &'static [&'static str] =
        &["label", "annotate", "taint", "cordon", "uncordon", "drain", "revert"];

    /// Those of them that users submit.
    const SUBMITTED: &'static [&'static str] =
        &["label", "annotate", "taint", "cordon", "uncordon", "drain"];

    /// Reads and checks what a user submits.
    ///
    /// # Errors
    /// Every fault, each with its field.
    pub fn submitted(name: &str, params: &Value) -> Result<Self, Vec<FieldError>> {
        if !Self::SUBMITTED.contains(&name) {
            let known = Self::SUBMITTED.join(", ");
            let message = format!("{name:?} is not an action: it must be one of {known}");
            return Err(vec![FieldError::new("action", message)]);
        }
        Self::parse(name, params)
    }

    /// Reads and checks an action's parameters, as they are stored.
    ///
    /// # Errors
    /// Every fault, each with its field.
    pub fn parse(name: &str, params: &Value) -> Result<Self, Vec<FieldError>> {
        let checked = |action, faults: Vec<FieldError>| {
            if faults.is_empty() { Ok(action) } else { Err(faults) }
        };
        match name {
            "label" => {
                let params: KeyParams = read(params)?;
                let faults = check::labels(&params);
                checked(Self::Label(params), faults)
            }
            "annotate" => {
                let params: KeyParams = read(params)?;
                let faults = check::annotations(&params);
                checked(Self::Annotate(params), faults)
            }
            "taint" => {
                let params: TaintParams = read(params)?;
                let faults = check::taints(&params);
                checked(Self::Taint(params), faults)
            }
            "cordon" => read::<NoParams>(params).map(|NoParams {}| Self::Cordon),
            "uncordon" => read::<NoParams>(params).map(|NoParams {}| Self::Uncordon),
            "drain" => {
                let params: DrainParams = read(params)?;
                let faults = check::drain(&params);
                checked(Self::Drain(params), faults)
            }
            "revert" => read(params).map(Self::Revert),
            _ => Err(vec![FieldError::new("action", format!("{name:?} is not known here"))]),
        }
    }

    /// The word in rows, requests and metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Label(_) => "label",
            Self::Annotate(_) => "annotate",
            Self::Taint(_) => "taint",
            Self::Cordon => "cordon",
            Self::Uncordon => "uncordon",
            Self::Drain(_) => "drain",
            Self::Revert(_) => "revert",
        }
    }

    /// What kind of keys it changes.
    #[must_use]
    pub const fn keys(&self) -> Keys {
        match self {
            Self::Label(_) => Keys::Labels,
            Self::Annotate(_) => Keys::Annotations,
            Self::Taint(_) => Keys::Taints,
            Self::Cordon | Self::Uncordon | Self::Drain(_) => Keys::Cordon,
            Self::Revert(params) => params.keys,
        }
    }

    /// What a node has after the change of what it had `before`, as far as that follows from the
    /// parameters and who made it.
    #[must_use]
    pub fn leaves(&self, before: &Map<String, Value>, username: &str) -> Map<String, Value> {
        let after = |key: &String| match self {
            Self::Label(params) | Self::Annotate(params) => {
                Some(params.set.get(key).cloned().into())
            }
            Self::Taint(params) => Some(taint::value_after(params, key)),
            Self::Cordon | Self::Drain(_) if key == cordon::UNSCHEDULABLE => Some(true.into()),
            Self::Cordon | Self::Drain(_) if key == cordon::BY => Some(username.into()),
            // When, the node alone knows.
            Self::Cordon | Self::Drain(_) => None,
            Self::Uncordon if key == cordon::UNSCHEDULABLE => Some(false.into()),
            Self::Uncordon => Some(Value::Null),
            Self::Revert(_) => None,
        };
        before.keys().filter_map(|key| Some((key.clone(), after(key)?))).collect()
    }

    /// Whether pods are evicted.
    #[must_use]
    pub const fn is_drain(&self) -> bool {
        matches!(self, Self::Drain(_))
    }

    /// What submitting it with these parameters takes; to revert it takes the same. What a revert takes
    /// is known from the task that it reverts.
    #[must_use]
    pub fn needs(&self) -> Vec<access::Action> {
        use access::Action::{ChangeNodes, ChangeProtectedKeys, Drain, DrainByForce, EvictByTaint};
        let mut needs = vec![ChangeNodes];
        let mut also = |wanted: bool, action| needs.extend(wanted.then_some(action));
        match self {
            Self::Label(params) | Self::Annotate(params) => {
                also(params.allow_protected, ChangeProtectedKeys);
            }
            Self::Taint(params) => {
                also(params.allow_protected, ChangeProtectedKeys);
                also(params.set.iter().any(|t| t.effect == "NoExecute"), EvictByTaint);
            }
            Self::Cordon | Self::Uncordon | Self::Revert(_) => {}
            Self::Drain(params) => {
                also(true, Drain);
                also(params.force || params.disable_eviction, DrainByForce);
            }
        }
        needs
    }

    /// The parameters as they are stored, defaults filled in.
    #[must_use]
    pub fn params(&self) -> Value {
        match self {
            Self::Label(params) | Self::Annotate(params) => to_value(params),
            Self::Taint(params) => to_value(params),
            Self::Cordon | Self::Uncordon => to_value(&NoParams {}),
            Self::Drain(params) => to_value(params),
            Self::Revert(params) => to_value(params),
        }
    }

    /// What has to be changed on the node itself. A revert's plan is its item's: see
    /// [`Keys::undo`].
    #[must_use]
    pub fn plan(&self, node: &Node, author: &Author) -> Plan {
        let none = std::collections::BTreeMap::new();
        let metadata = &node.metadata;
        match self {
            Self::Label(params) => {
                keys::plan(Field::Labels, metadata.labels.as_ref().unwrap_or(&none), params)
            }
            Self::Annotate(params) => {
                let have = metadata.annotations.as_ref().unwrap_or(&none);
                keys::plan(Field::Annotations, have, params)
            }
            Self::Taint(params) => taint::plan(taint::of(node), params),
            Self::Cordon | Self::Drain(_) => cordon::cordon(node, author),
            Self::Uncordon => cordon::uncordon(node),
            Self::Revert(_) => Plan::Unchanged,
        }
    }
}

fn to_value<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_else(|e| unreachable!("plain data serialises: {e}"))
}

/// Reads the parameters, naming the field that is at fault.
fn read<T: DeserializeOwned>(value: &Value) -> Result<T, Vec<FieldError>> {
    let empty = Value::Object(Map::new());
    let value = if value.is_null() { &empty } else { value };
    serde_path_to_error::deserialize(value).map_err(|error| {
        let message = error.inner().to_string();
        let name = crate::field::name(&error.path().to_string(), &message);
        let field = if name.is_empty() { "params".into() } else { format!("params.{name}") };
        vec![FieldError::new(field, message)]
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(action: &str, params: &Value) -> Vec<String> {
        let faults = Action::parse(action, params).expect_err("faults");
        faults.into_iter().map(|f| f.field).collect()
    }

    #[test]
    fn every_fault_names_its_field() {
        for (action, params, expected) in [
            ("label", json!({}), vec!["params"]),
            ("label", Value::Null, vec!["params"]),
            ("label", json!([]), vec!["params"]),
            ("label", json!({"sett": {}}), vec!["params.sett"]),
            ("label", json!({"set": {"a": 1}}), vec!["params.set.a"]),
            (
                "label",
                json!({"set": {"-a": "x", "b": "not valid!"}, "remove": ["c d", "b", "e", "e"]}),
                vec![
                    "params.set.-a",
                    "params.set.b",
                    "params.remove[0]",
                    "params.remove[1]",
                    "params.remove[3]",
                ],
            ),
            ("label", json!({"remove": ["kubernetes.io/os"]}), vec!["params.remove[0]"]),
            (
                "annotate",
                json!({"set": {"kubernetes.io/x": "1"}}),
                vec!["params.set.kubernetes.io/x"],
            ),
            ("annotate", json!({"set": {"x": "a\u{0}b"}}), vec!["params.set.x"]),
            ("annotate", json!({"set": {"x": "y".repeat(256 * 1024)}}), vec!["params.set"]),
            ("taint", json!({}), vec!["params"]),
            (
                "taint",
                json!({"set": [{"key": "k", "effect": "Never"}]}),
                vec!["params.set[0].effect"],
            ),
            (
                "taint",
                json!({"set": [{"key": "-", "effect": "NoSchedule"}]}),
                vec!["params.set[0].key"],
            ),
            ("taint", json!({"set": [{"key": "k"}]}), vec!["params.set[0].effect"]),
            (
                "taint",
                json!({"set": [{"key": "k", "value": "a b", "effect": "NoSchedule"}]}),
                vec!["params.set[0].value"],
            ),
            (
                "taint",
                json!({"set": [
                    {"key": "k", "effect": "NoSchedule"}, {"key": "k", "value": "x", "effect": "NoSchedule"}
                ]}),
                vec!["params.set[1]"],
            ),
            (
                "taint",
                json!({"set": [{"key": "k", "effect": "NoSchedule"}], "remove": [{"key": "k"}]}),
                vec!["params.remove[0]"],
            ),
            (
                "taint",
                json!({"remove": [{"key": "node.kubernetes.io/x", "effect": "Whim"}]}),
                vec!["params.remove[0].key", "params.remove[0].effect"],
            ),
            ("cordon", json!({"reason": "x"}), vec!["params.reason"]),
            ("uncordon", json!({"x": 1}), vec!["params.x"]),
            ("drain", json!({"timeout": 3}), vec!["params.timeout"]),
            ("drain", json!({"timeout_seconds": -3}), vec!["params.timeout_seconds"]),
            ("drain", json!({"pod_selector": "a in"}), vec!["params.pod_selector"]),
            (
                "drain",
                json!({"grace_period_seconds": 1i64 << 40}),
                vec!["params.grace_period_seconds"],
            ),
        ] {
            assert_eq!(fields(action, &params), expected, "{action} {params}");
        }
    }

    #[test]
    fn a_task_names_no_more_keys_than_a_node_could_have() {
        let keys = |n: usize| (0..n).map(|i| format!("example.com/{i}")).collect::<Vec<_>>();
        let set = |n| keys(n).into_iter().map(|k| (k, json!("-"))).collect::<Map<_, _>>();
        let taint = |key| json!({"key": key, "effect": "-"});
        let taints = |n| keys(n).into_iter().map(taint).collect::<Vec<_>>();
        for action in ["label", "annotate"] {
            assert_eq!(fields(action, &json!({"set": set(257)})), ["params"]);
            assert_eq!(fields(action, &json!({"remove": keys(300_000)})), ["params"]);
            let most = json!({"remove": keys(256)});
            Action::parse(action, &most).expect("as many as may be");
        }
        assert_eq!(fields("taint", &json!({"set": taints(100_000)})), ["params"]);
        assert_eq!(fields("taint", &json!({"set": taints(256)})).len(), 256, "each by itself");
    }

    #[test]
    fn what_is_dangerous_needs_an_admin() {
        use access::Action::{ChangeNodes, ChangeProtectedKeys, Drain, DrainByForce, EvictByTaint};
        let no_execute = json!({"set": [{"key": "k", "effect": "NoExecute"}]});
        for (action, params, more) in [
            ("label", json!({"set": {"x": "1"}}), &[][..]),
            (
                "label",
                json!({"set": {"k8s.io/x": "1"}, "allow_protected": true}),
                &[ChangeProtectedKeys],
            ),
            (
                "annotate",
                json!({"remove": ["k8s.io/x"], "allow_protected": true}),
                &[ChangeProtectedKeys],
            ),
            ("taint", json!({"set": [{"key": "k", "effect": "NoSchedule"}]}), &[]),
            ("taint", no_execute, &[EvictByTaint]),
            ("taint", json!({"remove": [{"key": "k"}]}), &[]),
            ("cordon", Value::Null, &[]),
            ("uncordon", Value::Null, &[]),
            ("drain", Value::Null, &[Drain]),
            ("drain", json!({"force": true}), &[Drain, DrainByForce]),
            ("drain", json!({"disable_eviction": true}), &[Drain, DrainByForce]),
        ] {
            let action = Action::parse(action, &params).expect("valid");
            let expected = [&[ChangeNodes], more].concat();
            assert_eq!(action.needs(), expected, "{action:?}");
        }
    }

    #[test]
    fn an_unknown_action_is_told_the_known_ones() {
        let faults = Action::submitted("explode", &Value::Null).expect_err("unknown");
        assert_eq!(faults[0].field, "action");
        assert!(faults[0].message.contains("label, annotate, taint"), "{}", faults[0].message);
    }

    #[test]
    fn what_is_stored_reads_back_as_the_same() {
        for (name, params) in [
            ("label", json!({"set": {"x": "1"}})),
            ("annotate", json!({"remove": ["x"]})),
            (
                "taint",
                json!({"set": [{"key": "k", "effect": "NoExecute"}], "remove": [{"key": "l"}]}),
            ),
            ("cordon", Value::Null),
            ("uncordon", json!({})),
            ("drain", json!({"ignore_daemonsets": true, "grace_period_seconds": -1})),
        ] {
            let action = Action::parse(name, &params).expect("valid");
            assert_eq!(Action::parse(action.name(), &action.params()), Ok(action));
        }
    }
}
