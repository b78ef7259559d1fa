//! Opens one connection: every host of the list, every address of a host, one deadline over all.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tokio_postgres::config::{SslMode as WireSslMode, TargetSessionAttrs};
use tokio_postgres::{Client, Config};

use super::error::{ConnectError, ConnectErrorKind, Endpoint};
use super::session::Single;
use super::tls::{self, Tls};
use super::{CONNECT_TIMEOUT, metrics};
use crate::config::{Database, env};

/// The half of a connection that must be polled: it carries the socket and the notifications.
pub type Connection = tokio_postgres::Connection<
    tokio_postgres::Socket,
    postgres_native_tls::TlsStream<tokio_postgres::Socket>,
>;

/// What a connection is for: it names itself so in `pg_stat_activity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum App {
    /// The api's pool and its migrations.
    Api,
    /// The api's progress writer.
    ApiWriter,
    /// The api's claims and renewals of leases.
    ApiLeases,
    /// The relay's pool, its heartbeats included.
    Relay,
    /// The relay's LISTEN.
    RelayListener,
    /// `check`.
    Check,
}

impl App {
    /// Everything.
    pub const ALL: [Self; 6] = [
        Self::Api,
        Self::ApiWriter,
        Self::ApiLeases,
        Self::Relay,
        Self::RelayListener,
        Self::Check,
    ];

    /// The first word of `application_name`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "knm-api",
            Self::ApiWriter => "knm-api-writer",
            Self::ApiLeases => "knm-api-leases",
            Self::Relay => "knm-relay",
            Self::RelayListener => "knm-relay-listener",
            Self::Check => "knm-check",
        }
    }
}

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// `database.host`, maybe a transaction pooler.
    Pooled,
    /// `database.direct_host` where there is one, for what a pooler would break.
    Direct,
}

/// Silence after which the first probe is sent. With the two below, a connection whose other end is
/// gone without a word is found within 10 s.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(4);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_RETRIES: u32 = 3;
/// The same for data that is sent and never acknowledged.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(9);

/// PostgreSQL cuts longer ones (NAMEDATALEN - 1).
const MAX_APPLICATION_NAME: usize = 63;

/// Opens connections of one kind. Cheap to clone.
#[derive(Clone)]
pub struct Connector {
    app: App,
    base: Config,
    tls: Tls,
    hosts: Vec<String>,
    endpoint: Endpoint,
    timeout: Duration,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Connector {
    /// Prepares connections; nothing is opened yet.
    ///
    /// # Errors
    /// When the root certificate is of no use.
    pub fn new(db: &Database, app: App, target: Target) -> Result<Self, ConnectError> {
        let direct = target == Target::Direct;
        let (host, host_key) = match direct && !db.direct_host.is_empty() {
            true => (&db.direct_host, "database.direct_host"),
            false => (&db.host, "database.host"),
        };
        let (port, port_key) = match direct && db.direct_port != 0 {
            true => (db.direct_port, "database.direct_port"),
            false => (db.port, "database.port"),
        };
        let endpoint = Endpoint {
            host: host.clone(),
            port,
            address: None,
            database: db.database.clone(),
            username: db.username.clone(),
            ssl_mode: db.ssl_mode,
            host_key,
            port_key,
        };
        let tls = Tls::new(db).map_err(|cause| {
            let next = "correct database.ssl_root_cert";
            ConnectError::new(ConnectErrorKind::Tls, endpoint.clone(), cause, next)
        })?;
        let mut base = Config::new();
        base.port(port)
            .dbname(&db.database)
            .user(&db.username)
            .application_name(application_name(app, &env::pod_name()))
            .ssl_mode(tls::negotiation(db.ssl_mode))
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .keepalives(true)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVE_RETRIES)
            .tcp_user_timeout(TCP_USER_TIMEOUT);
        if !db.password.is_empty() {
            base.password(db.password.expose());
        }
        let hosts = host.split(',').map(|h| h.trim().to_owned()).collect();
        Ok(Self { app, base, tls, hosts, endpoint, timeout: CONNECT_TIMEOUT })
    }

    /// The same with another limit than [`CONNECT_TIMEOUT`].
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The host or list of hosts, as configured.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.endpoint.host
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.endpoint.port
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.endpoint.database
    }

    /// What to report when LISTEN works and notifications from other connections do not arrive.
    #[must_use]
    pub fn pooler_found(&self) -> ConnectError {
        ConnectError::pooler(self.endpoint.clone())
    }

    /// Opens a connection to the first server that takes writes. The second half must be polled for
    /// the first to make progress.
    ///
    /// # Errors
    /// The most telling of the failures, after [`CONNECT_TIMEOUT`] at the latest.
    pub async fn connect(&self) -> Result<(Client, Connection), ConnectError> {
        let deadline = Instant::now() + self.timeout;
        let mut worst: Option<ConnectError> = None;
        for (i, host) in self.hosts.iter().enumerate() {
            // A server that does not answer must not use up the time of the next.
            let until = share(Instant::now(), deadline, self.hosts.len() - i);
            match self.connect_host(host, until).await {
                Ok(connected) => return Ok(connected),
                Err(error) => {
                    let last = error.is_final();
                    worst = Some(more_telling(worst, error));
                    if last {
                        break;
                    }
                }
            }
        }
        let error = worst.expect("a list that was split has at least one entry");
        metrics::connect_failed(self.app, error.kind);
        Err(error)
    }

    /// The same with a task that drives the connection.
    ///
    /// # Errors
    /// See [`Connector::connect`].
    pub async fn open(&self) -> Result<Single, ConnectError> {
        Ok(Single::start(self.connect().await?, self.tls()))
    }

    /// What encrypts its connections, and the requests to cancel what they do.
    pub(super) fn tls(&self) -> Tls {
        self.tls.clone()
    }

    async fn connect_host(
        &self,
        host: &str,
        until: Instant,
    ) -> Result<(Client, Connection), ConnectError> {
        let mut endpoint = Endpoint { host: host.to_owned(), ..self.endpoint.clone() };
        if host.starts_with('/') {
            return self.attempt(&endpoint, until).await;
        }
        let mut worst: Option<ConnectError> = None;
        let addresses = resolve(&endpoint, until).await?;
        for (i, address) in addresses.iter().enumerate() {
            endpoint.address = Some(*address);
            match self.attempt(&endpoint, share(Instant::now(), until, addresses.len() - i)).await {
                Ok(connected) => return Ok(connected),
                Err(error) => {
                    let last = error.is_final();
                    worst = Some(more_telling(worst, error));
                    if last {
                        break;
                    }
                }
            }
        }
        Err(worst.expect("a name that resolves has at least one address"))
    }

    /// `prefer` falls back to an unencrypted connection as libpq does: also when the handshake fails,
    /// and when the server refuses the login of an encrypted one only.
    async fn attempt(
        &self,
        endpoint: &Endpoint,
        until: Instant,
    ) -> Result<(Client, Connection), ConnectError> {
        let unix = endpoint.address.is_none();
        let first = if unix { WireSslMode::Disable } else { self.base.get_ssl_mode() };
        let result = self.dial(endpoint, first, until).await;
        match result {
            Err(error)
                if first == WireSslMode::Prefer
                    && (error.kind == ConnectErrorKind::Tls
                        || error.guide_cause().contains("pg_hba.conf")) =>
            {
                self.dial(endpoint, WireSslMode::Disable, until).await.map_err(|_| error)
            }
            result => result,
        }
    }

    async fn dial(
        &self,
        endpoint: &Endpoint,
        ssl_mode: WireSslMode,
        until: Instant,
    ) -> Result<(Client, Connection), ConnectError> {
        let mut config = self.base.clone();
        config.ssl_mode(ssl_mode).host(&endpoint.host);
        if let Some(address) = endpoint.address {
            config.hostaddr(address.ip());
        }
        match timeout_at(until, config.connect(self.tls.clone())).await {
            Ok(Ok(connected)) => Ok(connected),
            Ok(Err(error)) => Err(ConnectError::classify(endpoint.clone(), &error)),
            Err(_) => Err(ConnectError::timeout(endpoint.clone())),
        }
    }
}

async fn resolve(endpoint: &Endpoint, until: Instant) -> Result<Vec<SocketAddr>, ConnectError> {
    let Endpoint { host, port, .. } = endpoint;
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, *port)]);
    }
    let found = timeout_at(until, tokio::net::lookup_host((host.as_str(), *port)))
        .await
        .map_err(|_| ConnectError::timeout(endpoint.clone()))?
        .map_err(|e| ConnectError::dns(endpoint.clone(), &e))?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        let nothing = std::io::Error::other("no such host");
        return Err(ConnectError::dns(endpoint.clone(), &nothing));
    }
    Ok(addresses)
}

/// The end of the first of `parts` equal shares of the time that is left.
fn share(now: Instant, deadline: Instant, parts: usize) -> Instant {
    let left = deadline.saturating_duration_since(now);
    now + left / u32::try_from(parts.max(1)).unwrap_or(u32::MAX)
}

/// Of equals the later: `localhost` is tried at `::1` first, and people know it as `127.0.0.1`.
fn more_telling(one: Option<ConnectError>, other: ConnectError) -> ConnectError {
    match one {
        Some(one) if one.rank() > other.rank() => one,
        _ => other,
    }
}

fn application_name(app: App, pod: &str) -> String {
    let mut name = format!("{} {pod}", app.as_str());
    let mut end = name.len().min(MAX_APPLICATION_NAME);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.truncate(end);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_names_its_purpose_and_pod_within_the_limit() {
        assert_eq!(application_name(App::RelayListener, "knm-0"), "knm-relay-listener knm-0");
        let long = application_name(App::Api, &"é".repeat(60));
        assert!(long.len() <= MAX_APPLICATION_NAME && long.starts_with("knm-api é"), "{long}");
    }

    #[test]
    fn every_host_of_a_list_gets_its_share_of_the_time() {
        let now = Instant::now();
        let deadline = now + CONNECT_TIMEOUT;
        assert_eq!(share(now, deadline, 1), deadline);
        assert_eq!(share(now, deadline, 4), now + CONNECT_TIMEOUT / 4);
        assert_eq!(share(deadline + CONNECT_TIMEOUT, deadline, 2), deadline + CONNECT_TIMEOUT);
    }
}
