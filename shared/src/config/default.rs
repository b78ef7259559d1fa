//! What keys are worth that the file leaves out, where it is not simply nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

pub(super) const fn any(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)
}
pub(super) const fn port() -> u16 {
    5432
}
pub(super) fn database() -> String {
    "kube_node_manager".into()
}
pub(super) fn username() -> String {
    "postgres".into()
}
pub(super) const fn max_open_conns() -> u32 {
    25
}
pub(super) const fn max_idle_conns() -> u32 {
    10
}
pub(super) const fn max_lifetime() -> Duration {
    Duration::from_secs(3600)
}
