//! Many sockets, of a relay or of socket.io, read by the same client: it counts item changes by what
//! every frame has of them, and takes the time from a stamp that travels in an item's message.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use knm_shared::ids::TaskId;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async};

/// Connecting at a time.
const AT_ONCE: usize = 100;
const PATIENCE: Duration = Duration::from_secs(60);

/// Where sockets go.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// To a relay, to follow a task.
    Relay { address: String, token: String, task: TaskId },
    /// To a socket.io server.
    SocketIo { address: String },
}

/// What all sockets have got.
#[derive(Debug, Default)]
struct Tally {
    items: AtomicU64,
    frames: AtomicU64,
    bytes: AtomicU64,
}

/// In microseconds.
type Times = Arc<Mutex<Vec<i64>>>;

/// Open sockets. They are closed when it is dropped.
pub(crate) struct Crowd {
    tally: Arc<Tally>,
    times: Vec<Times>,
    _readers: JoinSet<()>,
}

/// Counts at some moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) items: u64,
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
}

impl Crowd {
    /// Opens so many sockets; returns when all of them follow.
    pub(crate) async fn gather(place: &Place, sockets: usize) -> anyhow::Result<Self> {
        let tally = Arc::new(Tally::default());
        let (mut times, mut readers) = (Vec::new(), JoinSet::new());
        while times.len() < sockets {
            let mut coming = JoinSet::new();
            for _ in 0..AT_ONCE.min(sockets - times.len()) {
                let place = place.clone();
                coming.spawn(async move { Socket::open(&place).await });
            }
            while let Some(come) = coming.join_next().await {
                let own = Times::default();
                readers.spawn(read(come??, Arc::clone(&tally), Arc::clone(&own)));
                times.push(own);
            }
        }
        Ok(Self { tally, times, _readers: readers })
    }

    pub(crate) fn sockets(&self) -> usize {
        self.times.len()
    }

    pub(crate) fn counts(&self) -> Counts {
        let Tally { items, frames, bytes } = &*self.tally;
        let [items, frames, bytes] = [items, frames, bytes].map(|n| n.load(Ordering::Relaxed));
        Counts { items, frames, bytes }
    }

    /// Item changes delivered, all sockets together.
    pub(crate) fn items(&self) -> u64 {
        self.tally.items.load(Ordering::Relaxed)
    }

    /// Waits for so many; says how many there are in the end.
    pub(crate) async fn until(&self, items: u64, patience: Duration) -> u64 {
        let begun = Instant::now();
        while self.items() < items && begun.elapsed() < patience {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.items()
    }

    /// The times since the last call, of all sockets, in microseconds, sorted.
    pub(crate) fn take_times(&self) -> Vec<i64> {
        let take =
            |own: &Times| std::mem::take(&mut *own.lock().unwrap_or_else(PoisonError::into_inner));
        let mut times: Vec<i64> = self.times.iter().flat_map(take).collect();
        times.sort_unstable();
        times
    }
}

/// Microseconds since 1970.
pub(crate) fn now_us() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

async fn read(mut socket: Socket, tally: Arc<Tally>, times: Times) {
    while let Some(text) = socket.next().await {
        let (mut items, now) = (0, now_us());
        for item in text.split("\"ordinal\":").skip(1) {
            items += 1;
            // Without a stamp there is nothing to take the time of.
            if let Some((_, rest)) = item.split_once("\"message\":\"")
                && let Some((stamp, _)) = rest.split_once('"')
                && let Ok(stamp) = stamp.parse::<i64>()
                && stamp > 0
            {
                times.lock().unwrap_or_else(PoisonError::into_inner).push(now - stamp);
            }
        }
        tally.frames.fetch_add(1, Ordering::Relaxed);
        tally.bytes.fetch_add(text.len() as u64, Ordering::Relaxed);
        tally.items.fetch_add(items, Ordering::Relaxed);
    }
}

/// One socket, whose next message is the next step.
struct Socket {
    stream: WebSocketStream<TcpStream>,
    is_socket_io: bool,
}

impl Socket {
    async fn open(place: &Place) -> anyhow::Result<Self> {
        let opening = async {
            match place {
                Place::Relay { address, token, task } => Self::relay(address, token, *task).await,
                Place::SocketIo { address } => Self::socket_io(address).await,
            }
        };
        tokio::time::timeout(PATIENCE, opening).await.context("a socket does not open")?
    }

    async fn connect(
        address: &str,
        path: &str,
        token: Option<&str>,
    ) -> anyhow::Result<WebSocketStream<TcpStream>> {
        let mut request = format!("ws://{address}{path}").into_client_request()?;
        if let Some(token) = token {
            request.headers_mut().insert("authorization", format!("Bearer {token}").parse()?);
        }
        let socket = TcpStream::connect(address).await.context("cannot connect")?;
        socket.set_nodelay(true)?;
        Ok(client_async(request, socket).await?.0)
    }

    async fn relay(address: &str, token: &str, task: TaskId) -> anyhow::Result<Self> {
        let stream = Self::connect(address, "/api/v1/progress/ws", Some(token)).await?;
        let mut socket = Self { stream, is_socket_io: false };
        let subscribe = serde_json::json!({"type": "subscribe", "task_id": task});
        socket.stream.send(Message::text(subscribe.to_string())).await?;
        socket.until("\"type\":\"snapshot\"").await?;
        Ok(socket)
    }

    /// Engine.IO 4 and Socket.IO 5 over a WebSocket from the start:
    /// <https://socket.io/docs/v4/engine-io-protocol/>.
    async fn socket_io(address: &str) -> anyhow::Result<Self> {
        let path = "/socket.io/?EIO=4&transport=websocket";
        let mut socket =
            Self { stream: Self::connect(address, path, None).await?, is_socket_io: true };
        socket.until("0{").await?;
        socket.stream.send(Message::text("40")).await?;
        socket.until("42[\"joined\"").await?;
        Ok(socket)
    }

    async fn until(&mut self, phrase: &str) -> anyhow::Result<()> {
        while let Some(text) = self.text().await {
            if text.contains(phrase) {
                return Ok(());
            }
        }
        bail!("closed while waiting for {phrase}")
    }

    /// The next step.
    async fn next(&mut self) -> Option<Utf8Bytes> {
        let begins = if self.is_socket_io { "42[\"progress\"" } else { "{\"type\":\"progress\"" };
        loop {
            let text = self.text().await?;
            if text.starts_with(begins) {
                return Some(text);
            }
        }
    }

    async fn text(&mut self) -> Option<Utf8Bytes> {
        loop {
            match self.stream.next().await? {
                // Engine.IO's own ping.
                Ok(Message::Text(text)) if self.is_socket_io && text == "2" => {
                    self.stream.send(Message::text("3")).await.ok()?;
                }
                Ok(Message::Text(text)) => return Some(text),
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }
}
