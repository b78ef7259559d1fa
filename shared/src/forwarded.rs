//! What proxies say of a request in headers of their own, and which of them are believed.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

/// Where proxies write for whom they ask.
pub const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// `api.trusted_proxies` is not what validation let pass.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no address or network")]
pub struct NoNetwork(String);

/// The proxies that are believed. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Proxies(Arc<[IpNet]>);

impl Proxies {
    /// From `api.trusted_proxies`: addresses and networks.
    ///
    /// # Errors
    /// [`NoNetwork`] for what is neither.
    pub fn new(trusted: &[String]) -> Result<Self, NoNetwork> {
        let network = |text: &String| {
            let host = || text.parse::<IpAddr>().map(IpNet::from).ok();
            text.parse().ok().or_else(host).ok_or_else(|| NoNetwork(text.clone()))
        };
        Ok(Self(trusted.iter().map(network).collect::<Result<_, _>>()?))
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an address is one of them.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Who asks, when `peer` is at the other end of the connection. Every hop appends the address it was asked
    /// from: read from the right, the first that is no proxy of ours is the client. What is left of it, anyone
    /// could have written.
    #[must_use]
    pub fn client(&self, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
        let mut nearest = peer.to_canonical();
        for hop in hops(headers).into_iter().rev() {
            if !self.trusts(nearest) {
                break;
            }
            match hop {
                Some(address) => nearest = address,
                None => break,
            }
        }
        nearest
    }
}

/// What the hops have written in [`FORWARDED_FOR`], the nearest last; `None` for what is no address. Text or
/// not: a client that puts bytes into the header does not hide what a proxy appends to them.
#[must_use]
pub fn hops(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let lines = headers.get_all(FORWARDED_FOR).iter();
    let of = |line: &HeaderValue| {
        let line = String::from_utf8_lossy(line.as_bytes()).into_owned();
        line.split(',').map(|hop| address(hop.trim())).collect::<Vec<_>>()
    };
    lines.flat_map(of).collect()
}

/// An address with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let parsed = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|a| a.ip()));
    parsed.map(|address: IpAddr| address.to_canonical())
}

/// What the nearest proxy has written: the last part of the last line. Text or not, as above.
#[must_use]
pub fn nearest(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let line = String::from_utf8_lossy(headers.get_all(name).iter().next_back()?.as_bytes());
    line.rsplit(',').next().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &HeaderName, lines: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name.clone(), HeaderValue::from_bytes(line).expect("a header value"));
        }
        headers
    }

    #[test]
    fn the_last_part_of_the_last_line_counts() {
        let name = HeaderName::from_static("x-forwarded-proto");
        let of = |lines: &[&[u8]]| nearest(&headers(&name, lines), &name);
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[b"http"]).as_deref(), Some("http"));
        assert_eq!(of(&[b"https", b"\xff, http "]).as_deref(), Some("http"));
        assert_eq!(of(&[b"https,"]), None);
    }

    #[test]
    fn proxies_are_believed_from_the_right_and_nobody_else() {
        let proxies = Proxies::new(&["10.0.0.0/8".into(), "192.168.1.1".into()]).expect("networks");
        for (peer, lines, expected) in [
            ("203.0.113.9", &[&b"1.2.3.4"[..]][..], "203.0.113.9"),
            ("192.168.1.1", &[b"1.2.3.4"], "1.2.3.4"),
            ("::ffff:192.168.1.1", &[b"6.6.6.6, 1.2.3.4"], "1.2.3.4"),
            ("10.1.1.1", &[b"6.6.6.6", b"1.2.3.4, 10.9.9.9"], "1.2.3.4"),
            ("10.1.1.1", &[b"1.2.3.4:5678"], "1.2.3.4"),
            ("10.1.1.1", &[b"[2001:db8::1]:5678"], "2001:db8::1"),
            ("10.1.1.1", &[b"1.2.3.4, rubbish"], "10.1.1.1"),
            ("10.1.1.1", &[b"\xff, 203.0.113.7"], "203.0.113.7"),
            ("10.1.1.1", &[b"10.2.2.2"], "10.2.2.2"),
            ("10.1.1.1", &[], "10.1.1.1"),
        ] {
            let peer = peer.parse().expect("an address");
            let client = proxies.client(&headers(&FORWARDED_FOR, lines), peer);
            assert_eq!(client.to_string(), expected, "{lines:?}");
        }
        assert!(Proxies::new(&["x".into()]).is_err());
    }
}
