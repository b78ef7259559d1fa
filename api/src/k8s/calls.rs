//! How every call is made: through the fence, with a deadline, counted, its answer read for what has
//! to be done about it.

use std::time::Duration;

use http::Request;
use http::header::RETRY_AFTER;
use kube::Client;
use kube::client::Body;
use kube::core::Status;
use kube::core::request::Error as BuildError;
use serde::de::DeserializeOwned;

use super::fence::Fenced;
use super::gate::Gate;
use super::outcome::CallError;
use crate::metrics::Metrics;

/// How long reading an answer's body may take beyond its head.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// What a call is named after in the metrics.
pub const VERBS: [&str; 4] = ["get", "list", "create", "patch"];

/// Under which terms a call is made.
#[derive(Debug, Clone)]
pub enum Terms {
    /// For a task: only while its lease holds.
    Lease(Fenced),
    /// To show something to a user: nothing is changed by it.
    Look {
        /// Upper bound for the answer.
        timeout: Duration,
    },
}

impl Terms {
    pub(super) const fn timeout(&self) -> Duration {
        match self {
            Self::Lease(Fenced { timeout, .. }) | Self::Look { timeout } => *timeout,
        }
    }
}

impl From<Fenced> for Terms {
    fn from(fence: Fenced) -> Self {
        Self::Lease(fence)
    }
}

/// Makes calls to one cluster.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) client: Client,
    gate: Gate,
    metrics: Metrics,
}

impl Caller {
    pub(super) fn new(client: Client, gate: Gate, metrics: Metrics) -> Self {
        Self { client, gate, metrics }
    }

    /// Sends a request and reads its answer.
    pub(super) async fn send<T: DeserializeOwned>(
        &self,
        verb: &'static str,
        request: Result<Request<Vec<u8>>, BuildError>,
        terms: &Terms,
    ) -> Result<T, CallError> {
        let mut request = request.map_err(kube::Error::BuildRequest)?.map(Body::from);
        if let Terms::Lease(fence) = terms {
            request.extensions_mut().insert(fence.clone());
        }
        let bound = terms.timeout() + BODY_TIMEOUT;
        let answer = match tokio::time::timeout(bound, self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(CallError::NoAnswer(format!("no answer within {bound:?}"))),
        };
        let code = answer.as_ref().err().map_or_else(|| "200".to_owned(), CallError::code);
        self.metrics.kube_requests.with_label_values(&[verb, &code]).inc();
        if matches!(terms, Terms::Lease(_)) && self.gate.learn(&answer) {
            self.metrics.kube_backoffs.inc();
        }
        answer
    }

    async fn exchange<T: DeserializeOwned>(&self, request: Request<Body>) -> Result<T, CallError> {
        let response = self.client.send(request).await?;
        let (head, body) = response.into_parts();
        let asked = pause_asked_for(&head.headers);
        let bytes = body.collect_bytes().await?;
        if head.status.is_success() {
            return serde_json::from_slice(&bytes)
                .map_err(|e| CallError::NoAnswer(format!("the answer cannot be read: {e}")));
        }
        let mut status: Status = serde_json::from_slice(&bytes).unwrap_or_else(|_| {
            // A proxy in between, or the API server's own flow control, answers in plain text.
            Status::failure(&plain(&bytes, head.status), "")
        });
        status.code = head.status.as_u16();
        Err(CallError::from_status(&status, asked))
    }
}

/// `Retry-After` in seconds; dates are not used by API servers.
fn pause_asked_for(headers: &http::HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds)).filter(|d| !d.is_zero())
}

/// The first line of an answer that is no Status.
fn plain(bytes: &[u8], status: http::StatusCode) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().map(str::trim).find(|l| !l.is_empty() && !l.starts_with('<'));
    line.map_or_else(|| status.to_string(), |line| line.chars().take(200).collect())
}

/// A body whose success alone matters.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Ignored {}

/// Builds a request with a JSON body.
pub(super) fn post(
    target: String,
    body: &impl serde::Serialize,
) -> Result<Request<Vec<u8>>, BuildError> {
    let body = serde_json::to_vec(body).map_err(BuildError::SerializeBody)?;
    Request::post(target)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body)
        .map_err(BuildError::BuildRequest)
}
