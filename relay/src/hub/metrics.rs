//! What the hub counts. The figures of its surroundings (reads, sockets, the listener) are theirs.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// The hub's metrics.
#[derive(Debug, Clone)]
pub struct HubMetrics {
    pub(super) connections: IntGauge,
    pub(super) gaps: IntCounter,
    pub(super) resyncs: Resyncs,
    pub(crate) queue_depth: IntGauge,
    pub(crate) audit_repairs: IntCounter,
}

/// Why clients were sent everything again.
#[derive(Debug, Clone)]
pub(super) struct Resyncs {
    pub(super) epoch: IntCounter,
    pub(super) diverged: IntCounter,
    pub(super) foreign_cursor: IntCounter,
    pub(super) cursor_ahead: IntCounter,
}

impl HubMetrics {
    /// Registers:
    /// - `knm_relay_websocket_connections`: open connections.
    /// - `knm_relay_gaps_total`: notifications that did not continue what was known, so that rows
    ///   had to be read.
    /// - `knm_relay_resyncs_total{reason}`: `epoch` and `diverged` (the database continues another
    ///   history, by its own markers or by a row gone backwards), `foreign_cursor` and
    ///   `cursor_ahead` (one client's cursor could not be used and it got a snapshot).
    /// - `knm_relay_queue_depth`: the deepest backlog, of notifications held for a task or of steps
    ///   that a client is behind. The guide alerts above 100.
    /// - `knm_relay_audit_repairs_total`: tasks that the comparison with the rows found behind.
    ///
    /// # Errors
    /// When one of them is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let resyncs = IntCounterVec::new(
            Opts::new("knm_relay_resyncs_total", "Times that clients were sent everything again"),
            &["reason"],
        )?;
        let metrics = Self {
            connections: IntGauge::new(
                "knm_relay_websocket_connections",
                "Open WebSocket connections",
            )?,
            gaps: IntCounter::new(
                "knm_relay_gaps_total",
                "Notifications that did not continue what was known",
            )?,
            resyncs: Resyncs {
                epoch: resyncs.with_label_values(&["epoch"]),
                diverged: resyncs.with_label_values(&["diverged"]),
                foreign_cursor: resyncs.with_label_values(&["foreign_cursor"]),
                cursor_ahead: resyncs.with_label_values(&["cursor_ahead"]),
            },
            queue_depth: IntGauge::new(
                "knm_relay_queue_depth",
                "Deepest backlog: notifications held for a task, or steps a client is behind",
            )?,
            audit_repairs: IntCounter::new(
                "knm_relay_audit_repairs_total",
                "Tasks that the comparison with their rows found behind",
            )?,
        };
        registry.register(Box::new(resyncs))?;
        registry.register(Box::new(metrics.connections.clone()))?;
        registry.register(Box::new(metrics.gaps.clone()))?;
        registry.register(Box::new(metrics.queue_depth.clone()))?;
        registry.register(Box::new(metrics.audit_repairs.clone()))?;
        Ok(metrics)
    }
}
