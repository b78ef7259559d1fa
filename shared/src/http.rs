//! The accept loop that every HTTP server of the project uses: bounded, patient with a system that
//! has run out of file descriptors, and drained when it stops.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::crowd::Crowded;

/// A pause after the system could not accept, long enough for descriptors to become free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a server allows.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time; more wait in the kernel's backlog. One that has been upgraded no
    /// longer counts.
    pub connections: usize,
    /// For the head of a request to arrive; also for a kept connection to be used again.
    pub header_timeout: Duration,
    /// For the head of a request, in bytes.
    pub header_bytes: usize,
    /// For requests in flight to end once the server stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4_096,
            header_timeout: Duration::from_secs(20),
            header_bytes: 32 * 1024,
            drain: Duration::from_secs(10),
        }
    }
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    /// As configured.
    pub address: SocketAddr,
    /// Why not.
    pub source: io::Error,
}

/// Listens. Port 0 takes a free one.
///
/// # Errors
/// When the address is taken or not this host's.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError { address, source })
}

/// A connection that never came to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unserved {
    /// The head, or what comes before it, did not arrive within [`Limits::header_timeout`].
    SlowHead,
    /// What arrived is no HTTP, or longer than [`Limits::header_bytes`].
    BadHead,
    /// Its network has as many connections as it may have.
    Crowded,
}

/// What an accepted connection becomes before anything is read from it: itself, or encrypted.
pub trait Transport: Clone + Send + 'static {
    /// What HTTP is spoken over.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Makes it. Given up after [`Limits::header_timeout`].
    fn open(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::Io>> + Send;
}

/// The connection itself.
#[derive(Debug, Clone, Copy)]
pub struct Plain;

impl Transport for Plain {
    type Io = TcpStream;

    async fn open(&self, stream: TcpStream, _peer: SocketAddr) -> io::Result<TcpStream> {
        Ok(stream)
    }
}

/// Serves HTTP/1.1 until `shutdown`, then lets requests in flight end within `limits.drain` and cuts
/// the rest off. `service` makes the service of each connection from its peer's address. Upgrades
/// work; an upgraded connection belongs to whoever upgraded it.
pub async fn serve<F, S, B>(
    listener: TcpListener,
    service: F,
    limits: Limits,
    shutdown: CancellationToken,
) where
    F: Fn(SocketAddr) -> S,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    serve_over(listener, Plain, service, limits, |_, _| {}, shutdown).await;
}

/// [`serve`] over any transport, which also tells of connections that never came to a request.
pub async fn serve_over<T, F, S, B>(
    listener: TcpListener,
    transport: T,
    service: F,
    limits: Limits,
    tell: impl Fn(SocketAddr, Unserved) + Clone + Send + 'static,
    shutdown: CancellationToken,
) where
    T: Transport,
    F: Fn(SocketAddr) -> S,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let room = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_header_size(limits.header_bytes);

    loop {
        let (stream, peer, permit) = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &room) => accepted,
            // Reaps those that have ended.
            Some(_) = connections.join_next() => continue,
        };
        let (shutdown, tell, builder) = (shutdown.clone(), tell.clone(), builder.clone());
        let (transport, service) = (transport.clone(), service(peer));
        connections.spawn(async move {
            let _permit = permit;
            let opened = tokio::select! {
                opened = timeout(limits.header_timeout, transport.open(stream, peer)) => opened,
                () = shutdown.cancelled() => return,
            };
            let io = match opened {
                Ok(Ok(io)) => io,
                Ok(Err(error)) => {
                    tracing::debug!(%peer, %error, "connection not opened");
                    let crowded = Crowded::is_behind(&error);
                    let unserved = if crowded { Unserved::Crowded } else { Unserved::BadHead };
                    return tell(peer, unserved);
                }
                Err(_elapsed) => return tell(peer, Unserved::SlowHead),
            };
            let mut connection =
                builder.serve_connection(TokioIo::new(io), service).with_upgrades();
            let result = tokio::select! {
                result = &mut connection => result,
                () = shutdown.cancelled() => {
                    Pin::new(&mut connection).graceful_shutdown();
                    (&mut connection).await
                }
            };
            if let Err(error) = result {
                tracing::debug!(%peer, %error, "connection ended");
                if let Some(unserved) = unserved(&error) {
                    tell(peer, unserved);
                    if unserved == Unserved::SlowHead
                        && let Some(parts) = connection.into_parts()
                    {
                        say_timeout(parts.io.into_inner()).await;
                    }
                }
            }
        });
    }

    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout(limits.drain, drained).await.is_err() {
        tracing::warn!(left = connections.len(), "requests did not end in time; cutting them off");
    }
    connections.shutdown().await;
}

/// hyper says nothing to a client whose head does not arrive; RFC 9110 section 15.5.9 has a word for it.
async fn say_timeout(mut stream: impl AsyncWrite + Unpin) {
    const BODY: &str =
        r#"{"type":"about:blank","title":"the request did not arrive","status":408}"#;
    let answer = format!(
        "HTTP/1.1 408 Request Timeout\r\ncontent-type: application/problem+json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{BODY}",
        BODY.len()
    );
    // It fits into the socket's buffer, and whoever does not take it has gone.
    if let Err(error) = stream.write_all(answer.as_bytes()).await {
        tracing::debug!(%error, "nobody hears of the timeout");
    }
}

fn unserved(error: &hyper::Error) -> Option<Unserved> {
    if error.is_timeout() {
        Some(Unserved::SlowHead)
    } else {
        error.is_parse().then_some(Unserved::BadHead)
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    let permit = room.clone().acquire_owned().await.expect("the semaphore is never closed");
    let mut complained = false;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Frames and answers are small and must leave at once. Without it they only leave
                // later, and a socket that is gone already shows when it is read.
                let _ = stream.set_nodelay(true);
                return (stream, peer, permit);
            }
            Err(error) if is_peers(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut complained, true) {
                    tracing::error!(%error, "cannot accept connections; trying on");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The peer went away before it was accepted: nothing is wrong here.
fn is_peers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use hyper::body::Bytes;
    use hyper::service::service_fn;
    use tokio::io::AsyncReadExt;
    use tokio::sync::Notify;

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    async fn start(
        limits: Limits,
    ) -> (SocketAddr, Arc<Notify>, Arc<Notify>, CancellationToken, JoinSet<()>) {
        let listener = bind(([127, 0, 0, 1], 0).into()).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (arrived, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let shutdown = CancellationToken::new();
        let mut server = JoinSet::new();
        let (a, r, token) = (arrived.clone(), release.clone(), shutdown.clone());
        server.spawn(serve(
            listener,
            move |_| {
                let (a, r) = (a.clone(), r.clone());
                service_fn(move |_: Request<Incoming>| {
                    let (a, r) = (a.clone(), r.clone());
                    async move {
                        a.notify_one();
                        r.notified().await;
                        Ok(Response::new(Full::new(Bytes::from_static(b"done"))))
                    }
                })
            },
            limits,
            token,
        ));
        (address, arrived, release, shutdown, server)
    }

    #[tokio::test]
    async fn a_request_in_flight_is_answered_before_the_server_stops() {
        let (address, arrived, release, shutdown, mut server) = start(Limits::default()).await;
        let mut client = TcpStream::connect(address).await.expect("connects");
        client.write_all(REQUEST).await.expect("sent");
        arrived.notified().await;
        shutdown.cancel();
        release.notify_one();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("answered and closed");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
        server.join_next().await.expect("a server").expect("ends well");
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn one_that_does_not_end_is_cut_off() {
        let limits = Limits { drain: Duration::from_millis(20), ..Limits::default() };
        let (address, arrived, _release, shutdown, mut server) = start(limits).await;
        let mut client = TcpStream::connect(address).await.expect("connects");
        client.write_all(REQUEST).await.expect("sent");
        arrived.notified().await;
        shutdown.cancel();
        server.join_next().await.expect("a server").expect("ends well");
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer).await;
        assert!(answer.is_empty());
    }

    #[tokio::test]
    async fn over_the_limit_a_connection_waits_its_turn() {
        let limits = Limits { connections: 1, ..Limits::default() };
        let (address, arrived, release, _shutdown, _server) = start(limits).await;
        let mut first = TcpStream::connect(address).await.expect("connects");
        first.write_all(REQUEST).await.expect("sent");
        arrived.notified().await;
        let mut second = TcpStream::connect(address).await.expect("the kernel takes it");
        second.write_all(REQUEST).await.expect("sent");
        drop(first);
        arrived.notified().await;
        release.notify_waiters();
        release.notify_one();
        let mut start = [0; 12];
        second.read_exact(&mut start).await.expect("answered");
        assert_eq!(&start, b"HTTP/1.1 200");
    }

    #[tokio::test]
    async fn a_head_that_does_not_arrive_is_not_waited_for() {
        let limits = Limits { header_timeout: Duration::from_millis(50), ..Limits::default() };
        let (address, _arrived, _release, _shutdown, _server) = start(limits).await;
        let mut client = TcpStream::connect(address).await.expect("connects");
        client.write_all(b"GET / HT").await.expect("sent");
        let mut answer = Vec::new();
        let read = timeout(Duration::from_secs(5), client.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "the connection is still open");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.ends_with("\"status\":408}"), "{answer}");
    }

    #[tokio::test]
    async fn a_connection_that_is_not_taken_in_is_told_of() {
        #[derive(Clone)]
        struct Closed(bool);
        impl Transport for Closed {
            type Io = TcpStream;

            async fn open(&self, _stream: TcpStream, _peer: SocketAddr) -> io::Result<TcpStream> {
                Err(if self.0 { Crowded.into() } else { io::Error::other("no TLS") })
            }
        }
        for (crowded, expected) in [(true, Unserved::Crowded), (false, Unserved::BadHead)] {
            let listener = bind(([127, 0, 0, 1], 0).into()).await.expect("a free port");
            let address = listener.local_addr().expect("bound");
            let (told, mut all) = tokio::sync::mpsc::unbounded_channel();
            let tell = move |_, unserved| told.send(unserved).expect("somebody listens");
            let never = |_| service_fn(|_| async { Ok(Response::new(Full::<Bytes>::default())) });
            let mut server = JoinSet::new();
            let (limits, stop) = (Limits::default(), CancellationToken::new());
            server.spawn(serve_over(listener, Closed(crowded), never, limits, tell, stop));
            let _client = TcpStream::connect(address).await.expect("the kernel takes it");
            assert_eq!(all.recv().await, Some(expected));
        }
    }
}
