//! How many requests of one user, or of one address that nobody is signed in at, are answered at a time:
//! no one takes all of what there is. A connection carries one request at a time, so the table is never
//! longer than the server has connections.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use knm_shared::ids::UserId;

use super::Problem;

/// A page asks for a handful of things at a time, a script for as many as it has threads.
const OF_USER: u32 = 64;
/// Many people may sit behind one address, but they sign in one after the other.
const OF_ADDRESS: u32 = 32;

/// Whose request it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Whose {
    /// Somebody's who is signed in.
    User(UserId),
    /// Somebody's whom only the address tells apart.
    Address(IpAddr),
}

impl Whose {
    const fn most(self) -> u32 {
        match self {
            Self::User(_) => OF_USER,
            Self::Address(_) => OF_ADDRESS,
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
}

impl InFlight {
    /// Counts one more.
    ///
    /// # Errors
    /// 429 when there are as many as one may have.
    pub fn enter(&self, whose: Whose) -> Result<Turn, Problem> {
        let mut all = self.lock();
        let count = all.entry(whose).or_default();
        if *count >= whose.most() {
            let most = whose.most();
            let detail = format!("you have {most} requests under way; wait for one to be answered");
            return Err(Problem::throttled(detail, Duration::from_secs(1)));
        }
        *count += 1;
        Ok(Turn { all: self.clone(), whose })
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
        let address = |n| Whose::Address(IpAddr::from([192, 0, 2, n]));
        let mut turns: Vec<_> =
            (0..OF_ADDRESS).map(|_| all.enter(address(1)).expect("room")).collect();
        assert_eq!(all.enter(address(1)).expect_err("full").status(), 429);
        let other = all.enter(address(2)).expect("somebody else's");
        turns.pop();
        turns.push(all.enter(address(1)).expect("room again"));
        drop((turns, other));
        assert!(all.lock().is_empty(), "nothing is kept");
    }
}
