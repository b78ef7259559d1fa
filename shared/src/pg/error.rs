//! What a failed connection means, and what to try next.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::net::SocketAddr;

use tokio_postgres::error::SqlState;

use super::CONNECT_TIMEOUT;
use crate::config::SslMode;
use crate::phrases;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $word:literal,)+) => {
        /// Why a connection could not be made. Also the value of the metric label `reason`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ConnectErrorKind { $($(#[$doc])* $variant,)+ }

        impl ConnectErrorKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word that metrics and logs use.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl fmt::Display for ConnectErrorKind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

kinds! {
    /// Nothing listens there.
    Refused = "refused",
    /// DNS, TCP, TLS and login did not end in time.
    Timeout = "timeout",
    /// No route to the address.
    Unreachable = "unreachable",
    /// The name has no address.
    Dns = "dns",
    /// The server did not accept the role, its password or its origin.
    Authentication = "authentication",
    /// The server has no such database.
    UnknownDatabase = "unknown_database",
    /// Encryption is missing, or the certificate is not what it must be.
    Tls = "tls",
    /// The server, the role or the database has no connection left.
    TooManyConnections = "too_many_connections",
    /// The server is starting, stopping or recovering.
    StartingUp = "starting_up",
    /// A standby, or a server that takes no writes.
    ReadOnly = "read_only",
    /// A pooler in transaction mode, where a session of one's own is needed.
    Pooler = "pooler",
    /// Anything else.
    Other = "other",
}

/// Where a connection was tried: what messages say and what advice depends on.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    pub(super) host: String,
    pub(super) port: u16,
    /// The address tried, once the name is resolved.
    pub(super) address: Option<SocketAddr>,
    pub(super) database: String,
    pub(super) username: String,
    pub(super) ssl_mode: SslMode,
    /// The key that the host was read from.
    pub(super) host_key: &'static str,
    /// The key that the port was read from.
    pub(super) port_key: &'static str,
}

/// A connection that could not be made. Its `Display` is one line: where, why, and what to try.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", self.line())]
pub struct ConnectError {
    /// What it means.
    pub kind: ConnectErrorKind,
    endpoint: Box<Endpoint>,
    cause: String,
    next: String,
}

impl ConnectError {
    /// The host tried last, as configured.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.endpoint.host
    }

    /// The port tried.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.endpoint.port
    }

    /// The database asked for.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.endpoint.database
    }

    /// The address tried, when there is one.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.endpoint.address
    }

    /// What a person should try next.
    #[must_use]
    pub fn next(&self) -> &str {
        &self.next
    }

    /// The cause in the words of the operator's guide, like `dial tcp 10.0.0.1:5432: connect:
    /// connection refused` or `FATAL: password authentication failed for user "x"`.
    #[must_use]
    pub fn guide_cause(&self) -> String {
        self.cause.clone()
    }

    /// The whole message with which a listener reports this, in the words of the guide.
    #[must_use]
    pub fn listener_message(&self) -> String {
        match self.kind {
            ConnectErrorKind::Timeout => phrases::LISTENER_TIMEOUT.to_owned(),
            _ => format!("{}: {}", phrases::LISTENER_PROBLEM, self.cause),
        }
    }

    /// Whether another failure tells an operator nothing new. Addresses are left out: a name with
    /// several of them would alternate.
    #[must_use]
    pub fn same_state(&self, other: &Self) -> bool {
        let dialled = |cause: &str| cause.starts_with("dial ");
        self.kind == other.kind
            && (self.cause == other.cause || (dialled(&self.cause) && dialled(&other.cause)))
    }

    /// How much it tells compared with another of the same attempt: a server that answered tells more
    /// than a network that did not.
    pub(super) const fn rank(&self) -> u8 {
        match self.kind {
            ConnectErrorKind::Dns | ConnectErrorKind::Unreachable => 0,
            ConnectErrorKind::Refused => 1,
            ConnectErrorKind::Timeout => 2,
            ConnectErrorKind::ReadOnly | ConnectErrorKind::StartingUp => 3,
            ConnectErrorKind::Other | ConnectErrorKind::Pooler => 4,
            ConnectErrorKind::Tls | ConnectErrorKind::TooManyConnections => 5,
            ConnectErrorKind::Authentication | ConnectErrorKind::UnknownDatabase => 6,
        }
    }

    /// Whether another server of the list could do no better: it has the same roles and databases.
    /// libpq stops here as well.
    pub(super) const fn is_final(&self) -> bool {
        matches!(self.kind, ConnectErrorKind::Authentication)
    }

    fn line(&self) -> String {
        let Endpoint {
            host,
            port,
            database,
            username,
            ..
        } = &*self.endpoint;
        format!(
            "cannot connect to PostgreSQL at host={host} port={port} dbname={database} \
             user={username}: {}; {}",
            self.cause, self.next
        )
    }

    pub(super) fn new(
        kind: ConnectErrorKind,
        endpoint: Endpoint,
        cause: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        // Whatever a server says, a message stays one line.
        let cause = cause.into().replace(|c: char| c.is_control(), " ");
        Self {
            kind,
            endpoint: Box::new(endpoint),
            cause,
            next: next.into(),
        }
    }

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
        let reason = text
            .rsplit_once(": ")
            .map_or(text.as_str(), |(_, reason)| reason);
        let unknown = ["not known", "No address", "nodename"]
            .iter()
            .any(|s| reason.contains(s));
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
        let cause = chain(error);
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
        let Endpoint {
            host_key,
            port_key,
            address,
            ..
        } = endpoint;
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
                Self::new(
                    ConnectErrorKind::Other,
                    endpoint,
                    format!("{dial}: {error}"),
                    next,
                )
            }
        }
    }

    fn tls(endpoint: Endpoint, error: &tokio_postgres::Error) -> Self {
        let reason = error
            .source()
            .map_or_else(|| error.to_string(), ToString::to_string);
        let next = if reason.contains("does not support TLS") {
            "turn ssl on in the server, or set database.ssl_mode to \"disable\" (or \"prefer\") if the \
             network may see everything"
        } else if reason.to_lowercase().contains("hostname mismatch") {
            "the certificate names another host: use a name from it in database.host, or ssl_mode \
             \"verify-ca\""
        } else if reason.contains("certificate") {
            "set database.ssl_root_cert to the certificate of the CA that signed the server's"
        } else {
            "check database.ssl_mode and the server's TLS settings"
        };
        Self::new(
            ConnectErrorKind::Tls,
            endpoint,
            format!("tls: {reason}"),
            next,
        )
    }

    /// The server's own refusal. Poolers use codes of their own, so their texts count too.
    fn answered(endpoint: Endpoint, error: &tokio_postgres::error::DbError) -> Self {
        let text = error.message();
        let cause = format!("{}: {text}", error.severity());
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
        } else if is(&[SqlState::INVALID_CATALOG_NAME]) || text.starts_with("no such database") {
            let next = format!(
                "create it (CREATE DATABASE {}) or correct database.database",
                endpoint.database
            );
            (ConnectErrorKind::UnknownDatabase, next)
        } else if is(&[
            SqlState::INVALID_PASSWORD,
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
        ]) || text.contains("authentication failed")
            || text.contains("no such user")
        {
            (ConnectErrorKind::Authentication, credentials(&endpoint))
        } else if is(&[SqlState::INSUFFICIENT_PRIVILEGE]) {
            let next = format!(
                "GRANT CONNECT ON DATABASE {} TO {}",
                endpoint.database, endpoint.username
            );
            (ConnectErrorKind::Authentication, next)
        } else if is(&[SqlState::TOO_MANY_CONNECTIONS]) || text.contains("no more connections") {
            let next = "raise max_connections on the server, or lower database.max_open_conns";
            (ConnectErrorKind::TooManyConnections, next.to_owned())
        } else if is(&[
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
        ]) {
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
