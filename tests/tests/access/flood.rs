//! A flood of wrong logins for an account from one address leaves its owner able to sign in from
//! another, with a proxy in front and without.

use anyhow::{Context as _, ensure};
use futures_util::future::join_all;
use http::Method;
use http::header::RETRY_AFTER;
use knm_tests::scenario::{ADMIN, PASSWORD, World};
use serde_json::json;

use crate::support::{JSON, SOON, login, say, status};

/// Far more than are let through.
const FLOOD: usize = 400;

/// Resident memory of a process, in kilobytes.
fn resident(pid: i32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_proxy() -> anyhow::Result<()> {
    let world = World::new("flood").nodes(1).start().await?;
    let api = world.pods[0].api.address();
    let flooder = [127, 0, 0, 66];
    let wrong = login(ADMIN, "wrong");
    let mut told = [0, 0];
    for _ in 0..FLOOD / 20 {
        let wave = (0..20).map(|_| say(flooder, &api, wrong.as_bytes(), SOON));
        for answer in join_all(wave).await {
            match status(&answer?)? {
                401 => told[0] += 1,
                429 => told[1] += 1,
                other => anyhow::bail!("{other}"),
            }
        }
    }
    ensure!(told[0] <= 20 && told[1] >= FLOOD - 20, "{told:?}");
    // With some seconds of the wait to come, so that what follows falls into it.
    let mut answer = String::new();
    while !(5..=9).any(|n| answer.contains(&format!("retry-after: {n}\r\n"))) {
        answer = say(flooder, &api, wrong.as_bytes(), SOON).await?;
    }
    let right = login(ADMIN, PASSWORD);
    assert_eq!(status(&say(flooder, &api, right.as_bytes(), SOON).await?)?, 429, "not looked at");
    assert_eq!(status(&say([127, 0, 0, 1], &api, right.as_bytes(), SOON).await?)?, 200);
    // Somebody says that they come from elsewhere: nobody trusts them.
    let lying = right.replacen("Host:", "X-Forwarded-For: 203.0.113.1\r\nHost:", 1);
    assert_eq!(status(&say(flooder, &api, lying.as_bytes(), SOON).await?)?, 429);
    let entries = "SELECT count(*) FROM audit_log WHERE result = 'refused'";
    let entries: i64 = world.database.value(entries, &[]).await?;
    ensure!((1..=180).contains(&entries), "{entries} entries: the log is not filled by it");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_proxy() -> anyhow::Result<()> {
    let config = json!({"api": {"trusted_proxies": ["127.0.0.1"]}});
    let world = World::new("flood_proxy").nodes(1).config(config).start().await?;
    let client = world.pods[0].client();
    let attempt = async |from: &str, username: &str, password: &str| {
        let body = json!({"username": username, "password": password}).to_string();
        let headers = [JSON, ("x-forwarded-for", from), ("x-forwarded-proto", "https")];
        client.send(Method::POST, "/api/v1/auth/login", &headers, body).await
    };
    let pid = world.pods[0].api.process()?.pid();
    let before = resident(pid)?;
    for n in 0..FLOOD {
        // What stands left of the proxy's own entry, anyone could have written.
        let from = format!("10.0.0.{}, 203.0.113.7", n % 200);
        let answer = attempt(&from, ADMIN, "wrong").await?;
        ensure!([401, 429].contains(&answer.status.as_u16()), "{}", answer.text());
    }
    for n in 0..FLOOD {
        attempt("203.0.113.7", &format!("user{n}"), "wrong").await?;
    }
    let throttled = attempt("203.0.113.7", ADMIN, "wrong").await?;
    ensure!(throttled.status == 401 || throttled.headers.contains_key(RETRY_AFTER));
    let owner = attempt("198.51.100.4", ADMIN, PASSWORD).await?;
    assert_eq!(owner.status, 200, "{}", owner.text());
    let cookie = owner.headers["set-cookie"].to_str()?;
    assert!(cookie.contains("; Secure") && cookie.contains("; HttpOnly"), "{cookie}");
    let grown = resident(pid)?.saturating_sub(before);
    // A hash takes 19 MiB for a moment. Left behind on every idle thread it would be 300 MB.
    ensure!(grown < 128 * 1024, "{grown} kB more");
    world.stop().await
}
