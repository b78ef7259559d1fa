//! What Kubernetes would refuse, refused before anything is stored and in its own words; and what
//! must be allowed expressly.

use std::collections::BTreeSet;

use super::error::FieldError;
use super::protected::is_protected;
use super::submit::{DrainParams, KeyParams, TaintParams};
use crate::clusters::{LabelSelector, label_key, label_value};

/// All annotations of an object together, in bytes
/// (`k8s.io/apimachinery/pkg/api/validation`, `TotalAnnotationSizeLimitB`).
const MAX_ANNOTATIONS: usize = 256 * 1024;

/// Labels, annotations or taints that one task sets and removes. Every node of a preview and every item of a task
/// keeps them, before and after.
const MAX_ENTRIES: usize = 256;

/// In the order of the API server's message.
const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

pub(super) fn labels(params: &KeyParams) -> Vec<FieldError> {
    keys(params, "label", label_key, label_value)
}

pub(super) fn annotations(params: &KeyParams) -> Vec<FieldError> {
    // Kubernetes does not mind capitals in an annotation's prefix.
    let key = |key: &str| label_key(&key.to_lowercase());
    let mut faults = keys(params, "annotation", key, |value| {
        // The API server stores it, PostgreSQL cannot.
        if value.contains('\0') { Err("must not contain NUL".into()) } else { Ok(()) }
    });
    let bytes: usize = params.set.iter().map(|(k, v)| k.len() + v.len()).sum();
    if bytes > MAX_ANNOTATIONS {
        let message = format!("Too long: may not be more than {MAX_ANNOTATIONS} bytes");
        faults.push(FieldError::new("params.set", message));
    }
    faults
}

fn keys(
    params: &KeyParams,
    what: &str,
    check_key: impl Fn(&str) -> Result<(), String>,
    check_value: impl Fn(&str) -> Result<(), String>,
) -> Vec<FieldError> {
    if let Some(fault) = too_many(params.set.len() + params.remove.len(), what) {
        return vec![fault];
    }
    let mut faults = Vec::new();
    if params.set.is_empty() && params.remove.is_empty() {
        let article = if what == "label" { "a" } else { "an" };
        let message = format!("at least one of set and remove must name {article} {what}");
        faults.push(FieldError::new("params", message));
    }
    for (key, value) in &params.set {
        let field = format!("params.set.{key}");
        faults.extend(key_fault(&field, key, &check_key, params.allow_protected));
        faults.extend(check_value(value).err().map(|fault| FieldError::new(&field, fault)));
    }
    let mut seen = BTreeSet::new();
    for (i, key) in params.remove.iter().enumerate() {
        let field = format!("params.remove[{i}]");
        faults.extend(key_fault(&field, key, &check_key, params.allow_protected));
        if params.set.contains_key(key) {
            faults.push(FieldError::new(&field, format!("{key:?} is also in params.set")));
        }
        if !seen.insert(key) {
            faults.push(FieldError::new(&field, format!("{key:?} is named twice")));
        }
    }
    faults
}

fn too_many(entries: usize, what: &str) -> Option<FieldError> {
    (entries > MAX_ENTRIES).then(|| {
        let message =
            format!("set and remove together name {entries} {what}s; {MAX_ENTRIES} is the most");
        FieldError::new("params", message)
    })
}

pub(super) fn taints(params: &TaintParams) -> Vec<FieldError> {
    if let Some(fault) = too_many(params.set.len() + params.remove.len(), "taint") {
        return vec![fault];
    }
    let mut faults = Vec::new();
    if params.set.is_empty() && params.remove.is_empty() {
        let message = "at least one of set and remove must name a taint";
        faults.push(FieldError::new("params", message));
    }
    for (i, taint) in params.set.iter().enumerate() {
        let field = format!("params.set[{i}]");
        faults.extend(taint_key_fault(&field, &taint.key, params));
        let value = label_value(&taint.value);
        faults.extend(value.err().map(|f| FieldError::new(format!("{field}.value"), f)));
        faults.extend(effect_fault(&field, &taint.effect));
        let earlier = &params.set[..i];
        if earlier.iter().any(|t| t.key == taint.key && t.effect == taint.effect) {
            let message = format!(
                "Duplicate value: {}:{}: taints must be unique by key and effect pair",
                taint.key, taint.effect
            );
            faults.push(FieldError::new(&field, message));
        }
    }
    for (i, name) in params.remove.iter().enumerate() {
        let field = format!("params.remove[{i}]");
        faults.extend(taint_key_fault(&field, &name.key, params));
        faults.extend(name.effect.as_ref().and_then(|effect| effect_fault(&field, effect)));
        if params.set.iter().any(|t| name.matches(&t.key, &t.effect)) {
            let message = format!(
                "can not both modify and remove the following taint(s) in the same command: {}",
                name.key
            );
            faults.push(FieldError::new(&field, message));
        }
    }
    faults
}

pub(super) fn drain(params: &DrainParams) -> Vec<FieldError> {
    let mut faults = Vec::new();
    if let Err(error) = params.pod_selector.parse::<LabelSelector>() {
        faults.push(FieldError::new("params.pod_selector", error.to_string()));
    }
    if params.grace_period_seconds.is_some_and(|s| s > i64::from(u32::MAX)) {
        let message = format!("must be no more than {} seconds", u32::MAX);
        faults.push(FieldError::new("params.grace_period_seconds", message));
    }
    faults
}

fn taint_key_fault(field: &str, key: &str, params: &TaintParams) -> Option<FieldError> {
    key_fault(&format!("{field}.key"), key, label_key, params.allow_protected)
}

fn key_fault(
    field: &str,
    key: &str,
    check: impl Fn(&str) -> Result<(), String>,
    allow_protected: bool,
) -> Option<FieldError> {
    let fault = match check(key) {
        Err(fault) => fault,
        Ok(()) if is_protected(key) && !allow_protected => format!(
            "{key:?} belongs to Kubernetes itself: the kubelet and the scheduler rely on it; to \
             change it all the same, set params.allow_protected"
        ),
        Ok(()) => return None,
    };
    Some(FieldError::new(field, fault))
}

fn effect_fault(field: &str, effect: &str) -> Option<FieldError> {
    (!EFFECTS.contains(&effect)).then(|| {
        let [a, b, c] = EFFECTS;
        let message =
            format!("Unsupported value: {effect:?}: supported values: \"{a}\", \"{b}\", \"{c}\"");
        FieldError::new(format!("{field}.effect"), message)
    })
}
