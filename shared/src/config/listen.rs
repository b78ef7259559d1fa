//! How the file writes an address to listen on.

use std::net::{Ipv4Addr, SocketAddr};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// `IP:PORT`, or `:PORT` for every IPv4 address of the host.
pub(super) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    let any = text.strip_prefix(':').and_then(|port| port.parse().ok());
    any.map(|port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
        .or_else(|| text.parse().ok())
        .ok_or_else(|| D::Error::custom("must be IP:PORT, like \"0.0.0.0:8080\""))
}
