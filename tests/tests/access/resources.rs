//! API4: nobody takes more than their share: oversize, slow and many requests.

use std::time::Duration;

use anyhow::ensure;
use futures_util::future::join_all;
use knm_tests::scenario::World;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{SOON, connect, say, status, user};

const HERE: [u8; 4] = [127, 0, 0, 1];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_refused_before_it_is_read() -> anyhow::Result<()> {
    let world = World::new("oversize").nodes(1).start().await?;
    let api = world.pods[0].api.address();
    let post = |length: usize, body: &str| {
        format!(
            "POST /api/v1/auth/login HTTP/1.1\r\nHost: knm\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
    };
    // Announced only: nothing of it is waited for.
    let announced = say(HERE, &api, post(10_000_000, "").as_bytes(), SOON).await?;
    assert_eq!(status(&announced)?, 413, "{announced}");
    let large = "x".repeat(20_000);
    let sent = say(HERE, &api, post(large.len(), &large).as_bytes(), SOON).await?;
    assert_eq!(status(&sent)?, 413, "a login is a few words: {sent}");
    let chunks = "4000\r\n".to_owned() + &"x".repeat(0x4000) + "\r\n";
    let chunked = format!(
        "POST /api/v1/auth/login HTTP/1.1\r\nHost: knm\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n{}",
        chunks.repeat(4)
    );
    assert_eq!(status(&say(HERE, &api, chunked.as_bytes(), SOON).await?)?, 413);
    let head = format!("GET / HTTP/1.1\r\nHost: knm\r\nX-Large: {}\r\n\r\n", "x".repeat(40_000));
    assert_eq!(status(&say(HERE, &api, head.as_bytes(), SOON).await?)?, 431);
    let many = format!("GET / HTTP/1.1\r\nHost: knm\r\n{}\r\n", "X-A: b\r\n".repeat(200));
    assert_eq!(status(&say(HERE, &api, many.as_bytes(), SOON).await?)?, 431);
    let smuggled = "POST /api/v1/auth/login HTTP/1.1\r\nHost: knm\r\nContent-Length: 4\r\n\
                    Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n";
    let answer = say(HERE, &api, smuggled.as_bytes(), SOON).await?;
    ensure!(answer.matches("HTTP/1.1 ").count() <= 1, "one request, one answer: {answer}");

    let viewer = user(&world, "vera", "viewer").await?;
    for path in ["/api/v1/tasks?limit=1000000", "/api/v1/clusters/default/nodes?limit=1000000"] {
        assert_eq!(viewer.get(path).await?.problem()?.status, 422, "{path}");
    }
    let long = "x".repeat(5_000);
    let body = json!({"name": long});
    assert_eq!(viewer.post("/api/v1/auth/tokens", &body).await?.problem()?.status, 422);
    world.stop().await
}

/// Each waits for its own limit, side by side: a head that does not come, a body that does not come, a
/// connection that is not used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_slow_is_not_waited_for() -> anyhow::Result<()> {
    let world = World::new("slow").nodes(1).start().await?;
    let api = world.pods[0].api.address();
    let patience = Duration::from_secs(90);
    let body = "POST /api/v1/auth/login HTTP/1.1\r\nHost: knm\r\nContent-Type: application/json\r\n\
                Content-Length: 100\r\n\r\n{\"user";
    let idle = async {
        let mut stream = connect(HERE, &api).await?;
        stream.write_all(b"GET /api/v1/meta HTTP/1.1\r\nHost: knm\r\n\r\n").await?;
        let mut answer = Vec::new();
        tokio::time::timeout(patience, stream.read_to_end(&mut answer)).await??;
        anyhow::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    // A byte a second keeps nobody's connection open.
    let trickle = async {
        let mut stream = connect(HERE, &api).await?;
        let (mut read, mut write) = stream.split();
        let dripping = async {
            while write.write_all(b"X").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let mut answer = Vec::new();
        tokio::select! {
            heard = tokio::time::timeout(patience, read.read_to_end(&mut answer)) => { heard?.ok(); }
            () = dripping => { let _ = read.read_to_end(&mut answer).await; }
        }
        anyhow::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let (head, body, idle, trickle) = tokio::join!(
        say(HERE, &api, b"GET /api/v1/meta HTTP/1.1\r\nHost:", patience),
        say(HERE, &api, body.as_bytes(), patience),
        idle,
        trickle,
    );
    assert_eq!(status(&head?)?, 408);
    assert_eq!(status(&body?)?, 408);
    assert!(idle?.starts_with("HTTP/1.1 200"), "answered, then closed");
    assert!(!trickle?.starts_with("HTTP/1.1 2"));
    world.stop().await
}

/// One user's crowd of requests is refused beyond its share, and nobody else notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_users_crowd_leaves_room_for_others() -> anyhow::Result<()> {
    let world = World::new("crowd").nodes(1).start().await?;
    let (jane, john) =
        (user(&world, "jane", "viewer").await?, user(&world, "john", "viewer").await?);
    let api = world.pods[0].api.address();
    let token = jane.token()?;
    // Bodies that do not come: each holds its turn.
    let slow = format!(
        "POST /api/v1/tasks/preview HTTP/1.1\r\nHost: knm\r\nContent-Type: application/json\r\n\
         Authorization: Bearer {token}\r\nContent-Length: 100\r\n\r\n{{"
    );
    let mut held = Vec::new();
    for _ in 0..64 {
        let mut stream = connect(HERE, &api).await?;
        stream.write_all(slow.as_bytes()).await?;
        held.push(stream);
    }
    let full = async {
        loop {
            let answer = jane.get("/api/v1/auth/me").await?;
            if answer.status == 429 {
                return anyhow::Ok(());
            }
        }
    };
    tokio::time::timeout(SOON, full).await??;
    let others = join_all((0..20).map(|_| john.get("/api/v1/auth/me"))).await;
    for answer in others {
        answer?.ok()?;
    }
    drop(held);
    let free = async {
        while jane.get("/api/v1/auth/me").await?.status == 429 {}
        anyhow::Ok(())
    };
    tokio::time::timeout(SOON, free).await??;
    world.stop().await
}
