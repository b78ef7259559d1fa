//! Who counts as one on the network's side, wherever something is shared out by address.

use std::net::{IpAddr, Ipv6Addr};

/// Where something comes from. Compared by networks, not by addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin {
    network: IpAddr,
    behind: Option<IpAddr>,
}

impl Origin {
    /// Of an address, and of one behind it that nobody vouches for: an address that nobody has said is a
    /// proxy names it. Most likely it is the proxy in front of an installation that has not been told of it,
    /// and speaks for all users.
    #[must_use]
    pub fn new(address: IpAddr, behind: Option<IpAddr>) -> Self {
        Self { network: network(address), behind: behind.map(network) }
    }

    /// The network by itself, whoever is behind it.
    #[must_use]
    pub const fn network(self) -> IpAddr {
        self.network
    }

    /// Whether somebody says that they speak for somebody else.
    #[must_use]
    pub const fn is_behind(self) -> bool {
        self.behind.is_some()
    }
}

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        Self::new(address, None)
    }
}

/// One customer of a provider has a whole /64 of IPv6 addresses.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_customer_is_one() {
        let parse = |s: &str| s.parse::<IpAddr>().expect("an address");
        assert_eq!(network(parse("2001:db8:1:2:3::4")), network(parse("2001:db8:1:2:ffff::1")));
        assert_eq!(network(parse("::ffff:192.0.2.1")), parse("192.0.2.1"));
    }
}
