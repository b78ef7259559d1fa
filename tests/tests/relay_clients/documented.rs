//! The clients in `relay/PROTOCOL.md` do what they promise: they follow a task to its end over lost
//! connections. And the fields that a frontend shows are there.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use knm_shared::status::ItemStatus;
use knm_tests::by_hand::{Change, Task, Tell};
use knm_tests::postgres::Sql;
use knm_tests::proxy::{Proxy, Select};
use knm_tests::stage::Stage;
use knm_tests::ws::frame::ClientFrame;
use knm_tests::{invariants::Rows, scratch, ws::Connection};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::SOON;

/// More than a page of a snapshot.
const NODES: u32 = 1_500;
/// Clients stay short enough to be copied.
const LINES: usize = 30;

/// The first block of code of a language.
fn code(language: &str) -> anyhow::Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../relay/PROTOCOL.md");
    let text = std::fs::read_to_string(path)?;
    let (_, rest) = text.split_once(&format!("```{language}\n")).context("no such block")?;
    let (code, _) = rest.split_once("```").context("the block does not end")?;
    let lines = code.lines().filter(|line| !line.trim().is_empty()).count();
    ensure!(lines <= LINES, "{lines} lines of {language}");
    Ok(code.to_owned())
}

/// False, and said so, where the machine has no such program.
async fn is_there(program: &str) -> bool {
    let there = Command::new(program).arg("--version").stdout(Stdio::null()).status().await.is_ok();
    if !there {
        println!("SKIPPED: {program} is not there, so its client was not tried");
    }
    there
}

/// One change after the other, and every few of them all connections of the clients are cut.
async fn finish(db: &mut Sql, task: &mut Task, road: &Proxy) -> anyhow::Result<()> {
    for (n, first) in (0..NODES).step_by(100).enumerate() {
        let changes: Vec<Change> = (first..(first + 100).min(NODES))
            .map(|ordinal| match ordinal % 10 {
                3 => Change::saying(ordinal, ItemStatus::Failed, format!("no: {ordinal} \"é\"")),
                _ => Change::new(ordinal, ItemStatus::Succeeded),
            })
            .collect();
        task.write(db, &changes, if n % 2 == 0 { Tell::Whole } else { Tell::Head }).await?;
        if n % 5 == 2 {
            road.reset(&Select::All);
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    Ok(())
}

/// Runs a client on a task and compares what it shows at the end with the rows.
async fn follows(name: &str, mut client: Command) -> anyhow::Result<()> {
    let stage = Stage::live(name, 1, &Value::Null).await?;
    let mut task = stage.task(NODES).await?;
    let mut db = stage.writer().await?;
    let road = Proxy::start(stage.relay(0).address()).await?;
    client
        .env("RELAY_HOST", road.address().ip().to_string())
        .env("RELAY_PORT", road.address().port().to_string())
        .env("TOKEN", stage.token())
        .env("TASK", task.id().to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let running = client.spawn()?.wait_with_output();
    let following = async {
        while stage.relay(0).metric("knm_relay_websocket_connections").await? < 1.0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(SOON, following).await.context("it does not connect")??;
    finish(&mut db, &mut task, &road).await?;
    let output = tokio::time::timeout(SOON, running).await.context("it does not end")??;
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}\n{errors}");
    let shown: Value = serde_json::from_str(said.lines().last().context("nothing said")?)
        .with_context(|| format!("{said}\n{errors}"))?;

    let rows = Rows::read(&mut *stage.database.connect().await?, task.id()).await?;
    let items: Vec<Value> = rows
        .items
        .iter()
        .enumerate()
        .map(|(ordinal, item)| {
            let node = format!("node-{ordinal}");
            let mut shown = json!({"ordinal": ordinal, "node": node, "status": item.status});
            if let Some(message) = &item.message {
                shown["message"] = json!(message);
            }
            shown
        })
        .collect();
    assert_eq!(shown["items"].as_array().map(Vec::len), Some(items.len()));
    for (shown, item) in shown["items"].as_array().context("a list")?.iter().zip(&items) {
        assert_eq!(shown, item);
    }
    assert_eq!(shown["task"]["status"], json!(rows.status));
    assert_eq!(shown["task"]["percent"].as_f64(), Some(100.0));
    assert_eq!(shown["task"]["counts"]["failed"], 150);
    // It has come back, and with its cursor: no second snapshot.
    assert!(shown["connections"].as_u64() >= Some(3), "{}", shown["connections"]);
    assert_eq!(shown["snapshots"], 1);
    stage.stop().await
}

/// The browser's client under node; `None` where there is none.
async fn in_node() -> anyhow::Result<Option<Command>> {
    if !is_there("node").await {
        return Ok(None);
    }
    // A browser sends its cookie by itself, and has no process to end.
    let harness = r#"
const seen = { connections: 0, snapshots: 0 };
const { RELAY_HOST, RELAY_PORT, TOKEN, TASK } = process.env;
const Plain = globalThis.WebSocket;
globalThis.WebSocket = class extends Plain {
  constructor(url) {
    super(url, { headers: { cookie: `knm_session=${TOKEN}` } });
    this.addEventListener("message", ({ data }) => {
      const m = JSON.parse(data);
      if (m.type === "hello") seen.connections += 1;
      if (m.type === "snapshot" && m.last) seen.snapshots += 1;
    });
  }
};
follow(`ws://${RELAY_HOST}:${RELAY_PORT}/api/v1/progress/ws`, TASK, (task, items, done) => {
  if (done) console.log(JSON.stringify({ task, items, ...seen }));
});
"#;
    let file = scratch::dir("javascript")?.join("client.cjs");
    std::fs::write(&file, format!("{}{harness}", code("javascript")?))?;
    let mut node = Command::new("node");
    node.arg("--experimental-websocket").arg("--no-warnings").arg(&file);
    Ok(Some(node))
}

/// The client in Python; `None` where there is none.
async fn in_python() -> anyhow::Result<Option<Command>> {
    if !is_there("python3").await {
        return Ok(None);
    }
    let harness = r#"
seen = {"connections": 0, "snapshots": 0}
plain = json.loads
def counting(data):
    m = plain(data)
    seen["connections"] += m["type"] == "hello"
    seen["snapshots"] += m["type"] == "snapshot" and m["last"]
    return m
json.loads = counting
def show(task, items, done):
    if done:
        print(json.dumps({"task": task, "items": items, **seen}))
env = os.environ
follow(env["RELAY_HOST"], int(env["RELAY_PORT"]), env["TOKEN"], env["TASK"], show)
"#;
    let file = scratch::dir("python")?.join("client.py");
    std::fs::write(&file, format!("{}{harness}", code("python")?))?;
    let mut python = Command::new("python3");
    python.arg(&file);
    Ok(Some(python))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_browser_client_of_the_document_follows_a_task_to_its_end() -> anyhow::Result<()> {
    match in_node().await? {
        Some(node) => follows("javascript", node).await,
        None => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_client_of_the_document_follows_a_task_to_its_end() -> anyhow::Result<()> {
    match in_python().await? {
        Some(python) => follows("python", python).await,
        None => Ok(()),
    }
}

/// Whoever asks in vain, or is nobody, does not ask again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clients_of_the_document_know_when_to_give_up() -> anyhow::Result<()> {
    let stage = Stage::live("in_vain", 1, &Value::Null).await?;
    let address = stage.relay(0).address();
    let (host, port) = address.rsplit_once(':').context("a port")?;
    // A browser's page is not told why an upgrade was refused.
    let tries = [
        (in_node().await?, stage.token(), "unknown_task"),
        (in_python().await?, stage.token(), "no such task"),
        (in_python().await?, "nobody's", "401"),
    ];
    for (client, token, why) in tries {
        let Some(mut client) = client else { continue };
        client
            .env("RELAY_HOST", host)
            .env("RELAY_PORT", port)
            .env("TOKEN", token)
            .env("TASK", uuid::Uuid::new_v4().to_string())
            .kill_on_drop(true);
        let output = tokio::time::timeout(SOON, client.output()).await.context("no end")??;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(errors.contains(why), "{why}: {errors}");
    }
    stage.stop().await
}

/// What the original's page shows of a task and its nodes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_carry_what_a_frontend_shows() -> anyhow::Result<()> {
    let stage = Stage::live("fields", 1, &Value::Null).await?;
    let mut task = stage.task(4).await?;
    let mut db = stage.writer().await?;
    let mut connection = Connection::open(&stage.relay(0).address(), Some(stage.token())).await?;
    connection.send(&ClientFrame::Subscribe { task_id: task.id(), cursor: None }).await?;
    let snapshot = frame(&mut connection, "snapshot").await?;
    let head = &snapshot["task"];
    assert_eq!(
        (&head["action"], &head["current"], &head["total"], &head["percent"]),
        (&json!("label"), &json!(0), &json!(4), &json!(0.0))
    );
    for time in ["created_at", "updated_at"] {
        let text = head[time].as_str().context(time)?;
        text.parse::<jiff::Timestamp>().with_context(|| format!("{time} {text}"))?;
    }
    assert_eq!(snapshot["items"][3], json!({"ordinal": 3, "node": "node-3", "status": "pending"}));
    let failed = [Change::saying(0, ItemStatus::Failed, "node not found")];
    task.write(&mut db, &failed, Tell::Whole).await?;
    let progress = frame(&mut connection, "progress").await?;
    assert_eq!(
        progress["items"],
        json!([{"ordinal": 0, "status": "failed", "message": "node not found"}])
    );
    assert_eq!((&progress["current"], &progress["percent"]), (&json!(1), &json!(25.0)));
    let counts = json!({"total": 4, "pending": 3, "running": 0, "succeeded": 0, "failed": 1,
                        "skipped": 0, "cancelled": 0});
    assert_eq!(progress["counts"], counts);
    assert!(progress["published_us"].as_i64().is_some_and(|us| us > 1_600_000_000_000_000));
    // The whole task's own error, which only the row knows.
    let sql = "UPDATE progress_tasks SET error = 'three holders in a row' WHERE id = $1";
    db.execute(sql, &[&task.id().0]).await?;
    task.write(&mut db, &[Change::new(1, ItemStatus::Running)], Tell::Head).await?;
    let progress = frame(&mut connection, "progress").await?;
    assert_eq!(progress["error"], "three holders in a row");
    stage.stop().await
}

async fn frame(connection: &mut Connection, wanted: &str) -> anyhow::Result<Value> {
    let waiting = async {
        loop {
            let text = connection.next_text().await.context("closed")?;
            let frame: Value = serde_json::from_str(&text)?;
            if frame["type"] == wanted {
                return anyhow::Ok(frame);
            }
        }
    };
    tokio::time::timeout(SOON, waiting).await.with_context(|| wanted.to_owned())?
}
