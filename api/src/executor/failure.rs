//! Why a node has failed, in few enough words for a metric. Its message says it in full.

/// The value of the label `reason` of `knm_api_item_failures_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The API server refused the change: not allowed, or not valid.
    Refused,
    /// The node, or what the change needs, is not there any more.
    NotFound,
    /// The API server had no answer, or no time, until patience ran out.
    Unavailable,
    /// Somebody else changed the node each time, until patience ran out.
    Conflict,
    /// What was asked does not fit the node as it is.
    Unfit,
    /// The drain found pods that it must not touch.
    Pods,
    /// A pod could not be evicted.
    Eviction,
    /// The drain's time was over.
    Timeout,
    /// PostgreSQL refused the result.
    Unstorable,
}

impl Failure {
    /// Every reason, for a metric that must exist before the first event.
    pub const ALL: [Self; 9] = [
        Self::Refused,
        Self::NotFound,
        Self::Unavailable,
        Self::Conflict,
        Self::Unfit,
        Self::Pods,
        Self::Eviction,
        Self::Timeout,
        Self::Unstorable,
    ];

    /// The word in the metric.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::NotFound => "not_found",
            Self::Unavailable => "unavailable",
            Self::Conflict => "conflict",
            Self::Unfit => "unfit",
            Self::Pods => "pods",
            Self::Eviction => "eviction",
            Self::Timeout => "timeout",
            Self::Unstorable => "unstorable",
        }
    }
}
