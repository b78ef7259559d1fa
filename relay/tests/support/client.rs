//! A WebSocket client that checks what every client may rely on.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

const PATIENCE: Duration = Duration::from_secs(20);

pub struct Client {
    pub socket: WebSocketStream<TcpStream>,
    pub views: HashMap<String, View>,
    pub mode: String,
}

/// What a client knows of a task.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct View {
    pub epoch: String,
    pub seq: i64,
    pub cursor: String,
    pub items: HashMap<u64, String>,
    pub status: String,
    pub counts: Value,
    pub ends: usize,
    pub paging: Option<(i64, u64)>,
}

impl Client {
    pub async fn connect(address: SocketAddr, token: &str) -> Self {
        let mut client = Self::try_connect(address, token, &[]).await.expect("upgraded");
        let hello = client.frame().await;
        assert_eq!(hello["type"], "hello");
        assert_eq!(hello["version"], 1);
        client.mode = hello["mode"].as_str().expect("a mode").to_owned();
        client
    }

    /// Connects; a refusal is the HTTP status.
    pub async fn try_connect(
        address: SocketAddr,
        token: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, u16> {
        let request = request(address, token, headers);
        let stream = TcpStream::connect(address).await.expect("connects");
        match client_async(request, stream).await {
            Ok((socket, _)) => Ok(Self { socket, views: HashMap::new(), mode: String::new() }),
            Err(Error::Http(response)) => {
                let kind = &response.headers()["content-type"];
                assert_eq!(kind, "application/problem+json");
                Err(response.status().as_u16())
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// One whose system takes little that it does not read itself.
    pub async fn connect_slow(address: SocketAddr, token: &str) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4 * 1024).expect("as small as it goes");
        let stream = socket.connect(address).await.expect("connects");
        let request = request(address, token, &[]);
        let (socket, _) = client_async(request, stream).await.expect("upgraded");
        Self { socket, views: HashMap::new(), mode: String::new() }
    }

    pub async fn say(&mut self, message: Value) {
        self.socket.send(Message::text(message.to_string())).await.expect("sent");
    }

    pub async fn subscribe(&mut self, task: impl ToString, cursor: Option<&str>) {
        let mut message = json!({"type": "subscribe", "task_id": task.to_string()});
        if let Some(cursor) = cursor {
            message["cursor"] = cursor.into();
        }
        self.say(message).await;
    }

    /// The next text frame, taken into account.
    pub async fn frame(&mut self) -> Value {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.socket.next()).await;
            match message.expect("a frame in time").expect("not closed").expect("no error") {
                Message::Text(text) => {
                    let frame: Value = serde_json::from_str(&text).expect("JSON");
                    self.apply(&frame);
                    return frame;
                }
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    /// The next frame of this type; others are taken into account on the way.
    pub async fn until(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.frame().await;
            if frame["type"] == kind {
                return frame;
            }
        }
    }

    /// The close code; frames before it are dropped.
    pub async fn closed(&mut self) -> u16 {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.socket.next()).await;
            match message.expect("closed in time") {
                Some(Ok(Message::Close(frame))) => return frame.expect("a code").code.into(),
                Some(Ok(_)) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    pub fn view(&self, task: impl ToString) -> &View {
        &self.views[&task.to_string()]
    }

    fn apply(&mut self, frame: &Value) {
        let kind = frame["type"].as_str().expect("a type");
        match kind {
            "mode" => self.mode = frame["mode"].as_str().expect("a mode").to_owned(),
            "snapshot" | "progress" | "complete" => {}
            _ => return,
        }
        let Some(task) = frame["task_id"].as_str() else {
            return;
        };
        let view = self.views.entry(task.to_owned()).or_default();
        let seq = frame["seq"].as_i64().expect("a seq");
        let epoch = frame["epoch"].as_str().expect("an epoch");
        if kind == "snapshot" {
            let page = frame["page"].as_u64().expect("a page");
            match view.paging {
                None => {
                    assert_eq!(page, 0);
                    *view = View::default();
                }
                Some((paged, last)) => assert_eq!((seq, page), (paged, last + 1)),
            }
            view.paging = Some((seq, page));
        } else {
            assert_eq!(view.paging, None, "deltas wait for the last page");
            assert_eq!(view.epoch, epoch);
            assert_eq!(frame["prev"].as_i64(), Some(view.seq));
            let end_alone = kind == "complete" && seq == view.seq;
            assert!(seq > view.seq || end_alone, "seq rises");
            assert_eq!(view.ends, 0, "nothing follows the end");
            view.ends += usize::from(kind == "complete");
        }
        for item in frame["items"].as_array().expect("items") {
            let ordinal = item["ordinal"].as_u64().expect("an ordinal");
            let status = item["status"].as_str().expect("a status").to_owned();
            view.items.insert(ordinal, status);
        }
        let head = if kind == "snapshot" { &frame["task"] } else { frame };
        view.status = head["status"].as_str().expect("a status").to_owned();
        view.counts = head["counts"].clone();
        if kind != "snapshot" || frame["last"] == true {
            view.paging = None;
            view.seq = seq;
            view.epoch = epoch.to_owned();
            view.cursor = frame["cursor"].as_str().expect("a cursor").to_owned();
        }
    }
}

fn request(address: SocketAddr, token: &str, headers: &[(&'static str, &str)]) -> Request {
    let url = format!("ws://{address}/api/v1/progress/ws");
    let mut request = url.into_client_request().expect("a request");
    if !token.is_empty() {
        let bearer = format!("Bearer {token}").parse().expect("a header");
        request.headers_mut().insert("authorization", bearer);
    }
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().expect("a header"));
    }
    request
}
