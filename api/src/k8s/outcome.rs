//! What an answer of the API server, or the lack of one, means for the operation that asked.

use std::time::Duration;

use kube::core::Status;

use super::fence::FenceError;

/// No pause that a server asks for is longer for us: what it says may be a proxy's idea of a
/// maintenance, and a task has its own patience.
const LONGEST_ASKED: Duration = Duration::from_secs(30);

/// A call that did not succeed, by what has to be done about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The lease had run out: nothing was sent.
    #[error("not sent: the task's lease has run out")]
    Fenced,
    /// 409: the object has changed since it was read. Read it again.
    #[error("{0}")]
    Conflict(String),
    /// 404.
    #[error("{0}")]
    NotFound(String),
    /// Worth another try after a pause: 429, 5xx.
    #[error("{message}")]
    Busy {
        /// HTTP status; 0 when it is this side that is not ready.
        code: u16,
        /// The server's words.
        message: String,
        /// The pause that the server asked for.
        retry_after: Option<Duration>,
    },
    /// 429 of an eviction: a disruption budget forbids it for now.
    #[error("{message}")]
    Budget {
        /// The budget's name.
        budget: String,
        /// What it says.
        message: String,
        /// The pause that the server asked for.
        retry_after: Option<Duration>,
    },
    /// 403, because the object's namespace is being deleted, which takes the object with it.
    #[error("{0}")]
    NamespaceTerminating(String),
    /// No answer: the call may have taken effect or not.
    #[error("{0}")]
    NoAnswer(String),
    /// Everything else: trying again changes nothing.
    #[error("{0}")]
    Refused(Refusal),
}

/// The API server's refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// HTTP status.
    pub code: u16,
    /// `Status.message`.
    pub message: String,
}

impl CallError {
    /// Whether the call may have taken effect all the same: an error of the server may come from
    /// behind the write.
    #[must_use]
    pub const fn leaves_doubt(&self) -> bool {
        matches!(self, Self::NoAnswer(_) | Self::Busy { code: 500..=599, .. })
    }

    /// The HTTP status as a metric label; `none` without an answer.
    #[must_use]
    pub fn code(&self) -> String {
        match self {
            Self::Fenced => "fenced".into(),
            Self::Conflict(_) => "409".into(),
            Self::NotFound(_) => "404".into(),
            Self::Budget { .. } => "429".into(),
            Self::NamespaceTerminating(_) => "403".into(),
            Self::Busy { code, .. } => code.to_string(),
            Self::NoAnswer(_) => "none".into(),
            Self::Refused(r) => r.code.to_string(),
        }
    }

    /// `asked` is the pause of the `Retry-After` header.
    pub(super) fn from_status(status: &Status, asked: Option<Duration>) -> Self {
        let message = status.message.clone();
        let details = status.details.as_ref();
        let pause = details.map_or(0, |d| d.retry_after_seconds);
        let retry_after = (pause > 0).then(|| Duration::from_secs(u64::from(pause))).or(asked);
        let retry_after = retry_after.map(|pause| pause.min(LONGEST_ASKED));
        let cause = |reason| details?.causes.iter().find(|c| c.reason == reason);
        match status.code {
            403 if cause("NamespaceTerminating").is_some() => Self::NamespaceTerminating(message),
            404 => Self::NotFound(message),
            409 => Self::Conflict(message),
            429 if let Some(cause) = cause("DisruptionBudget") => Self::Budget {
                budget: budget_name(&cause.message).to_owned(),
                message: cause.message.clone(),
                retry_after,
            },
            // No other try will change that, unlike with other errors of the server.
            500 if message.contains("more than one PodDisruptionBudget") => {
                Self::Refused(Refusal { code: 500, message })
            }
            code @ (429 | 500..=599) => Self::Busy { code, message, retry_after },
            code => Self::Refused(Refusal { code, message }),
        }
    }
}

/// `The disruption budget web needs 3 healthy pods and has 3 currently`: only the text has the name.
fn budget_name(message: &str) -> &str {
    let name = message.strip_prefix("The disruption budget ").and_then(|m| m.split(' ').next());
    name.unwrap_or("of unknown name")
}

impl From<kube::Error> for CallError {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) => Self::from_status(status, None),
            kube::Error::Service(inner) => match inner.downcast_ref::<FenceError>() {
                Some(FenceError::Expired) => Self::Fenced,
                Some(timed_out @ FenceError::TimedOut(_)) => Self::NoAnswer(timed_out.to_string()),
                None => Self::NoAnswer(deepest(inner.as_ref())),
            },
            kube::Error::HyperError(inner) => Self::NoAnswer(deepest(inner)),
            // A stream that was cut, or what came of it.
            kube::Error::ReadEvents(_)
            | kube::Error::SerdeError(_)
            | kube::Error::LinesCodecMaxLineLengthExceeded => Self::NoAnswer(deepest(&error)),
            kube::Error::Auth(inner) => Self::Busy {
                code: 0,
                message: format!("cluster credentials: {inner}"),
                retry_after: None,
            },
            _ => Self::Refused(Refusal { code: 0, message: error.to_string() }),
        }
    }
}

/// The innermost cause, which is the one with the facts ("Connection refused").
fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let (outer, inner) = (error.to_string(), cause.to_string());
    if outer.contains(&inner) { outer } else { format!("{outer}: {inner}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, retry_after: u32) -> CallError {
        let status = serde_json::json!({
            "code": code, "message": "m", "details": {"retryAfterSeconds": retry_after}
        });
        CallError::from_status(&serde_json::from_value(status).expect("a Status"), None)
    }

    #[test]
    fn only_what_another_try_can_change_is_tried_again() {
        for code in [400, 401, 403, 405, 415, 422] {
            assert!(matches!(status(code, 0), CallError::Refused(_)), "{code}");
        }
        for code in [429, 500, 503, 504] {
            assert!(matches!(status(code, 0), CallError::Busy { retry_after: None, .. }), "{code}");
        }
        assert!(matches!(status(404, 0), CallError::NotFound(_)));
        assert!(matches!(status(409, 0), CallError::Conflict(_)));
    }

    #[test]
    fn the_servers_pause_is_kept() {
        let CallError::Busy { retry_after, .. } = status(429, 7) else { panic!("429 is busy") };
        assert_eq!(retry_after, Some(Duration::from_secs(7)));
    }

    #[test]
    fn a_budget_is_known_by_its_cause_and_two_of_them_by_their_text() {
        let read = |status: serde_json::Value| {
            let status = serde_json::from_value(status).expect("a Status");
            CallError::from_status(&status, Some(Duration::from_secs(10)))
        };
        let says = "The disruption budget web needs 3 healthy pods and has 3 currently";
        let blocked = read(serde_json::json!({
            "code": 429, "message": "Cannot evict pod as it would violate the pod's disruption budget.",
            "details": {"causes": [{"reason": "DisruptionBudget", "message": says}]},
        }));
        let expected = CallError::Budget {
            budget: "web".into(),
            message: says.into(),
            retry_after: Some(Duration::from_secs(10)),
        };
        assert_eq!(blocked, expected);
        let two = read(serde_json::json!({
            "code": 500,
            "message": "This pod has more than one PodDisruptionBudget, which the eviction \
                        subresource does not support.",
        }));
        assert!(matches!(two, CallError::Refused(_)), "{two:?}");
        let going = read(serde_json::json!({
            "code": 403, "message": "m", "details": {"causes": [{"reason": "NamespaceTerminating"}]},
        }));
        assert!(matches!(going, CallError::NamespaceTerminating(_)), "{going:?}");
    }
}
