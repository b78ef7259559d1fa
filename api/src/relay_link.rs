//! The relay in the same pod, as the api sees it: how it is ([`watch`]) and the way to it for
//! browsers that only reach the api ([`tunnel`]).

pub mod metrics;
pub mod state;
pub mod tunnel;
pub mod watch;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Where to reach what listens on `listen` in the same pod.
#[must_use]
pub fn local(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        // A wildcard of version 6 is reached by either, unless the pod has only one of them.
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_is_reached_over_loopback() {
        for (listen, expected) in [
            ("0.0.0.0:8081", "127.0.0.1:8081"),
            ("[::]:8081", "[::1]:8081"),
            ("127.0.0.2:9091", "127.0.0.2:9091"),
        ] {
            let listen = listen.parse().expect("an address");
            assert_eq!(local(listen).to_string(), expected);
        }
    }
}
