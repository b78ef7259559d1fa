//! A connection that could not be made, as logs, metrics and people see it.

use std::fmt;
use std::net::SocketAddr;

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
        let Endpoint { host, port, database, username, .. } = &*self.endpoint;
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
        Self { kind, endpoint: Box::new(endpoint), cause, next: next.into() }
    }
}
