//! What the node watches tell Prometheus.

use prometheus::{IntGaugeVec, Opts, Registry};

use super::{Clusters, Sync};

/// `knm_api_kube_nodes{cluster}` and `knm_api_kube_watch_live{cluster}`
#[derive(Debug, Clone)]
pub struct Gauges {
    nodes: IntGaugeVec,
    live: IntGaugeVec,
}

impl Gauges {
    /// Registers them.
    ///
    /// # Errors
    /// When a name is taken already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGaugeVec::new(Opts::new(name, help), &["cluster"])?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        Ok(Self {
            nodes: gauge("knm_api_kube_nodes", "Nodes of the cluster, as last seen")?,
            live: gauge("knm_api_kube_watch_live", "Whether the watch of the nodes is running")?,
        })
    }

    /// Shows these clusters.
    pub fn set(&self, clusters: &Clusters) {
        // Removed ones must not stay as they were.
        self.nodes.reset();
        self.live.reset();
        for cluster in clusters.all() {
            let nodes = i64::try_from(cluster.nodes.len()).unwrap_or(i64::MAX);
            self.nodes.with_label_values(&[&*cluster.name]).set(nodes);
            let live = cluster.nodes.state() == Sync::Live;
            self.live.with_label_values(&[&*cluster.name]).set(live.into());
        }
    }
}
