//! The admin port over a real socket.

use prometheus::IntCounter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::*;

async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let request = format!("{request} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    answer
}

#[tokio::test]
async fn probes_metrics_and_state_over_a_socket() {
    let registry = Registry::new();
    let scrapes = IntCounter::new("scrapes_total", "Scrapes.").expect("a valid name");
    registry.register(Box::new(scrapes.clone())).expect("new");
    let readiness = Readiness::new();
    let latch = readiness.latch("schema");
    let bound = Admin::new(registry, readiness.clone())
        .with_state(|| serde_json::json!({"listener": "live"}))
        .before_scrape(move || scrapes.inc())
        .bind(([127, 0, 0, 1], 0).into())
        .await
        .expect("a free port");
    let address = bound.local_addr();
    let shutdown = CancellationToken::new();
    let mut server = JoinSet::new();
    server.spawn(bound.serve(shutdown.clone()));

    assert!(ask(address, "GET /livez").await.starts_with("HTTP/1.1 200"));
    let unready = ask(address, "GET /readyz").await;
    assert!(unready.starts_with("HTTP/1.1 503") && unready.contains("[-]schema not yet"));
    drop(latch);
    assert!(ask(address, "GET /readyz").await.ends_with("ok\n"));
    assert!(ask(address, "GET /readyz?verbose").await.contains("[+]schema ok"));
    let metrics = ask(address, "GET /metrics").await;
    assert!(metrics.contains("text/plain; version=0.0.4") && metrics.contains("scrapes_total 1"));
    assert!(ask(address, "GET /state").await.ends_with(r#"{"listener":"live"}"#));
    assert!(ask(address, "GET /").await.starts_with("HTTP/1.1 404"));
    assert!(ask(address, "POST /livez").await.starts_with("HTTP/1.1 405"));

    readiness.stop();
    assert!(ask(address, "GET /readyz").await.starts_with("HTTP/1.1 503"));
    shutdown.cancel();
    server.join_next().await.expect("a server").expect("ends well");
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let taken = crate::http::bind(([127, 0, 0, 1], 0).into()).await.expect("a free port");
    let address = taken.local_addr().expect("bound");
    let admin = Admin::new(Registry::new(), Readiness::new());
    let error = admin.bind(address).await.err().expect("taken");
    assert!(error.to_string().starts_with(&format!("cannot listen on {address}: ")), "{error}");
}
