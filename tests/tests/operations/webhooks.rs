//! Who is told of a task's end, and what happens when they do not listen.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use knm_tests::scenario::World;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::support::{SOON, run, task};

const SECRET: &str = "a secret of the receiver";

/// What arrived.
struct Message {
    headers: HeaderMap,
    body: Bytes,
}

impl Message {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }
}

/// Answers with these, one after the other, then with 200.
async fn receiver(
    answers: &[u16],
) -> anyhow::Result<(SocketAddr, mpsc::UnboundedReceiver<Message>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (told, messages) = mpsc::unbounded_channel();
    let answers = Arc::new(Mutex::new(VecDeque::from(answers.to_vec())));
    let serve = move |request: Request<Incoming>| {
        let (told, answers) = (told.clone(), Arc::clone(&answers));
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map(http_body_util::Collected::to_bytes);
            let _ = told.send(Message { headers: parts.headers, body: body.unwrap_or_default() });
            let code = answers.lock().ok().and_then(|mut a| a.pop_front()).unwrap_or(200);
            let mut response = Response::new(Full::<Bytes>::default());
            *response.status_mut() = StatusCode::from_u16(code).expect("a status");
            // Where nobody follows.
            response.headers_mut().insert("location", "http://127.0.0.1:1/".parse().expect("fine"));
            Ok::<_, Infallible>(response)
        }
    };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let served = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(serve.clone()));
            tokio::spawn(served);
        }
    });
    Ok((address, messages))
}

/// What OpenSSL makes of it.
async fn signature(timestamp: &str, body: &[u8]) -> anyhow::Result<String> {
    let mut openssl = tokio::process::Command::new("openssl")
        .args(["dgst", "-sha256", "-hmac", SECRET])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = openssl.stdin.take().context("piped")?;
    input.write_all(format!("{timestamp}.").as_bytes()).await?;
    input.write_all(body).await?;
    drop(input);
    let said = String::from_utf8(openssl.wait_with_output().await?.stdout)?;
    Ok(said.trim().rsplit(' ').next().context("a digest")?.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_task_is_told_signed_and_until_it_is_taken() -> anyhow::Result<()> {
    let (address, mut messages) = receiver(&[503, 302]).await?;
    let base = format!("http://{address}/hooks");
    let webhook = json!({"url": base, "allowed": [base], "secret": SECRET});
    let config = json!({"webhook": webhook});
    let world = World::new("webhooks").pods(2).nodes(2).config(config).start().await?;
    let body = task("label", &["node-0001"], json!({"set": {"example.com/a": "b"}}));
    let ended = run(&world, &body).await?;
    assert_eq!(ended.outcome(), "completed", "whoever does not listen is in nobody's way");
    // Twice it was not taken.
    for turn in 0..3 {
        let message = tokio::time::timeout(SOON, messages.recv()).await?.context("a message")?;
        let told: Value = serde_json::from_slice(&message.body)?;
        assert_eq!(told["event"], "task.ended");
        assert_eq!(
            (&told["task"]["id"], &told["task"]["status"]),
            (&ended.task["id"], &json!("completed"))
        );
        assert_eq!(message.header("x-knm-delivery"), ended.task["id"].as_str().context("an id")?);
        let expected = signature(message.header("x-knm-timestamp"), &message.body).await?;
        assert_eq!(message.header("x-knm-signature"), format!("sha256={expected}"), "{turn}");
    }
    let db = world.database.connect().await?;
    let noted = async {
        let sql = "SELECT tries FROM webhook_deliveries WHERE delivered_at IS NOT NULL AND due_at IS NULL";
        loop {
            if let Some(row) = db.query_opt(sql, &[]).await? {
                return anyhow::Ok(row.get::<_, i32>(0));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert_eq!(tokio::time::timeout(SOON, noted).await??, 3);

    // A task's own webhook, instead of the installation's.
    let mut own = task("label", &["node-0002"], json!({"set": {"example.com/a": "b"}}));
    own["webhook"] = format!("{base}/own").into();
    let ended = run(&world, &own).await?;
    let message = tokio::time::timeout(SOON, messages.recv()).await?.context("a message")?;
    assert_eq!(message.header("x-knm-delivery"), ended.task["id"].as_str().context("an id")?);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_that_nobody_has_allowed_are_refused() -> anyhow::Result<()> {
    let webhook = json!({"allowed": ["https://hooks.example.com/knm"], "secret": SECRET});
    let config = json!({"webhook": webhook});
    let world = World::new("webhooks_bad").nodes(1).config(config).start().await?;
    let api = world.sign_in(0).await?;
    for bad in [
        "http://169.254.169.254/latest/meta-data",
        "https://hooks.example.com/knm/../admin",
        "https://hooks.example.com.evil.example/knm",
        "ftp://hooks.example.com/knm",
        "",
    ] {
        let mut body = task("label", &["node-0001"], json!({"set": {"example.com/a": "b"}}));
        body["webhook"] = bad.into();
        for path in ["/api/v1/tasks", "/api/v1/tasks/preview"] {
            let problem = api.post(path, &body).await?.problem()?;
            let named = problem.errors.first().map(|e| e.field.as_str());
            assert_eq!((problem.status, named), (422, Some("webhook")), "{bad}: {problem:?}");
        }
    }
    assert_eq!(world.stored_tasks().await?, 0);
    world.stop().await
}
