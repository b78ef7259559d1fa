//! Who is shut out while they are coming in, or while what they have asked for is on its way.

use http::Method;
use knm_shared::session::Role;
use knm_tests::api::Api;
use knm_tests::postgres::Sql;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::support::{PASSWORD, TestApp};

const USERS: &str = "/api/v1/users";
const TASKS: &str = "/api/v1/tasks";
const CLOSE: &str = "UPDATE users SET disabled_at = now() WHERE username = 'jane'";
const RESET: &str = "UPDATE users SET password_hash = 'another' WHERE username = 'jane'";

/// A request whose body lacks its last byte; the server has let it in and waits for that.
struct Half(TcpStream);

impl Half {
    async fn begin(app: &TestApp, api: &Api, path: &str, body: &Value) -> Self {
        let body = body.to_string();
        let (token, length) = (api.token().expect("signed in"), body.len());
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: knm\r\nContent-Type: application/json\r\n\
             Authorization: Bearer {token}\r\nExpect: 100-continue\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        let mut stream = TcpStream::connect(app.address).await.expect("connects");
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut go_on = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
        stream.read_exact(&mut go_on).await.expect("let in");
        assert!(go_on.starts_with(b"HTTP/1.1 100 "), "{}", go_on.escape_ascii());
        stream.write_all(&body.as_bytes()[..length - 1]).await.expect("sent");
        Self(stream)
    }

    /// Sends the rest; the status of the answer.
    async fn end(mut self) -> u16 {
        self.0.write_all(b"}").await.expect("sent");
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).await.expect("answers");
        answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
    }
}

async fn patch(admin: &Api, app: &TestApp, change: Value) {
    let sql = "SELECT id::text FROM users WHERE username = 'jane'";
    let id: String = app.database.value(sql, &[]).await.expect("an account");
    let (json, path) = ([("content-type", "application/json")], format!("{USERS}/{id}"));
    let answer = admin.send(Method::PATCH, &path, &json, change.to_string()).await;
    answer.expect("answers").ok().expect("changed");
}

fn account(name: &str) -> Value {
    json!({"username": name, "password": PASSWORD, "role": "admin"})
}

fn task(action: &str) -> Value {
    let nodes = json!({"all": true});
    match action {
        "label" => json!({"action": action, "nodes": nodes, "params": {"set": {"a": "b"}}}),
        _ => json!({"action": action, "nodes": nodes}),
    }
}

async fn begun(app: &TestApp, statements: &str) -> Sql {
    let session = app.database.connect().await.expect("connects");
    session.batch_execute(&format!("BEGIN; {statements}")).await.expect("executes");
    session
}

/// What a request that waits for somebody's lock is answered, once these statements have ended that.
async fn meanwhile<T>(
    app: &TestApp,
    request: impl Future<Output = T>,
    holder: &Sql,
    statements: &str,
) -> T {
    let (answer, ()) = tokio::join!(request, async {
        app.database.until_blocked().await.expect("it waits");
        holder.batch_execute(statements).await.expect("executes");
    });
    answer
}

#[tokio::test]
async fn a_request_is_answered_by_the_rights_of_when_it_is_there() {
    let app = TestApp::start().await;
    let admin = app.signed_in(Role::Admin).await;
    app.account("jane", Role::Admin).await;
    let jane = app.api.login("jane", PASSWORD).await.expect("signs in");
    let token = jane.post("/api/v1/auth/tokens", &json!({"name": "bot"})).await.expect("answers");
    let token = token.ok().expect("a token")["token"].as_str().expect("a secret").to_owned();
    let bot = app.api.with_token(token);

    // What lasts, with less than before.
    let made = Half::begin(&app, &bot, USERS, &account("made")).await;
    let drained = Half::begin(&app, &bot, TASKS, &task("drain")).await;
    let labelled = Half::begin(&app, &bot, TASKS, &task("label")).await;
    patch(&admin, &app, json!({"role": "operator"})).await;
    assert_eq!((made.end().await, drained.end().await, labelled.end().await), (403, 403, 202));

    patch(&admin, &app, json!({"role": "admin"})).await;
    let jane = app.api.login("jane", PASSWORD).await.expect("signs in");
    let made = Half::begin(&app, &jane, USERS, &account("made")).await;
    let drained = Half::begin(&app, &jane, TASKS, &task("drain")).await;
    patch(&admin, &app, json!({"disabled": true})).await;
    assert_eq!((made.end().await, drained.end().await), (401, 401));
    assert_eq!(app.count("users WHERE username = 'made'").await, 0);
    assert_eq!(app.count("progress_tasks WHERE action = 'drain'").await, 0);
    let told = "audit_log WHERE username = 'jane' AND result = 'refused' AND action <> 'request'";
    assert_eq!(app.count(told).await, 4, "each is told");
}

#[tokio::test]
async fn a_task_of_a_closed_account_is_not_stored() {
    let app = TestApp::start().await;
    app.account("jane", Role::Operator).await;
    let jane = app.api.login("jane", PASSWORD).await.expect("signs in");
    let closing = begun(&app, CLOSE).await;
    let label = task("label");
    let answer = meanwhile(&app, jane.post(TASKS, &label), &closing, "COMMIT").await;
    let answer = answer.expect("answers");
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert_eq!(app.count("progress_tasks").await, 0);
}

#[tokio::test]
async fn nobody_signs_in_with_a_password_that_is_being_reset() {
    let app = TestApp::start().await;
    app.account("jane", Role::Viewer).await;
    let resetting = begun(&app, RESET).await;
    let answer = meanwhile(&app, app.api.login("jane", PASSWORD), &resetting, "COMMIT").await;
    assert!(answer.is_err());
    assert_eq!(app.count("sessions").await, 0);
}

#[tokio::test]
async fn nobody_makes_a_token_in_a_session_that_is_being_ended() {
    let app = TestApp::start().await;
    app.account("jane", Role::Viewer).await;
    let jane = app.api.login("jane", PASSWORD).await.expect("signs in");
    let resetting = begun(&app, RESET).await;
    let body = json!({"name": "bot"});
    let answer = meanwhile(
        &app,
        jane.post("/api/v1/auth/tokens", &body),
        &resetting,
        "DELETE FROM sessions; COMMIT",
    )
    .await;
    assert_eq!(answer.expect("answers").status, 403);
    assert_eq!(app.count("sessions").await, 0);
}

/// Somebody who knows the old password is just being let in: their session ends with the others.
#[tokio::test]
async fn a_changed_password_ends_sessions_that_begin_at_the_same_time() {
    let app = TestApp::start().await;
    app.account("jane", Role::Viewer).await;
    let jane = app.api.login("jane", PASSWORD).await.expect("signs in");
    let coming_in = begun(
        &app,
        "SELECT FROM users WHERE username = 'jane' FOR SHARE;
         INSERT INTO sessions (id, user_id, kind, token_hash, expires_at, ends_at)
         SELECT gen_random_uuid(), id, 'session', 'x', now() + '1 h', now() + '1 h' FROM users",
    )
    .await;
    let body = json!({"current": PASSWORD, "password": "battery staple"});
    let answer =
        meanwhile(&app, jane.post("/api/v1/auth/password", &body), &coming_in, "COMMIT").await;
    assert_eq!(answer.expect("answers").status, 204);
    assert_eq!(app.count("sessions").await, 1, "that in which it was changed");
}
