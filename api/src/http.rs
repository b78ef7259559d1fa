//! HTTP as this API speaks it: routing with an access rule per route, JSON bodies, problem
//! documents, and the layers that every request passes. Knows nothing of tasks, users or SQL; what
//! is served is in [`routes`](crate::routes).

pub mod assets;
pub mod audit;
pub mod body;
pub mod client;
pub mod cookie;
pub mod cors;
pub mod inflight;
pub mod metrics;
pub mod port;
pub mod problem;
pub mod query;
pub mod request_id;
pub mod router;
pub mod same_origin;
pub mod server;
pub mod stack;
pub mod tls;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;

pub use problem::{FieldError, Problem};
pub use request_id::RequestId;
pub use router::{Request, Router};

/// A request's or response's body, whatever produces it.
pub type Body = UnsyncBoxBody<Bytes, tower::BoxError>;

/// What handlers answer.
pub type Response = http::Response<Body>;

/// A body that is in memory.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Any body.
pub fn boxed<B>(body: B) -> Body
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<tower::BoxError>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// A JSON response.
///
/// # Errors
/// A value that has no JSON form: 500.
pub fn json<T: serde::Serialize>(status: http::StatusCode, value: &T) -> Result<Response, Problem> {
    let bytes = serde_json::to_vec(value).map_err(Problem::internal)?;
    Ok(with_content_type(status, "application/json", bytes))
}

/// A response of any type.
pub fn with_content_type(
    status: http::StatusCode,
    content_type: &'static str,
    bytes: impl Into<Bytes>,
) -> Response {
    let mut response = Response::new(full(bytes));
    *response.status_mut() = status;
    let value = http::HeaderValue::from_static(content_type);
    response.headers_mut().insert(http::header::CONTENT_TYPE, value);
    response
}

/// 204.
#[must_use]
pub fn no_content() -> Response {
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = http::StatusCode::NO_CONTENT;
    response
}
