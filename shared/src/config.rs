//! The one configuration file that both containers of a pod read.
//!
//! Read once at start and validated whole, before anything binds or connects: [`load()`] reports every
//! fault it finds, each with the key and the line. The structs here are what the rest of the code
//! sees; they hold only values that have passed validation.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

mod decode;
mod default;
mod duration;
pub mod env;
mod error;
mod expand;
mod listen;
mod load;
mod nearest;
mod secret;
mod tree;
mod validate;

pub use error::{ConfigError, ConfigErrors};
pub use load::{DEFAULT_PATH, Loaded, Source, load, load_text, load_with};
pub use secret::Secret;
pub use validate::is_cluster_name;

/// How long a claim on a task lasts without a heartbeat (design 4).
pub const LEASE: Duration = Duration::from_secs(15);
/// What a holder leaves unused at the end of its lease, for clocks that differ and calls that end
/// late.
pub const LEASE_MARGIN: Duration = Duration::from_secs(2);

/// The relay's pool.
const RELAY_POOL: u32 = 4;
/// The relay's LISTEN.
const RELAY_LISTEN: u32 = 1;
/// The api's progress writer.
const API_WRITER: u32 = 1;
/// The api's claims and renewals of leases.
const API_LEASES: u32 = 1;
/// Below this the api's own pool is too small to serve requests and tasks at the same time.
const MIN_API_POOL: u32 = 3;
/// The least that `database.max_open_conns` may be.
pub const MIN_OPEN_CONNS: u32 = RELAY_POOL + RELAY_LISTEN + API_WRITER + API_LEASES + MIN_API_POOL;

/// The shortest `audit.retention_days`. The schema's own function keeps to it, too: whoever gets hold of the
/// serving role's password cannot remove what is younger.
pub const MIN_AUDIT_DAYS: u32 = 30;

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where PostgreSQL is and how to use it.
    pub database: Database,
    /// How progress travels.
    #[serde(default)]
    pub progress: Progress,
    /// The api container.
    #[serde(default)]
    pub api: Api,
    /// The relay sidecar.
    #[serde(default)]
    pub relay: Relay,
    /// The cluster that this installation manages by default.
    #[serde(default)]
    pub kubernetes: Kubernetes,
    /// Users and sessions.
    #[serde(default)]
    pub auth: Auth,
    /// How tasks are carried out.
    #[serde(default)]
    pub executor: Executor,
    /// Who is told of a task's end.
    #[serde(default)]
    pub webhook: Webhook,
    /// How long it is known who did what.
    #[serde(default)]
    pub audit: Audit,
    /// What is logged and how.
    #[serde(default)]
    pub log: Log,
    /// Where spans go.
    #[serde(default)]
    pub tracing: Tracing,
}

/// `database:`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// Always [`DatabaseType::Postgres`].
    #[serde(default)]
    pub r#type: DatabaseType,
    /// Host name, address or comma-separated list of them. There is no default.
    pub host: String,
    /// TCP port, the same for every host.
    #[serde(default = "default::port")]
    pub port: u16,
    /// Database name.
    #[serde(default = "default::database")]
    pub database: String,
    /// Role to log in as.
    #[serde(default = "default::username")]
    pub username: String,
    /// Its password; empty for none.
    #[serde(default)]
    pub password: Secret,
    /// When to use TLS and what to check.
    #[serde(default)]
    pub ssl_mode: SslMode,
    /// CA certificate (PEM) for `verify-ca` and `verify-full`; empty for the system's store.
    #[serde(default)]
    pub ssl_root_cert: PathBuf,
    /// Connections per pod: the relay takes at most 4 and its LISTEN, the api the rest.
    #[serde(default = "default::max_open_conns")]
    pub max_open_conns: u32,
    /// Idle connections that are kept.
    #[serde(default = "default::max_idle_conns")]
    pub max_idle_conns: u32,
    /// Age at which a connection is replaced.
    #[serde(default = "default::max_lifetime", deserialize_with = "duration::seconds")]
    pub max_lifetime: Duration,
    /// Where `host` is a transaction pooler: the server behind it, for LISTEN, the progress writer
    /// and migrations. Empty: the same as `host`.
    #[serde(default)]
    pub direct_host: String,
    /// Port of `direct_host`; 0: the same as `port`.
    #[serde(default)]
    pub direct_port: u16,
}

impl Database {
    /// Connections of the api's pool: what `max_open_conns` leaves after the relay, the writer
    /// and the leases.
    #[must_use]
    pub fn api_pool_size(&self) -> usize {
        let others = RELAY_POOL + RELAY_LISTEN + API_WRITER + API_LEASES;
        self.max_open_conns.saturating_sub(others).max(MIN_API_POOL) as usize
    }

    /// Connections of the relay's pool, besides its LISTEN.
    #[must_use]
    pub const fn relay_pool_size(&self) -> usize {
        RELAY_POOL as usize
    }
}

/// `database.type`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DatabaseType {
    /// The only one.
    #[default]
    Postgres,
}

impl<'de> Deserialize<'de> for DatabaseType {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "postgres" | "postgresql" => Ok(Self::Postgres),
            _ => Err(serde::de::Error::custom(
                "only \"postgres\" is supported: progress travels between replicas by PostgreSQL's \
                 LISTEN/NOTIFY, which no other database has",
            )),
        }
    }
}

/// `database.ssl_mode`, with libpq's meanings
/// (<https://www.postgresql.org/docs/15/libpq-ssl.html>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    /// No TLS.
    #[default]
    Disable,
    /// TLS when the server has it; nothing is checked.
    Prefer,
    /// TLS or nothing; the certificate is not checked.
    Require,
    /// The certificate must come from a trusted CA.
    VerifyCa,
    /// And name the host.
    VerifyFull,
}

/// `progress:`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Progress {
    /// Always true; `false` is refused.
    pub enable_database: bool,
    /// How the relay learns of changes.
    pub notify_type: NotifyType,
    /// How often subscribed tasks are read while LISTEN is down.
    #[serde(deserialize_with = "duration::millis")]
    pub poll_interval: Duration,
    /// How long finished tasks are kept, in days.
    pub retention_days: u32,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            enable_database: true,
            notify_type: NotifyType::Postgres,
            poll_interval: Duration::from_millis(10_000),
            retention_days: 30,
        }
    }
}

/// `progress.notify_type`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NotifyType {
    /// LISTEN/NOTIFY.
    #[default]
    Postgres,
    /// No LISTEN at all: rows are read every min(`poll_interval`, 500 ms).
    Polling,
}

impl NotifyType {
    /// The word in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Polling => "polling",
        }
    }
}

/// `api:`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Api {
    /// REST and web UI.
    #[serde(deserialize_with = "listen::address")]
    pub listen: SocketAddr,
    /// Probes and metrics.
    #[serde(deserialize_with = "listen::address")]
    pub admin_listen: SocketAddr,
    /// The built web UI; empty: none is served.
    pub web_dir: PathBuf,
    /// The URL that browsers use, when it is not the one they ask for.
    pub public_url: String,
    /// Addresses or networks (CIDR) whose `X-Forwarded-*` headers are believed.
    pub trusted_proxies: Vec<String>,
    /// Origins whose pages may read answers, with a token of their own (CORS). None without this.
    pub allowed_origins: Vec<String>,
    /// Certificate chain (PEM) to serve TLS with; empty: plain HTTP. Read again when it changes.
    pub tls_cert: PathBuf,
    /// Its private key (PEM).
    pub tls_key: PathBuf,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            listen: default::any(8080),
            admin_listen: default::any(9090),
            web_dir: PathBuf::new(),
            public_url: String::new(),
            trusted_proxies: Vec::new(),
            allowed_origins: Vec::new(),
            tls_cert: PathBuf::new(),
            tls_key: PathBuf::new(),
        }
    }
}

/// `relay:`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Relay {
    /// WebSockets.
    #[serde(deserialize_with = "listen::address")]
    pub listen: SocketAddr,
    /// Probes and metrics.
    #[serde(deserialize_with = "listen::address")]
    pub admin_listen: SocketAddr,
    /// The relay's own URL, when browsers reach it under another origin than the api.
    pub public_url: String,
    /// Origins accepted besides the request's own host and `public_url`.
    pub allowed_origins: Vec<String>,
    /// WebSockets at a time.
    pub max_connections: u32,
    /// WebSockets of one user at a time.
    pub max_connections_per_user: u32,
}

impl Default for Relay {
    fn default() -> Self {
        Self {
            listen: default::any(8081),
            admin_listen: default::any(9091),
            public_url: String::new(),
            allowed_origins: Vec::new(),
            max_connections: 12_000,
            max_connections_per_user: 100,
        }
    }
}

/// `kubernetes:`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kubernetes {
    /// Name of the default cluster in URLs and tasks.
    pub cluster: String,
    /// kubeconfig file; empty: `KUBECONFIG`, else the pod's service account.
    pub kubeconfig: PathBuf,
    /// Context in it; empty: its current context.
    pub context: String,
}

impl Default for Kubernetes {
    fn default() -> Self {
        Self { cluster: "default".into(), kubeconfig: PathBuf::new(), context: String::new() }
    }
}

/// `auth:`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// How long a session lives after its last use, in seconds.
    #[serde(deserialize_with = "duration::seconds")]
    pub session_ttl: Duration,
    /// How long a session lives at most, in seconds.
    #[serde(deserialize_with = "duration::seconds")]
    pub session_max_age: Duration,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            session_ttl: Duration::from_secs(12 * 3600),
            session_max_age: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// `executor:`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Executor {
    /// Tasks that one pod works on at a time; the rest is left for others or waits.
    pub max_concurrent_tasks: u32,
    /// Nodes of one task at a time, when the task does not say.
    pub default_concurrency: u32,
    /// The most that a task may ask for.
    pub max_concurrency: u32,
    /// One call to Kubernetes, in seconds; below the lease.
    #[serde(deserialize_with = "duration::seconds")]
    pub request_timeout: Duration,
    /// How long one node's operation is retried before it counts as failed, in seconds. Calls and the
    /// pauses between them count; waiting for the database or for a lease does not.
    #[serde(deserialize_with = "duration::seconds")]
    pub retry_timeout: Duration,
    /// Nodes in one task at most.
    pub max_nodes: u32,
    /// Calls of one pod to one cluster at a time, shared fairly by its tasks.
    pub cluster_concurrency: u32,
    /// Calls of one pod to one cluster a second, with a burst of as many; 0 for no limit.
    pub cluster_qps: u32,
}

impl Default for Executor {
    fn default() -> Self {
        Self {
            max_concurrent_tasks: 32,
            default_concurrency: 20,
            max_concurrency: 200,
            request_timeout: Duration::from_secs(8),
            retry_timeout: Duration::from_secs(60),
            max_nodes: 10_000,
            cluster_concurrency: 200,
            cluster_qps: 0,
        }
    }
}

/// `webhook:`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Webhook {
    /// Told of every task that names no webhook of its own; empty: nobody is.
    pub url: String,
    /// Addresses that webhooks may be at or below.
    pub allowed: Vec<String>,
    /// Key of the messages' signatures (HMAC-SHA256).
    pub secret: Secret,
}

/// `audit:`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// How long entries of the audit log are kept, in days; 0: for ever. Otherwise at least
    /// [`MIN_AUDIT_DAYS`].
    pub retention_days: u32,
}

impl Default for Audit {
    fn default() -> Self {
        Self { retention_days: 365 }
    }
}

/// `log:`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Least severe level that is written, or a filter in tracing's syntax.
    pub level: String,
    /// Line format.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Text }
    }
}

/// `tracing:`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tracing {
    /// An OpenTelemetry collector that takes OTLP over HTTP, such as `http://127.0.0.1:4318`; empty: spans
    /// go nowhere.
    pub otlp_endpoint: String,
    /// How many of a hundred traces are sent.
    pub sample_percent: u32,
}

impl Default for Tracing {
    fn default() -> Self {
        Self { otlp_endpoint: String::new(), sample_percent: 100 }
    }
}

/// `log.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// `TIME LEVEL: message key=value`
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}
