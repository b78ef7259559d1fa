//! What becomes of a node's pods in a drain, as kubectl decides it
//! (<https://kubernetes.io/docs/tasks/administer-cluster/safely-drain-node/>,
//! `k8s.io/kubectl/pkg/drain/filters.go`). Pure: no clock, no network.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::submit::DrainParams;

/// What becomes of one pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is evicted.
    Evict,
    /// It is terminating already, and as soon as this drain would have it: only waited for.
    Wait,
    /// It stays, and does not count.
    Stay(Stays),
    /// It keeps the node from being drained.
    Refuse(Refusal),
}

/// Why a pod may stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stays {
    /// Its DaemonSet would put it back on a cordoned node, too.
    DaemonSet,
    /// The kubelet runs it from a file; the API server cannot end it.
    Mirror,
    /// Terminating for longer than is waited for.
    Overdue,
}

impl Stays {
    /// In words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DaemonSet => "is managed by a DaemonSet",
            Self::Mirror => "is a mirror of a static pod",
            Self::Overdue => "has been terminating for too long to wait for",
        }
    }
}

/// Which permission is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// `ignore_daemonsets`
    DaemonSet,
    /// `force`, for a pod whose DaemonSet is gone.
    OrphanOfDaemonSet,
    /// `delete_emptydir_data`
    EmptyDir,
    /// `force`, for a pod that nothing would start again.
    Unmanaged,
}

impl Refusal {
    /// In kubectl's words, as far as its flags are our parameters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DaemonSet => "cannot delete DaemonSet-managed Pods (use ignore_daemonsets)",
            Self::OrphanOfDaemonSet => {
                "cannot delete Pods whose DaemonSet does not exist any more (use force)"
            }
            Self::EmptyDir => "cannot delete Pods with local storage (use delete_emptydir_data)",
            Self::Unmanaged => "cannot delete Pods that declare no controller (use force)",
        }
    }
}

/// A pod as the API shows it in previews and messages.
#[must_use]
pub fn full_name(pod: &Pod) -> String {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    format!("{namespace}/{}", pod.metadata.name.as_deref().unwrap_or_default())
}

/// Decides for one pod. `daemonset_exists` is asked for pods of a DaemonSet only.
#[must_use]
pub fn fate(
    pod: &Pod,
    params: &DrainParams,
    now: Timestamp,
    daemonset_exists: impl FnOnce(&OwnerReference) -> bool,
) -> Fate {
    if is_overdue(pod, params, now) {
        return Fate::Stay(Stays::Overdue);
    }
    let go = if is_leaving(pod, params.grace()) { Fate::Wait } else { Fate::Evict };
    let finished = is_finished(pod);
    match controller(pod) {
        Some(owner) if owner.kind == "DaemonSet" && !finished => {
            match (daemonset_exists(owner), params.ignore_daemonsets) {
                (true, true) => return Fate::Stay(Stays::DaemonSet),
                (true, false) => return Fate::Refuse(Refusal::DaemonSet),
                // What else it may be refused for holds as well.
                (false, _) if params.force => {}
                (false, _) => return Fate::Refuse(Refusal::OrphanOfDaemonSet),
            }
        }
        _ => {}
    }
    let annotations = pod.metadata.annotations.as_ref();
    if annotations.is_some_and(|a| a.contains_key("kubernetes.io/config.mirror")) {
        return Fate::Stay(Stays::Mirror);
    }
    if has_empty_dir(pod) && !finished && !params.delete_emptydir_data {
        return Fate::Refuse(Refusal::EmptyDir);
    }
    if controller(pod).is_none() && !finished && !params.force {
        return Fate::Refuse(Refusal::Unmanaged);
    }
    go
}

/// Whether nothing more is to be asked of it: it is terminating, and not with more seconds than `grace`.
/// A pod of a dead node terminates for ever: only an eviction or deletion with fewer seconds ends it.
#[must_use]
pub fn is_leaving(pod: &Pod, grace: Option<i64>) -> bool {
    let has = pod.metadata.deletion_grace_period_seconds;
    let is_longer = has.zip(grace).is_some_and(|(has, asked)| asked < has);
    pod.metadata.deletion_timestamp.is_some() && !is_longer
}

/// Whether its end, grace period included, is overdue by more than is waited for.
#[must_use]
pub fn is_overdue(pod: &Pod, params: &DrainParams, now: Timestamp) -> bool {
    let seconds = i64::from(params.skip_wait_for_delete_timeout_seconds);
    let due = pod.metadata.deletion_timestamp.as_ref();
    seconds > 0 && due.is_some_and(|due| now.duration_since(due.0).as_secs() > seconds)
}

/// The refusals as one sentence, each with its pods; `None` without any.
#[must_use]
pub fn refusals(fates: &[(String, Fate)]) -> Option<String> {
    let mut by_reason: BTreeMap<Refusal, Vec<&str>> = BTreeMap::new();
    for (name, fate) in fates {
        if let Fate::Refuse(refusal) = fate {
            by_reason.entry(*refusal).or_default().push(name);
        }
    }
    let sentence = |(refusal, names): (&Refusal, &Vec<&str>)| {
        format!("{}: {}", refusal.as_str(), names.join(", "))
    };
    let sentences: Vec<_> = by_reason.iter().map(sentence).collect();
    (!sentences.is_empty()).then(|| sentences.join("; "))
}

/// The owner that would replace it.
#[must_use]
pub fn controller(pod: &Pod) -> Option<&OwnerReference> {
    pod.metadata.owner_references.as_ref()?.iter().find(|o| o.controller == Some(true))
}

fn is_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn has_empty_dir(pod: &Pod) -> bool {
    let volumes = pod.spec.as_ref().and_then(|s| s.volumes.as_ref());
    volumes.is_some_and(|v| v.iter().any(|volume| volume.empty_dir.is_some()))
}

/// Whether the scheduler may put it on a cordoned node.
#[must_use]
pub fn tolerates_cordon(pod: &Pod) -> bool {
    tolerates(pod, "node.kubernetes.io/unschedulable", "", "NoSchedule").is_some()
}

/// Whether a pod tolerates a taint, and for how many seconds (`Some(None)`: for ever).
#[must_use]
pub fn tolerates(pod: &Pod, key: &str, value: &str, effect: &str) -> Option<Option<i64>> {
    let tolerations = pod.spec.as_ref()?.tolerations.as_ref()?;
    let matching = tolerations.iter().filter(|t| {
        let key_fits = t.key.as_deref().is_none_or(|k| k.is_empty() || k == key);
        let effect_fits = t.effect.as_deref().is_none_or(|e| e.is_empty() || e == effect);
        let value_fits = t.operator.as_deref() == Some("Exists")
            || t.key.as_deref().is_some_and(|k| !k.is_empty())
                && t.value.as_deref().unwrap_or_default() == value;
        key_fits && effect_fits && value_fits
    });
    let seconds = matching.map(|t| t.toleration_seconds);
    // The shortest of those that are limited decides, as in the taint manager.
    seconds.reduce(|a, b| match (a, b) {
        (None, other) | (other, None) => other,
        (Some(a), Some(b)) => Some(a.min(b)),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(spec: &Value) -> Pod {
        let mut pod =
            json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"containers": []}});
        json_merge(&mut pod, spec);
        serde_json::from_value(pod).expect("a pod")
    }

    fn json_merge(into: &mut Value, from: &Value) {
        match (into, from) {
            (Value::Object(into), Value::Object(from)) => {
                for (key, value) in from {
                    json_merge(into.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
            (into, from) => *into = from.clone(),
        }
    }

    fn owned(kind: &str) -> Value {
        json!({"metadata": {"ownerReferences": [
            {"apiVersion": "apps/v1", "kind": kind, "name": "o", "uid": "u", "controller": true}
        ]}})
    }

    fn decide(pod: &Pod, params: &Value) -> Fate {
        let params: DrainParams = serde_json::from_value(params.clone()).expect("parameters");
        fate(pod, &params, "2026-01-01T00:10:00Z".parse().expect("a time"), |_| true)
    }

    #[test]
    fn every_class_as_kubectl_decides_it() {
        let none = json!({});
        let managed = pod(&owned("ReplicaSet"));
        assert_eq!(decide(&managed, &none), Fate::Evict);

        let daemon = pod(&owned("DaemonSet"));
        assert_eq!(decide(&daemon, &none), Fate::Refuse(Refusal::DaemonSet));
        let ignored = decide(&daemon, &json!({"ignore_daemonsets": true}));
        assert_eq!(ignored, Fate::Stay(Stays::DaemonSet));
        let mut done = daemon.clone();
        done.status.get_or_insert_default().phase = Some("Succeeded".into());
        assert_eq!(decide(&done, &none), Fate::Evict, "a finished pod of a DaemonSet goes");

        let gone = |params: Value| {
            let params: DrainParams = serde_json::from_value(params).expect("parameters");
            fate(&daemon, &params, Timestamp::UNIX_EPOCH, |_| false)
        };
        let orphan = gone(json!({"ignore_daemonsets": true}));
        assert_eq!(orphan, Fate::Refuse(Refusal::OrphanOfDaemonSet));
        assert_eq!(gone(json!({"force": true})), Fate::Evict);

        let mirror =
            pod(&json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}}));
        assert_eq!(decide(&mirror, &none), Fate::Stay(Stays::Mirror));

        let bare = pod(&none);
        assert_eq!(decide(&bare, &none), Fate::Refuse(Refusal::Unmanaged));
        assert_eq!(decide(&bare, &json!({"force": true})), Fate::Evict);
        let finished = pod(&json!({"status": {"phase": "Failed"}}));
        assert_eq!(decide(&finished, &none), Fate::Evict);

        let mut local = managed.clone();
        let volumes = json!([{"name": "v", "emptyDir": {}}]);
        local.spec.get_or_insert_default().volumes =
            serde_json::from_value(volumes).expect("volumes");
        assert_eq!(decide(&local, &none), Fate::Refuse(Refusal::EmptyDir));
        assert_eq!(decide(&local, &json!({"delete_emptydir_data": true})), Fate::Evict);
        local.status.get_or_insert_default().phase = Some("Succeeded".into());
        assert_eq!(decide(&local, &none), Fate::Evict);

        let mut ending = managed;
        let since = json!("2026-01-01T00:00:00Z");
        ending.metadata.deletion_timestamp = serde_json::from_value(since).expect("a time");
        assert_eq!(decide(&ending, &none), Fate::Wait);
        let skip = |seconds: u32| json!({"skip_wait_for_delete_timeout_seconds": seconds});
        assert_eq!(decide(&ending, &skip(599)), Fate::Stay(Stays::Overdue));
        assert_eq!(decide(&ending, &skip(600)), Fate::Wait);

        ending.metadata.deletion_grace_period_seconds = Some(30);
        let grace = |seconds: i64| json!({"grace_period_seconds": seconds});
        assert_eq!(decide(&ending, &none), Fate::Wait);
        assert_eq!(decide(&ending, &grace(-1)), Fate::Wait, "its own");
        assert_eq!(decide(&ending, &grace(30)), Fate::Wait);
        assert_eq!(decide(&ending, &grace(29)), Fate::Evict, "it is to end sooner");
    }

    #[test]
    fn refusals_come_together_each_with_its_pods() {
        let fates = [
            ("a/1".to_owned(), Fate::Refuse(Refusal::Unmanaged)),
            ("a/2".to_owned(), Fate::Evict),
            ("b/3".to_owned(), Fate::Refuse(Refusal::EmptyDir)),
            ("b/4".to_owned(), Fate::Refuse(Refusal::Unmanaged)),
        ];
        let said = refusals(&fates).expect("refused");
        assert!(said.contains("no controller (use force): a/1, b/4"), "{said}");
        assert!(said.contains("local storage (use delete_emptydir_data): b/3"), "{said}");
        assert_eq!(refusals(&fates[1..2]), None);
    }

    #[test]
    fn tolerations_as_the_taint_manager_reads_them() {
        let with = |t: Value| pod(&json!({"spec": {"tolerations": [t]}}));
        let all = with(json!({"operator": "Exists"}));
        assert!(tolerates_cordon(&all));
        assert_eq!(tolerates(&all, "k", "v", "NoExecute"), Some(None));
        let some =
            with(json!({"key": "k", "value": "v", "effect": "NoExecute", "tolerationSeconds": 30}));
        assert_eq!(tolerates(&some, "k", "v", "NoExecute"), Some(Some(30)));
        assert_eq!(tolerates(&some, "k", "w", "NoExecute"), None);
        assert_eq!(tolerates(&some, "k", "v", "NoSchedule"), None);
        assert!(!tolerates_cordon(&pod(&json!({}))));
    }
}
