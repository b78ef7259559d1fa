//! A cluster as long as it is used: its client, its watch, its health.

use std::convert::Infallible;
use std::sync::Arc;

use knm_shared::config;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Cluster, Source, health, watch};
use crate::k8s::{self, ClusterError, Gate};

/// A cluster with what runs for it. Dropped, everything ends: who works on it hears of that by
/// [`Cluster::closed`].
pub struct Opened {
    /// What others use.
    pub cluster: Cluster,
    work: JoinSet<Infallible>,
    _closes: DropGuard,
}

impl Opened {
    /// Whether a part of it has ended, which none does by itself: it has panicked.
    pub(super) fn is_broken(&mut self) -> bool {
        self.work.try_join_next().is_some()
    }
}

/// Starts to watch a cluster.
///
/// # Errors
/// [`ClusterError`] when its credentials cannot be used. Whether it answers shows later.
pub fn open(
    name: &str,
    source: Source,
    config: &kube::Config,
    limits: &config::Executor,
) -> Result<Opened, ClusterError> {
    let client = k8s::client(config)?;
    let (nodes, watching) = watch(name, client.clone());
    let (health, probing) = health::probe(client.clone());
    let mut work = JoinSet::new();
    work.spawn(watching);
    work.spawn(probing);
    let closed = CancellationToken::new();
    let cluster = Cluster {
        name: Arc::from(name),
        source,
        server: config.cluster_url.to_string().trim_end_matches('/').into(),
        client,
        gate: Gate::new(limits.cluster_concurrency, limits.cluster_qps),
        nodes,
        health,
        closed: closed.clone(),
    };
    Ok(Opened { cluster, work, _closes: closed.drop_guard() })
}
