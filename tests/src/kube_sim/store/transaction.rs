//! Several changes under one lock.

use std::{collections::BTreeSet, ops::Bound, sync::Arc};

use super::{Event, EventKind, Inner};
use crate::kube_sim::{
    disruption::Disruption,
    object::{Draft, Object},
    resource::Resource,
    status::ApiError,
};

/// Why something changes. Budgets are broken by what clients do to pods, not by what happens to them.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cause<'a> {
    /// A client takes a pod away; the text says who and how.
    Disruption(&'a str),
    /// Anything else.
    Other,
}

/// An open transaction. It sees what it has written.
#[derive(Debug)]
pub(crate) struct Transaction<'a> {
    inner: &'a mut Inner,
    history: usize,
    events: Vec<Arc<Event>>,
}

impl<'a> Transaction<'a> {
    pub(super) fn new(inner: &'a mut Inner, history: usize) -> Self {
        Self { inner, history, events: Vec::new() }
    }

    /// The newest revision.
    pub(crate) fn revision(&self) -> u64 {
        self.inner.revision
    }

    /// The present version of an object.
    pub(crate) fn get(&self, resource: Resource, key: &str) -> Option<Arc<Object>> {
        self.inner.collections[resource as usize].objects.get(key).cloned()
    }

    /// The same for a client who asks for it by name.
    pub(crate) fn find(
        &self,
        resource: Resource,
        key: &str,
        name: &str,
    ) -> Result<Arc<Object>, ApiError> {
        self.get(resource, key).ok_or_else(|| ApiError::not_found(resource, name))
    }

    /// All objects of a kind.
    pub(crate) fn list(&self, resource: Resource) -> impl Iterator<Item = &Arc<Object>> {
        self.inner.collections[resource as usize].objects.values()
    }

    /// The objects of a kind in a namespace.
    pub(crate) fn in_namespace(
        &self,
        resource: Resource,
        namespace: &str,
    ) -> impl Iterator<Item = &Arc<Object>> {
        let prefix = format!("{namespace}/");
        let start = (Bound::Included(prefix.clone()), Bound::Unbounded);
        let objects = self.inner.collections[resource as usize].objects.range(start);
        objects.take_while(move |(key, _)| key.starts_with(&prefix)).map(|(_, object)| object)
    }

    /// The pods whose controller has a UID.
    pub(crate) fn owned(&self, uid: &str) -> Vec<Arc<Object>> {
        let keys = self.inner.owned.get(uid);
        keys.into_iter().flatten().filter_map(|key| self.get(Resource::Pods, key)).collect()
    }

    /// A new object as it would be stored; refused if there is one.
    pub(crate) fn vet(&self, resource: Resource, draft: Draft) -> Result<Arc<Object>, ApiError> {
        let object = Object::new(resource, self.inner.revision + 1, draft);
        if self.get(resource, &object.key()).is_some() {
            return Err(ApiError::already_exists(resource, object.name()));
        }
        Ok(Arc::new(object))
    }

    /// Stores a new object.
    pub(crate) fn create(
        &mut self,
        resource: Resource,
        draft: Draft,
    ) -> Result<Arc<Object>, ApiError> {
        let object = self.vet(resource, draft)?;
        if let Some(uid) = owner_of_pod(&object) {
            self.inner.owned.entry(uid.to_owned()).or_default().insert(object.key());
        }
        let collection = &mut self.inner.collections[resource as usize];
        collection.objects.insert(object.key(), Arc::clone(&object));
        self.record(EventKind::Added, Arc::clone(&object), None);
        Ok(object)
    }

    /// Replaces sections of the present version.
    pub(crate) fn update(&mut self, before: &Arc<Object>, draft: Draft) -> Arc<Object> {
        let object = Arc::new(before.with(self.inner.revision + 1, draft));
        let collection = &mut self.inner.collections[object.resource() as usize];
        collection.objects.insert(object.key(), Arc::clone(&object));
        self.record(EventKind::Modified, Arc::clone(&object), Some(Arc::clone(before)));
        object
    }

    /// Removes an object; returns the last version, under the revision of its deletion.
    pub(crate) fn remove(&mut self, before: &Arc<Object>) -> Arc<Object> {
        let resource = before.resource();
        self.inner.collections[resource as usize].objects.remove(&before.key());
        if let Some(uid) = owner_of_pod(before)
            && let Some(keys) = self.inner.owned.get_mut(uid)
        {
            keys.remove(&before.key());
            if keys.is_empty() {
                self.inner.owned.remove(uid);
            }
        }
        let last = Arc::new(before.at(self.inner.revision + 1));
        self.record(EventKind::Deleted, Arc::clone(&last), Some(Arc::clone(before)));
        last
    }

    /// Hands what has happened to the disruption controller, which belongs to every transaction.
    pub(super) fn settle(&mut self, cause: Cause<'_>) {
        let events = std::mem::take(&mut self.events);
        self.with_disruption(|disruption, transaction| {
            disruption.settle(transaction, &events, cause);
        });
    }

    /// Brings one budget's status up to date, changed or not.
    pub(crate) fn recheck_budget(&mut self, key: &str) {
        let keys = BTreeSet::from([key.to_owned()]);
        self.with_disruption(|disruption, transaction| disruption.publish(transaction, &keys));
    }

    fn with_disruption(&mut self, work: impl FnOnce(&mut Disruption, &mut Self)) {
        let mut disruption = std::mem::take(&mut self.inner.disruption);
        work(&mut disruption, self);
        self.inner.disruption = disruption;
    }

    fn record(&mut self, kind: EventKind, object: Arc<Object>, previous: Option<Arc<Object>>) {
        let revision = object.revision();
        let resource = object.resource();
        let event = Arc::new(Event { revision, kind, object, previous });
        self.inner.revision = revision;
        self.events.push(Arc::clone(&event));
        let collection = &mut self.inner.collections[resource as usize];
        collection.events.push_back(event);
        while collection.events.len() > self.history {
            if let Some(oldest) = collection.events.pop_front() {
                collection.compacted = oldest.revision;
            }
        }
    }
}

/// Controller references do not change, so that one look at them is enough.
fn owner_of_pod(object: &Object) -> Option<&str> {
    (object.resource() == Resource::Pods).then(|| object.controller_uid()).flatten()
}
