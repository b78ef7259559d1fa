//! What the feed counts.

use knm_shared::pg::App;
use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter, IntGaugeVec, Opts, Registry};

use crate::metrics::LATENCY_BUCKETS;

/// The feed's metrics.
#[derive(Debug, Clone)]
pub struct FeedMetrics {
    pub(super) read_seconds: Histogram,
    pub(super) read_failures: IntCounter,
    pub(super) queue_usage: Gauge,
    connections: IntGaugeVec,
}

/// Whoever else is connected to the database: psql, a backup, another program.
const STRANGERS: &str = "other";

impl FeedMetrics {
    /// Registers:
    /// - `knm_relay_read_seconds`: reads of one task's rows, waiting for a connection included.
    /// - `knm_relay_read_failures_total`: reads that had no answer and were repeated.
    /// - `knm_relay_pg_notification_queue_usage`: how full the server's notification queue is, 0 to
    ///   1. Full, it refuses every NOTIFY.
    /// - `knm_relay_pg_connections{application}`: connections to the database by the first word of
    ///   their `application_name`; those that are not ours are `other`. Of the whole database, so use
    ///   `max`, not `sum`.
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
            connections: IntGaugeVec::new(
                Opts::new(
                    "knm_relay_pg_connections",
                    "Connections to the database by application; the same in every replica",
                ),
                &["application"],
            )?,
        };
        metrics.show_connections(&[]);
        registry.register(Box::new(metrics.read_seconds.clone()))?;
        registry.register(Box::new(metrics.read_failures.clone()))?;
        registry.register(Box::new(metrics.queue_usage.clone()))?;
        registry.register(Box::new(metrics.connections.clone()))?;
        Ok(metrics)
    }

    /// Connections by the first word of their `application_name`.
    pub(super) fn show_connections(&self, found: &[(String, i64)]) {
        let ours = |name: &str| App::ALL.iter().any(|app| app.as_str() == name);
        for app in App::ALL {
            let named = found.iter().filter(|(name, _)| name == app.as_str());
            self.connections.with_label_values(&[app.as_str()]).set(named.map(|(_, n)| n).sum());
        }
        let strangers = found.iter().filter(|(name, _)| !ours(name));
        self.connections.with_label_values(&[STRANGERS]).set(strangers.map(|(_, n)| n).sum());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_counted_together_and_those_who_left_are_none() {
        let metrics = FeedMetrics::register(&Registry::new()).expect("a registry of one's own");
        let shown = |name: &str| metrics.connections.with_label_values(&[name]).get();
        let found = |name: &str, n| (name.to_owned(), n);
        metrics.show_connections(&[found("knm-api", 3), found("psql", 1), found("", 2)]);
        assert_eq!((shown("knm-api"), shown("other"), shown("knm-relay")), (3, 3, 0));
        metrics.show_connections(&[found("knm-relay", 1)]);
        assert_eq!((shown("knm-api"), shown("other"), shown("knm-relay")), (0, 0, 1));
    }
}
