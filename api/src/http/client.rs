//! Who is at the other end: the peer, or what a trusted proxy says about the browser behind it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::request::Parts;
use http::{HeaderName, Uri};
use knm_shared::admin::Note;
use knm_shared::forwarded::{FORWARDED_FOR, Proxies, hops, nearest};

use crate::origin::Origin;

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The other end of the connection that a request came on; the server puts it into the extensions.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// Whether the connection is encrypted up to here.
    pub tls: bool,
}

/// What the configuration says about the way to us.
#[derive(Debug, Clone, Default)]
pub struct Edge {
    trusted: Proxies,
    public: Option<Uri>,
    /// Whether it was said that somebody forwards whom nobody trusts.
    told: Arc<AtomicBool>,
    /// Where that is said, besides in the log.
    note: Option<Note>,
}

/// `api.trusted_proxies` or `api.public_url` is not what validation let pass.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadEdge(String);

/// The client of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its address, as far as anyone trusted knows.
    pub address: IpAddr,
    /// Whether it spoke TLS to the outermost trusted hop.
    pub https: bool,
    /// The authority that it asked for.
    pub host: Option<String>,
    /// For whom `address` says that it asks, when no proxy is known at all. Nobody vouches for that.
    pub behind: Option<IpAddr>,
}

impl Client {
    /// Who counts as one with it.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin::new(self.address, self.behind)
    }
}

impl Edge {
    /// From `api.trusted_proxies` and `api.public_url`.
    ///
    /// # Errors
    /// [`BadEdge`] for a value that is neither; the configuration's validation comes before.
    pub fn new(trusted_proxies: &[String], public_url: &str) -> Result<Self, BadEdge> {
        let trusted = Proxies::new(trusted_proxies).map_err(|error| BadEdge(error.to_string()))?;
        let public = match public_url {
            "" => None,
            url => Some(url.parse().map_err(|_| BadEdge(format!("{url:?} is no URL")))?),
        };
        Ok(Self { trusted, public, told: Arc::default(), note: None })
    }

    /// Says there, too, when somebody forwards whom nobody trusts.
    #[must_use]
    pub fn telling(mut self, note: Note) -> Self {
        self.note = Some(note);
        self
    }

    /// The client behind a request.
    #[must_use]
    pub fn client(&self, parts: &Parts) -> Client {
        let peer = parts.extensions.get::<Peer>();
        let tls = peer.is_some_and(|p| p.tls);
        // Without a peer (a test without a socket) nobody is trusted.
        let peer = peer.map(|p| p.address.ip().to_canonical());
        let peer = peer.unwrap_or(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED));
        let trusted = self.trusted.trusts(peer);
        if !trusted && parts.headers.contains_key(FORWARDED_FOR) {
            self.tell_of_stranger(peer);
        }
        let forwarded = |name| trusted.then(|| nearest(&parts.headers, &name)).flatten();
        let host = forwarded(FORWARDED_HOST)
            .or_else(|| parts.uri.authority().map(|a| a.as_str().to_owned()))
            .or_else(|| nearest(&parts.headers, &http::header::HOST));
        let https = match forwarded(FORWARDED_PROTO) {
            Some(proto) if proto.eq_ignore_ascii_case("https") => true,
            // A proxy that speaks plain text in front of a public https URL is no reason to send the cookie
            // in plain text.
            _ => tls || self.public.as_ref().and_then(Uri::scheme_str) == Some("https"),
        };
        let address = self.trusted.client(&parts.headers, peer);
        // Who encrypts up to here has most likely no proxy in between, and everybody may write the header.
        let may_be_proxied = self.trusted.is_empty() && !tls;
        let behind = if may_be_proxied { hops(&parts.headers).pop().flatten() } else { None };
        Client { address, https, host, behind }
    }

    /// Whether an address is one of our proxies.
    #[must_use]
    pub fn is_proxy(&self, address: IpAddr) -> bool {
        self.trusted.trusts(address)
    }

    /// The authority of `api.public_url`.
    #[must_use]
    pub fn public_authority(&self) -> Option<&str> {
        self.public.as_ref().and_then(|uri| uri.authority()).map(http::uri::Authority::as_str)
    }

    /// Once: most likely it is the installation's own proxy, and every user looks like it.
    fn tell_of_stranger(&self, peer: IpAddr) {
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                %peer,
                "X-Forwarded-For of a peer that is not in api.trusted_proxies is not believed; if this is \
                 your proxy, name it there: until then all users have its address"
            );
            if let Some(note) = &self.note {
                note.set(format!(
                    "X-Forwarded-For of {peer} is not believed; if this is your proxy, name it in \
                     api.trusted_proxies"
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn parts(peer: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().uri("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let address = SocketAddr::new(peer.parse().expect("an address"), 1);
        let peer = Peer { address, tls: false };
        request.extension(peer).body(()).expect("a request").into_parts().0
    }

    fn edge() -> Edge {
        Edge::new(&["10.0.0.0/8".into(), "192.168.1.1".into()], "").expect("networks")
    }

    #[test]
    fn strangers_cannot_say_who_they_are() {
        let headers =
            [("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", "https"), ("host", "h:8080")];
        let client = edge().client(&parts("203.0.113.9", &headers));
        assert_eq!(client.address, "203.0.113.9".parse::<IpAddr>().expect("an address"));
        assert!(!client.https);
        assert_eq!(client.host.as_deref(), Some("h:8080"));
    }

    #[test]
    fn proxies_are_believed_from_the_right() {
        for (forwarded, expected) in [
            ("1.2.3.4", "1.2.3.4"),
            ("6.6.6.6, 1.2.3.4", "1.2.3.4"),
            ("6.6.6.6, 1.2.3.4, 10.9.9.9", "1.2.3.4"),
            ("1.2.3.4:5678", "1.2.3.4"),
            ("[2001:db8::1]:5678", "2001:db8::1"),
            ("rubbish", "192.168.1.1"),
            ("10.1.1.1", "10.1.1.1"),
        ] {
            let headers = [("x-forwarded-for", forwarded), ("x-forwarded-proto", "https")];
            let client = edge().client(&parts("::ffff:192.168.1.1", &headers));
            assert_eq!(client.address.to_string(), expected, "{forwarded}");
            assert!(client.https);
        }
    }

    /// A proxy appends to what the client has sent, in the same line.
    #[test]
    fn bytes_in_a_header_hide_nothing() {
        let mut parts = parts("10.0.0.1", &[]);
        let bytes = |text: &[u8]| HeaderValue::from_bytes(text).expect("a header value");
        parts.headers.insert(FORWARDED_FOR, bytes(b"\xff, 203.0.113.7"));
        parts.headers.insert(FORWARDED_PROTO, bytes(b"\xff, https"));
        let client = edge().client(&parts);
        assert_eq!(client.address.to_string(), "203.0.113.7");
        assert!(client.https);
    }

    #[test]
    fn only_where_no_proxy_is_known_does_it_matter_what_a_stranger_says() {
        let headers = [("x-forwarded-for", "6.6.6.6, 1.2.3.4")];
        let stranger = parts("203.0.113.9", &headers);
        assert_eq!(edge().client(&stranger).behind, None);
        let client = Edge::default().client(&stranger);
        assert_eq!(client.address.to_string(), "203.0.113.9", "that is what is recorded");
        assert_eq!(client.behind, Some("1.2.3.4".parse().expect("an address")));
        let mut direct = stranger;
        direct.extensions.get_mut::<Peer>().expect("a peer").tls = true;
        assert_eq!(Edge::default().client(&direct).behind, None, "nobody is in between");
    }

    #[test]
    fn who_forwards_and_is_not_named_is_told_of() {
        let readiness = knm_shared::admin::Readiness::new();
        let edge = edge().telling(readiness.note("proxies", "none"));
        let _ = edge.client(&parts("10.0.0.1", &[("x-forwarded-for", "1.2.3.4")]));
        assert!(readiness.report().contains("proxies: none"));
        let _ = edge.client(&parts("203.0.113.9", &[("x-forwarded-for", "1.2.3.4")]));
        let report = readiness.report();
        assert!(
            report.contains("203.0.113.9") && report.contains("api.trusted_proxies"),
            "{report}"
        );
    }

    #[test]
    fn a_public_https_url_means_https() {
        let edge = Edge::new(&["10.0.0.1".into()], "https://nodes.example.com").expect("a URL");
        assert!(edge.client(&parts("1.1.1.1", &[])).https);
        let plain = [("x-forwarded-proto", "http")];
        assert!(edge.client(&parts("10.0.0.1", &plain)).https, "whatever the way to us");
        assert_eq!(edge.public_authority(), Some("nodes.example.com"));
    }
}
