//! What the disruption controller knows of one budget.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{DELETION_TIMEOUT, set_allowed};
use crate::kube_sim::{
    object::Object, pod, resource::Resource, selector::LabelSelector, store::Transaction,
};

/// What matters of a pod.
#[derive(Debug, PartialEq)]
struct Facts {
    ready: bool,
    terminating: bool,
    /// Kind, name and UID of the controller.
    controller: Option<(String, String, String)>,
}

/// A budget and its pods.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Nothing for a budget without a selector, which selects nothing.
    selector: Option<LabelSelector>,
    namespace: String,
    pods: BTreeMap<String, Facts>,
    expected: usize,
    /// How many have to be healthy, as of the last look.
    desired: usize,
    /// The same two as they were last judged.
    judged: Option<(usize, usize)>,
    pub(super) lowest: Option<usize>,
}

impl Ledger {
    /// A ledger without pods; a changed budget goes on with the marks of the one before.
    pub(super) fn new(selector: Option<LabelSelector>, previous: Option<Ledger>) -> Self {
        Self {
            selector,
            namespace: String::new(),
            pods: BTreeMap::new(),
            expected: 0,
            desired: 0,
            judged: None,
            lowest: previous.and_then(|previous| previous.lowest),
        }
    }

    /// Takes note of a pod, or of its end; returns whether that makes a difference.
    pub(super) fn note(&mut self, name: &str, pod: Option<&Object>) -> bool {
        let selected =
            pod.filter(|pod| self.selector.as_ref().is_some_and(|selector| selector.matches(pod)));
        let Some(pod) = selected else {
            return self.pods.remove(name).is_some();
        };
        let text =
            |owner: &Value, field: &str| owner[field].as_str().unwrap_or_default().to_owned();
        let facts = Facts {
            ready: pod::is_ready(pod),
            terminating: pod.is_terminating(),
            controller: pod
                .controller()
                .map(|owner| (text(owner, "kind"), text(owner, "name"), text(owner, "uid"))),
        };
        if self.namespace.is_empty() {
            pod.namespace().clone_into(&mut self.namespace);
        }
        let changed = self.pods.get(name) != Some(&facts);
        self.pods.insert(name.to_owned(), facts);
        changed
    }

    fn healthy(&self) -> usize {
        self.pods.values().filter(|pod| pod.ready && !pod.terminating).count()
    }

    /// Works out how many pods there should be, and how many of them healthy.
    pub(super) fn expect(
        &mut self,
        transaction: &Transaction<'_>,
        budget: &Object,
    ) -> Result<(), String> {
        let (expected, desired) = match (budget.spec("maxUnavailable"), budget.spec("minAvailable"))
        {
            (Some(limit), _) => {
                let scale = self.scale(transaction)?;
                (scale, scale.saturating_sub(amount(limit, scale)?))
            }
            (None, Some(limit @ Value::String(_))) => {
                let scale = self.scale(transaction)?;
                (scale, amount(limit, scale)?)
            }
            (None, Some(limit)) => (self.pods.len(), amount(limit, 0)?),
            (None, None) => (0, 0),
        };
        (self.expected, self.desired) = (expected, desired);
        Ok(())
    }

    /// The replicas of all controllers that own the pods. Pods without one do not count.
    fn scale(&self, transaction: &Transaction<'_>) -> Result<usize, String> {
        let mut seen = BTreeSet::new();
        let mut total = 0;
        for (name, pod) in &self.pods {
            let Some((kind, owner, uid)) = &pod.controller else { continue };
            if !seen.insert(uid) {
                continue;
            }
            let resource = Resource::of_kind(kind);
            match resource {
                Some(Resource::ReplicaSets | Resource::StatefulSets) => {}
                Some(other) => {
                    let plural = other.info().qualified_plural();
                    return Err(format!("{plural} does not implement the scale subresource"));
                }
                None => return Err(format!("found no controllers for pod \"{name}\"")),
            }
            let key = format!("{}/{owner}", self.namespace);
            let found = resource.and_then(|resource| transaction.get(resource, &key));
            let found = found.filter(|object| object.uid() == uid);
            let found = found.ok_or_else(|| format!("found no controllers for pod \"{name}\""))?;
            let replicas = found.spec("replicas").and_then(Value::as_u64).unwrap_or(1);
            total += usize::try_from(replicas).unwrap_or(usize::MAX);
        }
        Ok(total)
    }

    /// The status that a budget should have.
    pub(super) fn status(&self, budget: &Object, old: &Value) -> Value {
        let now = jiff::Timestamp::now();
        // Evictions that have been granted and not carried out yet.
        let mut disrupted = Map::new();
        for (name, since) in old["disruptedPods"].as_object().into_iter().flatten() {
            let granted = since.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
            let lasts = granted
                .is_some_and(|granted| now.as_second() - granted.as_second() <= DELETION_TIMEOUT);
            if lasts && self.pods.get(name).is_some_and(|pod| !pod.terminating) {
                disrupted.insert(name.clone(), since.clone());
            }
        }
        let counts = |(name, pod): &(&String, &Facts)| {
            pod.ready && !pod.terminating && !disrupted.contains_key(*name)
        };
        let healthy = self.pods.iter().filter(counts).count();
        let spare = if self.expected == 0 { 0 } else { healthy.saturating_sub(self.desired) };
        let mut status = json!({
            "observedGeneration": budget.generation(),
            "disruptionsAllowed": spare,
            "currentHealthy": healthy,
            "desiredHealthy": self.desired,
            "expectedPods": self.expected,
            "conditions": old.get("conditions").cloned().unwrap_or_else(|| json!([])),
        });
        if !disrupted.is_empty() {
            status["disruptedPods"] = Value::Object(disrupted);
        }
        set_allowed(&mut status);
        status
    }

    /// Looks at the pods after a change. If fewer are healthy than before and than had to be: how many
    /// are, and how many had to be.
    pub(super) fn judge(&mut self) -> Option<(usize, usize)> {
        let healthy = self.healthy();
        let before = self.judged.replace((healthy, self.desired));
        self.lowest = match self.lowest {
            Some(lowest) => Some(lowest.min(healthy)),
            None => (healthy >= self.desired).then_some(healthy),
        };
        // A deleted pod may take its share of the demand along; what counts is what was promised.
        let (had, desired) = before?;
        let desired = desired.max(self.desired);
        (healthy < had && healthy < desired).then_some((healthy, desired))
    }
}

/// A number, or a percentage of the total, rounded up.
fn amount(limit: &Value, total: usize) -> Result<usize, String> {
    if let Some(number) = limit.as_u64() {
        return Ok(usize::try_from(number).unwrap_or(usize::MAX));
    }
    let percent = limit.as_str().and_then(|text| text.strip_suffix('%')?.parse::<usize>().ok());
    let percent = percent.ok_or_else(|| format!("invalid value for IntOrString: {limit}"))?;
    Ok((total * percent).div_ceil(100))
}
