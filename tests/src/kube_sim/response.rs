//! The forms of an answer.

use http::{HeaderValue, Response, StatusCode, header};
use hyper::body::Bytes;
use serde_json::Value;

use super::{body::SimBody, status::ApiError};

/// The answer to a failed request.
pub(crate) fn failure(error: &ApiError) -> Response<SimBody> {
    let body = error.body();
    let retry_after = error.details.as_ref().and_then(|details| details.get("retryAfterSeconds"));
    let retry_after = retry_after.and_then(Value::as_u64);
    let mut response = json(error.code, body.to_string());
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// A JSON answer.
pub(crate) fn json(status: u16, body: impl Into<Bytes>) -> Response<SimBody> {
    respond(status, "application/json", SimBody::full(body))
}

/// A plain text answer.
pub(crate) fn plain(status: u16, body: &'static str) -> Response<SimBody> {
    respond(status, "text/plain; charset=utf-8", SimBody::full(body))
}

/// Any answer.
pub(crate) fn respond(status: u16, content_type: &'static str, body: SimBody) -> Response<SimBody> {
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}
