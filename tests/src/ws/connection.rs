//! One WebSocket.

use std::time::Duration;

use anyhow::{Context as _, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::Message as WsMessage;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::frame::{ClientFrame, ServerFrame};

const CONNECT: Duration = Duration::from_secs(10);

/// The server answered the upgrade request with something else.
#[derive(Debug, thiserror::Error)]
#[error("the upgrade was refused with {status}: {body}")]
pub struct RefusedUpgrade {
    /// HTTP status.
    pub status: u16,
    /// Media type of the body.
    pub content_type: String,
    /// The body.
    pub body: String,
}

/// What came.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// A frame and its text.
    Frame(Box<ServerFrame>, String),
    /// The end, with the server's code and reason if it gave any.
    Closed(Option<(u16, String)>),
}

/// An open WebSocket. Pings are answered while [`Connection::next`] is awaited.
#[derive(Debug)]
pub struct Connection {
    stream: WebSocketStream<TcpStream>,
    ended: bool,
}

impl Connection {
    /// Connects to `host:port` with a bearer token, or without.
    ///
    /// # Errors
    /// [`RefusedUpgrade`] when the answer is no upgrade; others when there is no server.
    pub async fn open(address: &str, token: Option<&str>) -> anyhow::Result<Self> {
        let bearer = token.map(|t| ("authorization", format!("Bearer {t}")));
        Self::open_with(address, bearer.as_slice()).await
    }

    /// Connects with headers of the caller's choice.
    ///
    /// # Errors
    /// See [`Connection::open`].
    pub async fn open_with(
        address: &str,
        headers: &[(&'static str, String)],
    ) -> anyhow::Result<Self> {
        let mut request = format!("ws://{address}/api/v1/progress/ws").into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().context("not a header value")?);
        }
        let connect = async {
            let socket = TcpStream::connect(address)
                .await
                .with_context(|| format!("cannot connect to {address}"))?;
            socket.set_nodelay(true)?;
            match client_async(request, socket).await {
                Ok((stream, _)) => Ok(Self { stream, ended: false }),
                Err(WsError::Http(response)) => {
                    let content_type = response.headers().get("content-type");
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    Err(RefusedUpgrade {
                        status: response.status().as_u16(),
                        content_type: content_type.map(|v| text(v.as_bytes())).unwrap_or_default(),
                        body: response.body().as_deref().map(text).unwrap_or_default(),
                    }
                    .into())
                }
                Err(error) => Err(error.into()),
            }
        };
        tokio::time::timeout(CONNECT, connect).await.context("the upgrade takes too long")?
    }

    /// Says something.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn send(&mut self, frame: &ClientFrame) -> anyhow::Result<()> {
        self.send_text(serde_json::to_string(frame)?).await
    }

    /// Says something that need not be a frame.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn send_text(&mut self, text: impl Into<String>) -> anyhow::Result<()> {
        self.send_raw(WsMessage::text(text.into())).await
    }

    /// Says something that need not be text.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn send_raw(&mut self, message: WsMessage) -> anyhow::Result<()> {
        self.stream.send(message).await.context("cannot write to the WebSocket")
    }

    /// Waits for the next frame or the end. May be cancelled.
    ///
    /// # Errors
    /// When a frame is none of the protocol's: binary, or not as the protocol says. A connection
    /// that breaks is [`Message::Closed`] without a code.
    pub async fn next(&mut self) -> anyhow::Result<Message> {
        while !self.ended {
            match self.stream.next().await {
                Some(Ok(WsMessage::Text(text))) => {
                    let frame = serde_json::from_str(&text)
                        .with_context(|| format!("not a frame of the protocol: {text}"))?;
                    return Ok(Message::Frame(Box::new(frame), text.to_string()));
                }
                Some(Ok(WsMessage::Binary(_))) => bail!("the relay sent a binary message"),
                Some(Ok(WsMessage::Close(close))) => {
                    self.ended = true;
                    // Sends the answer that the stream has queued.
                    let _ = self.stream.flush().await;
                    let close = close.map(|c| (u16::from(c.code), c.reason.to_string()));
                    return Ok(Message::Closed(close));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => self.ended = true,
            }
        }
        Ok(Message::Closed(None))
    }

    /// The next message as it came; `None` at the end. For those who measure rather than check.
    pub async fn next_text(&mut self) -> Option<Utf8Bytes> {
        loop {
            match self.stream.next().await? {
                Ok(WsMessage::Text(text)) => return Some(text),
                Ok(WsMessage::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Says goodbye and waits for the server's.
    pub async fn close(mut self) {
        let closing = async {
            let _ = self.stream.close(None).await;
            while let Some(Ok(_)) = self.stream.next().await {}
        };
        let _ = tokio::time::timeout(Duration::from_secs(2), closing).await;
    }
}
