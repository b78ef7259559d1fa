//! What is wrong over an open WebSocket: answered or closed with its code, counted, said once a minute.

use anyhow::Context as _;
use knm_tests::stage::Stage;
use knm_tests::ws::frame::{ClientFrame, ServerFrame};
use knm_tests::ws::{Connection, Message};
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message as WsMessage;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::support::{SOON, told_once};

/// So often each client of each kind comes; the log has one line about them all the same.
const TIMES: usize = 3;

async fn connect(stage: &Stage) -> anyhow::Result<Connection> {
    Connection::open(&stage.relay(0).address(), Some(stage.token())).await
}

/// The code that the connection is closed with; errors that come before it on the way.
async fn ending(connection: &mut Connection) -> anyhow::Result<(Option<u16>, Vec<String>)> {
    let mut errors = Vec::new();
    let ending = async {
        loop {
            match connection.next().await? {
                Message::Closed(close) => return anyhow::Ok(close.map(|(code, _)| code)),
                Message::Frame(frame, _) => {
                    if let ServerFrame::Error(error) = *frame {
                        errors.push(error.code);
                    }
                }
            }
        }
    };
    let code = tokio::time::timeout(SOON, ending).await.context("it is not closed")??;
    Ok((code, errors))
}

fn frame(payload: Vec<u8>, data: Data) -> Frame {
    Frame::message(payload, OpCode::Data(data), true)
}

fn reserved_bit() -> WsMessage {
    let mut frame = frame(b"{}".to_vec(), Data::Text);
    frame.header_mut().rsv1 = true;
    WsMessage::Frame(frame)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_message_closes_with_its_code_and_one_line_a_minute() -> anyhow::Result<()> {
    let stage = Stage::live("bad_frames", 1, &Value::Null).await?;
    let unknown = || WsMessage::text(r#"{"type":"no_such"}"#);
    let invalid = || WsMessage::Frame(frame(vec![b'"', 0xff, 0xfe, b'"'], Data::Text));
    // Valid messages, more than anybody needs.
    let many = || WsMessage::text(r#"{"type":"unwatch_tasks"}"#);
    type Messages = Box<dyn Fn() -> Vec<WsMessage>>;
    let cases: [(&str, Messages, u16); 6] = [
        ("binary", Box::new(|| vec![WsMessage::binary(vec![1, 2, 3])]), 1003),
        ("invalid_utf8", Box::new(move || vec![invalid()]), 1007),
        ("bad_frame", Box::new(|| vec![reserved_bit()]), 1002),
        ("too_large", Box::new(|| vec![WsMessage::text("x".repeat(8 << 20))]), 1009),
        ("bad_message", Box::new(move || vec![unknown(), unknown()]), 1008),
        ("flood", Box::new(move || (0..2_000).map(|_| many()).collect()), 1008),
    ];
    for (cause, messages, code) in &cases {
        for _ in 0..TIMES {
            let mut connection = connect(&stage).await?;
            for message in messages() {
                // The relay may close before it has taken everything.
                if connection.send_raw(message).await.is_err() {
                    break;
                }
            }
            let (closed, _) = ending(&mut connection).await.context(*cause)?;
            assert_eq!(closed, Some(*code), "{cause}");
        }
        // The second malformed message closes, the first is answered; both are counted.
        let counted = if *cause == "bad_message" { 2 * TIMES } else { TIMES };
        told_once(&stage, cause, counted).await?;
    }
    stage.stop().await
}

/// A header that promises a terabyte, and a message in 100,000 pieces.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_promised_or_comes_in_pieces_takes_no_memory() -> anyhow::Result<()> {
    let stage = Stage::live("pieces", 1, &Value::Null).await?;
    let before = resident(&stage)?;
    for _ in 0..20 {
        let mut connection = connect(&stage).await?;
        for n in 0..100_000 {
            let data = if n == 0 { Data::Text } else { Data::Continue };
            let piece = Frame::message(vec![b'x'; 16], OpCode::Data(data), false);
            if connection.send_raw(WsMessage::Frame(piece)).await.is_err() {
                break;
            }
        }
        let (closed, _) = ending(&mut connection).await?;
        assert_eq!(closed, Some(1009));
    }
    let grown = resident(&stage)?.saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB more");
    told_once(&stage, "too_large", 20).await?;
    stage.stop().await
}

/// What is refused without an end: the socket goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_are_not_there_and_too_many_are_refused_one_by_one() -> anyhow::Result<()> {
    let stage = Stage::live("refused", 1, &Value::Null).await?;
    let task = stage.task(1).await?;
    let mut connection = connect(&stage).await?;
    let mut errors = Vec::new();
    for _ in 0..TIMES {
        let task_id = knm_shared::ids::TaskId(uuid::Uuid::new_v4());
        connection.send(&ClientFrame::Subscribe { task_id, cursor: None }).await?;
    }
    while errors.len() < TIMES {
        if let Message::Frame(frame, _) = connection.next().await?
            && let ServerFrame::Error(error) = *frame
        {
            errors.push(error.code);
        }
    }
    assert!(errors.iter().all(|code| code == "unknown_task"), "{errors:?}");
    told_once(&stage, "unknown_task", TIMES).await?;

    let mut others = Vec::new();
    for _ in 0..100 {
        others.push(stage.task(1).await?);
    }
    for task in others.iter().chain([&task]) {
        connection.send(&ClientFrame::Subscribe { task_id: task.id(), cursor: None }).await?;
    }
    let mut snapshots = 0;
    let mut refused = None;
    while snapshots < 100 || refused.is_none() {
        match tokio::time::timeout(SOON, connection.next()).await?? {
            Message::Frame(frame, _) => match *frame {
                ServerFrame::Snapshot(_) => snapshots += 1,
                ServerFrame::Error(error) => refused = Some(error),
                _ => {}
            },
            Message::Closed(close) => anyhow::bail!("closed: {close:?}"),
        }
    }
    let refused = refused.context("refused")?;
    assert_eq!(
        (refused.code.as_str(), refused.task_id),
        ("too_many_subscriptions", Some(task.id()))
    );
    told_once(&stage, "too_many_subscriptions", 1).await?;
    stage.stop().await
}

fn resident(stage: &Stage) -> anyhow::Result<u64> {
    let pid = stage.relay(0).process()?.pid();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
