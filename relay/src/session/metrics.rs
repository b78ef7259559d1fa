//! What the sessions count.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry};

use crate::metrics::LATENCY_BUCKETS;
use crate::protocol::CloseReason;

/// The sessions' metrics.
#[derive(Debug, Clone)]
pub struct SessionMetrics {
    pub(super) latency: Histogram,
    pub(super) frames: IntCounter,
    closed: IntCounterVec,
}

impl SessionMetrics {
    /// Registers:
    /// - `knm_relay_delivery_latency_seconds`: from the database's clock in the writing statement to
    ///   the moment that a client's socket has taken the frame; only for clients that were following
    ///   the task when the change was made.
    /// - `knm_relay_frames_total`: frames written, all clients together.
    /// - `knm_relay_closed_total{code}`: connections that the relay ended, by close code.
    ///
    /// # Errors
    /// When one of them is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let latency = HistogramOpts::new(
            "knm_relay_delivery_latency_seconds",
            "From the writing statement to the client's socket",
        );
        let closed = Opts::new("knm_relay_closed_total", "Connections that the relay ended");
        let metrics = Self {
            latency: Histogram::with_opts(latency.buckets(LATENCY_BUCKETS.to_vec()))?,
            frames: IntCounter::new("knm_relay_frames_total", "Frames written")?,
            closed: IntCounterVec::new(closed, &["code"])?,
        };
        for reason in CloseReason::ALL {
            metrics.closed.with_label_values(&[&reason.code().to_string()]);
        }
        registry.register(Box::new(metrics.latency.clone()))?;
        registry.register(Box::new(metrics.frames.clone()))?;
        registry.register(Box::new(metrics.closed.clone()))?;
        Ok(metrics)
    }

    pub(super) fn closed(&self, reason: CloseReason) {
        self.closed.with_label_values(&[&reason.code().to_string()]).inc();
    }
}
