//! The way to the relay.

use std::net::SocketAddr;

use knm_shared::session::Role;
use knm_tests::api::Api;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::support::{Options, TestApp, refusal};

/// A relay that takes one connection, answers its upgrade and then repeats what it hears. Gives the
/// head of the request.
async fn relay(answer: &'static str) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a caller");
        let head = head(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.expect("answered");
        let mut buffer = [0; 1024];
        while let Ok(n @ 1..) = stream.read(&mut buffer).await {
            stream.write_all(&buffer[..n]).await.expect("repeated");
        }
        head
    });
    (address, task)
}

async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    String::from_utf8(head).expect("text").to_lowercase()
}

async fn upgrade(app: &TestApp, api: &Api) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(app.address).await.expect("connects");
    let request = format!(
        "GET /api/v1/progress/ws?x=1 HTTP/1.1\r\nHost: knm.example.com\r\nOrigin: \
         http://knm.example.com\r\nCookie: knm_session={}\r\nConnection: keep-alive, Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAA\r\n\
         X-Forwarded-For: 6.6.6.6\r\n\r\n",
        api.token().expect("signed in")
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let head = head(&mut stream).await;
    (stream, head)
}

#[tokio::test]
async fn an_upgrade_is_passed_on_and_bytes_flow_until_either_side_ends() {
    let (address, relay) = relay(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: BBBB\r\n\r\n",
    )
    .await;
    let app = TestApp::start_with(Options { relay: address, ..Options::default() }).await;
    let api = app.signed_in(Role::Viewer).await;
    let (mut stream, answer) = upgrade(&app, &api).await;
    assert!(answer.starts_with("http/1.1 101"), "{answer}");
    assert!(answer.contains("sec-websocket-accept: bbbb"), "{answer}");
    let mut echo = [0; 5];
    stream.write_all(b"hello").await.expect("sent");
    stream.read_exact(&mut echo).await.expect("repeated");
    assert_eq!(&echo, b"hello");

    app.tunnels.close().await;
    assert_eq!(stream.read(&mut echo).await.unwrap_or(0), 0, "closed with the server");
    let seen = relay.await.expect("ends");
    assert!(seen.starts_with("get /api/v1/progress/ws?x=1 http/1.1\r\n"), "{seen}");
    for header in [
        "host: knm.example.com",
        "origin: http://knm.example.com",
        "cookie: knm_session=",
        "sec-websocket-key: aaaa",
        "upgrade: websocket",
        "x-forwarded-for: 127.0.0.1",
    ] {
        assert!(seen.contains(header), "{header}: {seen}");
    }
    assert!(!seen.contains("6.6.6.6"), "what strangers claim is not passed on");
}

#[tokio::test]
async fn a_refusal_is_passed_on() {
    let (address, _relay) = relay(
        "HTTP/1.1 403 Forbidden\r\nContent-Type: application/problem+json\r\n\
         Content-Length: 2\r\n\r\n{}",
    )
    .await;
    let app = TestApp::start_with(Options { relay: address, ..Options::default() }).await;
    let api = app.signed_in(Role::Viewer).await;
    let (mut stream, answer) = upgrade(&app, &api).await;
    assert!(answer.starts_with("http/1.1 403"), "{answer}");
    assert!(answer.contains("application/problem+json"), "{answer}");
    let mut body = [0; 2];
    stream.read_exact(&mut body).await.expect("the body");
    assert_eq!(&body, b"{}");
}

#[tokio::test]
async fn a_relay_that_is_away_is_a_problem() {
    let app = TestApp::start().await;
    let api = app.signed_in(Role::Viewer).await;
    let (_stream, answer) = upgrade(&app, &api).await;
    assert!(answer.starts_with("http/1.1 502"), "{answer}");
    let plain = api.get("/api/v1/progress/ws").await.expect("answers");
    assert_eq!(refusal(&plain).0, 426);
}
