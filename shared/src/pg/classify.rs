//! From what went wrong to a [`ConnectError`]: its kind, its cause in the guide's words, and what to
//! try next.

use std::error::Error as _;
use std::io;

use tokio_postgres::error::SqlState;

use super::CONNECT_TIMEOUT;
use super::error::{ConnectError, ConnectErrorKind, Endpoint};
use crate::config::SslMode;

impl ConnectError {
    pub(super) fn timeout(endpoint: Endpoint) -> Self {
        let secs = CONNECT_TIMEOUT.as_secs();
        let Endpoint { host_key, .. } = endpoint;
        let (cause, next) = match endpoint.address {
            Some(address) => (
                format!("dial tcp {address}: i/o timeout"),
                format!(
                    "no answer within {secs} s: check that {host_key} is the right address, that \
                     PostgreSQL runs, and that no NetworkPolicy or firewall is in between"
                ),
            ),
            None => (
                format!("dial tcp: lookup {}: i/o timeout", endpoint.host),
                format!(
                    "DNS did not answer within {secs} s: check the cluster's DNS and {host_key}"
                ),
            ),
        };
        Self::new(ConnectErrorKind::Timeout, endpoint, cause, next)
    }

    pub(super) fn dns(endpoint: Endpoint, error: &io::Error) -> Self {
        let text = error.to_string();
        let reason = text.rsplit_once(": ").map_or(text.as_str(), |(_, reason)| reason);
        let unknown = ["not known", "No address", "nodename"].iter().any(|s| reason.contains(s));
        let reason = if unknown { "no such host" } else { reason };
        let cause = format!("dial tcp: lookup {}: {reason}", endpoint.host);
        let next = format!(
            "check the spelling of {}; a Service of another namespace needs its full name, like \
             postgres-service.default.svc.cluster.local",
            endpoint.host_key
        );
        Self::new(ConnectErrorKind::Dns, endpoint, cause, next)
    }

    pub(super) fn pooler(endpoint: Endpoint) -> Self {
        Self::new(
            ConnectErrorKind::Pooler,
            endpoint,
            "notifications sent from another connection do not arrive: this is a pooler in \
             transaction mode",
            "set database.direct_host and database.direct_port to the PostgreSQL server behind it, \
             or progress.notify_type to \"polling\"",
        )
    }

    pub(super) fn classify(endpoint: Endpoint, error: &tokio_postgres::Error) -> Self {
        if let Some(db) = error.as_db_error() {
            return Self::answered(endpoint, db);
        }
        if let Some(io) = io_cause(error) {
            return Self::io(endpoint, io);
        }
        let mut cause = chain(error);
        if cause.ends_with("password missing") {
            cause = "the server asks for a password, and database.password is empty".to_owned();
        }
        let Endpoint { port_key, .. } = endpoint;
        // tokio-postgres keeps its kinds to itself; these are their only traces.
        match error.to_string().as_str() {
            "error performing TLS handshake" => Self::tls(endpoint, error),
            "authentication error" | "invalid configuration" => {
                let next = credentials(&endpoint);
                Self::new(ConnectErrorKind::Authentication, endpoint, cause, next)
            }
            _ => Self::new(
                ConnectErrorKind::Other,
                endpoint,
                cause,
                format!("check that {port_key} is PostgreSQL's port"),
            ),
        }
    }

    fn io(endpoint: Endpoint, error: &io::Error) -> Self {
        let Endpoint { host_key, port_key, address, .. } = endpoint;
        let dial = match address {
            Some(address) => format!("dial tcp {address}"),
            None => format!("dial unix {}/.s.PGSQL.{}", endpoint.host, endpoint.port),
        };
        match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                let pod = address.is_some_and(|a| a.ip().is_loopback());
                let next = if pod {
                    format!(
                        "nothing listens there: in a Pod, loopback is the Pod itself; check \
                         {host_key} and {port_key}, and that PostgreSQL runs"
                    )
                } else {
                    format!(
                        "nothing listens there: check {host_key} and {port_key}, and that PostgreSQL \
                         runs"
                    )
                };
                let cause = format!("{dial}: connect: connection refused");
                Self::new(ConnectErrorKind::Refused, endpoint, cause, next)
            }
            io::ErrorKind::TimedOut => Self::timeout(endpoint),
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                let what = match error.kind() {
                    io::ErrorKind::HostUnreachable => "no route to host",
                    _ => "network is unreachable",
                };
                let next = format!("check {host_key} and the network between this pod and it");
                let cause = format!("{dial}: connect: {what}");
                Self::new(ConnectErrorKind::Unreachable, endpoint, cause, next)
            }
            // What `target_session_attrs=read-write` makes of a standby.
            io::ErrorKind::PermissionDenied if error.raw_os_error().is_none() => Self::new(
                ConnectErrorKind::ReadOnly,
                endpoint,
                "the server takes no writes (a standby, or default_transaction_read_only is on)",
                format!("name the primary in {host_key}, or list all servers, separated by commas"),
            ),
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe => Self::new(
                ConnectErrorKind::Other,
                endpoint,
                format!("{dial}: the connection was closed during login"),
                format!("check that {port_key} is PostgreSQL's port, and PostgreSQL's own log"),
            ),
            _ => {
                let next = format!("check {host_key} and {port_key}");
                Self::new(ConnectErrorKind::Other, endpoint, format!("{dial}: {error}"), next)
            }
        }
    }

    fn tls(endpoint: Endpoint, error: &tokio_postgres::Error) -> Self {
        let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        let reason = without_source_lines(&reason);
        let next = if reason.contains("does not support TLS") {
            "turn ssl on in the server, or set database.ssl_mode to \"disable\" (or \"prefer\") if the \
             network may see everything"
        } else if reason.contains("mismatch") {
            "the certificate names another host: use a name from it in database.host, or ssl_mode \
             \"verify-ca\""
        } else if reason.contains("expired") || reason.contains("not yet valid") {
            "renew the server's certificate; if it is good, set the clock of this node"
        } else if reason.contains("certificate") {
            "set database.ssl_root_cert to the certificate of the CA that signed the server's"
        } else {
            "check database.ssl_mode and the server's TLS settings"
        };
        Self::new(ConnectErrorKind::Tls, endpoint, format!("tls: {reason}"), next)
    }

    /// The server's own refusal. Poolers use codes of their own, so their texts count too.
    fn answered(endpoint: Endpoint, error: &tokio_postgres::error::DbError) -> Self {
        let text = error.message();
        // The word in the server's language only when it has no other.
        let severity =
            error.parsed_severity().map_or_else(|| error.severity().to_owned(), |s| s.to_string());
        let cause = format!("{severity}: {text}");
        let code = error.code();
        let is = |codes: &[SqlState]| codes.contains(code);
        let Endpoint { host_key, .. } = endpoint;
        let (kind, next) = if text.contains("no pg_hba.conf entry")
            || text.contains("pg_hba.conf rejects")
        {
            let next = if endpoint.ssl_mode == SslMode::Disable {
                "the server admits no unencrypted connection from here: set database.ssl_mode to \
                 \"require\", or add a line to its pg_hba.conf"
            } else {
                "add a line for this role, database and network to the server's pg_hba.conf"
            };
            (ConnectErrorKind::Authentication, next.to_owned())
        } else if is(&[SqlState::INVALID_CATALOG_NAME])
            || text.starts_with("no such database")
            || (text.starts_with("database ") && text.ends_with(" does not exist"))
        {
            let next = format!(
                "create it (CREATE DATABASE {}) or correct database.database",
                endpoint.database
            );
            (ConnectErrorKind::UnknownDatabase, next)
        } else if is(&[SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION])
            || text.contains("authentication failed")
            || text.contains("no such user")
        {
            (ConnectErrorKind::Authentication, credentials(&endpoint))
        } else if is(&[SqlState::INSUFFICIENT_PRIVILEGE]) {
            let next =
                format!("GRANT CONNECT ON DATABASE {} TO {}", endpoint.database, endpoint.username);
            (ConnectErrorKind::Authentication, next)
        } else if is(&[SqlState::TOO_MANY_CONNECTIONS])
            || text.contains("no more connections")
            || text.contains("too many c")
            || text.contains("remaining connection slots")
        {
            let next = "raise max_connections on the server, or lower database.max_open_conns";
            (ConnectErrorKind::TooManyConnections, next.to_owned())
        } else if is(&[
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
        ]) || text.starts_with("the database system is")
        {
            (
                ConnectErrorKind::StartingUp,
                "wait for the server; the attempt is repeated".to_owned(),
            )
        } else {
            let next = format!("see the log of the server or pooler at {host_key}");
            (ConnectErrorKind::Other, next)
        };
        Self::new(kind, endpoint, cause, next)
    }
}

fn credentials(endpoint: &Endpoint) -> String {
    format!(
        "check database.username ({}) and database.password (DB_USERNAME, DB_PASSWORD) against the \
         server",
        endpoint.username
    )
}

/// OpenSSL wraps what a verification found into its own functions, files and lines.
fn without_source_lines(reason: &str) -> String {
    const FAILED: &str = "certificate verify failed";
    match reason.rsplit_once('(') {
        Some((before, found)) if before.contains(FAILED) => {
            format!("{FAILED}: {}", found.trim_end_matches(')'))
        }
        _ => reason.to_owned(),
    }
}

fn io_cause(error: &tokio_postgres::Error) -> Option<&io::Error> {
    error.source()?.downcast_ref()
}

fn chain(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
