//! How many requests of one user, or of one address that nobody is signed in at, are answered at a time:
//! no one takes all of what there is. A connection carries one request at a time, so the table is never
//! much longer than the server has connections.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use knm_shared::ids::UserId;

use super::Problem;
use crate::origin::Origin;

/// A page asks for a handful of things at a time, a script for as many as it has threads.
const OF_USER: u32 = 64;
/// A page follows one cluster's nodes; somebody may have it open in several tabs, on several machines.
const STREAMS_OF_USER: u32 = 20;
/// Many people may sit behind one address, but they sign in one after the other.
const OF_ADDRESS: u32 = 32;
/// Of an address that says it speaks for many, whoever they are: no more than can wait for a password to be
/// checked, which takes some 20 ms, and is given up after 5 s.
const OF_FORWARDER: u32 = 128;
/// While it is looked up who they are, which takes a turn at the database.
const OF_NEWCOMERS: u32 = 128;
/// The same of an address that says it speaks for many.
const OF_FORWARDED_NEWCOMERS: u32 = 512;

/// Whose request it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Whose {
    /// Somebody's who is signed in.
    User(UserId),
    /// Somebody's whom only the address tells apart.
    Address(Origin),
    /// Of all who are behind one address.
    Forwarder(IpAddr),
    /// Somebody's who follows something: it goes on after its answer has begun.
    Stream(UserId),
    /// Somebody's of whom it is not known yet whether they are signed in.
    Newcomer(Origin),
    /// Of all of these who are behind one address.
    ForwardedNewcomer(IpAddr),
}

impl Whose {
    const fn most(self) -> u32 {
        match self {
            Self::User(_) => OF_USER,
            Self::Address(_) => OF_ADDRESS,
            Self::Forwarder(_) => OF_FORWARDER,
            Self::Stream(_) => STREAMS_OF_USER,
            Self::Newcomer(_) => OF_NEWCOMERS,
            Self::ForwardedNewcomer(_) => OF_FORWARDED_NEWCOMERS,
        }
    }

    /// In whose share it is as well.
    const fn within(self) -> Option<Self> {
        match self {
            Self::Address(origin) if origin.is_behind() => Some(Self::Forwarder(origin.network())),
            Self::Newcomer(origin) if origin.is_behind() => {
                Some(Self::ForwardedNewcomer(origin.network()))
            }
            _ => None,
        }
    }
}

/// Requests that are being answered. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct InFlight(Arc<Mutex<HashMap<Whose, u32>>>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    all: InFlight,
    whose: Whose,
    _within: Option<Box<Turn>>,
}

impl InFlight {
    /// Counts one more.
    ///
    /// # Errors
    /// 429 when there are as many as one may have.
    pub fn enter(&self, whose: Whose) -> Result<Turn, Problem> {
        let within = whose.within().map(|whole| self.enter(whole)).transpose()?.map(Box::new);
        let mut all = self.lock();
        let count = all.entry(whose).or_default();
        if *count >= whose.most() {
            let most = whose.most();
            let detail = format!("you have {most} requests under way; wait for one to be answered");
            return Err(Problem::throttled(detail, Duration::from_secs(1)));
        }
        *count += 1;
        Ok(Turn { all: self.clone(), whose, _within: within })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Whose, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut all = self.all.lock();
        if let Some(count) = all.get_mut(&self.whose) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.whose);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_takes_all_it_may_leaves_the_others_theirs() {
        let all = InFlight::default();
        let address = |n| Whose::Address(IpAddr::from([192, 0, 2, n]).into());
        let mut turns: Vec<_> =
            (0..OF_ADDRESS).map(|_| all.enter(address(1)).expect("room")).collect();
        assert_eq!(all.enter(address(1)).expect_err("full").status(), 429);
        let other = all.enter(address(2)).expect("somebody else's");
        turns.pop();
        turns.push(all.enter(address(1)).expect("room again"));
        drop((turns, other));
        assert!(all.lock().is_empty(), "nothing is kept");
    }

    #[test]
    fn a_network_is_one() {
        let all = InFlight::default();
        let address = |n: u32| IpAddr::from(std::net::Ipv6Addr::from(u128::from(n)));
        let turns = (0..).map_while(|n| all.enter(Whose::Address(address(n).into())).ok());
        assert_eq!(turns.collect::<Vec<_>>().len(), OF_ADDRESS as usize);
    }

    #[test]
    fn those_behind_one_address_have_their_own_and_one_together() {
        let all = InFlight::default();
        let behind = |n| Origin::new([192, 0, 2, 1].into(), Some([203, 0, 113, n].into()));
        let of_one = (0..).map_while(|_| all.enter(Whose::Address(behind(1))).ok());
        let of_one: Vec<_> = of_one.collect();
        assert_eq!(of_one.len(), OF_ADDRESS as usize);
        let of_all = (2..).map_while(|n| all.enter(Whose::Address(behind(n))).ok());
        let of_all: Vec<_> = of_all.collect();
        assert_eq!(of_one.len() + of_all.len(), OF_FORWARDER as usize);
        drop((of_one, of_all));
        assert!(all.lock().is_empty(), "nothing is kept");
    }
}
