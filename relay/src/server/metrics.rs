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
        // The first increase of a counter that was not there before is none to Prometheus.
        for code in [400, 401, 403, 404, 405, 408, 426, 431, 503] {
            refused.with_label_values(&[&code.to_string()]);
        }
        registry.register(Box::new(refused.clone()))?;
        Ok(Self { refused })
    }

    pub(super) fn refused(&self, status: StatusCode) {
        self.refused.with_label_values(&[status.as_str()]).inc();
    }
}
