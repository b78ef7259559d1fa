//! Disruption budgets, as an eviction would meet them
//! (<https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-budgets>).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1;

use crate::clusters::LabelSelector;

/// A budget and the pods that it covers.
#[derive(Debug)]
pub(super) struct Budget {
    namespace: String,
    pub(super) name: String,
    /// What its selector accepts; `None` accepts nothing.
    selector: Option<LabelSelector>,
    /// Evictions that it would allow now.
    pub(super) allowed: i32,
    /// Healthy pods that it has, and needs.
    pub(super) healthy: i32,
    pub(super) desired: i32,
    /// Whether pods that are not ready go whatever else holds (`unhealthyPodEvictionPolicy`).
    always_unhealthy: bool,
}

impl Budget {
    pub(super) fn of(budget: &PodDisruptionBudget) -> Self {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let status = budget.status.as_ref();
        let spec = budget.spec.as_ref();
        let selector = spec.and_then(|s| s.selector.as_ref());
        let policy = spec.and_then(|s| s.unhealthy_pod_eviction_policy.as_deref());
        Self {
            namespace: text(&budget.metadata.namespace),
            name: text(&budget.metadata.name),
            selector: selector.and_then(parse),
            allowed: status.and_then(|s| s.disruptions_allowed).unwrap_or(0),
            healthy: status.and_then(|s| s.current_healthy).unwrap_or(0),
            desired: status.and_then(|s| s.desired_healthy).unwrap_or(0),
            always_unhealthy: policy == Some("AlwaysAllow"),
        }
    }

    /// `namespace/name`
    pub(super) fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    pub(super) fn covers(&self, pod: &Pod) -> bool {
        let none = BTreeMap::new();
        let labels = pod.metadata.labels.as_ref().unwrap_or(&none);
        pod.metadata.namespace.as_deref() == Some(&self.namespace)
            && self.selector.as_ref().is_some_and(|s| s.matches(labels))
    }

    /// Whether the pod, which it covers, may go now. One that is not ready is not among the healthy: it
    /// goes without being counted while there are enough of those, or as the budget says always.
    pub(super) fn lets_go(&self, pod: &Pod) -> bool {
        let has_enough = self.desired > 0 && self.healthy >= self.desired;
        self.allowed > 0 || (!is_ready(pod) && (self.always_unhealthy || has_enough))
    }
}

/// The budgets that an eviction of the pod would ask, with their places. What does not run yet, or not any
/// more, or is terminating, goes without asking any (`canIgnorePDB` in
/// `kubernetes/pkg/registry/core/pod/storage/eviction.go`).
pub(super) fn asked<'a>(pod: &Pod, budgets: &'a [Budget]) -> Vec<(usize, &'a Budget)> {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    if matches!(phase, Some("Pending" | "Succeeded" | "Failed"))
        || pod.metadata.deletion_timestamp.is_some()
    {
        return Vec::new();
    }
    budgets.iter().enumerate().filter(|(_, budget)| budget.covers(pod)).collect()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// An object's selector by way of its text form, which has the same meaning.
fn parse(selector: &v1::LabelSelector) -> Option<LabelSelector> {
    let mut terms = Vec::new();
    for (key, value) in selector.match_labels.iter().flatten() {
        terms.push(format!("{key}={value}"));
    }
    for requirement in selector.match_expressions.iter().flatten() {
        let (key, values) = (&requirement.key, requirement.values.iter().flatten());
        let values = values.map(String::as_str).collect::<Vec<_>>().join(",");
        terms.push(match requirement.operator.as_str() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.clone(),
            "DoesNotExist" => format!("!{key}"),
            _ => return None,
        });
    }
    terms.join(",").parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn budget(selector: &Value) -> Budget {
        Budget::of(
            &serde_json::from_value(json!({
                "metadata": {"namespace": "shop", "name": "web"},
                "spec": {"selector": selector},
                "status": {"disruptionsAllowed": 1, "currentHealthy": 3, "desiredHealthy": 2,
                           "expectedPods": 3},
            }))
            .expect("a budget"),
        )
    }

    fn pod(namespace: &str, labels: &Value) -> Pod {
        let pod = json!({"metadata": {"namespace": namespace, "name": "p", "labels": labels}});
        serde_json::from_value(pod).expect("a pod")
    }

    #[test]
    fn a_budget_covers_what_its_selector_accepts_in_its_namespace() {
        let web = json!({"app": "web", "tier": "front"});
        for (selector, covers) in [
            (json!({"matchLabels": {"app": "web"}}), true),
            (json!({"matchLabels": {"app": "api"}}), false),
            (json!({}), true),
            (Value::Null, false),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["api", "web"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}),
                false,
            ),
            (json!({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}), true),
            (json!({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}), false),
        ] {
            let budget = budget(&selector);
            assert_eq!(budget.covers(&pod("shop", &web)), covers, "{selector}");
            assert!(!budget.covers(&pod("other", &web)), "{selector}");
        }
        let read = budget(&json!({}));
        assert_eq!(
            (read.full_name(), read.allowed, read.healthy, read.desired),
            ("shop/web".into(), 1, 3, 2)
        );
    }

    #[test]
    fn only_what_runs_is_guarded() {
        let budgets = [budget(&json!({})), budget(&json!({"matchLabels": {"app": "web"}}))];
        let labels = json!({"app": "web"});
        for (status, guards) in [
            (json!({"phase": "Running"}), 2),
            (json!({"phase": "Unknown"}), 2),
            (Value::Null, 2),
            (json!({"phase": "Pending"}), 0),
            (json!({"phase": "Succeeded"}), 0),
            (json!({"phase": "Failed"}), 0),
        ] {
            let mut pod = pod("shop", &labels);
            pod.status = serde_json::from_value(status.clone()).expect("a status");
            assert_eq!(asked(&pod, &budgets).len(), guards, "{status}");
            let since = json!("2026-01-01T00:00:00Z");
            pod.metadata.deletion_timestamp = serde_json::from_value(since).expect("a time");
            assert!(asked(&pod, &budgets).is_empty(), "terminating: {status}");
        }
    }

    #[test]
    fn who_is_not_ready_goes_by_the_budgets_policy() {
        let running = |ready: &Value| {
            let mut pod = pod("shop", &json!({}));
            let status = json!({"phase": "Running", "conditions": ready});
            pod.status = serde_json::from_value(status).expect("a status");
            pod
        };
        let ready = running(&json!([{"type": "Ready", "status": "True"}]));
        let unready = [
            running(&json!([{"type": "Ready", "status": "False"}])),
            running(&json!([{"type": "Ready", "status": "Unknown"}])),
            running(&json!([{"type": "Initialized", "status": "True"}])),
            running(&Value::Null),
        ];
        let (by_default, if_healthy) = (Value::Null, json!("IfHealthyBudget"));
        let always = json!("AlwaysAllow");
        // allowed, healthy, desired, policy; whether a ready pod goes, and one that is not
        for (allowed, healthy, desired, policy, of_ready, of_unready) in [
            (1, 3, 2, &by_default, true, true),
            (0, 2, 2, &by_default, false, true),
            (0, 3, 2, &by_default, false, true),
            (0, 1, 2, &by_default, false, false),
            (0, 2, 2, &if_healthy, false, true),
            (0, 1, 2, &if_healthy, false, false),
            // Nothing is wanted: nothing says that what it guards is well.
            (0, 0, 0, &by_default, false, false),
            (0, 0, 0, &always, false, true),
            (0, 1, 2, &always, false, true),
            (0, 2, 2, &always, false, true),
            (1, 1, 2, &always, true, true),
        ] {
            let case = format!("{allowed} {healthy}/{desired} {policy}");
            let budget = Budget::of(
                &serde_json::from_value(json!({
                    "metadata": {"namespace": "shop", "name": "web"},
                    "spec": {"selector": {}, "unhealthyPodEvictionPolicy": policy},
                    "status": {"disruptionsAllowed": allowed, "currentHealthy": healthy,
                               "desiredHealthy": desired, "expectedPods": 3},
                }))
                .expect("a budget"),
            );
            assert_eq!(budget.lets_go(&ready), of_ready, "ready: {case}");
            for pod in &unready {
                assert_eq!(budget.lets_go(pod), of_unready, "{:?}: {case}", pod.status);
            }
        }
        let new =
            json!({"metadata": {"namespace": "shop", "name": "new"}, "spec": {"selector": {}}});
        let new = Budget::of(&serde_json::from_value(new).expect("a budget"));
        assert!(!new.lets_go(&unready[0]), "nobody has counted for it yet");
    }
}
