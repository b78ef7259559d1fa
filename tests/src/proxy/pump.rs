//! Carries bytes from one socket to the other under the rules in force.
//!
//! Each direction is a reader and a writer with a bounded queue between them: the reader notes when
//! bytes came, the writer decides when they go. A full queue makes the reader stop reading, which is
//! what a full network does.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::Shared;
use super::fault::{Direction, Fault, Rule};
use super::link::{Command, Link};
use super::startup::Startup;
use super::trap::Verdict;

const CHUNK: usize = 16 * 1024;
/// 4 MiB on the way at most, as much as a socket's buffers hold.
const QUEUE: usize = 256;

/// Bytes and the time of their arrival.
type Chunk = (Instant, Vec<u8>);

/// Until both directions have ended.
pub(super) async fn both(
    client: &mut TcpStream,
    server: &mut TcpStream,
    link: &Arc<Link>,
    shared: &Arc<Shared>,
) {
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    tokio::join!(
        one(from_client, to_server, Direction::ToServer, link, shared),
        one(from_server, to_client, Direction::ToClient, link, shared),
    );
}

async fn one(
    from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    direction: Direction,
    link: &Arc<Link>,
    shared: &Arc<Shared>,
) {
    let (sender, queue) = mpsc::channel(QUEUE);
    let read = read(from, sender, direction, link, shared);
    let write = Writer { to, direction, link, shared, rules: shared.rules.subscribe() }.run(queue);
    tokio::join!(read, write);
}

async fn read(
    mut from: ReadHalf<'_>,
    queue: mpsc::Sender<Chunk>,
    direction: Direction,
    link: &Arc<Link>,
    shared: &Arc<Shared>,
) {
    let mut startup = (direction == Direction::ToServer).then(Startup::default);
    loop {
        let mut chunk = vec![0; CHUNK];
        match from.read(&mut chunk).await {
            Ok(0) => return,
            // The other side is told in the same way.
            Err(_) => return link.end(Command::Reset),
            Ok(n) => chunk.truncate(n),
        }
        if direction == Direction::ToServer {
            shared.from_clients.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        }
        if let Some(name) = startup.as_mut().and_then(|s| s.feed(&chunk)) {
            link.name(name);
            startup = None;
        }
        if shared.traps.check(link, direction, &chunk) == Verdict::Swallow {
            return link.end(Command::Cut);
        }
        if queue.send((Instant::now(), chunk)).await.is_err() {
            return;
        }
    }
}

struct Writer<'a> {
    to: WriteHalf<'a>,
    direction: Direction,
    link: &'a Arc<Link>,
    shared: &'a Arc<Shared>,
    rules: watch::Receiver<Arc<[Rule]>>,
}

impl Writer<'_> {
    async fn run(mut self, mut queue: mpsc::Receiver<Chunk>) {
        let (link, direction) = (self.link, self.direction);
        tokio::select! {
            () = link.half_closed(direction) => {}
            failed = async {
                while let Some(chunk) = queue.recv().await {
                    if self.deliver(chunk).await.is_err() {
                        return true;
                    }
                }
                // The end of the stream waits like its bytes.
                self.wait_until_due(Instant::now()).await;
                false
            } => if failed {
                return link.end(Command::Reset);
            },
        }
        let _ = self.to.shutdown().await;
        // After a half-close the sender may go on; nobody gets it.
        while queue.recv().await.is_some() {}
    }

    /// Returns the fault under which bytes that came at `arrived` may go now.
    async fn wait_until_due(&mut self, arrived: Instant) -> Fault {
        loop {
            let fault = self.link.fault(&self.rules.borrow_and_update(), self.direction);
            let due = match fault {
                Fault::BlackHole => None,
                Fault::Delay(delay) => Some(arrived + delay),
                Fault::None | Fault::Throttle { .. } | Fault::Torn { .. } => return fault,
            };
            let wait = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = wait => return fault,
                changed = self.rules.changed() => if changed.is_err() { return Fault::None },
            }
        }
    }

    async fn deliver(&mut self, (arrived, chunk): Chunk) -> std::io::Result<()> {
        let mut rest = chunk.as_slice();
        while !rest.is_empty() {
            let fault = self.wait_until_due(arrived).await;
            let (size, pause) = match fault {
                Fault::Torn { bytes } => (bytes.max(1), None),
                Fault::Throttle { bytes_per_second } => throttled(bytes_per_second),
                _ => (rest.len(), None),
            };
            let (piece, later) = rest.split_at(size.min(rest.len()));
            self.to.write_all(piece).await?;
            self.count(piece.len());
            rest = later;
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                // The other end gets a chance to read half a message.
                None => tokio::task::yield_now().await,
            }
        }
        Ok(())
    }

    fn count(&self, bytes: usize) {
        let counter = match self.direction {
            Direction::ToServer => &self.shared.to_server,
            Direction::ToClient => &self.shared.to_client,
        };
        counter.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// Size of a piece and the pause after it: fifty pieces a second, or single bytes.
fn throttled(bytes_per_second: u32) -> (usize, Option<Duration>) {
    let rate = bytes_per_second.max(1);
    let size = (rate / 50).max(1);
    (size as usize, Some(Duration::from_secs_f64(f64::from(size) / f64::from(rate))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_throttle_keeps_its_rate() {
        for rate in [1, 10, 49, 50, 51, 1_000, 1_000_000] {
            let (size, pause) = throttled(rate);
            let per_second = size as f64 / pause.expect("a pause").as_secs_f64();
            assert!((per_second / f64::from(rate) - 1.0).abs() < 1e-3, "{rate}: {per_second}");
        }
    }
}
