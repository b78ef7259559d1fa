//! The database's clock, as far as it can be known from here.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Samples looked back on: a minute's worth of heartbeats.
const WINDOW: usize = 12;

/// Tells the database's time. Latencies are measured from the moment that the database noted in a
/// notification to a moment here; between two machines that needs the offset of their clocks, which
/// the heartbeats estimate. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct DatabaseClock {
    offset_us: Arc<AtomicI64>,
    samples: Arc<Mutex<VecDeque<Sample>>>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    offset_us: i64,
    round_trip: Duration,
}

impl DatabaseClock {
    /// The database read its clock as `database_us` somewhere between two moments here.
    pub fn sample(&self, begun: Instant, ended: Instant, database_us: i64) {
        let now = local_us();
        let round_trip = ended.saturating_duration_since(begun);
        let middle = now - micros(ended.elapsed()) - micros(round_trip) / 2;
        let sample = Sample { offset_us: database_us - middle, round_trip };
        let mut samples = self.samples.lock().expect("no holder of this lock can panic");
        samples.push_back(sample);
        if samples.len() > WINDOW {
            samples.pop_front();
        }
        // The shortest round trip leaves the least room for error.
        let best = samples.iter().min_by_key(|s| s.round_trip).copied().unwrap_or(sample);
        // Within the error, the clocks are one.
        let certain = best.offset_us.unsigned_abs() > best.round_trip.as_micros() as u64 / 2;
        let offset = if certain { best.offset_us } else { 0 };
        self.offset_us.store(offset, Ordering::Relaxed);
    }

    /// The database's time now, in microseconds since 1970.
    #[must_use]
    pub fn now_us(&self) -> i64 {
        local_us() + self.offset_us.load(Ordering::Relaxed)
    }

    /// How long ago the database noted `published_us`.
    #[must_use]
    pub fn since(&self, published_us: i64) -> Duration {
        Duration::from_micros(u64::try_from(self.now_us() - published_us).unwrap_or(0))
    }
}

fn local_us() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    micros(now)
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_of_the_shortest_round_trip_counts() {
        let clock = DatabaseClock::default();
        let ended = Instant::now();
        let begun = |ms| ended.checked_sub(Duration::from_millis(ms)).expect("since boot");
        clock.sample(begun(100), ended, local_us() + 5_000_000);
        clock.sample(begun(2), ended, local_us() + 60_000_000);
        clock.sample(begun(50), ended, local_us() - 9_000_000);
        let offset = clock.now_us() - local_us();
        assert!((59_000_000..=61_000_000).contains(&offset), "{offset}");
    }

    #[test]
    fn within_the_error_the_clocks_are_one() {
        let clock = DatabaseClock::default();
        let ended = Instant::now();
        let begun = ended.checked_sub(Duration::from_millis(10)).expect("since boot");
        clock.sample(begun, ended, local_us() - 3_000);
        assert_eq!(clock.offset_us.load(Ordering::Relaxed), 0);
        assert!(clock.since(local_us() + 1_000_000).is_zero());
    }
}
