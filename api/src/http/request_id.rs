//! Every request has an id: the log, the response header and every problem document carry it.

use std::fmt;

use http::{HeaderName, HeaderValue, Request};
use tower_http::request_id::MakeRequestId;

/// Where the id travels, in both directions.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// An id: the caller's own when it is harmless, else a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// A new id.
    #[must_use]
    pub fn generate() -> Self {
        let id = uuid::Uuid::new_v4().simple().to_string();
        Self(HeaderValue::from_str(&id).expect("hex digits are a header value"))
    }

    /// The id that the layers have given a request.
    #[must_use]
    pub fn of<B>(request: &Request<B>) -> Self {
        request.headers().get(HEADER).cloned().map_or_else(Self::generate, Self)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_str().unwrap_or_default())
    }
}

/// Forgets a caller's id that does not belong into a log line.
#[must_use]
pub fn sanitize<B>(mut request: Request<B>) -> Request<B> {
    const MAX_LEN: usize = 64;
    let harmless = |id: &HeaderValue| {
        let ok = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        (1..=MAX_LEN).contains(&id.len()) && id.as_bytes().iter().all(ok)
    };
    if !request.headers().get(HEADER).is_some_and(harmless) {
        request.headers_mut().remove(HEADER);
    }
    request
}

/// Makes ids for requests that bring none.
#[derive(Debug, Clone, Copy)]
pub struct Maker;

impl MakeRequestId for Maker {
    fn make_request_id<B>(
        &mut self,
        _request: &Request<B>,
    ) -> Option<tower_http::request_id::RequestId> {
        Some(tower_http::request_id::RequestId::new(RequestId::generate().0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_ids_are_kept() {
        let long = "a".repeat(65);
        for (id, kept) in [("a-1_B.c", true), ("a b", false), ("", false), (&long, false)] {
            let request = Request::builder().header(HEADER, id).body(()).expect("a request");
            assert_eq!(sanitize(request).headers().contains_key(HEADER), kept, "{id:?}");
        }
    }
}
