//! How many connections of one network there are: nobody has all that a server takes.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::party::network;

/// As many as one network may have are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many connections from this address")]
pub struct Crowded;

impl Crowded {
    /// Whether this is why a connection was not opened.
    #[must_use]
    pub fn is_behind(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Self>())
    }
}

impl From<Crowded> for io::Error {
    fn from(crowded: Crowded) -> Self {
        Self::other(crowded)
    }
}

/// Open connections by network. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Crowd {
    most: u32,
    open: Arc<Mutex<HashMap<IpAddr, u32>>>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct Counted {
    crowd: Crowd,
    network: IpAddr,
}

impl Crowd {
    /// Up to `most` of one network.
    #[must_use]
    pub fn new(most: u32) -> Self {
        Self { most, open: Arc::default() }
    }

    /// Counts one more. Who `speaks_for_many` has no share: a proxy of ours, say.
    ///
    /// # Errors
    /// [`Crowded`]
    pub fn enter(&self, address: IpAddr, speaks_for_many: bool) -> Result<Counted, Crowded> {
        let network = network(address);
        let mut open = self.lock();
        let count = open.entry(network).or_default();
        if *count >= self.most && !speaks_for_many {
            return Err(Crowded);
        }
        *count += 1;
        Ok(Counted { crowd: self.clone(), network })
    }

    /// Whether there is no connection at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.crowd.lock();
        if let Some(count) = open.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn a_network_is_one() {
        let crowd = Crowd::new(10);
        let address = |n: u32| IpAddr::from(Ipv6Addr::from(u128::from(n)));
        let all: Vec<_> = (0..).map_while(|n| crowd.enter(address(n), false).ok()).collect();
        assert_eq!(all.len(), 10);
    }

    #[test]
    fn nobody_has_more_than_a_share_but_who_speaks_for_many() {
        let crowd = Crowd::new(10);
        let (stranger, other, proxy) =
            ([192, 0, 2, 1].into(), [192, 0, 2, 2].into(), [10, 0, 0, 1].into());
        let mut all: Vec<_> = (0..).map_while(|_| crowd.enter(stranger, false).ok()).collect();
        assert_eq!(all.len(), 10);
        all.push(crowd.enter(other, false).expect("somebody else's"));
        all.extend((0..100).map(|_| crowd.enter(proxy, true).expect("it has no share")));
        all.remove(0);
        drop(crowd.enter(stranger, false).expect("room again"));
        drop(all);
        assert!(crowd.is_empty(), "nothing is kept");
    }

    #[test]
    fn why_a_connection_was_not_opened_can_be_told() {
        assert!(Crowded::is_behind(&Crowded.into()));
        assert!(!Crowded::is_behind(&io::Error::other("no TLS")));
    }
}
