//! What would become of pods in a drain. Of a page that has been looked at only what is shown is kept.

use std::collections::HashMap;

use futures_util::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::look::{Places, Unseen, placed};
use super::{BudgetPreview, LISTED_IN_FULL, NodePreview, PodPreview, Preview};
use crate::tasks::budgets::{Budget, asked};
use crate::tasks::pods::{Fate, controller, fate, full_name, refusals};
use crate::tasks::submit::DrainParams;

/// Why the eviction API refuses such a pod for good.
const TWO_BUDGETS: &str = "more than one disruption budget covers it";

impl Preview<'_> {
    /// Adds what would become of the pods, and returns the budgets that would be asked.
    ///
    /// # Errors
    /// [`Unseen`]; some pods may have been added then.
    pub(super) async fn drain(
        &self,
        params: &DrainParams,
        views: &mut [NodePreview],
        warnings: &mut Vec<String>,
    ) -> Result<Vec<BudgetPreview>, Unseen> {
        let budgets: Vec<_> = match self.pods.budgets(&self.terms).await {
            Ok(budgets) => budgets.iter().map(Budget::of).collect(),
            Err(error) => {
                warnings.push(format!("the disruption budgets could not be listed: {error}"));
                Vec::new()
            }
        };
        let places: Places = views.iter().map(|view| view.node.clone()).zip(0..).collect();
        let mut drain = Draining {
            params,
            now: Timestamp::now(),
            in_full: views.len() <= LISTED_IN_FULL,
            covered: vec![0; budgets.len()],
            budgets,
            daemonsets: HashMap::new(),
            nodes: views.iter().map(|_| OnNode::default()).collect(),
        };
        let mut look = self.look(&params.pod_selector, &places).await?;
        while let Some(pods) = look.next().await? {
            self.learn_daemonsets(&pods, &mut drain.daemonsets, warnings).await;
            for (place, pod) in placed(&places, &pods) {
                views[place].add(drain.pod(place, pod), drain.in_full);
            }
        }
        if params.disable_eviction {
            warnings.push("pods are deleted, not evicted: no disruption budget is asked".into());
        }
        for (view, node) in views.iter_mut().zip(&drain.nodes) {
            node.conclude(view);
        }
        Ok(drain.budgets())
    }

    /// Asks whether the DaemonSets of these pods exist, as far as that is not known.
    async fn learn_daemonsets(
        &self,
        pods: &[Pod],
        known: &mut DaemonSets,
        warnings: &mut Vec<String>,
    ) {
        let mut keys = Vec::new();
        for pod in pods {
            let owner = controller(pod).filter(|o| o.kind == "DaemonSet");
            if let (Some(owner), Some(namespace)) = (owner, pod.metadata.namespace.clone()) {
                let key = (namespace, owner.name.clone());
                if known.insert(key.clone(), true).is_none() {
                    keys.push(key);
                }
            }
        }
        let asked = keys.iter().map(|(ns, name)| self.pods.daemonset_exists(ns, name, &self.terms));
        for (key, answer) in keys.iter().zip(join_all(asked).await) {
            match answer {
                Ok(exists) => drop(known.insert(key.clone(), exists)),
                Err(error) => {
                    let (namespace, name) = key;
                    warnings.push(format!("DaemonSet {namespace}/{name} cannot be read: {error}"));
                }
            }
        }
    }
}

/// Whether they exist, by namespace and name.
type DaemonSets = HashMap<(String, String), bool>;

/// A drain that is looked at.
struct Draining<'a> {
    params: &'a DrainParams,
    now: Timestamp,
    in_full: bool,
    budgets: Vec<Budget>,
    /// Pods whose eviction would ask them, in the same order.
    covered: Vec<usize>,
    daemonsets: DaemonSets,
    /// In the order of the task.
    nodes: Vec<OnNode>,
}

/// What is kept of a node's pods besides those that are shown.
#[derive(Debug, Default)]
struct OnNode {
    /// Whether any pod is to go, or going.
    goes: bool,
    refused: Vec<(String, Fate)>,
    /// Those that two budgets cover.
    doubly: Vec<String>,
}

impl Draining<'_> {
    /// What becomes of a pod of the node at that place.
    fn pod(&mut self, place: usize, pod: &Pod) -> PodPreview {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let fate = fate(pod, self.params, self.now, |owner| {
            self.daemonsets.get(&(namespace, owner.name.clone())).copied().unwrap_or(true)
        });
        let guards = asked(pod, &self.budgets);
        let shown = drained(pod, fate, self.params, &guards);
        let node = &mut self.nodes[place];
        node.goes |= matches!(fate, Fate::Evict | Fate::Wait);
        match fate {
            Fate::Evict => {
                guards.iter().for_each(|(i, _)| self.covered[*i] += 1);
                if shown.fate == "refuse" {
                    node.doubly.push(shown.pod.clone());
                }
            }
            Fate::Refuse(_) => node.refused.push((shown.pod.clone(), fate)),
            Fate::Wait | Fate::Stay(_) => {}
        }
        shown
    }

    /// Those that would be asked, the ones that allow nothing first.
    fn budgets(&self) -> Vec<BudgetPreview> {
        let asked = self.budgets.iter().zip(&self.covered).filter(|(_, pods)| **pods > 0);
        let mut shown: Vec<_> = asked
            .map(|(budget, pods)| BudgetPreview {
                budget: budget.full_name(),
                disruptions_allowed: budget.allowed,
                healthy: budget.healthy,
                desired: budget.desired,
                pods: *pods,
            })
            .collect();
        shown.sort_by(|a, b| {
            (a.disruptions_allowed, &a.budget).cmp(&(b.disruptions_allowed, &b.budget))
        });
        shown
    }
}

impl OnNode {
    /// What its pods mean for the node.
    fn conclude(&self, view: &mut NodePreview) {
        let doubly =
            (!self.doubly.is_empty()).then(|| format!("{TWO_BUDGETS}: {}", self.doubly.join(", ")));
        if let Some(why) = refusals(&self.refused).or(doubly) {
            view.result = "refused".into();
            view.message = Some(why);
        }
        if self.goes && view.result == "unchanged" {
            view.result = "change".into();
        }
    }
}

/// `guards` are the budgets that an eviction would ask.
fn drained(pod: &Pod, fate: Fate, params: &DrainParams, guards: &[(usize, &Budget)]) -> PodPreview {
    let (fate, reason) = match fate {
        Fate::Wait => ("wait", Some("is terminating already".into())),
        Fate::Stay(why) => ("stay", Some(why.as_str().into())),
        Fate::Refuse(why) => ("refuse", Some(why.as_str().into())),
        Fate::Evict if params.disable_eviction => ("evict", None),
        Fate::Evict => match guards {
            [_, _, ..] => ("refuse", Some(TWO_BUDGETS.to_owned())),
            [(_, budget)] if !budget.lets_go(pod) => {
                let Budget { name, healthy, desired, .. } = budget;
                let why = format!("budget {name} needs {desired} healthy pods and has {healthy}");
                ("blocked", Some(why))
            }
            _ => ("evict", None),
        },
    };
    PodPreview { pod: full_name(pod), fate: fate.into(), reason, after_seconds: None }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parsed<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).expect("an object")
    }

    fn budget(name: &str, app: &str, policy: &Value) -> Budget {
        Budget::of(&parsed(json!({
            "metadata": {"namespace": "shop", "name": name},
            "spec": {"selector": {"matchLabels": {"app": app}}, "unhealthyPodEvictionPolicy": policy},
            "status": {"disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 2,
                       "expectedPods": 3},
        })))
    }

    fn drain(params: &DrainParams) -> Draining<'_> {
        let budgets = vec![
            budget("web", "web", &Value::Null),
            budget("lax", "lax", &json!("AlwaysAllow")),
            budget("twice-a", "twice", &Value::Null),
            budget("twice-b", "twice", &Value::Null),
        ];
        Draining {
            params,
            now: "2026-01-01T00:10:00Z".parse().expect("a time"),
            in_full: true,
            covered: vec![0; budgets.len()],
            budgets,
            daemonsets: HashMap::new(),
            nodes: vec![OnNode::default()],
        }
    }

    fn pod(app: &str, phase: &str, ready: bool) -> Pod {
        let ready = if ready { "True" } else { "False" };
        parsed(json!({
            "metadata": {"namespace": "shop", "name": "p", "labels": {"app": app}, "ownerReferences": [
                {"apiVersion": "v1", "kind": "Some", "name": "o", "uid": "u", "controller": true}
            ]},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]},
        }))
    }

    #[test]
    fn a_budget_stands_in_the_way_only_of_what_it_guards() {
        for (app, phase, ready, fate, result) in [
            ("web", "Running", true, "blocked", "change"),
            ("web", "Running", false, "blocked", "change"),
            ("web", "Pending", false, "evict", "change"),
            ("web", "Succeeded", false, "evict", "change"),
            ("lax", "Running", true, "blocked", "change"),
            ("lax", "Running", false, "evict", "change"),
            ("twice", "Running", true, "refuse", "refused"),
            // The API server refuses two budgets before it looks at whether the pod is ready.
            ("twice", "Running", false, "refuse", "refused"),
            ("twice", "Pending", false, "evict", "change"),
            ("twice", "Succeeded", false, "evict", "change"),
            ("twice", "Failed", false, "evict", "change"),
            ("none", "Running", true, "evict", "change"),
        ] {
            let params = parsed(json!({}));
            let mut drain = drain(&params);
            let shown = drain.pod(0, &pod(app, phase, ready));
            let case = format!("{app} {phase} {ready}");
            assert_eq!(shown.fate, fate, "{case}");
            let mut view = NodePreview {
                node: "node-1".into(),
                result: "unchanged".into(),
                message: None,
                before: None,
                after: None,
                pod_counts: std::collections::BTreeMap::new(),
                pods: Vec::new(),
            };
            drain.nodes[0].conclude(&mut view);
            assert_eq!(view.result, result, "{case}");
            let is_guarded = phase == "Running" && app != "none";
            assert_eq!(!drain.budgets().is_empty(), is_guarded, "{case}");
        }
    }
}
