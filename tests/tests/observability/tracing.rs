//! From an HTTP request to its task and its WebSocket: in the log, and in the spans of both programs.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use knm_shared::ids::TaskId;
use knm_tests::api::label_task;
use knm_tests::scenario::World;
use serde_json::{Value, json};

use crate::support::SOON;

const REQUEST: &str = "req-0815.abc";

/// Submits with a request id of one's own, and follows the task to its end.
async fn submit(world: &World) -> anyhow::Result<TaskId> {
    let api = world.sign_in(0).await?;
    let body = label_task(&world.nodes(0..3), "example.com/a", "b").to_string();
    let headers = [("content-type", "application/json"), ("x-request-id", REQUEST)];
    let answer = api.send(http::Method::POST, "/api/v1/tasks", &headers, body).await?;
    ensure!(answer.headers["x-request-id"] == REQUEST, "{answer:?}");
    let task: TaskId = answer.ok()?["id"].as_str().context("an id")?.parse()?;
    let mut watcher = world.watcher(0).await?;
    watcher.subscribe(task).await?;
    watcher.until_all_complete(SOON).await?;
    Ok(task)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_leads_from_a_request_to_its_task() -> anyhow::Result<()> {
    let world = World::new("json_log").config(json!({"log": {"format": "json"}})).start().await?;
    let task = submit(&world).await?.to_string();
    let log = world.pods[0].api.log();
    log.wait_for("task ends here", SOON).await?;
    let mut lines = Vec::new();
    for line in log.lines() {
        let line: Value = serde_json::from_str(&line).with_context(|| line.to_string())?;
        for field in ["timestamp", "level", "target", "message"] {
            ensure!(line[field].is_string(), "no {field}: {line}");
        }
        lines.push(line);
    }
    let said = |message: &str| lines.iter().find(|line| line["message"] == message);
    let submitted = said("task submitted").context("submitted")?;
    assert_eq!(
        (&submitted["request_id"], &submitted["task"]),
        (&REQUEST.into(), &task.as_str().into())
    );
    assert_eq!(
        (&submitted["method"], &submitted["path"]),
        (&"POST".into(), &"/api/v1/tasks".into())
    );
    assert_eq!(submitted["user"], "admin");
    // Long after the answer, in the task's own work.
    let ended = said("task ends here").context("ended")?;
    assert_eq!((&ended["request_id"], &ended["task"]), (&REQUEST.into(), &task.as_str().into()));
    assert_eq!(ended["path"], Value::Null, "the request is over");
    world.stop().await
}

/// What a collector was sent: paths, content types, bodies.
type Received = Arc<Mutex<Vec<(String, String, Bytes)>>>;

/// An OpenTelemetry collector that only keeps what comes.
async fn collector() -> anyhow::Result<(String, Received)> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let received = Received::default();
    let kept = Arc::clone(&received);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let kept = Arc::clone(&kept);
            let service = service_fn(move |request: hyper::Request<Incoming>| {
                let kept = Arc::clone(&kept);
                async move {
                    let (head, body) = request.into_parts();
                    let kind = head.headers.get("content-type").and_then(|v| v.to_str().ok());
                    let kind = kind.unwrap_or_default().to_owned();
                    if let Ok(body) = body.collect().await {
                        let path = head.uri.path().to_owned();
                        kept.lock().expect("not poisoned").push((path, kind, body.to_bytes()));
                    }
                    Ok::<_, Infallible>(hyper::Response::new(Full::new(Bytes::new())))
                }
            });
            let http = hyper::server::conn::http1::Builder::new();
            tokio::spawn(http.serve_connection(TokioIo::new(socket), service));
        }
    });
    Ok((format!("http://{address}"), received))
}

/// Whether a protobuf message has this text in it: strings are kept as they are.
fn has(body: &Bytes, text: &str) -> bool {
    body.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_reach_a_collector_where_one_is_configured() -> anyhow::Result<()> {
    let (endpoint, received) = collector().await?;
    let config = json!({"tracing": {"otlp_endpoint": endpoint}});
    let world = World::new("spans").config(config).start().await?;
    let task = submit(&world).await?.to_string();
    // What is left is sent at the end.
    world.stop().await?;
    let received = received.lock().expect("not poisoned").clone();
    ensure!(!received.is_empty(), "nothing came");
    for (path, kind, _) in &received {
        assert_eq!((path.as_str(), kind.as_str()), ("/v1/traces", "application/x-protobuf"));
    }
    let of = |service: &str| {
        let bodies: Vec<&Bytes> =
            received.iter().map(|(_, _, body)| body).filter(|body| has(body, service)).collect();
        move |text: &str| bodies.iter().any(|body| has(body, text))
    };
    let (api, relay) = (of("knm-api"), of("knm-relay"));
    for text in ["http", "/api/v1/tasks", REQUEST, &task, "pod-a", env!("CARGO_PKG_VERSION")] {
        assert!(api(text), "the api's spans do not tell of {text}");
    }
    for text in ["session", "conn", "pod-a"] {
        assert!(relay(text), "the relay's spans do not tell of {text}");
    }
    Ok(())
}

/// A collector that is away costs nobody anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_collector_everything_goes_on() -> anyhow::Result<()> {
    let nobody = format!("http://127.0.0.1:{}", knm_tests::ports::free());
    let config = json!({"tracing": {"otlp_endpoint": nobody}});
    let world = World::new("no_collector").config(config).start().await?;
    submit(&world).await?;
    let begun = std::time::Instant::now();
    world.stop().await?;
    ensure!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    Ok(())
}
