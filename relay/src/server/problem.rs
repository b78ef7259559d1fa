//! Refusals before the upgrade, as RFC 9457 problem documents.

use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use serde::Serialize;

/// A refusal.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    title: &'static str,
    detail: Option<&'static str>,
    is_refusal: bool,
}

impl Problem {
    pub(super) const fn new(status: StatusCode, title: &'static str) -> Self {
        Self { status, title, detail: None, is_refusal: false }
    }

    /// The relay cannot, for now.
    pub(super) const fn unavailable(title: &'static str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, title)
    }

    pub(super) const fn with_detail(mut self, detail: &'static str) -> Self {
        self.detail = Some(detail);
        self
    }

    /// Somebody is turned away for who they are, or for the page that they come from.
    pub(super) const fn refusing(mut self) -> Self {
        self.is_refusal = true;
        self
    }

    pub(super) const fn is_refusal(&self) -> bool {
        self.is_refusal
    }

    pub(super) const fn title(&self) -> &'static str {
        self.title
    }

    pub(super) const fn status(&self) -> StatusCode {
        self.status
    }
}

#[derive(Serialize)]
struct Document {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'static str>,
}

impl From<Problem> for Response<Full<Bytes>> {
    fn from(problem: Problem) -> Self {
        let Problem { status, title, detail, .. } = problem;
        let document = Document { r#type: "about:blank", title, status: status.as_u16(), detail };
        let body = serde_json::to_vec(&document).expect("strings and a number");
        let mut response = Response::new(Full::new(body.into()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
            }
            StatusCode::UPGRADE_REQUIRED => {
                headers.insert(http::header::UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert("sec-websocket-version", HeaderValue::from_static("13"));
            }
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(http::header::ALLOW, HeaderValue::from_static("GET"));
            }
            _ => {}
        }
        response
    }
}
