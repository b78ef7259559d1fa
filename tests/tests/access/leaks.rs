//! Everything that two pods say while they are used, wrongly and rightly: their logs, answers, frames and
//! metrics, searched for every secret that was used.

use std::sync::Mutex;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use knm_tests::api::{Answer, Api};
use knm_tests::kube_sim::{KubeSim, SimOptions};
use knm_tests::pod::ENCRYPTION_KEY;
use knm_tests::scenario::{ADMIN, PASSWORD, World};
use knm_tests::ws::{Connection, Message};
use serde_json::{Value, json};

use crate::support::{JSON, SOON, USER_PASSWORD};

/// What was said, and what must not be in it.
#[derive(Default)]
struct Heard {
    said: Mutex<Vec<(String, String)>>,
    secrets: Mutex<Vec<(String, String)>>,
}

impl Heard {
    fn said(&self, by: impl Into<String>, text: impl Into<String>) {
        self.said.lock().expect("no panic").push((by.into(), text.into()));
    }

    fn secret(&self, what: &str, secret: &str) {
        let mut secrets = self.secrets.lock().expect("no panic");
        let encoded = secret.bytes().map(|b| format!("%{b:02X}")).collect::<String>();
        secrets.push((what.to_owned(), secret.to_owned()));
        secrets.push((format!("{what} in base64"), STANDARD.encode(secret)));
        secrets.push((format!("{what} in a URL"), encoded));
    }

    async fn ask(
        &self,
        api: &Api,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> anyhow::Result<Answer> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = api.send(method.clone(), path, headers, body).await?;
        let mut head = answer.headers.clone();
        if path == "/api/v1/auth/login" {
            // Where the secret belongs, once.
            head.remove("set-cookie");
        }
        self.said(format!("{method} {path}"), format!("{head:?}\n{}", answer.text()));
        Ok(answer)
    }

    fn search(&self) -> anyhow::Result<()> {
        let (said, secrets) =
            (self.said.lock().expect("no panic"), self.secrets.lock().expect("no panic"));
        for (what, secret) in secrets.iter() {
            for (by, text) in said.iter() {
                ensure!(!text.contains(secret.as_str()), "{by} says {what}");
            }
        }
        Ok(())
    }
}

/// Signs in; the secret is noted before anything else can be heard.
async fn sign_in(heard: &Heard, client: &Api, name: &str, password: &str) -> anyhow::Result<Api> {
    let body = json!({"username": name, "password": password});
    let answer = heard.ask(client, Method::POST, "/api/v1/auth/login", &[JSON], &body).await?;
    let cookie =
        answer.headers.get("set-cookie").and_then(|v| v.to_str().ok()).context("a cookie")?;
    let secret = cookie.split(';').next().and_then(|c| c.split_once('=')).context("a pair")?.1;
    heard.secret("a session", secret);
    Ok(client.with_token(secret))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_in_any_log_answer_frame_or_metric() -> anyhow::Result<()> {
    // Everything that the programs can be made to say.
    let of_webhooks = "a-key-to-sign-with-2b90";
    let nobody = "http://127.0.0.1:1/hook";
    let config = json!({
        "log": {"level": "trace"},
        "api": {"trusted_proxies": ["127.0.0.1"]},
        "webhook": {"url": nobody, "allowed": [nobody], "secret": of_webhooks},
    });
    let world = World::new("leaks").pods(2).nodes(3).config(config).start().await?;
    let heard = Heard::default();
    let wrong = "not-the-right-one-7f3a";
    let (reset, forged) = ("reset-by-somebody-51c2", "knm_forged-e19d0b");
    // A number, as somebody's script sends it.
    let number: u64 = 8_812_734_410_937;
    let of_cluster = "t0ken-of-a-cluster-44d1";
    for (what, secret) in [
        ("the administrator's password", PASSWORD),
        ("a user's password", USER_PASSWORD),
        ("a wrong password", wrong),
        ("a password that was reset", reset),
        ("a forged token", forged),
        ("the token of a cluster", of_cluster),
        ("the key of webhooks", of_webhooks),
        ("the key of kubeconfigs", ENCRYPTION_KEY),
    ] {
        heard.secret(what, secret);
    }
    heard.secret("a password of digits", &number.to_string());
    let of_database = world.database.server().password();
    if of_database.len() >= 6 {
        heard.secret("the database's password", of_database);
    }

    let client = world.pods[0].client();
    let admin = sign_in(&heard, &client, ADMIN, PASSWORD).await?;
    let failed = json!({"username": "jane", "password": wrong});
    let post = Method::POST;
    heard.ask(&client, post.clone(), "/api/v1/auth/login", &[JSON], &failed).await?;
    let malformed = json!({"username": "jane", "password": [wrong]});
    heard.ask(&client, post.clone(), "/api/v1/auth/login", &[JSON], &malformed).await?;
    let of_digits = json!({"username": "jane", "password": number, "role": "viewer"});
    for misplaced in [json!(wrong), json!(number), of_digits] {
        heard.ask(&client, post.clone(), "/api/v1/auth/login", &[JSON], &misplaced).await?;
        heard.ask(&admin, post.clone(), "/api/v1/auth/password", &[JSON], &misplaced).await?;
        heard.ask(&admin, post.clone(), "/api/v1/users", &[JSON], &misplaced).await?;
        heard.ask(&admin, post.clone(), "/api/v1/auth/tokens", &[JSON], &misplaced).await?;
    }
    let other = KubeSim::start(SimOptions::default()).await?;
    let good = other.kubeconfig_with_token(of_cluster);
    for bad in [
        good.replace("server:", "server: ["),
        of_cluster.to_owned(),
        format!("{{users: [{{name: a, user: {of_cluster}}}]}}"),
        format!("{{users: [{{name: a, user: {{token: [{of_cluster}]}}}}]}}"),
    ] {
        let body = json!({"name": "other", "kubeconfig": bad});
        heard.ask(&admin, post.clone(), "/api/v1/clusters", &[JSON], &body).await?;
    }
    let body = json!({"name": "other", "kubeconfig": good});
    heard.ask(&admin, post.clone(), "/api/v1/clusters", &[JSON], &body).await?.ok()?;
    let extra = json!({"username": "jane", "password": wrong, "otp": wrong});
    heard.ask(&client, post.clone(), "/api/v1/auth/login", &[JSON], &extra).await?;
    let jane = json!({"username": "jane", "password": USER_PASSWORD, "role": "operator"});
    let made = heard.ask(&admin, post.clone(), "/api/v1/users", &[JSON], &jane).await?.ok()?;
    heard.ask(&admin, post.clone(), "/api/v1/users", &[JSON], &jane).await?;
    let user = sign_in(&heard, &client, "jane", USER_PASSWORD).await?;

    let created = user.post("/api/v1/auth/tokens", &json!({"name": "bot"})).await?.ok()?;
    let token = created["token"].as_str().context("a secret")?;
    heard.secret("a personal token", token);
    let bot = world.pods[1].client().with_token(token);
    let task = bot.label(&world.nodes(0..3), "example.com/a", "b").await?;
    for api in [&bot, &user, &client.with_token(forged)] {
        for path in
            ["/api/v1/auth/me", "/api/v1/auth/tokens", "/api/v1/auth/sessions", "/api/v1/tasks"]
        {
            heard.ask(api, Method::GET, path, &[], &Value::Null).await?;
        }
    }
    let cookie = format!("knm_session={}", user.token()?);
    let foreign = [("cookie", cookie.as_str()), ("origin", "https://evil.example"), JSON];
    heard
        .ask(&client, post.clone(), "/api/v1/auth/tokens", &foreign, &json!({"name": "x"}))
        .await?;

    for (pod, token) in [(0, token), (1, user.token()?), (0, forged)] {
        for address in [world.pods[pod].relay.address(), world.pods[pod].api.address()] {
            let mut connection = match Connection::open(&address, Some(token)).await {
                Ok(connection) => connection,
                Err(error) => {
                    heard.said(format!("the refusal of {address}"), format!("{error:#}"));
                    continue;
                }
            };
            let subscribe = json!({"type": "subscribe", "task_id": task}).to_string();
            connection.send_text(subscribe).await?;
            connection.send_text(token).await?;
            let frames = async {
                loop {
                    match connection.next().await? {
                        Message::Frame(_, text) => {
                            let last =
                                text.contains("\"complete\"") || text.contains("bad_message");
                            heard.said(format!("a frame of {address}"), text);
                            if last {
                                return anyhow::Ok(());
                            }
                        }
                        Message::Closed(_) => return Ok(()),
                    }
                }
            };
            tokio::time::timeout(SOON, frames).await.context("frames")??;
            connection.close().await;
        }
    }
    let own = json!({"current": wrong, "password": reset});
    heard.ask(&user, post.clone(), "/api/v1/auth/password", &[JSON], &own).await?;
    let id = made["id"].as_str().context("an id")?;
    let path = format!("/api/v1/users/{id}/password");
    heard.ask(&admin, post.clone(), &path, &[JSON], &json!({"password": reset})).await?.ok()?;
    for path in [
        "/api/v1/audit?limit=1000",
        "/api/v1/audit/export",
        "/api/v1/audit/export?format=jsonl",
        "/api/v1/users",
        "/api/v1/clusters",
        "/api/v1/openapi.json",
        "/api/v1/meta",
    ] {
        heard.ask(&admin, Method::GET, path, &[], &Value::Null).await?;
    }
    for pod in &world.pods {
        for (container, paths) in [
            (&pod.api, &["/metrics", "/readyz?verbose", "/livez"][..]),
            (&pod.relay, &["/metrics", "/readyz?verbose", "/livez", "/state"]),
        ] {
            for path in paths {
                let answer = container.admin(path).await?;
                heard.said(format!("{path} of {}", pod.name()), answer.text());
            }
        }
    }
    let logs: Vec<_> = world
        .pods
        .iter()
        .flat_map(|pod| [pod.api.log(), pod.relay.log(), pod.migrate_log()])
        .map(|log| log.path().to_owned())
        .collect();
    world.stop().await?;
    for log in &logs {
        heard.said(log.display().to_string(), std::fs::read_to_string(log)?);
    }

    // The search can fail: what was said on purpose is found.
    let probe = Heard::default();
    probe.said("a log", std::fs::read_to_string(&logs[0])?);
    probe.secret("a word of every log", "serving the API");
    ensure!(probe.search().is_err(), "the search finds nothing at all");
    heard.search()
}
