//! Accounts, and requests as a browser or a stranger makes them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use http::Method;
use knm_tests::api::{Answer, Api};
use knm_tests::scenario::World;
use knm_tests::ws::{Event, Watcher};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

pub(crate) const SOON: Duration = Duration::from_secs(30);
pub(crate) const USER_PASSWORD: &str = "a horse of another colour";
pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");

/// Makes an account and signs it in, both on the first pod.
pub(crate) async fn user(world: &World, name: &str, role: &str) -> anyhow::Result<Api> {
    user_on(world, name, role, &Value::Null).await
}

/// The same, bound to clusters.
pub(crate) async fn user_on(
    world: &World,
    name: &str,
    role: &str,
    clusters: &Value,
) -> anyhow::Result<Api> {
    let admin = world.sign_in(0).await?;
    let body = json!({
        "username": name, "password": USER_PASSWORD, "role": role, "clusters": clusters
    });
    admin.post("/api/v1/users", &body).await?.ok()?;
    world.pods[0].client().login(name, USER_PASSWORD).await
}

/// The caller's own id.
pub(crate) async fn id(api: &Api) -> anyhow::Result<String> {
    let me = api.get("/api/v1/auth/me").await?.ok()?;
    Ok(me["id"].as_str().context("an id")?.to_owned())
}

pub(crate) async fn patch(api: &Api, path: &str, body: &Value) -> anyhow::Result<Answer> {
    api.send(Method::PATCH, path, &[JSON], body.to_string()).await
}

pub(crate) async fn delete(api: &Api, path: &str) -> anyhow::Result<Answer> {
    api.send(Method::DELETE, path, &[], "").await
}

/// The status of a problem; anything else is none.
pub(crate) async fn refused(answer: anyhow::Result<Answer>) -> anyhow::Result<u16> {
    let problem = answer?.problem()?;
    ensure!(!problem.request_id.is_empty(), "{problem:?}");
    Ok(problem.status)
}

/// The code that a watcher's connection is closed with.
pub(crate) async fn closed(watcher: &mut Watcher, within: Duration) -> anyhow::Result<Option<u16>> {
    let closing = async {
        loop {
            if let Event::Closed(close) = watcher.next().await? {
                return anyhow::Ok(close.map(|(code, _)| code));
            }
        }
    };
    tokio::time::timeout(within, closing).await.context("it stays open")?
}

/// Says something to a server and hears it out, from an address of one's own choice.
pub(crate) async fn say(
    from: [u8; 4],
    to: &str,
    request: &[u8],
    patience: Duration,
) -> anyhow::Result<String> {
    let mut stream = connect(from, to).await?;
    // It may be refused before all of it has been taken.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let heard = tokio::time::timeout(patience, stream.read_to_end(&mut answer)).await;
    match heard {
        Err(_elapsed) => bail!("the connection stays open"),
        Ok(_) => Ok(String::from_utf8_lossy(&answer).into_owned()),
    }
}

pub(crate) async fn connect(from: [u8; 4], to: &str) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    let to: SocketAddr = to.parse().context("an address")?;
    socket.connect(to).await.with_context(|| format!("cannot connect to {to}"))
}

/// A login as plain text, for [`say`].
pub(crate) fn login(username: &str, password: &str) -> String {
    let body = json!({"username": username, "password": password}).to_string();
    format!(
        "POST /api/v1/auth/login HTTP/1.1\r\nHost: knm\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// The status of an answer that [`say`] has heard.
pub(crate) fn status(answer: &str) -> anyhow::Result<u16> {
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    status.and_then(|s| s.parse().ok()).with_context(|| format!("no answer: {answer:?}"))
}
