//! The disruption controller: what budgets allow at this moment, and whether they were kept.
//!
//! It follows `pkg/controller/disruption/disruption.go`, but runs inside every transaction: a budget's
//! status is never behind the pods. Beyond that it watches over the budgets for tests: a client that
//! takes a healthy pod away when none may go is a violation, and it is remembered.

mod ledger;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Map, Value, json};

use self::ledger::Ledger;
use super::{
    clock,
    object::Object,
    resource::Resource,
    selector::LabelSelector,
    store::{Cause, Event, EventKind, Transaction},
    update,
};

/// The field manager of the status.
const MANAGER: &str = "kube-controller-manager";

/// After this many seconds an evicted pod that is still there counts again.
pub(crate) const DELETION_TIMEOUT: i64 = 120;

/// All budgets, by key.
#[derive(Debug, Default)]
pub(crate) struct Disruption {
    budgets: BTreeMap<String, Ledger>,
    violations: Vec<String>,
    held: bool,
}

impl Disruption {
    /// What was violated, oldest first.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.violations.clone()
    }

    /// The fewest healthy pods since the budget was first met.
    pub(crate) fn lowest_healthy(&self, key: &str) -> Option<usize> {
        self.budgets.get(key)?.lowest
    }

    /// Stops or resumes the updates of status; the caller rechecks the budgets that this returns.
    pub(crate) fn hold(&mut self, hold: bool) -> Vec<String> {
        self.held = hold;
        if hold { Vec::new() } else { self.budgets.keys().cloned().collect() }
    }

    /// Takes note of what a transaction has done and updates the budgets that it concerns.
    pub(crate) fn settle(
        &mut self,
        transaction: &mut Transaction<'_>,
        events: &[Arc<Event>],
        cause: Cause<'_>,
    ) {
        let mut touched = BTreeSet::new();
        for event in events {
            match event.object.resource() {
                Resource::Pods => self.note_pod(event, &mut touched),
                Resource::Budgets => self.note_budget(transaction, event, &mut touched),
                Resource::ReplicaSets | Resource::StatefulSets | Resource::Deployments => {
                    // Their scale is what percentages are of.
                    let previous = event.previous.as_ref();
                    let replicas = |object: &Object| object.spec("replicas").cloned();
                    let before = previous.and_then(|object| replicas(object));
                    if before != replicas(&event.object) || event.kind == EventKind::Deleted {
                        let prefix = format!("{}/", event.object.namespace());
                        touched.extend(self.keys_with(&prefix));
                    }
                }
                _ => {}
            }
        }
        self.publish(transaction, &touched);
        for key in &touched {
            if let Some(ledger) = self.budgets.get_mut(key)
                && let Some((healthy, desired)) = ledger.judge()
                && let Cause::Disruption(what) = cause
            {
                let violation = format!("{key}: {healthy} healthy, {desired} needed, after {what}");
                self.violations.push(violation);
            }
        }
    }

    fn keys_with(&self, prefix: &str) -> Vec<String> {
        let budgets = self.budgets.range(prefix.to_owned()..);
        budgets.map(|(key, _)| key.clone()).take_while(|key| key.starts_with(prefix)).collect()
    }

    fn note_pod(&mut self, event: &Event, touched: &mut BTreeSet<String>) {
        let pod = (event.kind != EventKind::Deleted).then_some(&*event.object);
        let prefix = format!("{}/", event.object.namespace());
        // Every pod's every change comes by here: no allocation for budgets that it is nothing to.
        for (key, ledger) in self.budgets.range_mut(prefix.clone()..) {
            if !key.starts_with(&prefix) {
                break;
            }
            if ledger.note(event.object.name(), pod) {
                touched.insert(key.clone());
            }
        }
    }

    fn note_budget(
        &mut self,
        transaction: &Transaction<'_>,
        event: &Event,
        touched: &mut BTreeSet<String>,
    ) {
        let key = event.object.key();
        if event.kind == EventKind::Deleted {
            self.budgets.remove(&key);
            return;
        }
        let spec = event.object.section("spec");
        let same = event.previous.as_ref().is_some_and(|previous| previous.section("spec") == spec);
        if !same {
            let selector = spec.and_then(|spec| spec.get("selector"));
            let selector = selector.and_then(LabelSelector::from_object);
            let previous = self.budgets.remove(&key);
            let mut ledger = Ledger::new(selector, previous);
            for pod in transaction.in_namespace(Resource::Pods, event.object.namespace()) {
                ledger.note(pod.name(), Some(pod));
            }
            self.budgets.insert(key.clone(), ledger);
        }
        touched.insert(key);
    }

    /// Writes the status of budgets where it is not what it should be.
    pub(crate) fn publish(&mut self, transaction: &mut Transaction<'_>, keys: &BTreeSet<String>) {
        for key in keys {
            let Some(ledger) = self.budgets.get_mut(key) else { continue };
            let Some(budget) = transaction.get(Resource::Budgets, key) else { continue };
            let expectation = ledger.expect(transaction, &budget);
            if self.held {
                continue;
            }
            let old = budget.section("status").cloned().unwrap_or_else(|| json!({}));
            let status = match expectation {
                Ok(()) => ledger.status(&budget, &old),
                // Better to allow nothing than too much.
                Err(why) => {
                    let mut status = old.clone();
                    status["disruptionsAllowed"] = 0.into();
                    set_condition(&mut status, "False", "SyncFailed", &why);
                    status
                }
            };
            let draft = Map::from_iter([("status".to_owned(), status)]);
            if let Some(draft) = update::attribute(&budget, draft, MANAGER, Some("status")) {
                transaction.update(&budget, draft);
            }
        }
    }
}

/// Makes the condition say whether a disruption is allowed.
pub(crate) fn set_allowed(status: &mut Value) {
    if status["disruptionsAllowed"].as_i64().unwrap_or_default() > 0 {
        set_condition(status, "True", "SufficientPods", "");
    } else {
        set_condition(status, "False", "InsufficientPods", "");
    }
}

fn set_condition(status: &mut Value, value: &str, reason: &str, message: &str) {
    let old = &status["conditions"][0];
    let since = match old.get("lastTransitionTime") {
        Some(since) if old["status"] == value => since.clone(),
        _ => clock::now().into(),
    };
    let mut condition = json!({
        "type": "DisruptionAllowed",
        "status": value,
        "lastTransitionTime": since,
        "reason": reason,
        "message": message,
    });
    if let Some(generation) = status.get("observedGeneration") {
        condition["observedGeneration"] = generation.clone();
    }
    status["conditions"] = json!([condition]);
}
