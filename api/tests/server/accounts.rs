//! Signing in and out, sessions and personal tokens.

use std::future::poll_fn;
use std::time::Duration;

use http::Method;
use http::header::{RETRY_AFTER, SET_COOKIE};
use knm_shared::session::Role;
use knm_tests::api::Answer;
use knm_tests::ports;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_postgres::AsyncMessage;

use super::support::{Options, PASSWORD, TestApp, refusal, until};

const JSON: (&str, &str) = ("content-type", "application/json");

fn login_body(username: &str, password: &str) -> Value {
    json!({"username": username, "password": password})
}

fn set_cookie(answer: &Answer) -> &str {
    answer.headers[SET_COOKIE].to_str().expect("ASCII")
}

#[tokio::test]
async fn a_session_lasts_from_login_to_logout_and_its_end_is_told_to_relays() {
    let app = TestApp::start().await;
    app.account("Jane", Role::Operator).await;
    let (_listening, mut revoked) = listen(&app).await;

    let answer =
        app.api.post("/api/v1/auth/login", &login_body("jANE", PASSWORD)).await.expect("answers");
    let body = answer.ok().expect("signed in");
    assert_eq!(
        (&body["user"]["username"], &body["user"]["role"]),
        (&"Jane".into(), &"operator".into())
    );
    assert!(body["expires_at"].as_str().is_some_and(|t| t.parse::<jiff::Timestamp>().is_ok()));
    let cookie = set_cookie(&answer);
    for part in ["knm_session=", "; HttpOnly", "; SameSite=Strict", "; Path=/", "; Max-Age=604800"]
    {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Secure"), "{cookie}");
    let pair = cookie.split(';').next().expect("a pair");
    assert!(!answer.text().contains(pair.trim_start_matches("knm_session=")), "not in the body");

    let me = async || {
        app.api
            .send(Method::GET, "/api/v1/auth/me", &[("cookie", pair)], "")
            .await
            .expect("answers")
    };
    assert_eq!(me().await.ok().expect("me")["username"], "Jane");
    let session: uuid::Uuid =
        app.database.value("SELECT id FROM sessions", &[]).await.expect("one session");

    let out = async |headers: &[(&str, &str)]| {
        app.api.send(Method::POST, "/api/v1/auth/logout", headers, "").await.expect("answers")
    };
    let silent = out(&[("cookie", pair)]).await;
    assert_eq!(
        refusal(&silent),
        (403, "cross_origin".into(), vec![]),
        "a cookie alone is no proof"
    );
    let own = format!("http://{}", app.address);
    let out = out(&[("cookie", pair), ("origin", &own)]).await;
    assert_eq!(out.status, 204);
    assert!(
        set_cookie(&out).starts_with("knm_session=; ") && set_cookie(&out).contains("Max-Age=0")
    );
    assert_eq!(refusal(&me().await), (401, "unauthenticated".into(), vec![]));
    assert_eq!(app.count("sessions").await, 0);
    let told = tokio::time::timeout(Duration::from_secs(10), revoked.recv()).await;
    assert_eq!(told.expect("in time").expect("told"), json!({"session": session}).to_string());
}

/// Payloads of `session_revoked`, for as long as the client lives.
async fn listen(app: &TestApp) -> (tokio_postgres::Client, mpsc::Receiver<String>) {
    let server = app.database.server();
    let mut config = tokio_postgres::Config::new();
    config.host(server.host()).port(server.port()).user(server.user());
    config.password(server.password()).dbname(app.database.name());
    let (client, mut connection) = config.connect(tokio_postgres::NoTls).await.expect("connects");
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(n) = message {
                sender.send(n.payload().to_owned()).await.expect("the test listens");
            }
        }
    });
    client.batch_execute("LISTEN session_revoked").await.expect("listens");
    (client, receiver)
}

#[tokio::test]
async fn failures_look_alike_and_make_the_next_attempt_wait() {
    let app = TestApp::start().await;
    app.account("jane", Role::Viewer).await;
    app.account("gone", Role::Viewer).await;
    app.execute("UPDATE users SET disabled_at = now() WHERE username = 'gone'").await;
    let attempt = async |name: &str, password: &str| {
        app.api.post("/api/v1/auth/login", &login_body(name, password)).await.expect("answers")
    };
    let without_id = |answer: Answer| {
        let mut document: Value = answer.json().expect("JSON");
        document.as_object_mut().expect("an object").remove("request_id");
        document
    };
    let wrong = without_id(attempt("jane", "wrong").await);
    assert_eq!((&wrong["status"], &wrong["code"]), (&401.into(), &"bad_credentials".into()));
    for (name, password) in [("nobody", PASSWORD), ("gone", PASSWORD), ("ja\0ne", PASSWORD)] {
        assert_eq!(without_id(attempt(name, password).await), wrong, "{name}");
    }

    let mut last = attempt("jane", "wrong").await;
    for _ in 0..5 {
        last = attempt("jane", "wrong").await;
    }
    assert_eq!(refusal(&last), (429, "throttled".into(), vec![]));
    assert!(last.headers.contains_key(RETRY_AFTER));
    assert_eq!(attempt("jane", PASSWORD).await.status, 429, "not even the right one is looked at");
    app.account("john", Role::Viewer).await;
    assert_eq!(attempt("john", PASSWORD).await.status, 200, "others are not affected");
    assert_eq!(app.count("sessions").await, 1);
}

/// Nobody has said which proxy is in front: one of its visitors does not keep the others out.
#[tokio::test]
async fn a_flood_through_a_proxy_that_is_not_named_hits_only_who_sends_it() {
    let app = TestApp::start().await;
    app.account("jane", Role::Viewer).await;
    let login = async |visitor: &str, name: &str, password: &str| {
        let headers = [("content-type", "application/json"), ("x-forwarded-for", visitor)];
        let body = login_body(name, password).to_string();
        let answer = app.api.send(Method::POST, "/api/v1/auth/login", &headers, body).await;
        answer.expect("answers").status.as_u16()
    };
    let mut tries = 0;
    while login("203.0.113.66", &format!("nobody{tries}"), "wrong").await != 429 {
        tries += 1;
        assert!(tries < 100, "whoever guesses has to wait");
    }
    assert_eq!(login("203.0.113.7", "jane", PASSWORD).await, 200);
}

#[tokio::test]
async fn a_session_slides_up_to_its_end_and_no_further() {
    let app = TestApp::start().await;
    let me = "/api/v1/auth/me";
    let api = app.signed_in(Role::Viewer).await;
    app.execute("UPDATE sessions SET expires_at = now() + interval '10 s'").await;
    assert_eq!(api.get(me).await.expect("answers").status, 200);
    let left: f64 = app
        .database
        .value("SELECT extract(epoch FROM expires_at - now())::float8 FROM sessions", &[])
        .await
        .expect("one session");
    assert!((43_000.0..=43_200.0).contains(&left), "{left}");

    let again = app.api.login("viewer", PASSWORD).await.expect("signs in");
    app.execute("UPDATE sessions SET ends_at = now() + interval '10 s'").await;
    assert_eq!(again.get(me).await.expect("answers").status, 200);
    assert_eq!(
        app.count("sessions WHERE expires_at > ends_at").await,
        1,
        "only the used one moved"
    );

    app.execute("UPDATE sessions SET expires_at = now()").await;
    assert_eq!(api.get(me).await.expect("answers").status, 401);
    app.api.login("viewer", PASSWORD).await.expect("signs in");
    assert_eq!(app.count("sessions").await, 1, "ended ones are forgotten at the next login");

    let api = app.api.login("viewer", PASSWORD).await.expect("signs in");
    app.execute("UPDATE users SET disabled_at = now()").await;
    assert_eq!(api.get(me).await.expect("answers").status, 401, "disabled at once");
}

#[tokio::test]
async fn personal_tokens_hold_what_they_were_given_until_they_are_revoked() {
    let app = TestApp::start().await;
    let (me, tokens) = ("/api/v1/auth/me", "/api/v1/auth/tokens");
    let api = app.signed_in(Role::Operator).await;
    let made = api.post(tokens, &json!({"name": "nightly", "role": "viewer"})).await;
    let made = made.expect("answers");
    assert_eq!(made.status, 201);
    let made = made.ok().expect("a token");
    let secret = made["token"].as_str().expect("a secret");
    assert!(secret.starts_with("knm_") && secret.len() > 40, "{secret}");
    assert_eq!(
        app.count(&format!("sessions WHERE token_hash = '{secret}'::bytea")).await,
        0,
        "only a hash is stored"
    );

    let bot = app.api.with_token(secret);
    assert_eq!(bot.get(me).await.expect("answers").ok().expect("me")["role"], "viewer");
    let submit = bot.post("/api/v1/tasks", &json!({})).await.expect("answers");
    assert_eq!(refusal(&submit).0, 403, "it has a viewer's rights");
    let more = bot.post(tokens, &json!({"name": "another"})).await.expect("answers");
    assert_eq!(refusal(&more).0, 403, "it cannot outlive itself");

    let list = api.get(tokens).await.expect("answers");
    assert!(!list.text().contains(secret));
    let list = list.ok().expect("a list");
    assert_eq!(
        (&list["tokens"][0]["name"], &list["tokens"][0]["role"]),
        (&"nightly".into(), &"viewer".into())
    );
    assert_eq!(list["tokens"].as_array().map(Vec::len), Some(1), "sessions are not tokens");

    for (body, field) in [
        (json!({"name": ""}), "name"),
        (json!({"name": "x", "role": "admin"}), "role"),
        (json!({"name": "x", "role": "king"}), "role"),
        (json!({"name": "x", "expires_in_days": 0}), "expires_in_days"),
        (json!({"name": "x", "days": 1}), "days"),
    ] {
        let answer = api.post(tokens, &body).await.expect("answers");
        assert_eq!(refusal(&answer), (422, "invalid".into(), vec![field.into()]), "{body}");
    }

    let path = format!("{tokens}/{}", made["id"].as_str().expect("an id"));
    app.account("other", Role::Admin).await;
    let other = app.api.login("other", PASSWORD).await.expect("signs in");
    let theirs = other.send(Method::DELETE, &path, &[], "").await.expect("answers");
    assert_eq!(theirs.status, 404, "other people's tokens do not exist");
    assert_eq!(api.send(Method::DELETE, &path, &[], "").await.expect("answers").status, 204);
    assert_eq!(bot.get(me).await.expect("answers").status, 401);
    assert_eq!(api.send(Method::DELETE, &path, &[], "").await.expect("answers").status, 404);
}

/// A token in wrong hands does not shut its owner out.
#[tokio::test]
async fn a_token_ends_itself_and_nothing_else() {
    let app = TestApp::start().await;
    let (me, tokens, sessions) =
        ("/api/v1/auth/me", "/api/v1/auth/tokens", "/api/v1/auth/sessions");
    let api = app.signed_in(Role::Admin).await;
    let token = async |name: &str| {
        let made = api.post(tokens, &json!({"name": name})).await.expect("answers");
        let made = made.ok().expect("a token");
        let text = |key: &str| made[key].as_str().expect("text").to_owned();
        (format!("{tokens}/{}", text("id")), app.api.with_token(text("token")))
    };
    let ((lost_path, lost), (other_path, other)) = (token("lost").await, token("other").await);
    let list = api.get(sessions).await.expect("answers").ok().expect("a list");
    let session = list["sessions"][0]["id"].as_str().expect("an id");
    let session = format!("{sessions}/{session}");
    for (method, path) in [
        (Method::GET, sessions),
        (Method::GET, tokens),
        (Method::DELETE, session.as_str()),
        (Method::DELETE, other_path.as_str()),
    ] {
        let answer = lost.send(method.clone(), path, &[], "").await.expect("answers");
        assert_eq!(refusal(&answer).0, 403, "{method} {path}");
    }
    // It makes no user that outlives it, and lets itself in as nobody else.
    app.account("jane", Role::Admin).await;
    let users = api.get("/api/v1/users").await.expect("answers").ok().expect("a list");
    let users = users["users"].as_array().expect("a list");
    let jane = users.iter().find(|user| user["username"] == "jane").expect("an account");
    let jane = format!("/api/v1/users/{}", jane["id"].as_str().expect("an id"));
    for (method, path, body) in [
        (
            Method::POST,
            "/api/v1/users".to_owned(),
            json!({"username": "mallory", "password": PASSWORD, "role": "admin"}),
        ),
        (Method::PATCH, jane.clone(), json!({"role": "viewer"})),
        (Method::POST, format!("{jane}/password"), json!({"password": PASSWORD})),
    ] {
        let answer = lost.send(method.clone(), &path, &[JSON], body.to_string()).await;
        assert_eq!(refusal(&answer.expect("answers")).0, 403, "{method} {path}");
    }
    assert_eq!(app.count("users WHERE username = 'mallory'").await, 0);
    for api in [&api, &other] {
        assert_eq!(api.get(me).await.expect("answers").status, 200);
    }
    assert_eq!(lost.send(Method::DELETE, &lost_path, &[], "").await.expect("answers").status, 204);
    assert_eq!(lost.get(me).await.expect("answers").status, 401);
    let out = other.post("/api/v1/auth/logout", &serde_json::Value::Null).await.expect("answers");
    assert_eq!(out.status, 204);
}

#[tokio::test]
async fn another_sites_page_cannot_use_the_cookie() {
    let app = TestApp::start().await;
    let api = app.signed_in(Role::Viewer).await;
    let token = api.token().expect("signed in").to_owned();
    let cookie = format!("knm_session={token}");
    let own = format!("http://{}", app.address);
    let post = async |headers: &[(&str, &str)]| {
        let body = json!({"name": "x"}).to_string();
        let answer = app.api.send(Method::POST, "/api/v1/auth/tokens", headers, body).await;
        answer.expect("answers").status.as_u16()
    };
    let bearer = format!("Bearer {token}");
    let evil = ("origin", "https://evil.example.com");
    let with_cookie = ("cookie", cookie.as_str());
    assert_eq!(post(&[JSON, with_cookie, evil]).await, 403);
    assert_eq!(post(&[JSON, with_cookie, ("sec-fetch-site", "cross-site")]).await, 403);
    assert_eq!(post(&[JSON, with_cookie, ("origin", &own)]).await, 201);
    assert_eq!(post(&[JSON, with_cookie, ("sec-fetch-site", "same-origin")]).await, 201);
    assert_eq!(post(&[JSON, ("authorization", &bearer), evil]).await, 201);
    let body = login_body("viewer", PASSWORD).to_string();
    let login = app.api.send(Method::POST, "/api/v1/auth/login", &[JSON, evil], body).await;
    assert_eq!(refusal(&login.expect("answers")), (403, "cross_origin".into(), vec![]));
}

#[tokio::test]
async fn a_cookie_is_secure_where_a_trusted_proxy_speaks_tls() {
    let config = json!({"api": {"trusted_proxies": ["127.0.0.0/8"]}});
    let app = TestApp::start_with(Options { config, ..Options::default() }).await;
    app.account("jane", Role::Viewer).await;
    let body = login_body("jane", PASSWORD).to_string();
    for (proto, secure) in [("https", true), ("http", false)] {
        let headers = [JSON, ("x-forwarded-proto", proto), ("x-forwarded-for", "192.0.2.7")];
        let answer = app.api.send(Method::POST, "/api/v1/auth/login", &headers, body.clone()).await;
        assert_eq!(set_cookie(&answer.expect("answers")).contains("; Secure"), secure, "{proto}");
    }
}

#[tokio::test]
async fn without_a_database_nobody_gets_in_and_the_answer_says_why() {
    let options = Options { database_port: Some(ports::free()), ..Options::default() };
    let app = TestApp::start_with(options).await;
    let login = app.api.post("/api/v1/auth/login", &login_body("jane", PASSWORD)).await;
    let login = login.expect("answers");
    assert_eq!(refusal(&login), (503, "unavailable".into(), vec![]));
    assert!(login.text().contains("(refused)"), "{}", login.text());
    let me = app.api.with_token("x").get("/api/v1/auth/me").await.expect("answers");
    assert_eq!(refusal(&me).0, 503);
    let meta = app.api.get("/api/v1/meta").await.expect("answers");
    assert_eq!(meta.ok().expect("needs no database")["default_cluster"], "default");
}

#[tokio::test]
async fn the_use_of_a_session_is_noted_once_a_minute() {
    let app = TestApp::start().await;
    let api = app.signed_in(Role::Viewer).await;
    let stamp = "SELECT last_used_at FROM sessions";
    let made: jiff::Timestamp = app.database.value(stamp, &[]).await.expect("a time");
    api.get("/api/v1/auth/me").await.expect("answers");
    until("the first use is noted", async || {
        app.database.value::<jiff::Timestamp>(stamp, &[]).await.expect("a time") > made
    })
    .await;
    let noted: jiff::Timestamp = app.database.value(stamp, &[]).await.expect("a time");
    for _ in 0..5 {
        api.get("/api/v1/auth/me").await.expect("answers");
    }
    assert_eq!(app.database.value::<jiff::Timestamp>(stamp, &[]).await.expect("a time"), noted);
}
