//! Requests that another site makes a browser send are refused, beside what SameSite cookies do.
//! Browsers say where a request comes from (`Sec-Fetch-Site`, `Origin`); programs do not, and have a
//! token of their own instead of a cookie.

use http::header::ORIGIN;
use http::request::Parts;
use http::{HeaderName, Method};
use knm_shared::session::Token;

use super::Problem;
use super::client::{Client, Edge};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses an unsafe request of another origin, and one with a cookie that does not say where it comes
/// from. One that carries a bearer token is exempt: no other site can make a browser send that.
///
/// # Errors
/// 403.
pub fn check(parts: &Parts, client: &Client, edge: &Edge) -> Result<(), Problem> {
    let safe = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
    if safe || Token::is_bearer(&parts.headers) {
        return Ok(());
    }
    let text =
        |name| parts.headers.get(name).map(|v: &http::HeaderValue| v.to_str().unwrap_or("?"));
    let ours = |origin: &str| {
        let Some((scheme, authority)) = origin.split_once("://") else { return false };
        // The same host in plain text is anybody's on the way to it.
        if client.https && !scheme.eq_ignore_ascii_case("https") {
            return false;
        }
        let is = |host: Option<&str>| host.is_some_and(|host| host.eq_ignore_ascii_case(authority));
        is(client.host.as_deref()) || is(edge.public_authority())
    };
    let origin = text(ORIGIN);
    let allowed = match (text(SEC_FETCH_SITE), origin) {
        (Some("same-origin" | "none"), _) => true,
        // A proxy may have changed Host: the configured origin counts all the same.
        (Some(_), Some(origin)) => edge.public_authority().is_some() && ours(origin),
        (Some(_), None) => false,
        (None, Some(origin)) => ours(origin),
        // Signing in: there is no cookie yet that anybody could use.
        (None, None) => !Token::is_cookie(&parts.headers),
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
            // A page can make a browser send these: https://user:password@host/.
            (vec![host, other, ("authorization", "Basic eDp5")], 403),
            (vec![host, ("cookie", "knm_session=x")], 403),
            (vec![host, ours, ("cookie", "knm_session=x")], 200),
            (vec![host, ("cookie", "knm_session=x"), ("authorization", "Basic eDp5")], 403),
        ] {
            assert_eq!(status(Method::POST, &headers, ""), expected, "{headers:?}");
        }
        assert_eq!(status(Method::GET, &[host, other], ""), 200);
        assert_eq!(status(Method::DELETE, &[host, other], ""), 403);
    }

    #[test]
    fn over_tls_a_page_in_plain_text_is_another() {
        let host = ("host", "nodes.example.com");
        for (origin, expected) in
            [("https://nodes.example.com", 200), ("http://nodes.example.com", 403)]
        {
            let headers = [host, ("origin", origin)];
            assert_eq!(status(Method::POST, &headers, "https://nodes.example.com"), expected);
        }
    }

    #[test]
    fn the_public_url_counts_where_a_proxy_changes_the_host() {
        let headers = [("host", "10.0.0.7:8080"), ("origin", "https://nodes.example.com")];
        assert_eq!(status(Method::POST, &headers, "https://nodes.example.com"), 200);
        assert_eq!(status(Method::POST, &headers, ""), 403);
    }
}
