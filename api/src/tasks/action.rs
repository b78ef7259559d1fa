//! An action with its parameters, checked: what the executor can rely on.

use std::collections::BTreeSet;

use knm_shared::config::Executor;
use knm_shared::session::Role;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::error::FieldError;
use super::protected::is_protected;
use super::submit::{LabelParams, SubmittedOptions};
use crate::clusters::{label_key, label_value};

/// What a task does to each of its nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Sets and removes labels.
    Label(LabelParams),
}

impl Action {
    /// The actions that this release knows. It claims no others: during a rolling update a newer
    /// release may have stored some.
    pub const NAMES: &'static [&'static str] = &["label"];

    /// Reads and checks an action's parameters.
    ///
    /// # Errors
    /// Every fault, each with its field.
    pub fn parse(name: &str, params: &Value) -> Result<Self, Vec<FieldError>> {
        match name {
            "label" => {
                let params: LabelParams = read("params", params)?;
                let faults = label_faults(&params);
                if faults.is_empty() { Ok(Self::Label(params)) } else { Err(faults) }
            }
            _ => Err(vec![FieldError::new(
                "action",
                format!("{name:?} is not an action: it must be one of {}", Self::NAMES.join(", ")),
            )]),
        }
    }

    /// The word in rows, requests and metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Label(_) => "label",
        }
    }

    /// The role that may submit it with these parameters.
    #[must_use]
    pub const fn required_role(&self) -> Role {
        match self {
            Self::Label(params) if params.allow_protected => Role::Admin,
            Self::Label(_) => Role::Operator,
        }
    }

    /// The parameters as they are stored, defaults filled in.
    #[must_use]
    pub fn params(&self) -> Value {
        match self {
            Self::Label(params) => to_value(params),
        }
    }
}

/// How a task goes about its nodes, defaults filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Options {
    /// Nodes worked on at a time.
    pub concurrency: u32,
}

impl Options {
    /// Checks what was asked for against the limits of this installation.
    ///
    /// # Errors
    /// Every fault, each with its field.
    pub fn check(asked: &SubmittedOptions, limits: &Executor) -> Result<Self, Vec<FieldError>> {
        let concurrency = asked.concurrency.unwrap_or(limits.default_concurrency);
        if concurrency == 0 || concurrency > limits.max_concurrency {
            let most = limits.max_concurrency;
            return Err(vec![FieldError::new(
                "options.concurrency",
                format!("must be between 1 and {most} (executor.max_concurrency)"),
            )]);
        }
        Ok(Self { concurrency })
    }

    /// From a stored row, which an installation with other limits may have written.
    #[must_use]
    pub fn from_row(stored: &Value, limits: &Executor) -> Self {
        let stored: SubmittedOptions = serde_json::from_value(stored.clone()).unwrap_or_default();
        let concurrency = stored.concurrency.unwrap_or(limits.default_concurrency);
        Self { concurrency: concurrency.clamp(1, limits.max_concurrency) }
    }

    /// As it is stored.
    #[must_use]
    pub fn to_value(self) -> Value {
        to_value(&self)
    }
}

fn to_value<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_else(|e| unreachable!("plain data serialises: {e}"))
}

/// Reads an object, naming the field that is at fault.
fn read<T: DeserializeOwned>(field: &str, value: &Value) -> Result<T, Vec<FieldError>> {
    let empty = Value::Object(Map::new());
    let value = if value.is_null() { &empty } else { value };
    serde_json::from_value(value.clone()).map_err(|error| {
        let message = error.to_string();
        // serde names the field only in its message: `unknown field `sett`, expected one of …`.
        let name = message.strip_prefix("unknown field `").and_then(|m| m.split('`').next());
        let field = name.map_or_else(|| field.to_owned(), |name| format!("{field}.{name}"));
        vec![FieldError::new(field, message)]
    })
}

fn label_faults(params: &LabelParams) -> Vec<FieldError> {
    let mut faults = Vec::new();
    if params.set.is_empty() && params.remove.is_empty() {
        faults.push(FieldError::new("params", "at least one of set and remove must name a label"));
    }
    for (key, value) in &params.set {
        let field = format!("params.set.{key}");
        faults.extend(key_faults(&field, key, params.allow_protected));
        faults.extend(label_value(value).err().map(|fault| FieldError::new(&field, fault)));
    }
    let mut seen = BTreeSet::new();
    for (i, key) in params.remove.iter().enumerate() {
        let field = format!("params.remove[{i}]");
        faults.extend(key_faults(&field, key, params.allow_protected));
        if params.set.contains_key(key) {
            faults.push(FieldError::new(&field, format!("{key:?} is also in params.set")));
        }
        if !seen.insert(key) {
            faults.push(FieldError::new(&field, format!("{key:?} is named twice")));
        }
    }
    faults
}

fn key_faults(field: &str, key: &str, allow_protected: bool) -> Option<FieldError> {
    let fault = match label_key(key) {
        Err(fault) => fault,
        Ok(()) if is_protected(key) && !allow_protected => format!(
            "{key:?} belongs to Kubernetes itself: the kubelet and the scheduler rely on it; to \
             change it all the same, set params.allow_protected"
        ),
        Ok(()) => return None,
    };
    Some(FieldError::new(field, fault))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(params: &Value) -> Vec<String> {
        let faults = Action::parse("label", params).expect_err("faults");
        faults.into_iter().map(|f| f.field).collect()
    }

    #[test]
    fn every_fault_names_its_field() {
        assert_eq!(fields(&json!({})), ["params"]);
        assert_eq!(fields(&Value::Null), ["params"]);
        assert_eq!(fields(&json!({"sett": {}})), ["params.sett"]);
        assert_eq!(fields(&json!({"set": {"a": 1}})), ["params"]);
        assert_eq!(
            fields(
                &json!({"set": {"-a": "x", "b": "not valid!"}, "remove": ["c d", "b", "e", "e"]})
            ),
            [
                "params.set.-a",
                "params.set.b",
                "params.remove[0]",
                "params.remove[1]",
                "params.remove[3]"
            ]
        );
        assert_eq!(fields(&json!({"remove": ["kubernetes.io/os"]})), ["params.remove[0]"]);
    }

    #[test]
    fn protected_keys_need_the_word_and_an_admin() {
        let params = json!({"set": {"node.kubernetes.io/x": "1"}, "allow_protected": true});
        let action = Action::parse("label", &params).expect("allowed");
        assert_eq!(action.required_role(), Role::Admin);
        let plain = Action::parse("label", &json!({"set": {"x": "1"}})).expect("valid");
        assert_eq!(plain.required_role(), Role::Operator);
    }

    #[test]
    fn an_unknown_action_is_told_the_known_ones() {
        let faults = Action::parse("explode", &Value::Null).expect_err("unknown");
        assert_eq!(faults[0].field, "action");
        assert!(faults[0].message.contains("label"), "{}", faults[0].message);
    }

    #[test]
    fn what_is_stored_reads_back_as_the_same() {
        let action = Action::parse("label", &json!({"set": {"x": "1"}})).expect("valid");
        assert_eq!(Action::parse(action.name(), &action.params()), Ok(action));
    }

    #[test]
    fn concurrency_has_limits() {
        let limits = Executor::default();
        for bad in [0, limits.max_concurrency + 1] {
            let asked = SubmittedOptions { concurrency: Some(bad) };
            let faults = Options::check(&asked, &limits).expect_err("out of range");
            assert_eq!(faults[0].field, "options.concurrency");
        }
        let default = Options::check(&SubmittedOptions::default(), &limits).expect("valid");
        assert_eq!(default.concurrency, limits.default_concurrency);
    }
}
