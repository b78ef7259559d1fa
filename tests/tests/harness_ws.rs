//! The watcher against a relay that is made up: it resumes by cursor, and it sees what is wrong.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use knm_shared::ids::TaskId;
use knm_tests::ws::{Connection, Event, Message, RefusedUpgrade, Watcher};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message as WsMessage;
use tokio_tungstenite::{WebSocketStream, accept_async};

const TASK: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
const SOON: Duration = Duration::from_secs(10);

fn task() -> TaskId {
    TASK.parse().expect("a UUID")
}

fn head(status: &str, done: u32) -> Value {
    json!({"status": status, "current": done, "total": 2, "percent": done * 50, "counts":
           {"total": 2, "pending": 2 - done, "running": 0, "succeeded": done, "failed": 0,
            "skipped": 0, "cancelled": 0}})
}

fn join(mut a: Value, b: Value) -> Value {
    let (Value::Object(map), Value::Object(more)) = (&mut a, b) else { panic!("objects") };
    map.extend(more);
    a
}

fn hello() -> Value {
    json!({"type": "hello", "version": 1, "pod": "p", "release": "r", "epoch": "e",
           "mode": "live", "ping_interval_ms": 20_000})
}

fn snapshot() -> Value {
    let rest = json!({"id": TASK, "user_id": "u", "cluster": "c", "action": "label", "reason": "",
                      "seq": 1, "created_at": "2026-01-01T00:00:00Z",
                      "updated_at": "2026-01-01T00:00:00Z"});
    json!({"type": "snapshot", "task_id": TASK, "epoch": "e", "seq": 1, "cursor": "e:1", "page": 0,
           "last": true, "task": join(rest, head("queued", 0)),
           "items": [{"ordinal": 0, "node": "a", "status": "pending"},
                     {"ordinal": 1, "node": "b", "status": "pending"}]})
}

fn step(kind: &str, prev: i64, status: &str, done: u32) -> Value {
    let frame = json!({"type": kind, "task_id": TASK, "epoch": "e", "prev": prev,
                       "seq": prev + 1, "cursor": format!("e:{}", prev + 1),
                       "published_us": jiff::Timestamp::now().as_microsecond(),
                       "items": [{"ordinal": done - 1, "status": "succeeded"}]});
    join(frame, head(status, done))
}

struct Relay(TcpListener);

impl Relay {
    async fn start() -> anyhow::Result<(Self, String)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        Ok((Self(listener), address))
    }

    /// Takes a client, greets it and reads what it subscribes to.
    async fn accept(&self) -> anyhow::Result<(WebSocketStream<TcpStream>, Value)> {
        let (socket, _) = self.0.accept().await?;
        let mut client = accept_async(socket).await?;
        say(&mut client, hello()).await?;
        let asked = client.next().await.expect("a message")?;
        Ok((client, serde_json::from_str(asked.to_text()?)?))
    }
}

async fn say(client: &mut WebSocketStream<TcpStream>, frame: Value) -> anyhow::Result<()> {
    Ok(client.send(WsMessage::text(frame.to_string())).await?)
}

#[tokio::test]
async fn a_cut_connection_is_resumed_by_cursor() -> anyhow::Result<()> {
    let (relay, address) = Relay::start().await?;
    let serve = async {
        let (mut client, asked) = relay.accept().await?;
        assert_eq!(asked, json!({"type": "subscribe", "task_id": TASK}));
        say(&mut client, snapshot()).await?;
        say(&mut client, step("progress", 1, "running", 1)).await?;
        drop(client);
        let (mut client, asked) = relay.accept().await?;
        assert_eq!(asked, json!({"type": "subscribe", "task_id": TASK, "cursor": "e:2"}));
        say(&mut client, step("complete", 2, "completed", 2)).await?;
        anyhow::Ok(client)
    };
    let watch = async {
        let mut watcher = Watcher::new(&address, "t");
        watcher.subscribe(task()).await?;
        watcher.until_all_complete(SOON).await?;
        assert_eq!((watcher.connects(), watcher.frames()), (2, 5));
        assert_eq!(watcher.latencies().len(), 2);
        anyhow::Ok(())
    };
    let (served, watched) = tokio::join!(serve, watch);
    watched?;
    served.map(drop)
}

#[tokio::test]
async fn a_gap_is_seen() -> anyhow::Result<()> {
    let (relay, address) = Relay::start().await?;
    let serve = async {
        let (mut client, _) = relay.accept().await?;
        say(&mut client, snapshot()).await?;
        say(&mut client, step("progress", 2, "running", 1)).await?;
        anyhow::Ok(client)
    };
    let watch = async {
        let mut watcher = Watcher::new(&address, "t");
        watcher.subscribe(task()).await?;
        anyhow::Ok(watcher.until_all_complete(SOON).await.expect_err("a gap"))
    };
    let (served, error) = tokio::join!(serve, watch);
    served?;
    let said = format!("{:#}", error?);
    assert!(said.contains("a step from 2 for a client at 1"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_close_is_told_with_its_code() -> anyhow::Result<()> {
    let (relay, address) = Relay::start().await?;
    let serve = async {
        let (mut client, _) = relay.accept().await?;
        let frame = tokio_tungstenite::tungstenite::protocol::CloseFrame {
            code: 4408.into(),
            reason: "slow".into(),
        };
        client.close(Some(frame)).await?;
        anyhow::Ok(client)
    };
    let watch = async {
        let mut watcher = Watcher::new(&address, "t");
        watcher.subscribe(task()).await?;
        watcher.next().await?;
        watcher.next().await
    };
    let (served, event) = tokio::join!(serve, watch);
    served?;
    assert_eq!(event?, Event::Closed(Some((4408, "slow".into()))));
    Ok(())
}

#[tokio::test]
async fn a_refused_upgrade_is_told_with_its_body() -> anyhow::Result<()> {
    use tokio::io::AsyncWriteExt as _;

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let serve = async {
        let (mut socket, _) = listener.accept().await?;
        let answer = "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/problem+json\r\n\
                      content-length: 2\r\n\r\n{}";
        socket.write_all(answer.as_bytes()).await?;
        anyhow::Ok(socket)
    };
    let (served, opened) = tokio::join!(serve, Connection::open(&address, None));
    served?;
    let error = opened.expect_err("no upgrade");
    let refused = error.downcast_ref::<RefusedUpgrade>().expect("a refusal");
    assert_eq!((refused.status, refused.body.as_str()), (401, "{}"));
    assert_eq!(refused.content_type, "application/problem+json");
    Ok(())
}

#[tokio::test]
async fn what_is_no_frame_is_an_error() -> anyhow::Result<()> {
    let (relay, address) = Relay::start().await?;
    let serve = async {
        let (socket, _) = relay.0.accept().await?;
        let mut client = accept_async(socket).await?;
        client.send(WsMessage::text("{\"type\":\"progress\"}")).await?;
        say(&mut client, json!({"type": "of a later version", "x": 1})).await?;
        anyhow::Ok(client)
    };
    let watch = async {
        let mut connection = Connection::open(&address, Some("t")).await?;
        assert!(connection.next().await.is_err());
        connection.next().await
    };
    let (served, later) = tokio::join!(serve, watch);
    served?;
    let Message::Frame(frame, _) = later? else { panic!("a frame") };
    assert_eq!(*frame, knm_tests::ws::frame::ServerFrame::Unknown);
    Ok(())
}
