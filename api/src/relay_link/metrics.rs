//! What the api tells Prometheus about its relay; the relay itself tells more.

use prometheus::{IntGauge, Registry};

use super::state::Relay;

/// Metrics of the link.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// `knm_api_relay_up`: 1 while the pod's relay answers on its admin port.
    up: IntGauge,
    /// `knm_api_relay_live`: 1 while that relay receives notifications, by its own account.
    live: IntGauge,
    /// `knm_api_relay_tunnels`: WebSockets that the api passes on to its relay.
    pub tunnels: IntGauge,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// When a name is taken already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        Ok(Self {
            up: gauge("knm_api_relay_up", "Whether the pod's relay answers on its admin port")?,
            live: gauge("knm_api_relay_live", "Whether the pod's relay receives notifications")?,
            tunnels: gauge("knm_api_relay_tunnels", "WebSockets passed on to the pod's relay")?,
        })
    }

    pub(super) fn set(&self, relay: &Relay) {
        let (up, live) = match relay {
            Relay::Unknown | Relay::Away { .. } => (false, false),
            Relay::There(state) => (true, state.listener == "live"),
        };
        self.up.set(up.into());
        self.live.set(live.into());
    }
}
