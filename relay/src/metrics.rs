//! What the relay's metrics have in common. Each is registered and documented by the module that
//! keeps it.

/// Seconds, finest where the figures to reach are (1 ms, 5 ms, 100 ms).
pub(crate) const LATENCY_BUCKETS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.001_5, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
    0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
