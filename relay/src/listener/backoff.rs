//! How long to wait before the next attempt.

use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_millis(200);
/// No wait is longer: the database is looked for at least this often.
const LONGEST: Duration = Duration::from_secs(10);
/// Behind a transaction pooler only a new configuration helps; one that is repaired is found anyway.
pub(super) const POOLER_PAUSE: Duration = Duration::from_secs(60);

/// Doubling waits with jitter, so that the relays of an installation do not come back as one.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Backoff {
    /// The next wait: half of it is certain, the other half chance.
    pub(super) fn next(&mut self) -> Duration {
        let wait = self.0;
        self.0 = (wait * 2).min(LONGEST);
        wait / 2 + wait.mul_f64(rand::random_range(0.0..0.5))
    }

    /// The listener is verified, which a mere connection would not be.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_within_bounds_and_start_over() {
        let mut backoff = Backoff::default();
        let mut expected = FIRST;
        for _ in 0..12 {
            let wait = backoff.next();
            assert!(wait >= expected / 2 && wait <= expected, "{wait:?} of {expected:?}");
            expected = (expected * 2).min(LONGEST);
        }
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
