//! The objects, their revisions and the history that watches and continued lists read from.
//!
//! One lock around everything, held for the microseconds that one change takes and never across an
//! await: all writes have one order, which is the order of the revisions. What must happen at once, an
//! eviction and its budget's count, is one [`Transaction`].

mod transaction;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

pub(crate) use self::transaction::{Cause, Transaction};
use super::{
    disruption::Disruption,
    object::{Draft, Object},
    resource::Resource,
    status::ApiError,
};

/// Where revisions begin. A cluster that has just come up has some behind it already, so that
/// `resourceVersion=2` is expired here as it is there.
const FIRST_REVISION: u64 = 1000;

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventKind {
    Added,
    Modified,
    Deleted,
}

/// One entry of the history.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) revision: u64,
    pub(crate) kind: EventKind,
    /// The new version; of a deleted object the last one, under the revision of its deletion.
    pub(crate) object: Arc<Object>,
    /// The version before, unless the object is new.
    pub(crate) previous: Option<Arc<Object>>,
}

/// A revision that the history no longer reaches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expired {
    /// The oldest revision that it does reach.
    pub(crate) oldest: u64,
}

/// The outcome of a write.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) before: Option<Arc<Object>>,
    /// What the client is shown; `None` after a deletion.
    pub(crate) after: Option<Arc<Object>>,
    /// Whether anything was stored.
    pub(crate) effective: bool,
}

#[derive(Debug, Default)]
struct Collection {
    objects: BTreeMap<String, Arc<Object>>,
    events: VecDeque<Arc<Event>>,
    /// Events up to this revision are gone.
    compacted: u64,
}

#[derive(Debug)]
struct Inner {
    revision: u64,
    collections: [Collection; Resource::ALL.len()],
    /// The keys of the pods of each controller, by its UID.
    owned: HashMap<String, BTreeSet<String>>,
    disruption: Disruption,
}

/// All objects of all kinds.
#[derive(Debug)]
pub(crate) struct Store {
    inner: Mutex<Inner>,
    revisions: watch::Sender<u64>,
    history: usize,
}

/// The key of an object inside its collection, sorted as etcd sorts.
pub(crate) fn key(namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(namespace) if !namespace.is_empty() => format!("{namespace}/{name}"),
        _ => name.to_owned(),
    }
}

impl Store {
    /// An empty store that remembers up to `history` events per kind.
    pub(crate) fn new(history: usize) -> Self {
        let collection = || Collection { compacted: FIRST_REVISION, ..Collection::default() };
        let inner = Inner {
            revision: FIRST_REVISION,
            collections: std::array::from_fn(|_| collection()),
            owned: HashMap::new(),
            disruption: Disruption::default(),
        };
        Self {
            inner: Mutex::new(inner),
            revisions: watch::Sender::new(FIRST_REVISION),
            history: history.max(1),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest revision.
    pub(crate) fn revision(&self) -> u64 {
        self.lock().revision
    }

    /// The revision up to which the history of a kind is gone.
    pub(crate) fn compacted(&self, resource: Resource) -> u64 {
        self.lock().collections[resource as usize].compacted
    }

    /// Changes whenever the revision does.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.revisions.subscribe()
    }

    /// The present version of an object.
    pub(crate) fn get(&self, resource: Resource, key: &str) -> Option<Arc<Object>> {
        self.lock().collections[resource as usize].objects.get(key).cloned()
    }

    /// How many objects of a kind there are.
    pub(crate) fn len(&self, resource: Resource) -> usize {
        self.lock().collections[resource as usize].objects.len()
    }

    /// All objects of a kind in the order of their keys, and the revision of this list.
    pub(crate) fn list(&self, resource: Resource) -> (Vec<Arc<Object>>, u64) {
        let inner = self.lock();
        let objects = inner.collections[resource as usize].objects.values().cloned().collect();
        (objects, inner.revision)
    }

    /// The list as it was at a revision.
    pub(crate) fn list_at(
        &self,
        resource: Resource,
        revision: u64,
    ) -> Result<Vec<Arc<Object>>, Expired> {
        let inner = self.lock();
        let collection = &inner.collections[resource as usize];
        if revision < collection.compacted {
            return Err(Expired { oldest: collection.compacted });
        }
        let later = collection.events.partition_point(|event| event.revision <= revision);
        if later == collection.events.len() {
            return Ok(collection.objects.values().cloned().collect());
        }
        let mut objects = collection.objects.clone();
        for event in collection.events.range(later..).rev() {
            let key = event.object.key();
            match &event.previous {
                Some(previous) => objects.insert(key, Arc::clone(previous)),
                None => objects.remove(&key),
            };
        }
        Ok(objects.into_values().collect())
    }

    /// Up to `limit` events after a revision, and the revision up to which they are complete.
    pub(crate) fn events_after(
        &self,
        resource: Resource,
        revision: u64,
        limit: usize,
    ) -> Result<(Vec<Arc<Event>>, u64), Expired> {
        let inner = self.lock();
        let collection = &inner.collections[resource as usize];
        if revision < collection.compacted {
            return Err(Expired { oldest: collection.compacted });
        }
        let start = collection.events.partition_point(|event| event.revision <= revision);
        let events: Vec<_> = collection.events.range(start..).take(limit).cloned().collect();
        let complete = if start + events.len() == collection.events.len() {
            inner.revision.max(revision)
        } else {
            events.last().map_or(revision, |event| event.revision)
        };
        Ok((events, complete))
    }

    /// Does several things at once: nobody sees a state in between, and budgets are brought up to
    /// date before anybody sees the last one. What `work` has written stays when it fails.
    pub(crate) fn transact<R>(
        &self,
        cause: Cause<'_>,
        work: impl FnOnce(&mut Transaction<'_>) -> R,
    ) -> R {
        let mut inner = self.lock();
        let mut transaction = Transaction::new(&mut inner, self.history);
        let result = work(&mut transaction);
        transaction.settle(cause);
        let revision = inner.revision;
        drop(inner);
        self.revisions.send_if_modified(|current| {
            // Two writers may come here in the other order.
            let newer = revision > *current;
            *current = revision.max(*current);
            newer
        });
        result
    }

    /// Looks at the disruption controller.
    pub(crate) fn disruption<R>(&self, look: impl FnOnce(&mut Disruption) -> R) -> R {
        look(&mut self.lock().disruption)
    }

    /// Stores a new object.
    pub(crate) fn create(
        &self,
        resource: Resource,
        draft: Draft,
        dry_run: bool,
    ) -> Result<Change, ApiError> {
        self.transact(Cause::Other, |transaction| {
            if dry_run {
                let object = transaction.vet(resource, draft)?;
                return Ok(Change { before: None, after: Some(object), effective: false });
            }
            let object = transaction.create(resource, draft)?;
            Ok(Change { before: None, after: Some(object), effective: true })
        })
    }

    /// Changes an object. `change` sees the present version and returns the sections to replace,
    /// or `None` if nothing is to be changed.
    pub(crate) fn update(
        &self,
        resource: Resource,
        key: &str,
        name: &str,
        dry_run: bool,
        change: impl FnOnce(&Object) -> Result<Option<Draft>, ApiError>,
    ) -> Result<Change, ApiError> {
        self.transact(Cause::Other, |transaction| {
            let before = transaction.find(resource, key, name)?;
            let Some(draft) = change(&before)? else {
                let after = Some(Arc::clone(&before));
                return Ok(Change { before: Some(before), after, effective: false });
            };
            let after = if dry_run {
                Arc::new(before.with(before.revision(), draft))
            } else {
                transaction.update(&before, draft)
            };
            Ok(Change { before: Some(before), after: Some(after), effective: !dry_run })
        })
    }

    /// Forgets the whole history: every older revision is expired from now on.
    pub(crate) fn compact(&self) {
        let mut inner = self.lock();
        let revision = inner.revision;
        for collection in &mut inner.collections {
            collection.events.clear();
            collection.compacted = revision;
        }
    }
}
