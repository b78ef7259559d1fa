//! Connections to PostgreSQL: who opens them, under which name, and what a failure means.
//!
//! Two kinds exist. *Pooled* connections go to `database.host`, which may be a transaction pooler:
//! they use unnamed statements and keep no session state. *Direct* connections go to
//! `database.direct_host` where one is configured, and carry what a pooler would break: LISTEN, the
//! progress writer, migrations and their advisory lock.

mod classify;
mod connect;
mod error;
mod metrics;
mod pool;
mod reporter;
mod session;
mod tls;

pub use connect::{App, Connection, Connector, Target};
pub use error::{ConnectError, ConnectErrorKind};
pub use metrics::{PoolGauges, register_connect_failures};
pub use pool::{Client, Manager, Pool, PoolError, PoolState, WAIT_TIMEOUT};
pub use reporter::Reporter;
pub use session::{Session, Single};

use std::time::Duration;

/// An error in a line: the server's own words, without the details, which may quote rows; else what broke.
#[must_use]
pub fn describe(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{}: {}", db.severity(), db.message()),
        None => std::error::Error::source(error)
            .map_or_else(|| error.to_string(), |source| format!("{error}: {source}")),
    }
}

/// Covers DNS, TCP, TLS and login together.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
