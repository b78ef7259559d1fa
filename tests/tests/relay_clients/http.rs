//! What is wrong before there is a WebSocket: an HTTP status with a problem document, counted, said
//! once a minute.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use knm_tests::stage::Stage;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{SOON, told_once};

const WS: &str = "/api/v1/progress/ws";
const HANDSHAKE: &str = "Host: relay\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Everything that comes back until the end of the connection.
async fn answer(stage: &Stage, request: &[u8]) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(stage.relay(0).address()).await?;
    // It may be refused before all of it has been taken.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await;
    let _ = read.context("the connection stays open")?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn problem(answer: &str, status: u16) -> anyhow::Result<()> {
    ensure!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").context("a head")?;
    ensure!(head.to_ascii_lowercase().contains("application/problem+json"), "{answer}");
    let document: Value = serde_json::from_str(body).with_context(|| answer.to_owned())?;
    ensure!(document["status"] == status && document["title"].is_string(), "{answer}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_handshake_gets_a_problem_document() -> anyhow::Result<()> {
    let stage = Stage::live("handshakes", 1, &Value::Null).await?;
    let auth = format!("Authorization: Bearer {}\r\n", stage.token());
    let no_version = HANDSHAKE.replace("Sec-WebSocket-Version: 13\r\n", "");
    let no_key = HANDSHAKE.replace("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "");
    let request = |line: &str, headers: &str| {
        format!("{line} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n")
    };
    let plain = format!("Host: relay\r\n{auth}");
    let cases = [
        (request(&format!("GET {WS}"), &plain), 426),
        (request(&format!("GET {WS}"), &format!("{no_version}{auth}")), 426),
        (request(&format!("GET {WS}"), &format!("{no_key}{auth}")), 426),
        (request("GET /", &plain), 404),
        (request(&format!("POST {WS}"), &plain), 405),
    ];
    let times = cases.len();
    for (request, status) in cases {
        problem(&answer(&stage, request.as_bytes()).await?, status).context(request)?;
    }
    told_once(&stage, "no_handshake", times).await?;
    for token in ["", "Authorization: Bearer knm_made_up\r\n", "Cookie: knm_session=\r\n"] {
        let request = request(&format!("GET {WS}"), &format!("{HANDSHAKE}{token}"));
        problem(&answer(&stage, request.as_bytes()).await?, 401).context(request)?;
    }
    told_once(&stage, "unidentified", 3).await?;
    let origin = format!("{HANDSHAKE}{auth}Origin: https://evil.example\r\n");
    problem(&answer(&stage, request(&format!("GET {WS}"), &origin).as_bytes()).await?, 403)?;
    told_once(&stage, "foreign_origin", 1).await?;
    // Whoever has no token has not tried to be anybody.
    let told = "SELECT count(*) FROM audit_log WHERE action = 'progress.connect' AND status = $1
                  AND result = 'refused' AND username = '' AND address = '127.0.0.1'
                  AND target = 'GET /api/v1/progress/ws'";
    for status in [401, 403] {
        stage.database.until(told, &[&status], 1).await?;
    }
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_http_or_comes_too_slowly_is_not_waited_for() -> anyhow::Result<()> {
    let stage = Stage::live("heads", 1, &Value::Null).await?;
    let garbage = answer(&stage, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n").await?;
    assert!(garbage.is_empty() || garbage.starts_with("HTTP/1.1 400 "), "{garbage}");
    let long =
        format!("GET {WS} HTTP/1.1\r\nHost: relay\r\nX-Long: {}\r\n\r\n", "x".repeat(100_000));
    let long = answer(&stage, long.as_bytes()).await?;
    assert!(long.is_empty() || long.starts_with("HTTP/1.1 431 "), "{long}");
    told_once(&stage, "bad_head", 2).await?;

    // A hundred at once, a byte at a time: all of them are gone after ten seconds.
    let begun = Instant::now();
    let mut slow = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let address = stage.relay(0).address();
        slow.spawn(async move {
            let mut stream = TcpStream::connect(address).await?;
            for byte in format!("GET {WS} HTTP/1.1\r\nX-Slow: ").bytes().chain([b'x'; 100]) {
                if stream.write_all(&[byte]).await.is_err() {
                    break;
                }
                let mut first = [0; 1];
                let wait = Duration::from_millis(500);
                if let Ok(read) = tokio::time::timeout(wait, stream.read(&mut first)).await {
                    let mut answer = first[..read?].to_vec();
                    let _ = stream.read_to_end(&mut answer).await;
                    return anyhow::Ok(String::from_utf8_lossy(&answer).into_owned());
                }
            }
            anyhow::bail!("still open")
        });
    }
    while let Some(ended) = slow.join_next().await {
        let answer = ended??;
        problem(&answer, 408)?;
    }
    let took = begun.elapsed();
    assert!((Duration::from_secs(9)..Duration::from_secs(30)).contains(&took), "{took:?}");
    told_once(&stage, "slow_head", 100).await?;
    stage.stop().await
}
