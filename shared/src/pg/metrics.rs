//! What connections to PostgreSQL tell Prometheus, in both programs alike.

use std::sync::LazyLock;

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use super::{App, ConnectErrorKind, PoolState};

/// Of the whole process, as every connection of it is opened in one place.
static CONNECT_FAILURES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts = Opts::new(
        "knm_pg_connect_failures_total",
        "Attempts to connect to PostgreSQL that failed, by what the connection is for and why",
    );
    IntCounterVec::new(opts, &["application", "reason"]).expect("the name and labels are valid")
});

/// Registers `knm_pg_connect_failures_total{application,reason}`: attempts to connect that failed, of
/// each application that is named. Reasons are those of [`ConnectErrorKind`].
///
/// # Errors
/// When it is registered already.
pub fn register_connect_failures(
    registry: &Registry,
    apps: &[App],
) -> Result<(), prometheus::Error> {
    for app in apps {
        for kind in ConnectErrorKind::ALL {
            // The first increase of a counter that was not there before is none to Prometheus.
            CONNECT_FAILURES.with_label_values(&[app.as_str(), kind.as_str()]);
        }
    }
    registry.register(Box::new(CONNECT_FAILURES.clone()))
}

/// An attempt has failed.
pub(super) fn connect_failed(app: App, kind: ConnectErrorKind) {
    CONNECT_FAILURES.with_label_values(&[app.as_str(), kind.as_str()]).inc();
}

/// `knm_api_db_pool{state}`, `knm_relay_db_pool{state}`: the connections of a pool.
#[derive(Debug, Clone)]
pub struct PoolGauges(IntGaugeVec);

impl PoolGauges {
    /// Registers it under this name.
    ///
    /// # Errors
    /// When the name is taken already.
    pub fn register(registry: &Registry, name: &str) -> Result<Self, prometheus::Error> {
        let opts = Opts::new(
            name,
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
