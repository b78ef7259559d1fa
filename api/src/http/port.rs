//! A connection of the API's port: encrypted if there is a certificate, counted by the network that it
//! comes from, and given up when its other end takes nothing any more.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use knm_shared::crowd::{Counted, Crowd, Crowded};
use knm_shared::http::Transport;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tokio_native_tls::TlsStream;

use super::client::Edge;
use super::tls::Tls;

/// Connections from one address, if it is no proxy of ours: a quarter of those that the server takes.
const OF_ADDRESS: u32 = 1_024;
/// For the other end to take something of what is sent to it.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the API's port takes connections in. Cheap to clone.
#[derive(Clone)]
pub struct Port {
    tls: Option<Tls>,
    edge: Edge,
    crowd: Crowd,
}

impl Port {
    /// With TLS, or without.
    #[must_use]
    pub fn new(tls: Option<Tls>, edge: Edge) -> Self {
        Self { tls, edge, crowd: Crowd::new(OF_ADDRESS) }
    }

    /// Whether connections are encrypted.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    fn count(&self, address: IpAddr) -> Result<Counted, Crowded> {
        self.crowd.enter(address, self.edge.is_proxy(address))
    }
}

impl Transport for Port {
    type Io = Guarded<Stream>;

    async fn open(&self, stream: TcpStream, peer: SocketAddr) -> io::Result<Self::Io> {
        let counted = self.count(peer.ip())?;
        let stream = match &self.tls {
            None => Stream::Plain(stream),
            Some(tls) => Stream::Tls(Box::new(tls.accept(stream).await?)),
        };
        Ok(Guarded { stream, stalled: None, _counted: Some(counted) })
    }
}

/// What bytes travel over.
pub enum Stream {
    /// As they are.
    Plain(TcpStream),
    /// Encrypted.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// A stream that fails once its other end has taken nothing for too long.
pub struct Guarded<T> {
    stream: T,
    /// Runs while something waits to be taken.
    stalled: Option<Pin<Box<Sleep>>>,
    _counted: Option<Counted>,
}

impl<T> Guarded<T> {
    fn watch<R>(
        &mut self,
        cx: &mut Context<'_>,
        progress: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if progress.is_ready() {
            self.stalled = None;
            return progress;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Guarded<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Guarded<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let progress = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.watch(cx, progress)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let progress = Pin::new(&mut this.stream).poll_write_vectored(cx, bytes);
        this.watch(cx, progress)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let progress = Pin::new(&mut this.stream).poll_flush(cx);
        this.watch(cx, progress)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let progress = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.watch(cx, progress)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::Instant;

    use super::*;

    fn guarded<T>(stream: T) -> Guarded<T> {
        Guarded { stream, stalled: None, _counted: None }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (ours, _theirs) = duplex(8);
        let started = Instant::now();
        let error = guarded(ours).write_all(&[0; 64]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(started.elapsed().as_secs(), PATIENCE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_takes_little_is_waited_for() {
        let (ours, mut theirs) = duplex(8);
        let mut ours = guarded(ours);
        let write = async { ours.write_all(&[7; 64]).await };
        let read = async {
            let mut one = [0; 8];
            for _ in 0..8 {
                tokio::time::sleep(PATIENCE - Duration::from_secs(1)).await;
                theirs.read_exact(&mut one).await.expect("written");
            }
        };
        let (written, ()) = tokio::join!(write, read);
        written.expect("it takes a while, and that is all");
    }

    #[tokio::test]
    async fn one_address_takes_no_more_than_its_share() {
        let edge = Edge::new(&["10.0.0.1".into()], "").expect("a network");
        let port = Port::new(None, edge);
        let (stranger, proxy) = ([192, 0, 2, 1].into(), [10, 0, 0, 1].into());
        let mut all: Vec<_> =
            (0..OF_ADDRESS).map(|_| port.count(stranger).expect("room")).collect();
        assert!(port.count(stranger).is_err());
        all.extend((0..2 * OF_ADDRESS).map(|_| port.count(proxy).expect("it speaks for many")));
        all.remove(0);
        drop(port.count(stranger).expect("room again"));
        drop(all);
        assert!(port.crowd.is_empty(), "nothing is kept");
    }
}
