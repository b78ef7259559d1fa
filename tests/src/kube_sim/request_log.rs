//! What the server was asked and what came of it, for tests to count and to prove things with.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{clock, object::Object, resource::Resource, route::Verb, store::Change};

/// One request.
#[derive(Debug, Clone, Serialize)]
pub struct RequestRecord {
    /// Position in the log, from 1, without gaps, in the order of the outcomes.
    pub seq: u64,
    /// When the request came in, in microseconds since the Unix epoch.
    pub at_micros: u64,
    /// How long it took, in microseconds; for a watch, until it was open.
    pub duration_micros: u64,
    /// HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// `User-Agent`, empty without one.
    pub user_agent: String,
    /// The user behind the token, empty for a token that nobody has.
    pub user: String,
    /// What the request does.
    pub verb: Verb,
    /// Plural of the resource, if it is about one.
    pub resource: Option<String>,
    /// The subresource, such as `eviction`.
    pub subresource: Option<String>,
    /// Namespace of the object, if it is in one.
    pub namespace: Option<String>,
    /// Name of the object, if it is about one; of an eviction the pod's.
    pub name: Option<String>,
    /// The resource version that the write insisted on.
    pub precondition: Option<String>,
    /// HTTP status of the answer; of a lost answer the one that was lost; 0 if there was none.
    pub status: u16,
    /// What a fault did: `status`, `close`, `lose_answer`, `hang`.
    pub fault: Option<String>,
    /// What an effective write changed; nothing for reads, dry runs, failures and no-ops.
    pub effect: Option<Effect>,
}

/// The stored outcome of a write.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Effect {
    /// The new resource version; of a deletion the last one.
    pub resource_version: String,
    /// UID of the object.
    pub uid: String,
    /// Labels, annotations, taints and `unschedulable` before; of a pod its labels, annotations, node,
    /// phase and times of deletion; null if the object is new.
    pub before: Value,
    /// The same afterwards; null if the object is gone.
    pub after: Value,
}

/// Counts over everything since the log was last cleared, also of entries that it had no room for.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RequestSummary {
    /// Requests of any kind, the control endpoints not counted.
    pub requests: u64,
    /// By verb.
    pub by_verb: BTreeMap<Verb, u64>,
    /// By status; 0 stands for no answer.
    pub by_status: BTreeMap<u16, u64>,
    /// Requests that a fault with an action hit.
    pub faulted: u64,
    /// Patches of each object, effective or not.
    pub patches: BTreeMap<String, u64>,
    /// Writes that changed each object.
    pub effective_writes: BTreeMap<String, u64>,
}

/// What is known of a request before it is answered.
#[derive(Debug, Clone)]
pub(crate) struct Started {
    pub(crate) at_micros: u64,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) user_agent: String,
    pub(crate) user: String,
    pub(crate) verb: Verb,
    pub(crate) resource: Option<&'static str>,
    pub(crate) subresource: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
}

/// What is known afterwards.
#[derive(Debug, Clone, Default)]
pub(crate) struct Finished {
    pub(crate) status: u16,
    pub(crate) precondition: Option<String>,
    pub(crate) fault: Option<&'static str>,
    pub(crate) change: Option<Change>,
}

/// What the log keeps of a request.
#[derive(Debug, Clone)]
struct Entry {
    seq: u64,
    duration_micros: u64,
    started: Started,
    status: u16,
    precondition: Option<String>,
    fault: Option<&'static str>,
    /// An [`Effect`] as JSON. The versions themselves would keep ten times the memory alive.
    effect: Option<Box<[u8]>>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: VecDeque<Entry>,
    next: u64,
    summary: RequestSummary,
}

/// A bounded log: the oldest entries give way.
#[derive(Debug)]
pub(crate) struct RequestLog {
    capacity: usize,
    inner: Mutex<Inner>,
}

impl RequestLog {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, inner: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a request.
    pub(crate) fn record(&self, started: Started, finished: Finished) {
        let change = finished.change.filter(|change| change.effective);
        let effect = change.as_ref().and_then(Effect::of);
        let effect = effect.and_then(|effect| serde_json::to_vec(&effect).ok()).map(Vec::into);
        let duration_micros = clock::unix_micros().saturating_sub(started.at_micros);
        let mut inner = self.lock();
        inner.next += 1;
        let seq = inner.next;
        let summary = &mut inner.summary;
        summary.requests += 1;
        *summary.by_verb.entry(started.verb).or_default() += 1;
        *summary.by_status.entry(finished.status).or_default() += 1;
        summary.faulted += u64::from(finished.fault.is_some());
        if let Some(name) = &started.name {
            let count = |counts: &mut BTreeMap<String, u64>| match counts.get_mut(name) {
                Some(count) => *count += 1,
                None => {
                    counts.insert(name.clone(), 1);
                }
            };
            if started.verb == Verb::Patch {
                count(&mut summary.patches);
            }
            if change.is_some() {
                count(&mut summary.effective_writes);
            }
        }
        inner.entries.push_back(Entry {
            seq,
            duration_micros,
            started,
            status: finished.status,
            precondition: finished.precondition,
            fault: finished.fault,
            effect,
        });
        if inner.entries.len() > self.capacity {
            inner.entries.pop_front();
        }
    }

    /// The entries after a position that `wanted` accepts.
    pub(crate) fn records(
        &self,
        after: u64,
        wanted: impl Fn(&RequestRecord) -> bool,
    ) -> Vec<RequestRecord> {
        let entries: Vec<Entry> = {
            let inner = self.lock();
            inner.entries.iter().filter(|entry| entry.seq > after).cloned().collect()
        };
        entries.into_iter().map(RequestRecord::from).filter(wanted).collect()
    }

    /// The counts.
    pub(crate) fn summary(&self) -> RequestSummary {
        self.lock().summary.clone()
    }

    /// Forgets everything but the position.
    pub(crate) fn clear(&self) {
        let mut inner = self.lock();
        inner.entries.clear();
        inner.summary = RequestSummary::default();
    }
}

impl From<Entry> for RequestRecord {
    fn from(entry: Entry) -> Self {
        let Entry { seq, duration_micros, started, status, precondition, fault, effect } = entry;
        Self {
            seq,
            at_micros: started.at_micros,
            duration_micros,
            method: started.method,
            path: started.path,
            user_agent: started.user_agent,
            user: started.user,
            verb: started.verb,
            resource: started.resource.map(str::to_owned),
            subresource: started.subresource,
            namespace: started.namespace,
            name: started.name,
            precondition,
            status,
            fault: fault.map(str::to_owned),
            effect: effect.and_then(|effect| serde_json::from_slice(&effect).ok()),
        }
    }
}

impl Effect {
    fn of(change: &Change) -> Option<Self> {
        let last = change.after.as_ref().or(change.before.as_ref())?;
        let view = |object: &Option<Arc<Object>>| object.as_deref().map_or(Value::Null, view);
        Some(Self {
            resource_version: last.revision().to_string(),
            uid: last.uid().to_owned(),
            before: view(&change.before),
            after: view(&change.after),
        })
    }
}

fn view(object: &Object) -> Value {
    let spec = |field: &str| object.section("spec").and_then(|spec| spec.get(field)).cloned();
    let metadata = |field: &str| object.metadata().get(field).cloned();
    if object.resource() == Resource::Pods {
        return json!({
            "labels": metadata("labels").unwrap_or_else(|| json!({})),
            "annotations": metadata("annotations").unwrap_or_else(|| json!({})),
            "node": spec("nodeName"),
            "phase": object.status("phase"),
            "deletionTimestamp": metadata("deletionTimestamp"),
            "deletionGracePeriodSeconds": metadata("deletionGracePeriodSeconds"),
        });
    }
    json!({
        "labels": metadata("labels").unwrap_or_else(|| json!({})),
        "annotations": metadata("annotations").unwrap_or_else(|| json!({})),
        "taints": spec("taints").unwrap_or_else(|| json!([])),
        "unschedulable": spec("unschedulable").unwrap_or(Value::Bool(false)),
    })
}
