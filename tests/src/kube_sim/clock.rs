//! The clock as Kubernetes writes it.

use std::time::{SystemTime, UNIX_EPOCH};

/// The present time in RFC 3339, whole seconds, UTC.
pub(crate) fn now() -> String {
    format(jiff::Timestamp::now())
}

/// A time in RFC 3339, whole seconds, UTC.
pub(crate) fn format(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Microseconds since the Unix epoch.
pub(crate) fn unix_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
