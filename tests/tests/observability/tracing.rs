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
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
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

/// A span and the process that sent it.
#[derive(Debug)]
struct Sent {
    service: String,
    pod: String,
    version: String,
    span: Span,
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        other => other.map(|value| format!("{value:?}")).unwrap_or_default(),
    }
}

/// Every span that came.
fn spans(received: &Received) -> anyhow::Result<Vec<Sent>> {
    let received = received.lock().expect("not poisoned").clone();
    let mut sent = Vec::new();
    for (path, kind, body) in received {
        assert_eq!((path.as_str(), kind.as_str()), ("/v1/traces", "application/x-protobuf"));
        for process in ExportTraceServiceRequest::decode(body)?.resource_spans {
            let about = process.resource.unwrap_or_default().attributes;
            for span in process.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                sent.push(Sent {
                    service: text(&about, "service.name"),
                    pod: text(&about, "k8s.pod.name"),
                    version: text(&about, "service.version"),
                    span,
                });
            }
        }
    }
    Ok(sent)
}

/// The one span of that name with this attribute.
fn one<'a>(sent: &'a [Sent], name: &str, key: &str, value: &str) -> anyhow::Result<&'a Sent> {
    let fits = |s: &&Sent| s.span.name == name && text(&s.span.attributes, key) == value;
    let found: Vec<_> = sent.iter().filter(fits).collect();
    ensure!(found.len() == 1, "{} spans {name:?} of {key}={value}: {sent:#?}", found.len());
    Ok(found[0])
}

/// One of each: the request that submitted, its task, linked to it, and the socket that watched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_reach_a_collector_where_one_is_configured() -> anyhow::Result<()> {
    let (endpoint, received) = collector().await?;
    let config = json!({"tracing": {"otlp_endpoint": endpoint}});
    let world = World::new("spans").config(config).start().await?;
    let task = submit(&world).await?.to_string();
    // What is left is sent at the end.
    world.stop().await?;
    let sent = spans(&received)?;
    let of = |name: &str| sent.iter().filter(|sent| sent.span.name == name).count();
    assert_eq!((of("task"), of("session")), (1, 1), "{sent:#?}");

    let request = one(&sent, "http", "request_id", REQUEST)?;
    for (key, value) in [("method", "POST"), ("path", "/api/v1/tasks"), ("user", "admin")] {
        assert_eq!(text(&request.span.attributes, key), value, "{request:?}");
    }
    let work = one(&sent, "task", "task", &task)?;
    assert_eq!(text(&work.span.attributes, "request_id"), REQUEST);
    // A trace of its own, as it outlives the request.
    assert_ne!(work.span.trace_id, request.span.trace_id);
    let links: Vec<_> = work.span.links.iter().map(|l| (&l.trace_id, &l.span_id)).collect();
    assert_eq!(links, [(&request.span.trace_id, &request.span.span_id)]);
    // The relay knows users by their ids.
    let session = one(&sent, "session", "target", "knm_relay::session")?;
    for key in ["conn", "user"] {
        assert!(!text(&session.span.attributes, key).is_empty(), "no {key}: {session:?}");
    }

    for (sent, service) in [(request, "knm-api"), (work, "knm-api"), (session, "knm-relay")] {
        assert_eq!((sent.service.as_str(), sent.pod.as_str()), (service, "pod-a"));
        assert_eq!(sent.version, env!("CARGO_PKG_VERSION"));
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
