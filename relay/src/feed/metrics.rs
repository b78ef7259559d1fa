//! What the feed counts.

use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter, Registry};

use crate::metrics::LATENCY_BUCKETS;

/// The feed's metrics.
#[derive(Debug, Clone)]
pub struct FeedMetrics {
    pub(super) read_seconds: Histogram,
    pub(super) read_failures: IntCounter,
    pub(super) queue_usage: Gauge,
}

impl FeedMetrics {
    /// Registers:
    /// - `knm_relay_read_seconds`: reads of one task's rows, waiting for a connection included.
    /// - `knm_relay_read_failures_total`: reads that had no answer and were repeated.
    /// - `knm_relay_pg_notification_queue_usage`: how full the server's notification queue is, 0 to
    ///   1. Full, it refuses every NOTIFY.
    ///
    /// # Errors
    /// When one of them is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let opts = HistogramOpts::new("knm_relay_read_seconds", "Reads of one task's rows");
        let metrics = Self {
            read_seconds: Histogram::with_opts(opts.buckets(LATENCY_BUCKETS.to_vec()))?,
            read_failures: IntCounter::new(
                "knm_relay_read_failures_total",
                "Reads that had no answer and were repeated",
            )?,
            queue_usage: Gauge::new(
                "knm_relay_pg_notification_queue_usage",
                "How full the server's notification queue is, 0 to 1",
            )?,
        };
        registry.register(Box::new(metrics.read_seconds.clone()))?;
        registry.register(Box::new(metrics.read_failures.clone()))?;
        registry.register(Box::new(metrics.queue_usage.clone()))?;
        Ok(metrics)
    }
}
