//! What went wrong, from whoever sees it first.

use std::sync::{Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

/// The violations of a run. The first one ends it, so that the logs end near their cause.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    violations: Mutex<Vec<String>>,
    guilty: CancellationToken,
}

impl Verdict {
    /// A rule does not hold.
    pub(super) fn violated(&self, what: impl Into<String>) {
        self.violations.lock().unwrap_or_else(PoisonError::into_inner).push(what.into());
        self.guilty.cancel();
    }

    /// Takes note of an error.
    pub(super) fn check(&self, who: &str, result: anyhow::Result<()>) {
        if let Err(error) = result {
            self.violated(format!("{who}: {error:#}"));
        }
    }

    /// Resolves with the first violation.
    pub(super) async fn guilty(&self) {
        self.guilty.cancelled().await;
    }

    /// Whether there is any.
    pub(super) fn is_guilty(&self) -> bool {
        self.guilty.is_cancelled()
    }

    /// All of them.
    pub(super) fn violations(&self) -> Vec<String> {
        self.violations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
