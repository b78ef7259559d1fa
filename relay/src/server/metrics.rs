//! What the server counts.

use http::StatusCode;
use prometheus::{IntCounterVec, Opts, Registry};

/// The server's metrics.
#[derive(Debug, Clone)]
pub struct ServerMetrics {
    refused: IntCounterVec,
}

impl ServerMetrics {
    /// Registers:
    /// - `knm_relay_refused_total{code}`: requests that did not become a WebSocket, by HTTP status.
    ///
    /// # Errors
    /// When it is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let opts = Opts::new("knm_relay_refused_total", "Requests that got no WebSocket");
        let refused = IntCounterVec::new(opts, &["code"])?;
        registry.register(Box::new(refused.clone()))?;
        Ok(Self { refused })
    }

    pub(super) fn refused(&self, status: StatusCode) {
        self.refused.with_label_values(&[status.as_str()]).inc();
    }
}
