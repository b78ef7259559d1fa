//! Who counts as one on the network's side, wherever something is shared out by address.

use std::net::IpAddr;

use knm_shared::party::network;

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
