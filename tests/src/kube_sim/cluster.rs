//! The cluster behind the API: what a kubelet, a scheduler and the controllers do.
//!
//! One task follows the store and acts on it. Nothing here has a state that the store does not have,
//! but for the timers: a pod says itself (annotations, see `pod`) how long it takes to start and to
//! stop. Each step is one transaction, so that no client meets half of it.
//!
//! The order within a pass is fixed, and chance (the names of pods) depends on the seed, so that the
//! same requests in the same order give the same cluster.

mod controllers;
mod kubelet;
pub(crate) mod offspring;
pub(crate) mod scheduler;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    disruption::DELETION_TIMEOUT,
    object::Object,
    pod,
    resource::Resource,
    store::{Cause, EventKind, Store, Transaction},
};

/// The kinds that the cluster follows, pods last: they are placed on nodes that are known by then.
const FOLLOWED: [Resource; 6] = [
    Resource::Nodes,
    Resource::ReplicaSets,
    Resource::StatefulSets,
    Resource::DaemonSets,
    Resource::Budgets,
    Resource::Pods,
];

/// Events that are read at a time.
const BATCH: usize = 256;

/// Without a timer the task still looks around now and then.
const IDLE: Duration = Duration::from_secs(3600);

/// What is to happen at a time.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// The pod's containers run.
    Start { key: String, uid: String },
    /// The pod's containers have ended.
    Stop { key: String, uid: String },
    /// A node has been gone for long: its pods go too.
    Collect { node: String },
    /// A granted eviction may have been for nothing.
    Recheck { budget: String },
}

/// A controller's object: kind and key.
type Owner = (usize, String);

#[derive(Debug)]
struct Cluster {
    store: Arc<Store>,
    seed: u64,
    pod_gc: Duration,
    /// Up to where each kind has been followed; nothing before the first look.
    cursors: [Option<u64>; FOLLOWED.len()],
    timers: BinaryHeap<Reverse<(Instant, u64, Due)>>,
    timers_made: u64,
    /// Controllers that have something to look at.
    dirty: BTreeSet<Owner>,
    /// Pods without a node.
    pending: BTreeSet<String>,
    /// Whether it is worth while to look for nodes again.
    may_fit: bool,
    /// The node that got the last pod.
    last_node: String,
    /// The nodes that pods have left, by what will replace them.
    vacated: HashMap<String, VecDeque<String>>,
    /// Where a replacement should not go, by its UID.
    avoid: BTreeMap<String, String>,
}

/// Runs until it is stopped.
pub(crate) async fn run(store: Arc<Store>, seed: u64, pod_gc: Duration, stop: CancellationToken) {
    let mut revisions = store.subscribe();
    let mut cluster = Cluster {
        store,
        seed,
        pod_gc,
        cursors: [None; FOLLOWED.len()],
        timers: BinaryHeap::new(),
        timers_made: 0,
        dirty: BTreeSet::new(),
        pending: BTreeSet::new(),
        may_fit: false,
        last_node: String::new(),
        vacated: HashMap::new(),
        avoid: BTreeMap::new(),
    };
    loop {
        revisions.borrow_and_update();
        cluster.catch_up();
        cluster.fire();
        cluster.reconcile();
        cluster.schedule();
        let next = cluster.timers.peek().map(|Reverse((at, ..))| *at);
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = revisions.changed() => {}
            () = sleep_until(next.unwrap_or_else(|| Instant::now() + IDLE)) => {}
        }
    }
}

impl Cluster {
    fn at(&mut self, at: Instant, due: Due) {
        self.timers_made += 1;
        self.timers.push(Reverse((at, self.timers_made, due)));
    }

    /// Reads what has changed since the last look.
    fn catch_up(&mut self) {
        for (index, resource) in FOLLOWED.into_iter().enumerate() {
            loop {
                let Some(cursor) = self.cursors[index] else {
                    let (objects, revision) = self.store.list(resource);
                    self.cursors[index] = Some(revision);
                    for object in objects {
                        self.note(EventKind::Added, None, &object);
                    }
                    continue;
                };
                match self.store.events_after(resource, cursor, BATCH) {
                    Ok((events, complete)) => {
                        self.cursors[index] = Some(complete);
                        for event in &events {
                            self.note(event.kind, event.previous.as_deref(), &event.object);
                        }
                        if events.len() < BATCH {
                            break;
                        }
                    }
                    // The history has been overtaken: everything is looked at afresh.
                    Err(_) => self.cursors[index] = None,
                }
            }
        }
    }

    fn note(&mut self, kind: EventKind, previous: Option<&Object>, object: &Object) {
        let gone = kind == EventKind::Deleted;
        match object.resource() {
            Resource::Nodes => self.note_node(previous, object, gone),
            Resource::Budgets => self.note_budget(object, gone),
            Resource::Pods => {
                self.note_pod_for_kubelet(previous, object, gone);
                self.note_pod_for_controllers(previous, object, gone);
                if previous.is_none() && !gone {
                    self.note_new_pod(object);
                }
            }
            _ => self.note_owner(previous, object, gone),
        }
    }

    fn note_new_pod(&mut self, object: &Object) {
        let Some(node) = pod::node(object) else {
            self.pending.insert(object.key());
            self.may_fit = true;
            return;
        };
        // The node may have gone before anybody looked.
        if self.store.get(Resource::Nodes, node).is_none() {
            let due = Due::Collect { node: node.to_owned() };
            self.at(Instant::now() + self.pod_gc, due);
        }
    }

    fn note_node(&mut self, previous: Option<&Object>, node: &Object, gone: bool) {
        self.may_fit = true;
        if gone {
            let due = Due::Collect { node: node.name().to_owned() };
            self.at(Instant::now() + self.pod_gc, due);
            return;
        }
        let taints = |node: &Object| node.spec("taints").cloned();
        if previous.is_none_or(|previous| taints(previous) != taints(node)) {
            let (daemons, _) = self.store.list(Resource::DaemonSets);
            self.dirty.extend(daemons.iter().map(|daemon| owner(daemon)));
        }
    }

    fn note_budget(&mut self, budget: &Object, gone: bool) {
        if !gone && budget.status("disruptedPods").is_some() {
            let after = Duration::from_secs(DELETION_TIMEOUT.unsigned_abs() + 1);
            self.at(Instant::now() + after, Due::Recheck { budget: budget.key() });
        }
    }

    /// Does what is due.
    fn fire(&mut self) {
        let now = Instant::now();
        while let Some(Reverse((at, ..))) = self.timers.peek()
            && *at <= now
        {
            let Some(Reverse((_, _, due))) = self.timers.pop() else { return };
            match due {
                Due::Start { key, uid } => kubelet::start(&self.store, &key, &uid),
                Due::Stop { key, uid } => kubelet::stop(&self.store, &key, &uid),
                Due::Collect { node } => kubelet::collect(&self.store, &node),
                Due::Recheck { budget } => {
                    let recheck = |t: &mut Transaction<'_>| t.recheck_budget(&budget);
                    self.store.transact(Cause::Other, recheck);
                }
            }
        }
    }
}

fn owner(object: &Object) -> Owner {
    (object.resource() as usize, object.key())
}
