//! What the connection pool tells Prometheus.

use knm_shared::pg::PoolState;
use prometheus::{IntGaugeVec, Opts, Registry};

/// `knm_api_db_pool{state}`
#[derive(Debug, Clone)]
pub struct PoolGauges(IntGaugeVec);

impl PoolGauges {
    /// Registers it.
    ///
    /// # Errors
    /// When the name is taken already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let opts = Opts::new(
            "knm_api_db_pool",
            "Pooled connections that are idle or used, their most (max), and callers waiting for one",
        );
        let gauges = IntGaugeVec::new(opts, &["state"])?;
        registry.register(Box::new(gauges.clone()))?;
        Ok(Self(gauges))
    }

    /// Shows this state.
    pub fn set(&self, pool: PoolState) {
        let PoolState { size, available, waiting, max } = pool;
        let used = size.saturating_sub(available);
        for (state, n) in [("idle", available), ("used", used), ("waiting", waiting), ("max", max)]
        {
            self.0.with_label_values(&[state]).set(i64::try_from(n).unwrap_or(i64::MAX));
        }
    }
}
