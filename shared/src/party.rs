//! Who counts as one where something is shared out, and how much each may fill the audit log with what it was
//! refused.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::ids::UserId;

/// Refusals of one party that are written in one [`WINDOW`]; further ones are only counted, and the next
/// entry says how many they were.
const REFUSALS: u32 = 60;
const WINDOW: Duration = Duration::from_secs(60);
/// Parties that are remembered; beyond, those of past windows are forgotten, then all.
const MAX_PARTIES: usize = 10_000;

/// Who is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Party {
    /// Somebody who is known.
    User(UserId),
    /// Anybody there, as [`network`] has it.
    Network(IpAddr),
}

impl Party {
    /// The user, where one is known.
    #[must_use]
    pub fn new(user: Option<UserId>, address: IpAddr) -> Self {
        user.map_or_else(|| Self::Network(network(address)), Self::User)
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

#[derive(Debug, Clone, Copy)]
struct Refusals {
    since: Instant,
    written: u32,
    left_out: u32,
}

/// Which refusals are written. Cheap to clone; memory is bounded.
#[derive(Debug, Clone, Default)]
pub struct Allowance(Arc<Mutex<HashMap<Party, Refusals>>>);

impl Allowance {
    /// Whether a refusal is written; with the number of those before it that were not.
    #[must_use]
    pub fn admit(&self, party: Party) -> Option<u32> {
        let now = Instant::now();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_PARTIES && !all.contains_key(&party) {
            all.retain(|_, r| now.duration_since(r.since) < WINDOW);
            if all.len() >= MAX_PARTIES {
                all.clear();
            }
        }
        let fresh = Refusals { since: now, written: 0, left_out: 0 };
        let refusals = all.entry(party).or_insert(fresh);
        if now.duration_since(refusals.since) >= WINDOW {
            *refusals = Refusals { left_out: refusals.left_out, ..fresh };
        }
        if refusals.written >= REFUSALS {
            refusals.left_out = refusals.left_out.saturating_add(1);
            return None;
        }
        refusals.written += 1;
        Some(std::mem::take(&mut refusals.left_out))
    }
}

/// What an entry says besides why, when others before it were left out.
#[must_use]
pub fn with_left_out(detail: &str, left_out: u32) -> String {
    if left_out == 0 {
        return detail.to_owned();
    }
    format!("{detail} (and {left_out} refusals before that were not written)")
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

    #[tokio::test(start_paused = true)]
    async fn nobody_fills_the_log_with_refusals() {
        let allowance = Allowance::default();
        let admit = |n: u32| allowance.admit(Party::new(None, std::net::Ipv4Addr::from(n).into()));
        let written = (0..1000).filter(|_| admit(1).is_some()).count();
        assert_eq!(written, REFUSALS as usize);
        assert_eq!(admit(2), Some(0), "others are written");
        tokio::time::advance(WINDOW).await;
        assert_eq!(admit(1), Some(1000 - REFUSALS), "what was left out is told");
        assert_eq!(admit(1), Some(0));
        for n in 0..3 * u32::try_from(MAX_PARTIES).expect("small") {
            let _ = admit(n);
        }
        assert!(allowance.0.lock().expect("no panic").len() <= MAX_PARTIES);
    }
}
