//! Pauses between the tries of one node, and when there is no other try.

use std::time::Duration;

use super::failure::Failure;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);

/// Doubles from try to try, with jitter, up to ten seconds.
#[derive(Debug, Clone, Default)]
pub(super) struct Backoff {
    tries: u32,
}

impl Backoff {
    /// The next pause, at least as long as the server asked for.
    pub(super) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let base = FIRST.saturating_mul(1 << self.tries.min(10)).min(LONGEST);
        self.tries += 1;
        let pause = base.mul_f64(rand::random_range(0.5..1.0));
        // Everyone was asked to wait as long: jitter on top, never below.
        asked.map_or(pause, |asked| asked + pause.min(asked / 2))
    }
}

/// How much longer a node is tried. Only what the cluster costs is counted, calls and pauses: a
/// database that is away, a lease that has run out, a turn that is waited for and a process that was
/// stopped are no reason to give a node up.
#[derive(Debug, Clone)]
pub(super) struct Patience {
    left: Duration,
}

impl Patience {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { left: timeout }
    }

    /// A failed try has cost this much, the pause after it included. False: it was the last one.
    pub(super) fn allows(&mut self, cost: Duration) -> bool {
        match self.left.checked_sub(cost) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

/// The tries of one step, and what they have cost so far.
#[derive(Debug, Clone)]
pub(super) struct Tries {
    count: u32,
    backoff: Backoff,
    patience: Patience,
    /// Calls since the last pause.
    called: Duration,
}

impl Tries {
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            count: 0,
            backoff: Backoff::default(),
            patience: Patience::new(timeout),
            called: Duration::ZERO,
        }
    }

    /// Tries so far.
    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    /// A try begins.
    pub(super) const fn begin(&mut self) {
        self.count += 1;
    }

    /// The try that has begun was none.
    pub(super) const fn take_back(&mut self) {
        self.count -= 1;
    }

    /// A call of this try has taken so long.
    pub(super) fn add_call(&mut self, took: Duration) {
        self.called += took;
    }

    /// The cluster has said clearly what it wants: troubles before that count no more.
    pub(super) fn renew(&mut self, timeout: Duration) {
        *self = Self { count: self.count, ..Self::new(timeout) };
    }

    /// How long to wait for the next try; `None` when there is none.
    pub(super) fn next(&mut self, trouble: &Trouble) -> Option<Duration> {
        let pause = match trouble {
            Trouble::Changed(_) if self.count < 3 => Duration::ZERO,
            Trouble::Changed(_) => self.backoff.next(None).min(Duration::from_secs(1)),
            Trouble::Busy { asked, .. } => self.backoff.next(*asked),
        };
        let cost = std::mem::take(&mut self.called) + pause;
        self.patience.allows(cost).then_some(pause)
    }
}

/// Why a step has to be tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// What was seen is not so any more: look again.
    Changed(String),
    /// The cluster cannot now.
    Busy {
        /// In its words.
        why: String,
        /// The pause that it asks for.
        asked: Option<Duration>,
    },
}

impl Trouble {
    pub(super) fn why(&self) -> &str {
        match self {
            Self::Changed(why) | Self::Busy { why, .. } => why,
        }
    }

    /// What a node fails of when it is not tried again.
    pub(super) const fn failure(&self) -> Failure {
        match self {
            Self::Changed(_) => Failure::Conflict,
            Self::Busy { .. } => Failure::Unavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_respect_the_server() {
        let mut backoff = Backoff::default();
        for i in 0..40u32 {
            let pause = backoff.next(None);
            let base = FIRST.saturating_mul(1 << i.min(10)).min(LONGEST);
            assert!(pause <= base && pause >= base / 2, "{i}: {pause:?}");
        }
        let asked = Duration::from_secs(3);
        assert!(Backoff::default().next(Some(asked)) >= asked);
    }

    #[test]
    fn patience_ends_when_the_tries_have_cost_as_much() {
        let mut patience = Patience::new(Duration::from_secs(10));
        assert!(patience.allows(Duration::from_secs(4)) && patience.allows(Duration::from_secs(6)));
        assert!(patience.allows(Duration::ZERO));
        assert!(!patience.allows(Duration::from_millis(1)));
    }
}
