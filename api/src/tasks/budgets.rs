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
}

impl Budget {
    pub(super) fn of(budget: &PodDisruptionBudget) -> Self {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let status = budget.status.as_ref();
        let selector = budget.spec.as_ref().and_then(|s| s.selector.as_ref());
        Self {
            namespace: text(&budget.metadata.namespace),
            name: text(&budget.metadata.name),
            selector: selector.and_then(parse),
            allowed: status.and_then(|s| s.disruptions_allowed).unwrap_or(0),
            healthy: status.and_then(|s| s.current_healthy).unwrap_or(0),
            desired: status.and_then(|s| s.desired_healthy).unwrap_or(0),
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
}
