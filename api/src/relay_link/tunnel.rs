//! Passes a WebSocket on to the relay, where nothing in front of the pod splits the path: a port
//! forward, the demo. The relay decides who may connect, by the headers of the original request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::metrics::Metrics;
use crate::http::{Problem, Request, Response, boxed, full};

/// Over loopback.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The relay asks the database who it is.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// WebSockets at a time; more are refused with 503. This way is for a few people, not for a fleet.
const MAX_TUNNELS: usize = 1_024;

/// Meant for one hop (RFC 9110, 7.6.1), or made anew by the next.
const HOP_BY_HOP: [HeaderName; 7] = [
    CONNECTION,
    UPGRADE,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("te"),
];
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The way to the relay. Cheap to clone.
#[derive(Clone)]
pub struct Tunnels {
    relay: SocketAddr,
    metrics: Metrics,
    room: Arc<Semaphore>,
    tasks: TaskTracker,
    closing: CancellationToken,
}

impl Tunnels {
    /// To the relay at this address.
    #[must_use]
    pub fn new(relay: SocketAddr, metrics: Metrics) -> Self {
        Self {
            relay,
            metrics,
            room: Arc::new(Semaphore::new(MAX_TUNNELS)),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
        }
    }

    /// Closes every tunnel and waits until they are gone.
    pub async fn close(&self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Passes an upgrade request on. What the relay answers is the answer; after a 101 both
    /// directions are copied until one side ends.
    ///
    /// # Errors
    /// 426 for a request that is no WebSocket upgrade, 502 when the relay is away, 503 when there
    /// are too many tunnels, 504 when it does not answer.
    pub async fn open(&self, request: Request) -> Result<Response, Problem> {
        if !is_upgrade(&request.parts.headers) {
            return Err(Problem::new(
                StatusCode::UPGRADE_REQUIRED,
                "upgrade_required",
                "this is a WebSocket: connect with a WebSocket client",
            )
            .with_header(UPGRADE, HeaderValue::from_static("websocket"))
            .with_header(CONNECTION, HeaderValue::from_static("upgrade")));
        }
        let Ok(room) = self.room.clone().try_acquire_owned() else {
            return Err(Problem::unavailable("too many WebSockets are passed on by this pod"));
        };
        let onward = onward(&request)?;
        let answer = timeout(ANSWER_TIMEOUT, self.ask(onward)).await;
        let mut answer = answer.map_err(|_elapsed| {
            Problem::new(StatusCode::GATEWAY_TIMEOUT, "relay_timeout", "the relay did not answer")
        })??;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(without_hops(answer).map(boxed));
        }
        let relay = hyper::upgrade::on(&mut answer);
        let mut original = http::Request::from_parts(request.parts, ());
        let client = hyper::upgrade::on(&mut original);
        let (closing, gauge) = (self.closing.clone(), Open::new(&self.metrics, room));
        self.tasks.spawn(async move {
            let _open = gauge;
            let copied = async {
                let (client, relay) = tokio::try_join!(client, relay)?;
                copy(client, relay).await.map_err(anyhow::Error::from)
            };
            tokio::select! {
                result = copied => if let Err(error) = result {
                    tracing::debug!(%error, "a tunnel ended");
                },
                () = closing.cancelled() => {}
            }
        });
        Ok(answer.map(|_| full(Bytes::new())))
    }

    async fn ask(
        &self,
        request: http::Request<Empty<Bytes>>,
    ) -> Result<http::Response<hyper::body::Incoming>, Problem> {
        let away = |error: anyhow::Error| {
            Problem::new(StatusCode::BAD_GATEWAY, "relay_away", "the relay in this pod is away")
                .because(error)
        };
        let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(self.relay))
            .await
            .map_err(|e| away(e.into()))?
            .map_err(|e| away(e.into()))?;
        // Frames are small and should leave at once; without it they only leave later.
        let _ = stream.set_nodelay(true);
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|e| away(e.into()))?;
        let closing = self.closing.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                // Ends with an upgrade, or when the body of a refusal has been read.
                _ = connection.with_upgrades() => {}
                () = closing.cancelled() => {}
            }
        });
        sender.send_request(request).await.map_err(|e| away(e.into()))
    }
}

async fn copy(client: Upgraded, relay: Upgraded) -> std::io::Result<()> {
    copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(relay)).await.map(drop)
}

/// A tunnel that counts while it exists.
struct Open {
    metrics: Metrics,
    _room: OwnedSemaphorePermit,
}

impl Open {
    fn new(metrics: &Metrics, room: OwnedSemaphorePermit) -> Self {
        metrics.tunnels.inc();
        Self { metrics: metrics.clone(), _room: room }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics.tunnels.dec();
    }
}

fn is_upgrade(headers: &HeaderMap) -> bool {
    let has = |name: HeaderName, word: &str| {
        let values = headers.get_all(name).iter().filter_map(|v| v.to_str().ok());
        values.flat_map(|v| v.split(',')).any(|v| v.trim().eq_ignore_ascii_case(word))
    };
    has(CONNECTION, "upgrade") && has(UPGRADE, "websocket")
}

/// The same request for the relay: Host, Origin, cookies and tokens as they came, and who it came
/// from as far as we know, not as the client says.
fn onward(request: &Request) -> Result<http::Request<Empty<Bytes>>, Problem> {
    let parts = &request.parts;
    let mut headers = parts.headers.clone();
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let client = &request.client;
    let mut set = |name: HeaderName, value: &str| {
        match HeaderValue::from_str(value) {
            Ok(value) => headers.insert(name, value),
            Err(_) => headers.remove(name),
        };
    };
    set(FORWARDED_FOR, &client.address.to_string());
    set(FORWARDED_PROTO, if client.https { "https" } else { "http" });
    set(FORWARDED_HOST, client.host.as_deref().unwrap_or_default());
    if !headers.contains_key(HOST) {
        return Err(Problem::bad_request("the request has no Host"));
    }
    let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let mut onward = http::Request::new(Empty::new());
    *onward.uri_mut() = path.parse().map_err(|e: http::uri::InvalidUri| Problem::internal(e))?;
    *onward.headers_mut() = headers;
    Ok(onward)
}

fn without_hops<B>(mut response: http::Response<B>) -> http::Response<B> {
    for name in HOP_BY_HOP {
        response.headers_mut().remove(name);
    }
    response
}
