//! Every eviction that was asked for, granted or not, for tests to judge a drain by.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;
use serde_json::Value;

use super::{
    object::Object,
    pod,
    request_log::{Finished, Started},
    resource::Resource,
    route::ResourcePath,
    store::{self, Store},
};

/// A request to evict a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Eviction {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub name: String,
    /// UID of the pod of this name when the request came, if there was one.
    pub uid: Option<String>,
    /// The node that it was on.
    pub node: Option<String>,
    /// When the request came in, in microseconds since the Unix epoch.
    pub at_micros: u64,
    /// Who asked.
    pub user: String,
    /// HTTP status of the answer; of a lost answer the one that was lost; 0 if there was none.
    pub status: u16,
    /// Whether it was only a question.
    pub dry_run: bool,
}

/// What is known of an eviction before it is answered.
#[derive(Debug)]
pub(crate) struct Seen {
    pod: Option<Arc<Object>>,
    dry_run: bool,
}

impl Seen {
    /// Looks at the pod as it is now.
    pub(crate) fn now(store: &Store, path: &ResourcePath, body: &[u8], dry_run: bool) -> Self {
        let name = path.name.as_deref().unwrap_or_default();
        let pod = store.get(Resource::Pods, &store::key(path.namespace.as_deref(), name));
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let in_body = body["deleteOptions"]["dryRun"].as_array().is_some_and(|r| !r.is_empty());
        Self { pod, dry_run: dry_run || in_body }
    }
}

/// A bounded log: the oldest entries give way.
#[derive(Debug)]
pub(crate) struct EvictionLog {
    capacity: usize,
    entries: Mutex<VecDeque<Eviction>>,
}

impl EvictionLog {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, entries: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Eviction>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a request that has ended.
    pub(crate) fn record(&self, seen: Seen, started: &Started, finished: &Finished) {
        // The pod that the eviction met is the better witness than the one seen before it.
        let met = finished.change.as_ref().and_then(|change| change.before.as_ref());
        let pod = met.map(Arc::clone).or(seen.pod);
        let mut entries = self.lock();
        entries.push_back(Eviction {
            namespace: started.namespace.clone().unwrap_or_default(),
            name: started.name.clone().unwrap_or_default(),
            uid: pod.as_ref().map(|pod| pod.uid().to_owned()),
            node: pod.as_ref().and_then(|pod| pod::node(pod)).map(str::to_owned),
            at_micros: started.at_micros,
            user: started.user.clone(),
            status: finished.status,
            dry_run: seen.dry_run,
        });
        if entries.len() > self.capacity {
            entries.pop_front();
        }
    }

    /// All entries, in the order of the answers.
    pub(crate) fn entries(&self) -> Vec<Eviction> {
        self.lock().iter().cloned().collect()
    }

    /// Forgets all.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }
}
