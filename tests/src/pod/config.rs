//! The configuration file of a pod.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::PodOptions;
use crate::postgres::Database;

/// Host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl From<std::net::SocketAddr> for Address {
    fn from(address: std::net::SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port() }
    }
}

/// The file's content. `ports`: api, its admin port, relay, its admin port. The password is not in
/// it but in the environment, as in a cluster.
#[must_use]
pub fn config(
    database: &Database,
    address: Option<&Address>,
    options: &PodOptions,
    ports: [u16; 4],
) -> Value {
    let server = database.server();
    let real = Address { host: server.host().into(), port: server.port() };
    let address = address.unwrap_or(&real);
    let [api, api_admin, relay, relay_admin] = ports.map(|port| format!("127.0.0.1:{port}"));
    let mut config = json!({
        "database": {
            "host": address.host,
            "port": address.port,
            "database": database.name(),
            "username": server.user(),
            "password": "${DB_PASSWORD}",
        },
        "api": {"listen": api, "admin_listen": api_admin},
        "relay": {"listen": relay, "admin_listen": relay_admin},
        "kubernetes": {"kubeconfig": options.kubeconfig, "context": options.context},
    });
    if !options.config.is_null() {
        json_patch::merge(&mut config, &options.config);
    }
    config
}

/// Readable by nobody else.
pub(super) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let write = || {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
