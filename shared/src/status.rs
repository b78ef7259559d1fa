//! The states of a task and of its items, the allowed transitions, and the counters made of them.
//!
//! ```text
//! task:  queued ─▶ running ⇄ paused          item:  pending ⇄ running ─▶ succeeded
//!          │          │        │                       │         ├─────▶ failed
//!          └──────────┴────────┴─▶ completed           │         └─────▶ skipped
//!                                  failed              ├─▶ skipped
//!                                  cancelled           └─▶ cancelled
//! ```

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A word from outside (a row, a request) that is not one of the known states.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not one of {expected}")]
pub struct UnknownWord {
    value: String,
    expected: String,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(rename_all = "lowercase")]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// Every state, in the order of the counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word that rows, messages and requests use.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(s: &str) -> Result<Self, UnknownWord> {
                match s {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(UnknownWord {
                        value: s.to_owned(),
                        expected: [$($word,)+].join(", "),
                    }),
                }
            }
        }
    };
}

words! {
    /// The state of a task.
    TaskStatus {
        /// Stored, not yet claimed by any api process.
        Queued = "queued",
        /// Claimed; its items are being worked on.
        Running = "running",
        /// Stopped by a user; has no lease.
        Paused = "paused",
        /// Every item succeeded or needed no change.
        Completed = "completed",
        /// At least one item did not succeed, or the task itself could not be carried out.
        Failed = "failed",
        /// Ended by a user before every item had been tried.
        Cancelled = "cancelled",
    }
}

impl TaskStatus {
    /// Nothing changes in a task after this state.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// Whether a task may go from `self` to `next` in one step.
    #[must_use]
    pub const fn allows(self, next: Self) -> bool {
        match self {
            Self::Queued | Self::Paused => matches!(
                next,
                Self::Running | Self::Paused | Self::Completed | Self::Failed | Self::Cancelled
            ),
            Self::Running => !matches!(next, Self::Queued),
            Self::Completed | Self::Failed | Self::Cancelled => false,
        }
    }
}

words! {
    /// The state of one node within a task.
    ItemStatus {
        /// Not started yet.
        Pending = "pending",
        /// Being worked on; `before` is durable.
        Running = "running",
        /// Done, or already as wanted.
        Succeeded = "succeeded",
        /// Not done, for the reason in its message.
        Failed = "failed",
        /// Deliberately left alone, for the reason in its message.
        Skipped = "skipped",
        /// Never started, because the task ended first.
        Cancelled = "cancelled",
    }
}

impl ItemStatus {
    /// Nothing changes in an item after this state.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }
}

words! {
    /// What the task's users last asked for. `cancel` is final: nobody takes it back.
    Desired {
        /// Go on.
        Run = "run",
        /// Stop starting nodes; give the lease up.
        Pause = "pause",
        /// Stop for good.
        Cancel = "cancel",
    }
}

/// How many items of a task are in each state. Travels as absolute values, never as differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Counts {
    /// All items.
    pub total: u32,
    /// Not started.
    pub pending: u32,
    /// In progress.
    pub running: u32,
    /// Done or already as wanted.
    pub succeeded: u32,
    /// Not done.
    pub failed: u32,
    /// Left alone.
    pub skipped: u32,
    /// Never started because the task ended.
    pub cancelled: u32,
}

impl Counts {
    /// The counters of a list of item states.
    pub fn of<'a>(items: impl IntoIterator<Item = &'a ItemStatus>) -> Self {
        let mut counts = Self::default();
        for item in items {
            counts.total += 1;
            *counts.slot(*item) += 1;
        }
        counts
    }

    fn slot(&mut self, status: ItemStatus) -> &mut u32 {
        match status {
            ItemStatus::Pending => &mut self.pending,
            ItemStatus::Running => &mut self.running,
            ItemStatus::Succeeded => &mut self.succeeded,
            ItemStatus::Failed => &mut self.failed,
            ItemStatus::Skipped => &mut self.skipped,
            ItemStatus::Cancelled => &mut self.cancelled,
        }
    }

    /// Moves one item from a state to another.
    ///
    /// # Panics
    /// In debug builds when no item was counted in `from`.
    pub fn shift(&mut self, from: ItemStatus, to: ItemStatus) {
        let old = self.slot(from);
        debug_assert!(*old > 0, "no item is counted as {from}");
        *old = old.saturating_sub(1);
        *self.slot(to) += 1;
    }

    /// Items that have ended, however.
    #[must_use]
    pub const fn done(&self) -> u32 {
        self.succeeded + self.failed + self.skipped + self.cancelled
    }

    /// The state of a task whose items have all ended, when nobody cancelled it: `completed` when
    /// every item succeeded, else `failed`.
    #[must_use]
    pub const fn outcome(&self) -> TaskStatus {
        if self.succeeded == self.total { TaskStatus::Completed } else { TaskStatus::Failed }
    }

    /// In the order of the columns and of the notification.
    #[must_use]
    pub const fn to_array(self) -> [u32; 7] {
        let Self { total, pending, running, succeeded, failed, skipped, cancelled } = self;
        [total, pending, running, succeeded, failed, skipped, cancelled]
    }

    /// The reverse of [`Counts::to_array`].
    #[must_use]
    pub const fn from_array(a: [u32; 7]) -> Self {
        let [total, pending, running, succeeded, failed, skipped, cancelled] = a;
        Self { total, pending, running, succeeded, failed, skipped, cancelled }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_terminal_task_never_moves_again() {
        for from in TaskStatus::ALL.iter().filter(|s| s.is_terminal()) {
            for to in TaskStatus::ALL {
                assert!(!from.allows(*to), "{from} must not become {to}");
            }
        }
    }

    #[test]
    fn nothing_goes_back_to_queued() {
        for from in TaskStatus::ALL {
            assert!(!from.allows(TaskStatus::Queued), "{from} must not become queued");
        }
    }

    #[test]
    fn words_round_trip_and_reject_others() {
        for s in TaskStatus::ALL {
            assert_eq!(s.as_str().parse(), Ok(*s));
        }
        for s in ItemStatus::ALL {
            assert_eq!(s.as_str().parse(), Ok(*s));
        }
        let error = "done".parse::<TaskStatus>().expect_err("not a status").to_string();
        assert!(error.contains("\"done\"") && error.contains("queued, running"), "{error}");
    }

    proptest! {
        #[test]
        fn shifting_equals_counting_again(
            moves in proptest::collection::vec((0usize..20, 0usize..6), 0..200)
        ) {
            let mut items = vec![ItemStatus::Pending; 20];
            let mut counts = Counts::of(&items);
            for (item, to) in moves {
                let to = ItemStatus::ALL[to];
                counts.shift(items[item], to);
                items[item] = to;
                prop_assert_eq!(counts, Counts::of(&items));
            }
            prop_assert_eq!(Counts::from_array(counts.to_array()), counts);
        }
    }
}
