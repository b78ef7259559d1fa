//! The lease of one task, as its holder sees it: a deadline on a clock that does not stop.
//!
//! ```text
//! Valid { until } ──renewed──▶ Valid { later }
//!    │ time passes: no new call to Kubernetes starts; a renewal makes it valid again
//!    └─another holder, or the row is gone──▶ Lost (for good)
//! ```
//!
//! The deadline counts from *before* the renewing statement was sent, so the holder always believes
//! its lease to be shorter than the database does. The clock is `CLOCK_BOOTTIME`, which goes on while
//! the process is stopped and while the machine is suspended.

use std::time::Duration;

pub use knm_shared::config::{LEASE, LEASE_MARGIN as MARGIN};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::watch;

/// How often a lease is renewed that no flush has renewed.
pub const HEARTBEAT: Duration = Duration::from_secs(5);

/// A moment of `CLOCK_BOOTTIME`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        let t = clock_gettime(ClockId::Boottime);
        let secs = u64::try_from(t.tv_sec).unwrap_or(0);
        let nanos = u32::try_from(t.tv_nsec).unwrap_or(0);
        Self(Duration::new(secs, nanos))
    }

    /// So long ago.
    #[cfg(test)]
    pub(crate) fn ago(d: Duration) -> Self {
        Self(Self::now().0.saturating_sub(d))
    }

    /// Time since then; zero when it lies ahead.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Valid { until: Moment },
    Lost,
}

/// The task belongs to another holder now, or is gone: stop, write nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the lease was lost")]
pub struct Lost;

/// A holder's view of its lease. Shared by the claimer and writer, which renew it, and by every call to
/// Kubernetes, which asks it.
#[derive(Debug)]
pub struct Lease {
    state: watch::Sender<State>,
}

impl Lease {
    /// The lease of a claim whose statement was sent at `sent`.
    #[must_use]
    pub fn claimed(sent: Moment) -> Self {
        Self { state: watch::Sender::new(State::Valid { until: deadline(sent) }) }
    }

    /// A renewal whose statement was sent at `sent` has been confirmed.
    pub fn renewed(&self, sent: Moment) {
        self.state.send_if_modified(|state| match state {
            State::Valid { until } if *until < deadline(sent) => {
                *until = deadline(sent);
                true
            }
            _ => false,
        });
    }

    /// Somebody else holds the task.
    pub fn lose(&self) {
        self.state.send_replace(State::Lost);
    }

    /// Whether the lease has been lost for good.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        matches!(*self.state.borrow(), State::Lost)
    }

    /// How long a call to Kubernetes that starts now may take; `None` when it must not start.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        match *self.state.borrow() {
            State::Lost => None,
            State::Valid { until } => {
                Some(until.0.saturating_sub(Moment::now().0)).filter(|left| !left.is_zero())
            }
        }
    }

    /// Time since the last confirmed renewal was sent; `None` once it is lost, and nothing renews it.
    fn age(&self) -> Option<Duration> {
        match *self.state.borrow() {
            State::Lost => None,
            State::Valid { until } => {
                Some((Moment::now().0 + (LEASE - MARGIN)).saturating_sub(until.0))
            }
        }
    }

    /// Whether a look at it every `round` has to renew it now: rather a round early than a round late.
    #[must_use]
    pub fn is_due(&self, round: Duration) -> bool {
        self.age().is_some_and(|age| age + round >= HEARTBEAT)
    }

    /// Waits until calls may start (again).
    ///
    /// # Errors
    /// [`Lost`] as soon as that cannot happen any more.
    pub async fn valid(&self) -> Result<(), Lost> {
        let mut changes = self.state.subscribe();
        loop {
            if matches!(*changes.borrow_and_update(), State::Lost) {
                return Err(Lost);
            }
            if self.remaining().is_some() {
                return Ok(());
            }
            changes.changed().await.map_err(|_| Lost)?;
        }
    }

    /// Resolves when the lease is lost.
    pub async fn lost(&self) {
        let mut changes = self.state.subscribe();
        // The sender lives in self, so the channel cannot close while this waits.
        let _ = changes.wait_for(|state| *state == State::Lost).await;
    }
}

fn deadline(sent: Moment) -> Moment {
    Moment(sent.0 + (LEASE - MARGIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ago(d: Duration) -> Moment {
        Moment::ago(d)
    }

    #[test]
    fn the_deadline_counts_from_the_sending_less_the_margin() {
        let lease = Lease::claimed(ago(Duration::from_secs(3)));
        let left = lease.remaining().expect("valid");
        assert!(left <= LEASE - MARGIN - Duration::from_secs(3), "{left:?}");
        assert!(Lease::claimed(ago(LEASE - MARGIN)).remaining().is_none());
    }

    #[test]
    fn an_older_renewal_that_is_confirmed_late_shortens_nothing() {
        let lease = Lease::claimed(Moment::now());
        let before = lease.remaining().expect("valid");
        lease.renewed(ago(Duration::from_secs(10)));
        let after = lease.remaining().expect("valid");
        assert!(before - after < Duration::from_secs(1));
    }

    #[test]
    fn a_lease_is_renewed_before_its_heartbeat_is_late_and_never_once_lost() {
        let round = Duration::from_millis(500);
        assert!(!Lease::claimed(Moment::now()).is_due(round));
        let old = Lease::claimed(ago(HEARTBEAT - round));
        assert!(old.is_due(round));
        assert!(Lease::claimed(ago(LEASE * 100)).is_due(round));
        old.lose();
        assert!(!old.is_due(round), "a runner that still has to stop keeps its lost lease a while");
    }

    #[tokio::test]
    async fn an_expired_lease_waits_for_its_renewal_and_a_lost_one_never_returns() {
        let lease = Lease::claimed(ago(LEASE));
        let (woken, ()) = tokio::join!(lease.valid(), async { lease.renewed(Moment::now()) });
        assert_eq!(woken, Ok(()));

        let lease = Lease::claimed(ago(LEASE));
        let (woken, ()) = tokio::join!(lease.valid(), async { lease.lose() });
        assert_eq!(woken, Err(Lost));
        lease.renewed(Moment::now());
        assert!(lease.is_lost() && lease.remaining().is_none());
    }
}
