//! The Kubernetes clusters this installation manages, and what their nodes look like now.
//!
//! One is configured, others are in the database: the [`Registry`] keeps every replica's like those.
//! Nodes come from one watch per cluster and are answered from memory ([`NodeCache`]); nothing here
//! writes to Kubernetes. Selectors ([`LabelSelector`], [`FieldSelector`]) follow Kubernetes' own
//! grammar and are evaluated here, on the same objects that the API server would look at.

mod admin;
mod field_selector;
mod health;
mod kubeconfig;
mod label_selector;
pub mod metrics;
mod nodes;
mod open;
mod registry;
mod seal;
mod syntax;
mod watch;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio_util::sync::CancellationToken;

pub use admin::{AdminError, ClusterAdmin};
pub use field_selector::FieldSelector;
pub use health::{Answer, Health};
pub use kubeconfig::Refused;
pub use label_selector::LabelSelector;
pub use nodes::{Change, NodeCache, Sync};
pub use open::{Opened, open};
pub use registry::Registry;
pub use seal::{KeyError, Keyring, SealError};
pub use syntax::{label_key, label_value};
pub use watch::watch;

use crate::k8s::Gate;

/// A selector that Kubernetes would refuse. The text is Kubernetes' own where it has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub(crate) String);

/// Where a cluster is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// In the configuration file: the default cluster.
    Configuration,
    /// In the database.
    Database,
}

/// One cluster: how to reach it and what is known of it.
#[derive(Clone)]
pub struct Cluster {
    /// Its name in URLs and tasks.
    pub name: Arc<str>,
    /// Where it comes from.
    pub source: Source,
    /// Its API server.
    pub server: Arc<str>,
    /// For reads and writes; shares one connection pool.
    pub client: kube::Client,
    /// What all tasks' calls go through.
    pub gate: Gate,
    /// Its nodes, as of the last watch event.
    pub nodes: NodeCache,
    /// Whether it answers.
    pub health: Health,
    /// Cancelled when it was removed, or is known anew under its name.
    pub closed: CancellationToken,
}

/// All clusters by name. Cheap to clone.
#[derive(Clone)]
pub struct Clusters {
    known: Arc<RwLock<Known>>,
    default: Arc<str>,
}

#[derive(Default)]
struct Known {
    open: BTreeMap<Arc<str>, Cluster>,
    /// Those that cannot be used, and why.
    broken: BTreeMap<Arc<str>, Arc<str>>,
}

impl Clusters {
    /// An installation with one cluster, which is its default.
    #[must_use]
    pub fn single(cluster: Cluster) -> Self {
        let default = cluster.name.clone();
        let clusters = Self { known: Arc::default(), default };
        clusters.put(cluster);
        clusters
    }

    /// The cluster of that name, if it can be used.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Cluster> {
        self.read().open.get(name).cloned()
    }

    /// The name of the cluster that requests mean when they name none.
    #[must_use]
    pub fn default_name(&self) -> &str {
        &self.default
    }

    /// Every cluster that can be used, by name.
    #[must_use]
    pub fn all(&self) -> Vec<Cluster> {
        self.read().open.values().cloned().collect()
    }

    /// The others, by name, and why they cannot.
    #[must_use]
    pub fn broken(&self) -> Vec<(Arc<str>, Arc<str>)> {
        self.read().broken.iter().map(|(name, why)| (name.clone(), why.clone())).collect()
    }

    /// The names of all.
    pub fn names(&self) -> impl Iterator<Item = Arc<str>> + use<> {
        let known = self.read();
        let names: Vec<_> = known.open.keys().chain(known.broken.keys()).cloned().collect();
        names.into_iter()
    }

    fn put(&self, cluster: Cluster) {
        let mut known = self.write();
        known.broken.remove(&cluster.name);
        known.open.insert(cluster.name.clone(), cluster);
    }

    fn put_broken(&self, name: Arc<str>, why: Arc<str>) {
        let mut known = self.write();
        if name != self.default {
            known.open.remove(&name);
            known.broken.insert(name, why);
        }
    }

    fn remove(&self, name: &str) {
        let mut known = self.write();
        known.broken.remove(name);
        if *name != *self.default {
            known.open.remove(name);
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}
