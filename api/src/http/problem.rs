//! Errors as RFC 9457 problem documents (<https://www.rfc-editor.org/rfc/rfc9457>), with two faces:
//! what the client may see, and the cause that only the log gets, under the request's id.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

use super::audit::Note;
use super::{RequestId, Response, full};
use crate::causes;

/// The media type of a problem document.
pub const CONTENT_TYPE_PROBLEM: &str = "application/problem+json";

/// One fault of a request, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FieldError {
    /// Path of the field in the body, or the name of the parameter or header.
    #[schema(example = "params.set")]
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl FieldError {
    /// A fault at `field`.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// An error response.
#[derive(Debug, Clone)]
pub struct Problem(Box<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    status: StatusCode,
    code: &'static str,
    detail: String,
    errors: Vec<FieldError>,
    headers: HeaderMap,
    cause: Option<Arc<anyhow::Error>>,
    note: Option<Note>,
    refusal: Option<String>,
}

/// The document that a [`Problem`] becomes.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub struct Document {
    /// Always `about:blank`: the status says what kind of problem it is, `code` which.
    #[schema(example = "about:blank")]
    pub r#type: String,
    /// The status in words.
    #[schema(example = "Unprocessable Entity")]
    pub title: String,
    /// The HTTP status.
    #[schema(example = 422)]
    pub status: u16,
    /// What happened, for a person.
    pub detail: String,
    /// What happened, for a program. Stable.
    #[schema(example = "invalid")]
    pub code: String,
    /// The id under which the log has more.
    pub request_id: String,
    /// Every fault that was found in the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

impl Problem {
    /// A problem that the client is told everything about.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            status,
            code,
            detail: detail.into(),
            errors: Vec::new(),
            headers: HeaderMap::new(),
            cause: None,
            note: None,
            refusal: None,
        }))
    }

    /// 400: not HTTP or JSON as it should be.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }

    /// 401: nobody is signed in.
    #[must_use]
    pub fn unauthenticated() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthenticated",
            "sign in, or send a token as \"Authorization: Bearer\"",
        )
        .with_header(http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// 403: somebody is signed in who may not.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// 404.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// 405 with the methods there are.
    #[must_use]
    pub fn method_not_allowed(allow: &str) -> Self {
        let value = HeaderValue::from_str(allow).expect("methods are header values");
        let detail = format!("this resource takes {allow}");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
            .with_header(ALLOW, value)
    }

    /// 409: does not fit the present state.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", detail)
    }

    /// 422 with the faults.
    #[must_use]
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [one] => format!("{}: {}", one.field, one.message),
            many => format!("the request has {} invalid fields", many.len()),
        };
        let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail);
        problem.0.errors = errors;
        problem
    }

    /// 429.
    pub fn throttled(detail: impl Into<String>, retry_after: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "throttled", detail).retry_after(retry_after)
    }

    /// 503: something this needs is away; the same request may work later.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
            .retry_after(Duration::from_secs(2))
    }

    /// 500. The client learns the request's id, the log the cause.
    pub fn internal(cause: impl Into<anyhow::Error>) -> Self {
        let detail = "an internal error; the log has more under the request's id";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail).because(cause)
    }

    /// Adds a cause for the log.
    #[must_use]
    pub fn because(mut self, cause: impl Into<anyhow::Error>) -> Self {
        self.0.cause = Some(Arc::new(cause.into()));
        self
    }

    /// Adds a header to the response.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// Says when to try again, in whole seconds, at least one.
    #[must_use]
    pub fn retry_after(self, after: Duration) -> Self {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        self.with_header(RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    /// The status of the response.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.0.status
    }

    /// What happened, for a person.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// What the audit log is to know.
    #[must_use]
    pub const fn note(&self) -> Option<&Note> {
        self.0.note.as_ref()
    }

    /// Says that this is a refusal, whatever the client is told, and why: for the audit log.
    #[must_use]
    pub fn refusing(mut self, why: impl Into<String>) -> Self {
        self.0.refusal = Some(why.into());
        self
    }

    /// Why, when this is a refusal that the client is told something else of.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        self.0.refusal.as_deref()
    }

    pub(super) fn set_note(&mut self, note: Note) {
        self.0.note = Some(note);
    }

    /// Every fault that was found in the request.
    #[must_use]
    pub fn errors(&self) -> &[FieldError] {
        &self.0.errors
    }

    /// Tells the log what the client is not told.
    pub fn log(&self) {
        let Parts { status, code, detail, cause, .. } = &*self.0;
        let status = status.as_u16();
        match cause {
            Some(cause) if status == 500 => {
                tracing::error!(status, error = causes::text((**cause).as_ref()), "request failed");
            }
            Some(cause) => {
                tracing::warn!(status, error = causes::text((**cause).as_ref()), "request failed");
            }
            None => tracing::debug!(status, code, %detail, "refused"),
        }
    }

    /// The response.
    #[must_use]
    pub fn into_response(self, id: &RequestId) -> Response {
        let Parts { status, code, detail, errors, headers, cause: _, note: _, refusal: _ } =
            *self.0;
        let document = Document {
            r#type: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail,
            code: code.to_owned(),
            request_id: id.to_string(),
            errors,
        };
        let bytes = serde_json::to_vec(&document).expect("strings and numbers have a JSON form");
        let mut response = Response::new(full(bytes));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        let value = HeaderValue::from_static(CONTENT_TYPE_PROBLEM);
        response.headers_mut().insert(CONTENT_TYPE, value);
        response
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn document(response: Response) -> Document {
        let bytes = response.into_body().collect().await.expect("in memory").to_bytes();
        serde_json::from_slice(&bytes).expect("a problem document")
    }

    #[tokio::test]
    async fn a_single_fault_is_its_own_detail() {
        let problem = Problem::invalid(vec![FieldError::new("params.set", "is empty")]);
        let response = problem.into_response(&RequestId::generate());
        assert_eq!(response.status(), 422);
        let document = document(response).await;
        assert_eq!(document.detail, "params.set: is empty");
        assert_eq!(document.errors, [FieldError::new("params.set", "is empty")]);
    }

    #[tokio::test]
    async fn the_cause_of_an_internal_error_stays_inside() {
        let id = RequestId::generate();
        let problem = Problem::internal(anyhow::anyhow!("password=hunter2"));
        let document = document(problem.into_response(&id)).await;
        assert!(!serde_json::to_string(&document).expect("json").contains("hunter2"));
        assert_eq!(document.request_id, id.to_string());
    }

    #[test]
    fn waiting_times_are_rounded_up() {
        let id = RequestId::generate();
        for (after, header) in [(0, "1"), (1000, "1"), (1001, "2")] {
            let problem = Problem::throttled("", Duration::from_millis(after));
            assert_eq!(problem.into_response(&id).headers()[RETRY_AFTER], header);
        }
    }
}
