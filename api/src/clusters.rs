//! The Kubernetes clusters this installation manages, and what their nodes look like now.
//!
//! Nodes come from one watch per cluster and are answered from memory ([`NodeCache`]); nothing here
//! writes to Kubernetes. Selectors ([`LabelSelector`], [`FieldSelector`]) follow Kubernetes' own
//! grammar and are evaluated here, on the same objects that the API server would look at.

mod field_selector;
mod label_selector;
pub mod metrics;
mod nodes;
mod syntax;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use field_selector::FieldSelector;
pub use label_selector::LabelSelector;
pub use nodes::{Change, NodeCache, Sync};
pub use syntax::{label_key, label_value};
pub use watch::watch;

/// A selector that Kubernetes would refuse. The text is Kubernetes' own where it has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub(crate) String);

/// One cluster: how to reach it and what is known of it.
#[derive(Clone)]
pub struct Cluster {
    /// Its name in URLs and tasks.
    pub name: Arc<str>,
    /// For reads and writes; shares one connection pool.
    pub client: kube::Client,
    /// Its nodes, as of the last watch event.
    pub nodes: NodeCache,
}

/// All clusters by name. Cheap to clone.
#[derive(Clone)]
pub struct Clusters {
    by_name: Arc<BTreeMap<Arc<str>, Cluster>>,
    default: Arc<str>,
}

impl Clusters {
    /// An installation with one cluster, which is its default.
    #[must_use]
    pub fn single(cluster: Cluster) -> Self {
        let default = cluster.name.clone();
        Self { by_name: Arc::new(BTreeMap::from([(default.clone(), cluster)])), default }
    }

    /// The cluster of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Cluster> {
        self.by_name.get(name).cloned()
    }

    /// The name of the cluster that requests mean when they name none.
    #[must_use]
    pub fn default_name(&self) -> &str {
        &self.default
    }

    /// Every cluster, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Cluster> {
        self.by_name.values()
    }
}
