//! The stream beneath a WebSocket: what goes out, and how much of it the system has taken.
//!
//! Frames are shared by all clients that get them, so they do not pass through the WebSocket library, which
//! would copy each into a buffer of the socket's own and keep that buffer at its largest size for as long as
//! the socket lives. They wait here, as they are, until the system takes them; the library's own frames
//! (answers to pings, the close) line up behind them.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::Bytes;

/// Frames handed to the system in one call.
const AT_ONCE: usize = 64;
/// An empty queue that has grown beyond this many places is given back.
const KEPT: usize = 8;

/// The stream.
#[derive(Debug)]
pub struct Traffic<S> {
    inner: S,
    /// Whole frames, but that the system may have taken the beginning of the first.
    queue: VecDeque<Bytes>,
    written: u64,
}

impl<S> Traffic<S> {
    /// Nothing written yet.
    pub const fn new(inner: S) -> Self {
        Self { inner, queue: VecDeque::new(), written: 0 }
    }

    /// Bytes that the system has taken so far.
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Lines up whole frames. [`Traffic::poll_drain`] writes them.
    pub fn queue(&mut self, frame: Bytes) {
        self.queue.push_back(frame);
    }

    fn took(&mut self, mut bytes: usize) {
        self.written += bytes as u64;
        while let Some(first) = self.queue.front_mut() {
            if first.len() > bytes {
                drop(first.split_to(bytes));
                return;
            }
            bytes -= first.len();
            self.queue.pop_front();
        }
        if self.queue.capacity() > KEPT {
            self.queue = VecDeque::new();
        }
    }
}

impl<S: AsyncWrite + Unpin> Traffic<S> {
    /// Writes until the system has everything.
    pub fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); AT_ONCE];
            for (slice, frame) in slices.iter_mut().zip(&self.queue) {
                *slice = IoSlice::new(frame);
            }
            let slices = &slices[..self.queue.len().min(AT_ONCE)];
            let taken = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, slices))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.took(taken);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Traffic<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Traffic<S> {
    /// Takes all of it: the library hands over whole frames, and none of ours may come in between. They are
    /// small, and so few that the session stops listening before they become many.
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.queue(Bytes::copy_from_slice(buf));
        if let Poll::Ready(Err(error)) = self.poll_drain(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Takes everything, and counts the calls.
    #[derive(Default)]
    struct Calls(Vec<usize>);

    impl AsyncWrite for Calls {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.0.push(buf.len());
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let taken = bufs.iter().map(|b| b.len()).sum();
            self.0.push(taken);
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_is_ready_leaves_in_one_call() {
        let mut traffic = Traffic::new(Calls::default());
        for _ in 0..50 {
            traffic.queue(Bytes::from_static(b"a frame"));
        }
        traffic.flush().await.expect("written");
        assert_eq!(traffic.inner.0, [350]);
    }

    #[tokio::test]
    async fn frames_of_both_kinds_leave_whole_and_in_order_and_leave_no_memory_behind() {
        // The system takes few bytes at a time.
        let (inner, mut client) = tokio::io::duplex(7);
        let mut traffic = Traffic::new(inner);
        let reading = tokio::spawn(async move {
            let mut read = String::new();
            client.read_to_string(&mut read).await.map(|_| read)
        });
        let mut expected = String::new();
        for n in 0..200 {
            let (frame, pong) = (format!("<frame {n}>"), format!("<pong {n}>"));
            expected.push_str(&frame);
            traffic.queue(frame.into());
            if n % 10 == 0 {
                expected.push_str(&pong);
                traffic.write_all(pong.as_bytes()).await.expect("taken");
            }
        }
        traffic.flush().await.expect("written");
        assert_eq!(traffic.written(), expected.len() as u64);
        assert_eq!(traffic.queue.capacity(), 0);
        drop(traffic);
        assert_eq!(reading.await.expect("no panic").expect("read"), expected);
    }
}
