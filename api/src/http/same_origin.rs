//! Requests that another site makes a browser send are refused, beside what SameSite cookies do.
//! Browsers say where a request comes from (`Sec-Fetch-Site`, `Origin`); programs do not.

use http::header::{AUTHORIZATION, ORIGIN};
use http::request::Parts;
use http::{HeaderName, Method};

use super::Problem;
use super::client::{Client, Edge};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses an unsafe request of another origin. One that carries `Authorization` is exempt: no other
/// site can make a browser send that.
///
/// # Errors
/// 403.
pub fn check(parts: &Parts, client: &Client, edge: &Edge) -> Result<(), Problem> {
    let safe = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
    if safe || parts.headers.contains_key(AUTHORIZATION) {
        return Ok(());
    }
    let text =
        |name| parts.headers.get(name).map(|v: &http::HeaderValue| v.to_str().unwrap_or("?"));
    let ours = |origin: &str| {
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        let is = |host: Option<&str>| match (authority, host) {
            (Some(a), Some(b)) => a.eq_ignore_ascii_case(b),
            _ => false,
        };
        is(client.host.as_deref()) || is(edge.public_authority())
    };
    let origin = text(ORIGIN);
    let allowed = match (text(SEC_FETCH_SITE), origin) {
        (Some("same-origin" | "none"), _) => true,
        // A proxy may have changed Host: the configured origin counts all the same.
        (Some(_), Some(origin)) => edge.public_authority().is_some() && ours(origin),
        (Some(_), None) => false,
        (None, Some(origin)) => ours(origin),
        (None, None) => true,
    };
    if allowed {
        return Ok(());
    }
    Err(Problem::new(
        http::StatusCode::FORBIDDEN,
        "cross_origin",
        format!(
            "this request comes from another origin ({}); set api.public_url to the URL that \
             browsers use if that is wrong",
            origin.unwrap_or("unknown")
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(method: Method, headers: &[(&str, &str)], public: &str) -> u16 {
        let mut request = http::Request::builder().method(method).uri("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let parts = request.body(()).expect("a request").into_parts().0;
        let edge = Edge::new(&[], public).expect("a URL");
        check(&parts, &edge.client(&parts), &edge).map_or_else(|p| p.status().as_u16(), |()| 200)
    }

    #[test]
    fn only_our_own_pages_may_change_things() {
        let host = ("host", "knm.example.com:8080");
        let ours = ("origin", "http://knm.example.com:8080");
        let other = ("origin", "https://evil.example.com");
        for (headers, expected) in [
            (vec![host], 200),
            (vec![host, ours], 200),
            (vec![host, other], 403),
            (vec![host, ("origin", "null")], 403),
            (vec![host, ("sec-fetch-site", "same-origin")], 200),
            (vec![host, ("sec-fetch-site", "none")], 200),
            (vec![host, ("sec-fetch-site", "cross-site")], 403),
            (vec![host, ("sec-fetch-site", "same-site"), other], 403),
            (vec![host, other, ("authorization", "Bearer x")], 200),
        ] {
            assert_eq!(status(Method::POST, &headers, ""), expected, "{headers:?}");
        }
        assert_eq!(status(Method::GET, &[host, other], ""), 200);
        assert_eq!(status(Method::DELETE, &[host, other], ""), 403);
    }

    #[test]
    fn the_public_url_counts_where_a_proxy_changes_the_host() {
        let headers = [("host", "10.0.0.7:8080"), ("origin", "https://nodes.example.com")];
        assert_eq!(status(Method::POST, &headers, "https://nodes.example.com"), 200);
        assert_eq!(status(Method::POST, &headers, ""), 403);
    }
}
