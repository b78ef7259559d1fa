//! The nodes of one cluster, in memory.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::runtime::reflector::{ObjectRef, Store};
use tokio::sync::broadcast;

use super::{FieldSelector, LabelSelector};

/// Whether the nodes in memory are the cluster's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sync {
    /// No complete list has arrived yet, and why not, if that is known.
    Never {
        /// The last failure.
        error: Option<Arc<str>>,
    },
    /// The watch is running.
    Live,
    /// The nodes are as they were when the watch broke.
    Stale {
        /// When it broke.
        since: Timestamp,
        /// How.
        error: Arc<str>,
    },
}

impl Sync {
    /// The word for responses and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Never { .. } => "never_synced",
            Self::Live => "live",
            Self::Stale { .. } => "stale",
        }
    }
}

/// What a watch has told of the nodes.
#[derive(Debug, Clone)]
pub enum Change {
    /// A node is new or different.
    Upsert(Arc<Node>),
    /// A node is gone.
    Delete(Arc<Node>),
    /// Everything was listed anew, or the state of the watch has changed: look at the whole.
    Reset,
}

/// Changes that are kept for whoever follows them slowly; who is further behind looks at the whole.
const KEPT: usize = 1024;

/// A view of the nodes, kept current by [`watch`](super::watch()). Cheap to clone. Objects are kept
/// without `managedFields` and image lists.
#[derive(Clone)]
pub struct NodeCache {
    store: Store<Node>,
    shared: Arc<Shared>,
}

struct Shared {
    sync: Mutex<Sync>,
    /// Highest resource version seen; 0 before the first node.
    revision: AtomicU64,
    changes: broadcast::Sender<Change>,
}

impl NodeCache {
    pub(super) fn new(store: Store<Node>) -> Self {
        let shared = Shared {
            sync: Mutex::new(Sync::Never { error: None }),
            revision: AtomicU64::new(0),
            changes: broadcast::Sender::new(KEPT),
        };
        Self { store, shared: Arc::new(shared) }
    }

    /// A cache of fixed nodes that counts as live, for tests.
    #[must_use]
    pub fn fixed(nodes: impl IntoIterator<Item = Node>) -> Self {
        use kube::runtime::watcher::Event;
        let (store, mut writer) = kube::runtime::reflector::store();
        let cache = Self::new(store);
        writer.apply_watcher_event(&Event::Init);
        for node in nodes {
            cache.saw(&node);
            writer.apply_watcher_event(&Event::InitApply(node));
        }
        writer.apply_watcher_event(&Event::InitDone);
        cache.replace_sync(Sync::Live);
        cache
    }

    /// The node of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Node>> {
        self.store.get(&ObjectRef::new(name))
    }

    /// Every node, by name.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Node>> {
        self.select(&LabelSelector::default(), &FieldSelector::default())
    }

    /// The nodes that both selectors accept, by name.
    #[must_use]
    pub fn select(&self, labels: &LabelSelector, fields: &FieldSelector) -> Vec<Arc<Node>> {
        let none = std::collections::BTreeMap::new();
        let mut nodes = self.store.state_filter(|node| {
            labels.matches(node.metadata.labels.as_ref().unwrap_or(&none)) && fields.matches(node)
        });
        nodes.sort_unstable_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        nodes
    }

    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.store.is_empty()
    }

    /// Whether this is what the cluster has.
    #[must_use]
    pub fn state(&self) -> Sync {
        self.lock().clone()
    }

    /// The highest resource version among what was seen, or `None` before the first node.
    #[must_use]
    pub fn resource_version(&self) -> Option<u64> {
        Some(self.shared.revision.load(Ordering::Relaxed)).filter(|v| *v > 0)
    }

    /// What changes from now on. Take it before looking at the whole.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.shared.changes.subscribe()
    }

    /// Tells whoever follows.
    pub(super) fn tell(&self, change: impl FnOnce() -> Change) {
        if self.shared.changes.receiver_count() > 0 {
            // Nobody is left to hear it: that is no fault.
            let _ = self.shared.changes.send(change());
        }
    }

    /// Sets the state and returns the former one.
    pub(super) fn replace_sync(&self, sync: Sync) -> Sync {
        let is_news = *self.lock() != sync;
        let former = std::mem::replace(&mut *self.lock(), sync);
        if is_news {
            self.tell(|| Change::Reset);
        }
        former
    }

    /// Resource versions of one kind can be compared as numbers
    /// (<https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions>).
    pub(super) fn saw(&self, node: &Node) {
        let version = node.metadata.resource_version.as_deref().and_then(|v| v.parse().ok());
        if let Some(version) = version {
            self.shared.revision.fetch_max(version, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Sync> {
        self.shared.sync.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
