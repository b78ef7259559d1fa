//! Which pages may open a connection. A browser sends its cookies wherever a page tells it to, so a
//! foreign page must not get a socket; programs send no Origin and have a token.

use http::header::{HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, StatusCode, Uri};
use knm_shared::config::Config;
use knm_shared::forwarded::nearest;

use super::problem::Problem;

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The origins that the configuration names.
#[derive(Debug)]
pub(super) struct Origins(Vec<Origin>);

/// Scheme, host and port, the port always written out.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origins {
    pub(super) fn new(config: &Config) -> Self {
        let named = [&config.relay.public_url, &config.api.public_url].into_iter();
        let named = named.chain(&config.relay.allowed_origins);
        Self(named.filter_map(|url| Origin::parse(url)).collect())
    }

    /// Lets programs, the request's own host and the named origins pass.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(value) = headers.get(ORIGIN) else {
            return Ok(());
        };
        let origin = value.to_str().ok().and_then(Origin::parse);
        let allowed = origin.is_some_and(|o| self.0.contains(&o) || o.is_own_host(headers));
        if allowed {
            return Ok(());
        }
        Err(Problem::new(StatusCode::FORBIDDEN, "this page may not connect here")
            .with_detail("add its origin to relay.allowed_origins")
            .refusing())
    }
}

impl Origin {
    fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let scheme = match uri.scheme_str()?.to_ascii_lowercase().as_str() {
            "wss" => "https".to_owned(),
            "ws" => "http".to_owned(),
            other => other.to_owned(),
        };
        let authority = uri.authority()?;
        let port = port(authority, &scheme)?;
        Some(Self { scheme, host: authority.host().to_ascii_lowercase(), port })
    }

    /// A page cannot choose these headers: the browser writes Host, a proxy X-Forwarded-Host. Where the
    /// socket came over TLS, a page of the same host in plain text is anybody's on its way.
    fn is_own_host(&self, headers: &HeaderMap) -> bool {
        if came_over_tls(headers) && self.scheme != "https" {
            return false;
        }
        let forwarded = headers.get("x-forwarded-host");
        headers.get(HOST).into_iter().chain(forwarded).any(|value| {
            let authority = value.to_str().ok().and_then(|v| v.trim().parse::<Authority>().ok());
            authority.is_some_and(|a| {
                a.host().eq_ignore_ascii_case(&self.host)
                    && port(&a, &self.scheme) == Some(self.port)
            })
        })
    }
}

/// As the nearest proxy says; whoever has none in front gains nothing by saying so themselves.
fn came_over_tls(headers: &HeaderMap) -> bool {
    let said = nearest(headers, &FORWARDED_PROTO);
    said.is_some_and(|proto| proto.eq_ignore_ascii_case("https"))
}

fn port(authority: &Authority, scheme: &str) -> Option<u16> {
    authority.port_u16().or(match scheme {
        "https" => Some(443),
        "http" => Some(80),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (k.parse().expect("name"), v.parse().expect("value"))).collect()
    }

    fn origins(named: &[&str]) -> Origins {
        Origins(named.iter().filter_map(|o| Origin::parse(o)).collect())
    }

    #[test]
    fn programs_and_the_own_host_pass() {
        let none = origins(&[]);
        for good in [
            &[("host", "knm.example")][..],
            &[("host", "knm.example"), ("origin", "https://knm.example")],
            &[("host", "KNM.example:443"), ("origin", "https://knm.example")],
            &[("host", "localhost:8081"), ("origin", "http://localhost:8081")],
            &[
                ("host", "10.0.0.7:8081"),
                ("x-forwarded-host", "knm.example"),
                ("origin", "https://knm.example"),
            ],
        ] {
            assert!(none.check(&headers(good)).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn over_tls_a_page_in_plain_text_is_another() {
        for (proto, page, good) in [
            ("https", "https://knm.example", true),
            ("https", "http://knm.example", false),
            ("http, https", "http://knm.example", false),
            ("http", "http://knm.example", true),
        ] {
            let pairs = [("host", "knm.example"), ("x-forwarded-proto", proto), ("origin", page)];
            let headers = headers(&pairs);
            assert_eq!(origins(&[]).check(&headers).is_ok(), good, "{proto} {page}");
        }
    }

    #[test]
    fn foreign_pages_do_not() {
        let none = origins(&[]);
        for bad in [
            "https://evil.example",
            "https://knm.example.evil.example",
            "https://knm.example:444",
            "http://knm.example:443@evil.example",
            "null",
            "",
            "file://",
        ] {
            let headers = headers(&[("host", "knm.example"), ("origin", bad)]);
            assert!(none.check(&headers).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn named_origins_pass_with_their_scheme_and_port() {
        let named = origins(&["https://ui.example/", "http://localhost:5173"]);
        let check = |origin| named.check(&headers(&[("host", "relay"), ("origin", origin)]));
        assert!(check("https://ui.example").is_ok());
        assert!(check("http://localhost:5173").is_ok());
        assert!(check("http://ui.example").is_err());
        assert!(check("http://localhost").is_err());
    }
}
