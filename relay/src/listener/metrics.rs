//! What the listener counts.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use knm_shared::pg::ConnectErrorKind;
use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry,
};

use super::wire::Lost;
use crate::metrics::LATENCY_BUCKETS;
use crate::status::ListenerState;

/// The listener's metrics.
#[derive(Debug, Clone)]
pub struct ListenerMetrics {
    state: IntGaugeVec,
    connect_failures: IntCounterVec,
    pub(super) reconnects: IntCounter,
    last_heartbeat: Gauge,
    round_trip: Histogram,
    pub(super) received: IntCounter,
    pub(super) unconfirmed: IntCounter,
    pub(super) unknown_version: IntCounter,
    pub(super) unparseable: IntCounter,
    pub(super) latency: Histogram,
}

impl ListenerMetrics {
    /// Registers:
    /// - `knm_relay_listener_state{state}`: 1 for the present state, 0 for the others.
    /// - `knm_relay_listener_connect_failures_total{reason}`: attempts that failed and connections
    ///   that were lost. The guide alerts above 3.
    /// - `knm_relay_listener_reconnects_total`: attempts after the first.
    /// - `knm_relay_listener_last_heartbeat_timestamp_seconds`: when a heartbeat last came back.
    /// - `knm_relay_notify_round_trip_seconds`: from sending a heartbeat to its return.
    /// - `knm_relay_notifications_total{result}`: `ok`, `unconfirmed` (from a session that is not known
    ///   to be of our own role), `unknown_version`, `unparseable`. All but the first lead to a read.
    /// - `knm_relay_notify_latency_seconds`: from the database's clock in the writing statement to
    ///   receipt, the commit included, the offset between the clocks taken out.
    ///
    /// # Errors
    /// When one of them is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let notifications = IntCounterVec::new(
            Opts::new("knm_relay_notifications_total", "Notifications received"),
            &["result"],
        )?;
        let histogram = |name, help| {
            let opts = HistogramOpts::new(name, help).buckets(LATENCY_BUCKETS.to_vec());
            Histogram::with_opts(opts)
        };
        let metrics = Self {
            state: IntGaugeVec::new(
                Opts::new("knm_relay_listener_state", "1 for the listener's present state"),
                &["state"],
            )?,
            connect_failures: IntCounterVec::new(
                Opts::new(
                    "knm_relay_listener_connect_failures_total",
                    "Attempts to connect that failed, and connections that were lost",
                ),
                &["reason"],
            )?,
            reconnects: IntCounter::new(
                "knm_relay_listener_reconnects_total",
                "Attempts to connect after the first",
            )?,
            last_heartbeat: Gauge::new(
                "knm_relay_listener_last_heartbeat_timestamp_seconds",
                "When a heartbeat last came back, in seconds since 1970",
            )?,
            round_trip: histogram(
                "knm_relay_notify_round_trip_seconds",
                "From sending a heartbeat to its return",
            )?,
            received: notifications.with_label_values(&["ok"]),
            unconfirmed: notifications.with_label_values(&["unconfirmed"]),
            unknown_version: notifications.with_label_values(&["unknown_version"]),
            unparseable: notifications.with_label_values(&["unparseable"]),
            latency: histogram(
                "knm_relay_notify_latency_seconds",
                "From the writing statement to the receipt of its notification",
            )?,
        };
        // The first increase of a counter that was not there before is none to Prometheus.
        let kinds = ConnectErrorKind::ALL.iter().map(|kind| kind.as_str());
        for reason in kinds.chain(Lost::REASONS) {
            metrics.connect_failures.with_label_values(&[reason]);
        }
        registry.register(Box::new(notifications))?;
        registry.register(Box::new(metrics.state.clone()))?;
        registry.register(Box::new(metrics.connect_failures.clone()))?;
        registry.register(Box::new(metrics.reconnects.clone()))?;
        registry.register(Box::new(metrics.last_heartbeat.clone()))?;
        registry.register(Box::new(metrics.round_trip.clone()))?;
        registry.register(Box::new(metrics.latency.clone()))?;
        Ok(metrics)
    }

    /// The listener has gone on to another state.
    pub fn enter(&self, state: ListenerState) {
        for each in ListenerState::ALL {
            self.state.with_label_values(&[each.as_str()]).set(i64::from(each == state));
        }
    }

    pub(super) fn connect_failed(&self, reason: &str) {
        self.connect_failures.with_label_values(&[reason]).inc();
    }

    pub(super) fn heard(&self, round_trip: Duration) {
        self.round_trip.observe(round_trip.as_secs_f64());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_heartbeat.set(now.as_secs_f64());
    }
}
