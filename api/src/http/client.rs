//! Who is at the other end: the peer, or what a trusted proxy says about the browser behind it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::request::Parts;
use http::{HeaderMap, HeaderName, Uri};
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
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
    trusted: Arc<[IpNet]>,
    public: Option<Uri>,
    /// Whether it was said that somebody forwards whom nobody trusts.
    told: Arc<AtomicBool>,
}

/// `api.trusted_proxies` or `api.public_url` is not what validation let pass.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no network or URL")]
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
}

impl Edge {
    /// From `api.trusted_proxies` and `api.public_url`.
    ///
    /// # Errors
    /// [`BadEdge`] for a value that is neither; the configuration's validation comes before.
    pub fn new(trusted_proxies: &[String], public_url: &str) -> Result<Self, BadEdge> {
        let network = |text: &String| {
            let host = || text.parse::<IpAddr>().map(IpNet::from).ok();
            text.parse().ok().or_else(host).ok_or_else(|| BadEdge(text.clone()))
        };
        let trusted = trusted_proxies.iter().map(network).collect::<Result<Arc<[_]>, _>>()?;
        let public = match public_url {
            "" => None,
            url => Some(url.parse().map_err(|_| BadEdge(url.to_owned()))?),
        };
        Ok(Self { trusted, public, told: Arc::default() })
    }

    /// The client behind a request.
    #[must_use]
    pub fn client(&self, parts: &Parts) -> Client {
        let peer = parts.extensions.get::<Peer>();
        let tls = peer.is_some_and(|p| p.tls);
        // Without a peer (a test without a socket) nobody is trusted.
        let peer = peer.map(|p| p.address.ip().to_canonical());
        let peer = peer.unwrap_or(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED));
        let trusted = self.trusts(peer);
        if !trusted && parts.headers.contains_key(FORWARDED_FOR) {
            self.tell_of_stranger(peer);
        }
        let forwarded = |name| trusted.then(|| last(&parts.headers, &name)).flatten();
        let host = forwarded(FORWARDED_HOST)
            .or_else(|| parts.uri.authority().map(|a| a.as_str().to_owned()))
            .or_else(|| last(&parts.headers, &http::header::HOST));
        let https = match forwarded(FORWARDED_PROTO) {
            Some(proto) => proto.eq_ignore_ascii_case("https"),
            None => tls || self.public.as_ref().and_then(Uri::scheme_str) == Some("https"),
        };
        let address = if trusted { self.nearest_untrusted(&parts.headers, peer) } else { peer };
        Client { address, https, host }
    }

    /// Whether an address is one of our proxies.
    #[must_use]
    pub fn is_proxy(&self, address: IpAddr) -> bool {
        self.trusts(address.to_canonical())
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
                 your proxy, name it there: until then all users count as one address"
            );
        }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&address))
    }

    /// Every hop appends the address it was asked from: read from the right, the first address that
    /// is no proxy of ours is the client. What is left of it, anyone could have written.
    fn nearest_untrusted(&self, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
        let mut nearest = peer;
        let hops: Vec<_> = headers
            .get_all(FORWARDED_FOR)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(','))
            .collect();
        for hop in hops.into_iter().rev() {
            let Some(address) = address(hop.trim()) else {
                break;
            };
            nearest = address;
            if !self.trusts(address) {
                break;
            }
        }
        nearest
    }
}

/// An address with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let parsed = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|a| a.ip()));
    parsed.map(|address: IpAddr| address.to_canonical())
}

fn last(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = headers.get_all(name).iter().next_back()?.to_str().ok()?;
    value.rsplit(',').next().map(|v| v.trim().to_owned()).filter(|v| !v.is_empty())
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn a_public_https_url_means_https() {
        let edge = Edge::new(&[], "https://nodes.example.com").expect("a URL");
        assert!(edge.client(&parts("1.1.1.1", &[])).https);
        assert_eq!(edge.public_authority(), Some("nodes.example.com"));
    }
}
