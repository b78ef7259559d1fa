//! A connection of the relay's port until it is a WebSocket: counted by the network that it comes from, so that
//! nobody, known or not, holds the door shut for the others.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use knm_shared::crowd::{Counted, Crowd, Crowded};
use knm_shared::forwarded::Proxies;
use knm_shared::http::Transport;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;

/// Connections from one address at a time that are no WebSockets yet: a quarter of those that the port takes.
pub(super) const OF_ADDRESS: u32 = 512;

/// How the port takes connections in. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Door {
    proxies: Proxies,
    crowd: Crowd,
}

impl Door {
    pub(super) fn new(proxies: Proxies) -> Self {
        Self { proxies, crowd: Crowd::new(OF_ADDRESS) }
    }

    /// A proxy speaks for many, and so does this host: what another container of the pod passes on comes from
    /// there.
    fn count(&self, address: IpAddr) -> Result<Counted, Crowded> {
        let address = address.to_canonical();
        self.crowd.enter(address, address.is_loopback() || self.proxies.trusts(address))
    }
}

impl Transport for Door {
    type Io = Visiting<TcpStream>;

    async fn open(&self, mut stream: TcpStream, peer: SocketAddr) -> io::Result<Self::Io> {
        match self.count(peer.ip()) {
            Ok(counted) => Ok(Visiting { stream, _counted: counted }),
            Err(crowded) => {
                say_crowded(&mut stream).await;
                Err(crowded.into())
            }
        }
    }
}

/// A proxy that nobody has named would take a connection that is only closed for a relay that is broken, and send
/// nobody here for a while.
async fn say_crowded(stream: &mut TcpStream) {
    const BODY: &str =
        r#"{"type":"about:blank","title":"too many connections from this address","status":503}"#;
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
         content-length: {}\r\nretry-after: 5\r\nconnection: close\r\n\r\n{BODY}",
        BODY.len()
    );
    // It fits into the socket's buffer, and whoever does not take it has gone.
    if let Err(error) = stream.write_all(answer.as_bytes()).await {
        tracing::debug!(%error, "nobody hears that there is no room");
    }
}

/// Counts until it is dropped, or has become a WebSocket.
pub(super) struct Visiting<T> {
    stream: T,
    _counted: Counted,
}

impl<T> Visiting<T> {
    /// The connection itself, which is let in.
    pub(super) fn into_inner(self) -> T {
        self.stream
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Visiting<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Visiting<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;

    fn door() -> Door {
        Door::new(Proxies::new(&["10.0.0.0/8".into()]).expect("a network"))
    }

    /// Both ends of a connection.
    async fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (ours, theirs) = tokio::join!(listener.accept(), TcpStream::connect(address));
        (ours.expect("accepted").0, theirs.expect("connected"))
    }

    #[test]
    fn nobody_holds_more_than_a_share_but_proxies_and_this_host() {
        let door = door();
        let count = |address: &str| door.count(address.parse().expect("an address"));
        let held = (0..).map_while(|_| count("203.0.113.9").ok()).collect::<Vec<_>>();
        assert_eq!(held.len(), OF_ADDRESS as usize);
        assert!(count("::ffff:203.0.113.9").is_err(), "it is the same");
        let others = ["203.0.113.10", "10.1.2.3", "::ffff:10.1.2.3", "127.0.0.1", "::1"];
        let mut all = Vec::new();
        for address in others {
            all.push(count(address).expect(address));
        }
        for address in &others[1..] {
            all.extend((0..OF_ADDRESS).map(|_| count(address).expect(address)));
        }
        drop((held, all));
        assert!(door.crowd.is_empty(), "nothing is kept");
    }

    #[tokio::test]
    async fn a_connection_counts_until_it_is_let_in_and_one_too_many_is_told_so() {
        let (door, stranger) = (door(), ([203, 0, 113, 9], 1).into());
        let (ours, _theirs) = connection().await;
        let visiting = door.open(ours, stranger).await.expect("room");
        let held: Vec<_> = (1..OF_ADDRESS).map(|_| door.count(stranger.ip())).collect();

        let (ours, mut theirs) = connection().await;
        let refused = door.open(ours, stranger).await.err().expect("no room");
        assert!(Crowded::is_behind(&refused), "{refused}");
        let mut answer = String::new();
        theirs.read_to_string(&mut answer).await.expect("answered and closed");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
        let problem: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(problem["status"], 503);

        let _socket = visiting.into_inner();
        let (ours, _theirs) = connection().await;
        drop(door.open(ours, stranger).await.expect("room again"));
        drop(held);
        assert!(door.crowd.is_empty(), "nothing is kept");
    }
}
