//! Slows down guessing: failed logins count against the account from that address, and against the
//! address whatever the account. Per process: with n replicas a guesser gets n times the tries.
//!
//! Behind a proxy that the installation has not been told of, everybody has its address. What it says of the
//! visitor counts in the second place, so that nobody keeps all others out; not in the first, where whoever
//! comes directly could write a new address for every guess.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::origin::Origin;

/// Wrong passwords for one account from one address before waiting begins.
const FREE_FOR_ACCOUNT: u32 = 5;
/// The same for an address, whatever the accounts: many people may sit behind one.
const FREE_FOR_ADDRESS: u32 = 50;
/// The first wait; each further failure doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// For an address: whoever guesses must not keep out for long all who share it.
const LONGEST_WAIT_OF_ADDRESS: Duration = Duration::from_secs(10);
/// Failures are forgotten after so long without another.
const MEMORY: Duration = Duration::from_secs(15 * 60);
/// Entries at most; beyond, those idle longest are forgotten first.
const MAX_ENTRIES: usize = 20_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Account(String, IpAddr),
    Origin(Origin),
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    failures: u32,
    last: Instant,
}

impl Entry {
    fn blocked_until(self, key: &Key) -> Instant {
        let (free, longest) = match key {
            Key::Account(..) => (FREE_FOR_ACCOUNT, LONGEST_WAIT),
            Key::Origin(_) => (FREE_FOR_ADDRESS, LONGEST_WAIT_OF_ADDRESS),
        };
        let over = self.failures.saturating_sub(free);
        if over == 0 {
            return self.last;
        }
        let wait = FIRST_WAIT.saturating_mul(1_u32.checked_shl(over - 1).unwrap_or(u32::MAX));
        self.last + wait.min(longest)
    }
}

/// Counts failed logins. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Throttle(Arc<Mutex<HashMap<Key, Entry>>>);

/// A login under way. It counts as failed from the start, so that many at a time do not get more
/// tries than one after the other.
#[derive(Debug)]
#[must_use]
pub struct Attempt {
    throttle: Throttle,
    keys: [Key; 2],
    began: Instant,
    /// When the last failures before it were.
    before: [Option<Instant>; 2],
}

impl Throttle {
    /// Begins a login.
    ///
    /// # Errors
    /// How long to wait before the next one is looked at.
    pub fn attempt(&self, account: &str, origin: impl Into<Origin>) -> Result<Attempt, Duration> {
        let origin = origin.into();
        let keys = [Key::Account(account.to_lowercase(), origin.network()), Key::Origin(origin)];
        let now = Instant::now();
        let mut entries = self.lock();
        for key in &keys {
            let Some(entry) = entries.get(key) else {
                continue;
            };
            if now.duration_since(entry.last) >= MEMORY {
                entries.remove(key);
            } else if entry.blocked_until(key) > now {
                return Err(entry.blocked_until(key) - now);
            }
        }
        make_room(&mut entries, now);
        let before = keys.each_ref().map(|key| entries.get(key).map(|entry| entry.last));
        for key in &keys {
            let entry = entries.entry(key.clone()).or_insert(Entry { failures: 0, last: now });
            *entry = Entry { failures: entry.failures.saturating_add(1), last: now };
        }
        drop(entries);
        Ok(Attempt { throttle: self.clone(), keys, began: now, before })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt {
    /// The password was right: the account starts from nothing again.
    pub fn succeeded(self) {
        let mut entries = self.throttle.lock();
        entries.remove(&self.keys[0]);
        self.forgive(&mut entries, 1);
    }

    /// The password was never looked at.
    pub fn void(self) {
        let mut entries = self.throttle.lock();
        self.forgive(&mut entries, 0);
        self.forgive(&mut entries, 1);
    }

    /// As if it had never been: it does not lengthen the wait after the failures before it either.
    fn forgive(&self, entries: &mut HashMap<Key, Entry>, which: usize) {
        let key = &self.keys[which];
        let Some(entry) = entries.get_mut(key) else {
            return;
        };
        entry.failures = entry.failures.saturating_sub(1);
        if entry.last == self.began {
            entry.last = self.before[which].unwrap_or(entry.last);
        }
        if entry.failures == 0 {
            entries.remove(key);
        }
    }
}

fn make_room(entries: &mut HashMap<Key, Entry>, now: Instant) {
    if entries.len() + 2 <= MAX_ENTRIES {
        return;
    }
    entries.retain(|_, entry| now.duration_since(entry.last) < MEMORY);
    if entries.len() + 2 <= MAX_ENTRIES {
        return;
    }
    // A tenth at a time, so that the sorting is not done for every login of a flood.
    let mut ages: Vec<Instant> = entries.values().map(|entry| entry.last).collect();
    ages.sort_unstable();
    let horizon = ages[MAX_ENTRIES / 10];
    entries.retain(|_, entry| entry.last > horizon);
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn fail(throttle: &Throttle, account: &str, address: IpAddr) -> Option<Duration> {
        throttle.attempt(account, address).map(drop).err()
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_doubles_and_is_forgotten() {
        let throttle = Throttle::default();
        for _ in 0..=FREE_FOR_ACCOUNT {
            assert_eq!(fail(&throttle, "jane", HERE), None);
        }
        assert_eq!(fail(&throttle, "JANE", HERE), Some(FIRST_WAIT));
        assert_eq!(fail(&throttle, "jane", THERE), None, "another address has its own count");
        assert_eq!(fail(&throttle, "john", HERE), None, "so has another account");
        tokio::time::advance(FIRST_WAIT).await;
        assert_eq!(fail(&throttle, "jane", HERE), None);
        assert_eq!(fail(&throttle, "jane", HERE), Some(FIRST_WAIT * 2));
        for _ in 0..40 {
            tokio::time::advance(LONGEST_WAIT).await;
            assert_eq!(fail(&throttle, "jane", HERE), None, "no wait is longer");
        }
        tokio::time::advance(MEMORY).await;
        assert_eq!(fail(&throttle, "jane", HERE), None);
        assert_eq!(fail(&throttle, "jane", HERE), None, "counted from one again");
    }

    #[tokio::test(start_paused = true)]
    async fn success_forgives_and_an_outage_does_not_count() {
        let throttle = Throttle::default();
        for _ in 0..3 * FREE_FOR_ACCOUNT {
            throttle.attempt("jane", HERE).expect("never blocked").succeeded();
        }
        for _ in 0..3 * FREE_FOR_ACCOUNT {
            throttle.attempt("jane", HERE).expect("never blocked").void();
        }
        assert!(throttle.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_tries_every_account_waits_too() {
        let throttle = Throttle::default();
        let tries = (0..1000).take_while(|n| fail(&throttle, &format!("u{n}"), HERE).is_none());
        assert_eq!(tries.count(), FREE_FOR_ADDRESS as usize + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_is_not_kept_out_for_long_and_not_by_those_who_are_let_in() {
        let throttle = Throttle::default();
        for n in 0..200 {
            while fail(&throttle, &format!("u{n}"), HERE).is_some() {
                tokio::time::advance(Duration::from_secs(1)).await;
            }
        }
        assert_eq!(fail(&throttle, "jane", HERE), Some(LONGEST_WAIT_OF_ADDRESS));
        tokio::time::advance(LONGEST_WAIT_OF_ADDRESS).await;
        for _ in 0..3 {
            throttle.attempt("jane", HERE).expect("the wait is over").succeeded();
        }
        tokio::time::advance(MEMORY - LONGEST_WAIT_OF_ADDRESS).await;
        throttle.attempt("jane", HERE).expect("forgotten").succeeded();
        assert!(!throttle.lock().contains_key(&Key::Origin(HERE.into())));
    }

    /// One visitor of a proxy that nobody has named.
    #[tokio::test(start_paused = true)]
    async fn a_proxy_that_nobody_named_is_not_blocked_as_a_whole() {
        let throttle = Throttle::default();
        let behind = |n: u8| Origin::new(HERE, Some([203, 0, 113, n].into()));
        let fail = |account: &str, origin| throttle.attempt(account, origin).map(drop).err();
        let tries = (0..1000).take_while(|n| fail(&format!("u{n}"), behind(1)).is_none());
        assert_eq!(tries.count(), FREE_FOR_ADDRESS as usize + 1);
        assert_eq!(fail("jane", behind(2)), None, "the others are let in");
        // Whoever writes the header themselves gains nothing on one account.
        let tries = (2..=255).take_while(|n| fail("john", behind(*n)).is_none());
        assert_eq!(tries.count(), FREE_FOR_ACCOUNT as usize + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded() {
        let throttle = Throttle::default();
        for n in 0..(MAX_ENTRIES as u32 * 2) {
            tokio::time::advance(Duration::from_millis(1)).await;
            let address = IpAddr::V4(std::net::Ipv4Addr::from(n));
            assert_eq!(fail(&throttle, "jane", address), None);
        }
        assert!(throttle.lock().len() <= MAX_ENTRIES);
    }
}
