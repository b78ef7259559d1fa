//! Rules that types cannot express: ranges, addresses, and keys that must fit one another.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::env::{self, Lookup};
use super::error::{ConfigError, Place};
use super::tree::Node;
use super::{Api, Auth, Config, Database, Executor, Kubernetes, LEASE, LEASE_MARGIN};
use super::{MIN_AUDIT_DAYS, MIN_OPEN_CONNS, Progress, Relay, SslMode, Tracing, Webhook};
use crate::telemetry;

/// Collects faults. A key that is at fault already is not reported again.
pub(super) struct Validation<'a> {
    root: &'a Node,
    file: &'a str,
    env: Lookup<'a>,
    faults: Vec<ConfigError>,
    warnings: Vec<String>,
}

impl<'a> Validation<'a> {
    pub(super) fn new(
        root: &'a Node,
        file: &'a str,
        faults: Vec<ConfigError>,
        env: Lookup<'a>,
    ) -> Self {
        Self { root, file, env, faults, warnings: Vec::new() }
    }

    pub(super) fn finish(self) -> (Vec<ConfigError>, Vec<String>) {
        (self.faults, self.warnings)
    }

    pub(super) fn run(&mut self, config: &Config) {
        self.database(&config.database);
        self.progress(&config.progress);
        self.api(&config.api);
        self.relay(&config.relay);
        self.listeners(config);
        self.kubernetes(&config.kubernetes);
        self.auth(&config.auth);
        self.executor(&config.executor);
        self.webhook(&config.webhook);
        let kept = config.audit.retention_days;
        self.require(
            kept == 0 || (MIN_AUDIT_DAYS..=36_500).contains(&kept),
            "audit.retention_days",
            format!("must be from {MIN_AUDIT_DAYS} to 36500, or 0 to keep entries for ever"),
        );
        if let Err(error) = telemetry::filter(&config.log.level) {
            self.fault("log.level", error.to_string());
        }
        self.tracing(&config.tracing);
    }

    fn tracing(&mut self, tracing: &Tracing) {
        let endpoint = &tracing.otlp_endpoint;
        let plain = |uri: &http::Uri| uri.scheme_str() == Some("http") && uri.host().is_some();
        self.require(
            endpoint.is_empty() || endpoint.parse::<http::Uri>().is_ok_and(|uri| plain(&uri)),
            "tracing.otlp_endpoint",
            "must be a URL like \"http://127.0.0.1:4318\"; for TLS, put a collector in between",
        );
        self.range("tracing.sample_percent", tracing.sample_percent, 0, 100);
    }

    fn at_fault(&self, key: &str) -> bool {
        self.faults.iter().any(|fault| fault.key() == key)
    }

    fn fault(&mut self, key: &str, message: impl Into<String>) {
        if self.at_fault(key) {
            return;
        }
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        let place = self.root.find(&path).map_or(Place::Unknown, |node| node.place.clone());
        self.faults.push(ConfigError::new(self.file, place, key, message));
    }

    fn require(&mut self, ok: bool, key: &str, message: impl Into<String>) {
        if !ok {
            self.fault(key, message);
        }
    }

    fn range(&mut self, key: &str, value: u32, min: u32, max: u32) {
        self.require((min..=max).contains(&value), key, format!("must be from {min} to {max}"));
    }

    fn database(&mut self, db: &Database) {
        if db.host.trim().is_empty() {
            self.fault(
                "database.host",
                format!(
                    "is empty; set it to the address of PostgreSQL, or remove the key to use {}",
                    env::DB_HOST
                ),
            );
        } else {
            self.hosts("database.host", "database.port", &db.host);
        }
        if !db.direct_host.is_empty() {
            self.hosts("database.direct_host", "database.direct_port", &db.direct_host);
        }
        self.require(db.port != 0, "database.port", "must be from 1 to 65535");
        for (key, value) in
            [("database.database", &db.database), ("database.username", &db.username)]
        {
            self.require(!value.is_empty(), key, "must not be empty");
            self.require(!value.contains('\0'), key, "must not contain NUL");
        }
        self.require(
            !db.password.expose().contains('\0'),
            "database.password",
            "must not contain NUL",
        );
        self.require(
            (MIN_OPEN_CONNS..=10_000).contains(&db.max_open_conns),
            "database.max_open_conns",
            format!(
                "must be from {MIN_OPEN_CONNS} to 10000: of a pod's connections the relay takes 5, \
                 the progress writer and the leases 1 each, and requests need some too"
            ),
        );
        if db.max_idle_conns > db.max_open_conns {
            self.warnings.push(
                "database.max_idle_conns is above database.max_open_conns and has no effect".into(),
            );
        }
        self.require(
            db.max_lifetime.is_zero() || db.max_lifetime >= Duration::from_secs(10),
            "database.max_lifetime",
            "must be at least 10 seconds, or 0 for no limit",
        );
        self.ssl_root_cert(db);
        self.loopback(db);
    }

    fn hosts(&mut self, key: &str, port_key: &str, list: &str) {
        for host in list.split(',').map(str::trim) {
            let message = if host.is_empty() {
                "has an empty entry in its list".to_owned()
            } else if host.contains("://") || host.contains('@') {
                "must be a host name or address, not a URL".to_owned()
            } else if host.starts_with('/') || host.parse::<IpAddr>().is_ok() {
                continue;
            } else if host.contains(':') {
                format!("must not contain a port; put it into {port_key}")
            } else if host.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/') {
                "is not a host name".to_owned()
            } else {
                continue;
            };
            self.fault(key, message);
        }
    }

    fn ssl_root_cert(&mut self, db: &Database) {
        let path: &Path = &db.ssl_root_cert;
        if path.as_os_str().is_empty() {
            return;
        }
        if matches!(db.ssl_mode, SslMode::Disable | SslMode::Prefer) {
            self.warnings.push(
                "database.ssl_root_cert has no effect with this database.ssl_mode; the server is \
                 not checked below \"require\""
                    .into(),
            );
        }
        if let Err(e) = std::fs::File::open(path) {
            self.fault("database.ssl_root_cert", format!("{} cannot be read: {e}", path.display()));
        }
    }

    /// The original's most frequent mistake: in a Pod, loopback is the Pod.
    fn loopback(&mut self, db: &Database) {
        if (self.env)(env::KUBERNETES_SERVICE_HOST).is_none() {
            return;
        }
        for (key, list) in [("database.host", &db.host), ("database.direct_host", &db.direct_host)]
        {
            if list.split(',').any(|host| is_loopback(host.trim())) {
                self.warnings.push(format!(
                    "{key} is {list}: in a Pod that is the Pod itself, where no PostgreSQL runs \
                     unless a proxy sidecar provides it; use the address of the database's Service, \
                     like postgres-service.default.svc.cluster.local"
                ));
            }
        }
    }

    fn progress(&mut self, progress: &Progress) {
        self.require(
            progress.enable_database,
            "progress.enable_database",
            "false is not supported: without the database no replica would see another's progress, \
             nor finish its tasks; remove the key or set it to true",
        );
        let interval = Duration::from_millis(100)..=Duration::from_secs(300);
        self.require(
            interval.contains(&progress.poll_interval),
            "progress.poll_interval",
            "must be from 100 to 300000 (milliseconds)",
        );
        self.range("progress.retention_days", progress.retention_days, 1, 36_500);
    }

    fn api(&mut self, api: &Api) {
        self.url("api.public_url", &api.public_url, &["http", "https"]);
        for proxy in &api.trusted_proxies {
            self.require(
                is_network(proxy),
                "api.trusted_proxies",
                format!("{proxy:?} is neither an IP address nor a network like 10.0.0.0/8"),
            );
        }
        self.origins("api.allowed_origins", &api.allowed_origins);
        self.tls(api);
    }

    fn relay(&mut self, relay: &Relay) {
        self.url("relay.public_url", &relay.public_url, &["http", "https", "ws", "wss"]);
        self.origins("relay.allowed_origins", &relay.allowed_origins);
        self.range("relay.max_connections", relay.max_connections, 1, 1_000_000);
        let of_user = relay.max_connections_per_user;
        self.range("relay.max_connections_per_user", of_user, 1, 1_000_000);
    }

    fn webhook(&mut self, webhook: &Webhook) {
        for address in &webhook.allowed {
            self.require(
                is_url(address, &["http", "https"]) && !address.contains(['@', '#', '?']),
                "webhook.allowed",
                format!("{address:?} is not an address like https://hooks.example.com/nodes"),
            );
        }
        self.require(
            webhook.allowed.is_empty() || webhook.secret.expose().len() >= 16,
            "webhook.secret",
            "must have at least 16 characters: receivers know our messages by it",
        );
        self.require(
            webhook.url.is_empty() || webhook.allowed.iter().any(|a| webhook.url.starts_with(a)),
            "webhook.url",
            "must begin with one of webhook.allowed",
        );
    }

    fn origins(&mut self, key: &str, origins: &[String]) {
        for origin in origins {
            self.require(
                is_url(origin, &["http", "https"]) && !origin.ends_with('/'),
                key,
                format!("{origin:?} is not an origin like https://nodes.example.com"),
            );
        }
    }

    fn tls(&mut self, api: &Api) {
        for (key, path, other, needed) in [
            ("api.tls_cert", &api.tls_cert, "api.tls_key", &api.tls_key),
            ("api.tls_key", &api.tls_key, "api.tls_cert", &api.tls_cert),
        ] {
            let (set, complete) = (!path.as_os_str().is_empty(), !needed.as_os_str().is_empty());
            self.require(!set || complete, key, format!("is of no use without {other}"));
            if set && let Err(e) = std::fs::File::open(path) {
                self.fault(key, format!("{} cannot be read: {e}", path.display()));
            }
        }
    }

    fn url(&mut self, key: &str, value: &str, schemes: &[&str]) {
        self.require(
            value.is_empty() || is_url(value, schemes),
            key,
            format!("must be a URL that starts with {}://", schemes.join(":// or ")),
        );
    }

    /// Both containers share the pod's network.
    fn listeners(&mut self, config: &Config) {
        let all = [
            ("api.listen", config.api.listen),
            ("api.admin_listen", config.api.admin_listen),
            ("relay.listen", config.relay.listen),
            ("relay.admin_listen", config.relay.admin_listen),
        ];
        for (i, (key, address)) in all.iter().enumerate() {
            for (other, taken) in &all[..i] {
                if clash(*address, *taken) && !self.at_fault(other) {
                    let message = format!("is {address}, which {other} ({taken}) already uses");
                    self.fault(key, message);
                }
            }
        }
    }

    fn kubernetes(&mut self, kubernetes: &Kubernetes) {
        self.require(
            is_cluster_name(&kubernetes.cluster),
            "kubernetes.cluster",
            "must be up to 63 lower-case letters, digits and dashes, like \"default\"",
        );
        let path: &Path = &kubernetes.kubeconfig;
        if !path.as_os_str().is_empty()
            && let Err(e) = std::fs::File::open(path)
        {
            self.fault("kubernetes.kubeconfig", format!("{} cannot be read: {e}", path.display()));
        }
    }

    fn auth(&mut self, auth: &Auth) {
        self.require(
            auth.session_ttl >= Duration::from_secs(60),
            "auth.session_ttl",
            "must be at least 60 (seconds)",
        );
        self.require(
            auth.session_max_age >= auth.session_ttl,
            "auth.session_max_age",
            "must not be below auth.session_ttl",
        );
    }

    fn executor(&mut self, executor: &Executor) {
        self.range("executor.max_concurrent_tasks", executor.max_concurrent_tasks, 1, 1_000);
        self.range("executor.max_concurrency", executor.max_concurrency, 1, 5_000);
        let (default, max) = (executor.default_concurrency, executor.max_concurrency);
        self.require(
            (1..=max).contains(&default),
            "executor.default_concurrency",
            "must be from 1 to executor.max_concurrency",
        );
        let longest = LEASE.saturating_sub(LEASE_MARGIN);
        self.require(
            (Duration::from_secs(1)..=longest).contains(&executor.request_timeout),
            "executor.request_timeout",
            format!(
                "must be from 1 to {} (seconds): a call must end before the {}-second lease of its \
                 task does",
                longest.as_secs(),
                LEASE.as_secs()
            ),
        );
        self.require(
            executor.retry_timeout >= executor.request_timeout,
            "executor.retry_timeout",
            "must not be below executor.request_timeout",
        );
        self.range("executor.max_nodes", executor.max_nodes, 1, 100_000);
        self.range("executor.cluster_concurrency", executor.cluster_concurrency, 1, 5_000);
        self.range("executor.cluster_qps", executor.cluster_qps, 0, 100_000);
    }
}

/// Whether a cluster can have this name: it stands in URLs and in labels of metrics.
#[must_use]
pub fn is_cluster_name(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=63).contains(&name.len())
        && name.chars().all(|c| letter(c) || c == '-')
        && name.starts_with(letter)
        && name.ends_with(letter)
}

fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() != 0
        && a.port() == b.port()
        && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

fn is_loopback(host: &str) -> bool {
    let named = host.eq_ignore_ascii_case("localhost") || host.ends_with(".localhost");
    named || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn is_network(text: &str) -> bool {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
    let Ok(address) = address.parse::<IpAddr>() else {
        return false;
    };
    let longest = if address.is_ipv4() { 32 } else { 128 };
    prefix.is_none_or(|prefix| prefix.parse::<u8>().is_ok_and(|prefix| prefix <= longest))
}

fn is_url(text: &str, schemes: &[&str]) -> bool {
    text.parse::<http::Uri>().is_ok_and(|uri| {
        uri.scheme_str().is_some_and(|scheme| schemes.contains(&scheme))
            && uri.host().is_some_and(|host| !host.is_empty())
    })
}
