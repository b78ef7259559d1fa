//! The WebSocket handshake (RFC 6455 section 4.2), by hand, and the socket beneath hyper.

use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::door::Visiting;
use super::problem::Problem;
use crate::session::{MAX_MESSAGE, Socket, Traffic};

/// Clients say little; what they say at once fits.
const READ_BUFFER: usize = 2 * 1024;
/// The library's own frames are passed on at once; ours do not go through its buffer.
const WRITE_BUFFER: usize = 0;

/// Bytes that the system takes beyond what it can send at once. Without it that is megabytes of single steps,
/// all of which a slow client would have to read before the large one that replaces the rest.
const UNSENT: u32 = 16 * 1024;

/// A request that may become a WebSocket.
#[derive(Debug)]
pub(super) struct Handshake {
    accept: HeaderValue,
}

impl Handshake {
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let key = headers.get(SEC_WEBSOCKET_KEY);
        let version = headers.get(SEC_WEBSOCKET_VERSION);
        match key {
            Some(key)
                if names(headers, &CONNECTION, "upgrade")
                    && names(headers, &UPGRADE, "websocket")
                    && version.is_some_and(|v| v == "13") =>
            {
                let accept = derive_accept_key(key.as_bytes());
                let accept = HeaderValue::from_str(&accept).expect("base64 is plain ASCII");
                Ok(Self { accept })
            }
            _ => Err(Problem::new(StatusCode::UPGRADE_REQUIRED, "this is a WebSocket")
                .with_detail("connect with a WebSocket client, version 13")),
        }
    }

    pub(super) fn accept(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.accept);
        response
    }
}

fn names(headers: &HeaderMap, header: &HeaderName, token: &str) -> bool {
    headers
        .get_all(header)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .any(|t| t.trim().eq_ignore_ascii_case(token))
}

/// Why the upgrade did not happen.
#[derive(Debug, thiserror::Error)]
pub(super) enum UpgradeError {
    #[error(transparent)]
    Hyper(#[from] hyper::Error),
    #[error("not a TCP connection")]
    Io,
}

/// The TCP socket itself: hyper's layers and buffers go, which matters for thousands of idle ones.
pub(super) async fn socket(upgrade: OnUpgrade) -> Result<Socket, UpgradeError> {
    let upgraded = upgrade.await?;
    let parts =
        upgraded.downcast::<TokioIo<Visiting<TcpStream>>>().map_err(|_| UpgradeError::Io)?;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let stream = parts.io.into_inner().into_inner();
    if let Err(error) = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT) {
        tracing::debug!(%error, "slow clients get more and smaller steps");
    }
    let stream = Traffic::new(stream);
    let read = parts.read_buf.to_vec();
    let role = Role::Server;
    Ok(WebSocketStream::from_partially_read(stream, read, role, Some(config)).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (k.parse().expect("name"), v.parse().expect("value"))).collect()
    }

    #[test]
    fn the_example_of_the_standard_is_accepted() {
        let response = Handshake::of(&headers(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits"),
        ]))
        .expect("a handshake")
        .accept();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(response.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(!response.headers().contains_key("sec-websocket-extensions"), "no compression");
    }

    #[test]
    fn half_a_handshake_is_not() {
        for missing in 0..4 {
            let mut pairs = vec![
                ("connection", "Upgrade"),
                ("upgrade", "websocket"),
                ("sec-websocket-version", "13"),
                ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ];
            pairs.remove(missing);
            let problem = Handshake::of(&headers(&pairs)).expect_err("refused");
            assert_eq!(problem.status(), StatusCode::UPGRADE_REQUIRED);
        }
    }
}
