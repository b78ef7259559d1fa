//! What the HTTP side tells Prometheus.

use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntGauge, Registry};

/// The pattern of the route that answered, in a response's extensions: paths would be too many
/// label values, and some carry ids.
#[derive(Debug, Clone, Copy)]
pub struct MatchedRoute(pub &'static str);

/// Metrics of the HTTP server.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// `knm_api_http_request_duration_seconds{route,code}`: from a request's head to its response's head.
    /// Nothing is announced, as nobody knows which codes a route will answer with: the first of each is no
    /// increase to a rate.
    requests: HistogramVec,
    /// `knm_api_http_connections`: open HTTP connections.
    connections: IntGauge,
}

const SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// When a name is taken already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let opts = HistogramOpts::new(
            "knm_api_http_request_duration_seconds",
            "Time from a request's head to its response's head, by route and status",
        );
        let requests = HistogramVec::new(opts.buckets(SECONDS.to_vec()), &["route", "code"])?;
        let connections = IntGauge::new("knm_api_http_connections", "Open HTTP connections")?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(connections.clone()))?;
        Ok(Self { requests, connections })
    }

    /// Counts a connection for as long as what is returned lives.
    #[must_use]
    pub fn connection(&self) -> OpenConnection {
        self.connections.inc();
        OpenConnection(self.connections.clone())
    }

    /// Counts one answered request.
    pub fn observe<B>(&self, response: &http::Response<B>, took: Duration) {
        let route = response.extensions().get::<MatchedRoute>().map_or("unmatched", |r| r.0);
        self.requests
            .with_label_values(&[route, response.status().as_str()])
            .observe(took.as_secs_f64());
    }
}

/// An open connection.
#[derive(Debug)]
pub struct OpenConnection(IntGauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}
