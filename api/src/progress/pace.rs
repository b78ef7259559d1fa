//! When the next flush starts.
//!
//! Alone, a change is stored at once. Under load, flushes keep a distance that grows with the number
//! of tasks, up to what no eye can tell: NOTIFY takes a database-wide lock at commit, so a batch twice
//! as large is worth more than a commit twice as soon. A batch that is large already does not wait.

use std::time::Duration;

use tokio::time::Instant;

/// Added to the distance by every task that has changes.
const PER_TASK: Duration = Duration::from_millis(4);
/// Longest distance between the starts of two flushes.
const LONGEST: Duration = Duration::from_millis(50);
/// A batch of this many changes goes at once.
const LARGE: usize = 256;

/// Remembers when the last flush started.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last: Option<Instant>,
}

impl Pace {
    /// How long to let changes gather before a flush that would carry `changes` of `tasks` tasks.
    pub(super) fn wait(&self, tasks: usize, changes: usize, now: Instant) -> Duration {
        let Some(last) = self.last.filter(|_| changes < LARGE) else {
            return Duration::ZERO;
        };
        let distance =
            PER_TASK.saturating_mul(u32::try_from(tasks).unwrap_or(u32::MAX)).min(LONGEST);
        (last + distance).saturating_duration_since(now)
    }

    /// A flush starts.
    pub(super) fn started(&mut self, now: Instant) {
        self.last = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn alone_at_once_then_apart_but_never_when_large() {
        let now = Instant::now();
        let mut pace = Pace::default();
        assert_eq!(pace.wait(1, 1, now), Duration::ZERO, "the first goes at once");
        pace.started(now);
        assert_eq!(pace.wait(1, 1, now), PER_TASK);
        assert_eq!(pace.wait(100, 1, now), LONGEST);
        assert_eq!(pace.wait(100, LARGE, now), Duration::ZERO, "a large batch does not wait");
        assert_eq!(pace.wait(1, 1, now + LONGEST), Duration::ZERO, "after a pause at once");
    }
}
