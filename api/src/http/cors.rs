//! Pages of other origins (<https://fetch.spec.whatwg.org/#http-cors-protocol>). None may read anything
//! unless `api.allowed_origins` names it; and then with a token of its own, never with the cookie.

use std::sync::Arc;

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
    VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method};

use super::{Response, no_content};

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE");
const REQUEST_HEADERS: HeaderValue =
    HeaderValue::from_static("authorization, content-type, idempotency-key, x-request-id");
const RESPONSE_HEADERS: HeaderValue =
    HeaderValue::from_static("location, retry-after, x-request-id");
const TEN_MINUTES: HeaderValue = HeaderValue::from_static("600");

/// The origins that the configuration names. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Cors(Arc<[HeaderValue]>);

impl Cors {
    /// From `api.allowed_origins`, which validation has seen.
    #[must_use]
    pub fn new(origins: &[String]) -> Self {
        Self(origins.iter().filter_map(|o| HeaderValue::from_str(o).ok()).collect())
    }

    /// The origin of a request, if it is one of them.
    #[must_use]
    pub fn origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(ORIGIN)?;
        self.0.iter().find(|allowed| *allowed == origin).cloned()
    }

    /// The answer to a browser that asks before it asks.
    #[must_use]
    pub fn preflight(&self, parts: &Parts) -> Option<Response> {
        let asks = parts.method == Method::OPTIONS
            && parts.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        self.origin(&parts.headers).filter(|_| asks)?;
        let mut response = no_content();
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
        headers.insert(ACCESS_CONTROL_MAX_AGE, TEN_MINUTES);
        Some(response)
    }

    /// Lets the page of `origin` read a response. Without `Access-Control-Allow-Credentials`, the
    /// browser leaves cookies out of such requests.
    pub fn allow(&self, origin: Option<HeaderValue>, response: &mut Response) {
        if self.0.is_empty() {
            return;
        }
        let headers = response.headers_mut();
        headers.append(VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = origin {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_HEADERS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(method: Method, origin: &str) -> Parts {
        let request = http::Request::builder().method(method).uri("/api/v1/tasks");
        let request = request.header(ORIGIN, origin).header(ACCESS_CONTROL_REQUEST_METHOD, "POST");
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn nobody_is_let_in_who_is_not_named() {
        let page = "https://page.example.com";
        let (none, one) = (Cors::default(), Cors::new(&[page.to_owned()]));
        assert!(none.preflight(&parts(Method::OPTIONS, page)).is_none());
        for other in ["https://evil.example.com", "null", "https://page.example.com.evil.com"] {
            assert!(one.preflight(&parts(Method::OPTIONS, other)).is_none(), "{other}");
            let mut response = no_content();
            one.allow(one.origin(&parts(Method::GET, other).headers), &mut response);
            assert!(!response.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN), "{other}");
        }
        let asked = parts(Method::OPTIONS, page);
        let mut response = one.preflight(&asked).expect("named");
        one.allow(one.origin(&asked.headers), &mut response);
        assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], page);
        assert!(!response.headers().contains_key("access-control-allow-credentials"));
        assert!(one.preflight(&parts(Method::GET, page)).is_none(), "that is no preflight");
    }
}
