//! From publish to receipt: the database's clock in a frame against the clock of this machine.

use std::time::Duration;

/// Measured times, in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Latencies(Vec<i64>);

impl Latencies {
    /// Adds the time from `published_us` to now. Meaningful only where the database runs on this
    /// machine.
    pub fn record(&mut self, published_us: i64) {
        self.0.push(jiff::Timestamp::now().as_microsecond() - published_us);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes over those of another.
    pub fn extend(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// The smallest time that `percent` of all do not exceed (nearest rank); `None` without any.
    #[must_use]
    pub fn percentile(&self, percent: u32) -> Option<Duration> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent as usize).div_ceil(100).max(1);
        let us = *sorted.get(rank - 1)?;
        Some(Duration::from_micros(us.max(0).unsigned_abs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let hundred = Latencies((1..=100).rev().collect());
        for percent in [1, 50, 99, 100] {
            let expected = Duration::from_micros(u64::from(percent));
            assert_eq!(hundred.percentile(percent), Some(expected));
        }
        assert_eq!(Latencies(vec![7]).percentile(50), Some(Duration::from_micros(7)));
        assert_eq!(Latencies::default().percentile(50), None);
    }
}
