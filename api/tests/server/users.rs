//! Accounts, as administrators of the installation manage them.

use http::Method;
use knm_shared::session::Role;
use knm_tests::api::{Answer, Api};
use serde_json::{Value, json};

use super::support::{PASSWORD, TestApp, refusal, until};

const USERS: &str = "/api/v1/users";

async fn patch(api: &Api, id: &str, body: Value) -> Answer {
    let json = [("content-type", "application/json")];
    let path = format!("{USERS}/{id}");
    api.send(Method::PATCH, &path, &json, body.to_string()).await.expect("answers")
}

async fn made(api: &Api, body: Value) -> Value {
    let answer = api.post(USERS, &body).await.expect("answers");
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.ok().expect("an account")
}

fn id(user: &Value) -> &str {
    user["id"].as_str().expect("an id")
}

async fn whoami(api: &Api) -> Value {
    api.get("/api/v1/auth/me").await.expect("answers").ok().expect("me")
}

async fn status(api: &Api, path: &str) -> u16 {
    api.get(path).await.expect("answers").status.as_u16()
}

#[tokio::test]
async fn an_account_is_made_changed_and_closed() {
    let app = TestApp::start().await;
    let admin = app.signed_in(Role::Admin).await;
    let jane = json!({"username": "Jane", "password": PASSWORD, "role": "viewer"});
    let jane = made(&admin, jane).await;
    assert!(!jane.to_string().contains("argon2"), "{jane}");
    let twice = json!({"username": "jANE", "password": PASSWORD, "role": "viewer"});
    let twice = admin.post(USERS, &twice).await.expect("answers");
    assert_eq!(refusal(&twice), (409, "conflict".into(), vec![]));
    let list = admin.get(USERS).await.expect("answers").ok().expect("a list");
    let names: Vec<_> =
        list["users"].as_array().expect("a list").iter().map(|u| &u["username"]).collect();
    assert_eq!(names, ["admin", "Jane"]);

    let theirs = app.api.login("jane", PASSWORD).await.expect("signs in");
    let token = theirs.post("/api/v1/auth/tokens", &json!({"name": "bot"})).await.expect("answers");
    let token = token.ok().expect("a token")["token"].as_str().expect("a secret").to_owned();
    let bot = app.api.with_token(token);
    let me = "/api/v1/auth/me";

    // More rights: whoever has them signs in for them; a token goes on with those that it was given.
    let changed = patch(&admin, id(&jane), json!({"role": "operator"})).await;
    assert_eq!(changed.ok().expect("changed")["role"], "operator");
    assert_eq!(status(&theirs, me).await, 401, "signed in with the rights of before");
    assert_eq!(bot.get(me).await.expect("answers").ok().expect("me")["role"], "viewer");

    let theirs = app.api.login("jane", PASSWORD).await.expect("signs in");
    let reset = json!({"password": "battery staple"});
    let path = format!("{USERS}/{}/password", id(&jane));
    assert_eq!(admin.post(&path, &reset).await.expect("answers").status, 204);
    assert_eq!((status(&theirs, me).await, status(&bot, me).await), (401, 401));
    assert!(app.api.login("jane", PASSWORD).await.is_err());
    let theirs = app.api.login("jane", "battery staple").await.expect("signs in");

    let closed = patch(&admin, id(&jane), json!({"disabled": true})).await.ok().expect("closed");
    assert!(closed["disabled_at"].is_string(), "{closed}");
    assert_eq!(status(&theirs, me).await, 401);
    assert!(app.api.login("jane", "battery staple").await.is_err());
    patch(&admin, id(&jane), json!({"disabled": false})).await.ok().expect("opened");
    assert_eq!(status(&theirs, me).await, 401, "what has ended does not come back");
    app.api.login("jane", "battery staple").await.expect("signs in");
}

#[tokio::test]
async fn wrong_accounts_are_refused_with_the_name_of_the_field() {
    let app = TestApp::start().await;
    let admin = app.signed_in(Role::Admin).await;
    let with = |key: &str, value: Value| {
        let mut body = json!({"username": "x", "password": PASSWORD, "role": "viewer"});
        body[key] = value;
        body
    };
    for (body, field) in [
        (with("username", json!("a b")), "username"),
        (with("username", json!("")), "username"),
        (with("password", json!("short")), "password"),
        (with("role", json!("king")), "role"),
        (with("clusters", json!({"A B": "viewer"})), "clusters.A B"),
        (with("clusters", json!({"a": "king"})), "clusters.a"),
        (with("is_admin", json!(true)), "is_admin"),
        (
            json!({"username": "x", "password": PASSWORD, "role": "admin", "clusters": {}}),
            "clusters",
        ),
    ] {
        let answer = admin.post(USERS, &body).await.expect("answers");
        assert_eq!(refusal(&answer), (422, "invalid".into(), vec![field.into()]), "{body}");
    }
    assert_eq!(app.count("users").await, 1);
    for path in [format!("{USERS}/x"), format!("{USERS}/{}", uuid::Uuid::nil())] {
        assert_eq!(status(&admin, &path).await, 404, "{path}");
    }
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let app = TestApp::start().await;
    let admin = app.signed_in(Role::Admin).await;
    let me = admin.get("/api/v1/auth/me").await.expect("answers").ok().expect("me");
    for body in [json!({"role": "operator"}), json!({"disabled": true})] {
        let answer = patch(&admin, id(&me), body).await;
        assert_eq!(refusal(&answer), (409, "conflict".into(), vec![]));
    }
    let bound = patch(&admin, id(&me), json!({"clusters": {"default": "viewer"}})).await;
    assert_eq!(refusal(&bound), (422, "invalid".into(), vec!["clusters".into()]));

    // Two that remove each other at the same time: one of them stays.
    let other = json!({"username": "other", "password": PASSWORD, "role": "admin"});
    let other = made(&admin, other).await;
    let theirs = app.api.login("other", PASSWORD).await.expect("signs in");
    let (one, two) = tokio::join!(
        patch(&admin, id(&other), json!({"disabled": true})),
        patch(&theirs, id(&me), json!({"role": "viewer"})),
    );
    let done = [&one, &two].iter().filter(|answer| answer.status == 200).count();
    assert_eq!(done, 1, "{} {}", one.text(), two.text());
    assert_eq!(app.count("users WHERE role = 'admin' AND disabled_at IS NULL").await, 1);
}

#[tokio::test]
async fn closing_an_account_pauses_its_tasks() {
    let app = TestApp::start().await;
    let admin = app.signed_in(Role::Admin).await;
    let operator = app.signed_in(Role::Operator).await;
    let me = operator.get("/api/v1/auth/me").await.expect("answers").ok().expect("me");
    // Nobody claims it here: its action is another release's.
    let store = |id: &str, user: &Value| {
        format!(
            "INSERT INTO progress_tasks (id, user_id, cluster, action, total, pending)
             VALUES ('{id}', '{}', 'default', 'later', 1, 1)",
            user["id"].as_str().expect("an id")
        )
    };
    let mine = admin.get("/api/v1/auth/me").await.expect("answers").ok().expect("me");
    app.execute(&store("00000000-0000-7000-8000-000000000001", &me)).await;
    app.execute(&store("00000000-0000-7000-8000-000000000002", &mine)).await;
    patch(&admin, id(&me), json!({"disabled": true})).await.ok().expect("closed");
    assert_eq!(app.count("progress_tasks WHERE desired = 'pause'").await, 1);
    let told = "SELECT after->>'paused_tasks' FROM audit_log WHERE action = 'user.change'";
    let told: String = app.database.value(told, &[]).await.expect("an entry");
    assert_eq!(told, "1");
    // The admin steers it from now on.
    let resume = "/api/v1/tasks/00000000-0000-7000-8000-000000000001/resume";
    assert_eq!(admin.post(resume, &Value::Null).await.expect("answers").status, 202);
}

#[tokio::test]
async fn clusters_that_a_user_is_not_bound_to_do_not_exist() {
    let app = TestApp::start().await;
    let admin = app.signed_in(Role::Admin).await;
    let theirs = app.database.value::<String>(
        "WITH task AS (
             INSERT INTO progress_tasks (id, user_id, cluster, action, total, pending)
             SELECT gen_random_uuid(), id, 'default', 'later', 1, 1 FROM users RETURNING id)
         SELECT id::text FROM task",
        &[],
    );
    let task = theirs.await.expect("a task");
    let user = async |name: &str, role: &str, clusters: Value| {
        let body =
            json!({"username": name, "password": PASSWORD, "role": role, "clusters": clusters});
        made(&admin, body).await;
        app.api.login(name, PASSWORD).await.expect("signs in")
    };
    let outside = user("outside", "operator", json!({"elsewhere": "admin"})).await;
    let reader = user("reader", "viewer", json!({"default": "viewer"})).await;
    let chief = user("chief", "viewer", json!({"default": "admin"})).await;
    let none = user("none", "operator", json!({})).await;

    let names = async |api: &Api| {
        let list = api.get("/api/v1/clusters").await.expect("answers");
        list.json::<Value>().expect("JSON")["clusters"].as_array().map(Vec::len)
    };
    assert_eq!(names(&outside).await, Some(0));
    assert_eq!(names(&reader).await, Some(1));
    assert_eq!(status(&none, "/api/v1/clusters").await, 403, "nothing to read anywhere");
    for (api, expected) in [(&outside, 404), (&none, 404), (&reader, 200), (&chief, 200)] {
        for path in [
            "/api/v1/clusters/default/nodes".to_owned(),
            "/api/v1/clusters/default/nodes/node-0001".to_owned(),
            format!("/api/v1/tasks/{task}"),
            format!("/api/v1/tasks/{task}/items"),
        ] {
            let got = status(api, &path).await;
            assert!(got == expected || (expected == 404 && got == 403), "{path}: {got}");
        }
    }
    let tasks = async |api: &Api| {
        let list = api.get("/api/v1/tasks").await.expect("answers").ok().expect("a list");
        list["tasks"].as_array().map(Vec::len)
    };
    assert_eq!((tasks(&outside).await, tasks(&reader).await), (Some(0), Some(1)));

    let label = |key: &str| json!({"action": "label", "nodes": {"all": true}, "params": {"set": {key: "x"}}});
    let submit = async |api: &Api, body: Value| {
        let answer = api.post("/api/v1/tasks", &body).await.expect("answers");
        (answer.status.as_u16(), answer.text())
    };
    assert_eq!(submit(&outside, label("a")).await.0, 422, "no such cluster");
    assert_eq!(submit(&reader, label("a")).await.0, 403);
    assert_eq!(submit(&chief, label("a")).await.0, 202);
    let cancel = format!("/api/v1/tasks/{task}/cancel");
    for (api, expected) in [(&outside, 404), (&reader, 403), (&chief, 202)] {
        let answer = api.post(&cancel, &Value::Null).await.expect("answers");
        assert_eq!(answer.status, expected, "{}", answer.text());
    }
    // A chief of a cluster is none of the installation.
    assert_eq!(status(&chief, USERS).await, 403);
    assert_eq!(status(&chief, "/api/v1/audit").await, 403);
    let me = chief.get("/api/v1/auth/me").await.expect("answers").ok().expect("me");
    assert_eq!(me["clusters"], json!({"default": "admin"}));
    // Their tokens may have what they have there.
    for (role, given) in [(json!("operator"), "operator"), (Value::Null, "admin")] {
        let body = json!({"name": "bot", "role": role});
        let token = chief.post("/api/v1/auth/tokens", &body).await.expect("answers");
        let token = token.ok().expect("a token")["token"].as_str().expect("a secret").to_owned();
        let bot = app.api.with_token(token);
        let me = bot.get("/api/v1/auth/me").await.expect("answers").ok().expect("me");
        assert_eq!((&me["role"], &me["clusters"]["default"]), (&json!("viewer"), &json!(given)));
    }
}

#[tokio::test]
async fn ones_own_sessions_and_password() {
    let app = TestApp::start().await;
    app.account("jane", Role::Viewer).await;
    let sign_in = async || app.api.login("jane", PASSWORD).await.expect("signs in");
    let (here, there, elsewhere) = (sign_in().await, sign_in().await, sign_in().await);
    app.account("other", Role::Admin).await;
    let other = app.api.login("other", PASSWORD).await.expect("signs in");

    let sessions = "/api/v1/auth/sessions";
    let list = here.get(sessions).await.expect("answers").ok().expect("a list");
    let list = list["sessions"].as_array().expect("sessions").clone();
    assert_eq!(list.len(), 3);
    assert!(list.iter().all(|s| s["address"] == "127.0.0.1"), "{list:?}");
    let own = list.iter().filter(|s| s["current"] == true).count();
    assert_eq!(own, 1);
    let mine = there.get(sessions).await.expect("answers").ok().expect("a list");
    let mine = mine["sessions"].as_array().expect("sessions");
    let current = mine.iter().find(|s| s["current"] == true).expect("its own");
    let path = format!("{sessions}/{}", id(current));
    let end = async |api: &Api| {
        api.send(Method::DELETE, &path, &[], "").await.expect("answers").status.as_u16()
    };
    assert_eq!(end(&other).await, 404, "somebody else's does not exist");
    assert_eq!(end(&here).await, 204);
    assert_eq!(end(&here).await, 404);
    let me = "/api/v1/auth/me";
    assert_eq!((status(&there, me).await, status(&here, me).await), (401, 200));

    let change = async |api: &Api, current: &str, new: &str| {
        let body = json!({"current": current, "password": new});
        api.post("/api/v1/auth/password", &body).await.expect("answers")
    };
    let wrong = change(&here, "not it", "battery staple").await;
    assert_eq!(refusal(&wrong), (422, "invalid".into(), vec!["current".into()]));
    let short = change(&here, PASSWORD, "short").await;
    assert_eq!(refusal(&short), (422, "invalid".into(), vec!["password".into()]));
    let token = here.post("/api/v1/auth/tokens", &json!({"name": "bot"})).await.expect("answers");
    let token = token.ok().expect("a token")["token"].as_str().expect("a secret").to_owned();
    let bot = app.api.with_token(token);
    assert_eq!(refusal(&change(&bot, PASSWORD, "battery staple").await).0, 403);
    assert_eq!(change(&here, PASSWORD, "battery staple").await.status, 204);
    assert_eq!((status(&here, me).await, status(&elsewhere, me).await), (200, 401));
    assert_eq!(status(&bot, me).await, 200);
    assert!(app.api.login("jane", PASSWORD).await.is_err());
    app.api.login("jane", "battery staple").await.expect("signs in");

    let path = format!("{USERS}/{}/password", id(&whoami(&other).await));
    let own = other.post(&path, &json!({"password": "battery staple"})).await.expect("answers");
    assert_eq!(refusal(&own).0, 403, "one's own takes the password that one has");
    assert_eq!(status(&other, me).await, 200);
    let body = json!({"current": "battery staple", "password": PASSWORD, "end_tokens": true});
    let changed = here.post("/api/v1/auth/password", &body).await.expect("answers");
    assert_eq!((changed.status.as_u16(), status(&here, me).await), (204, 200));
    assert_eq!(status(&bot, me).await, 401, "tokens end when that is wished");
    assert_eq!(change(&here, PASSWORD, "battery staple").await.status, 204);

    // Guesses wait as they do at the door.
    for _ in 0..7 {
        change(&here, "a guess", "battery staple 2").await;
    }
    assert_eq!(change(&here, "battery staple", "battery staple 2").await.status, 429);
}

#[tokio::test]
async fn whose_rights_are_taken_away_is_told_to_every_relay() {
    let app = TestApp::start().await;
    let admin = app.signed_in(Role::Admin).await;
    let jane = json!({"username": "jane", "password": PASSWORD, "role": "operator"});
    let jane = made(&admin, jane).await;
    let mut revoked = app.database.listen("session_revoked").await.expect("listens");
    let told = json!({"user": id(&jane)}).to_string();
    let path = format!("{USERS}/{}/password", id(&jane));
    for body in
        [json!({"role": "viewer"}), json!({"clusters": {"a": "viewer"}}), json!({"disabled": true})]
    {
        patch(&admin, id(&jane), body).await.ok().expect("changed");
        assert_eq!(revoked.next().await.expect("told"), told);
    }
    admin.post(&path, &json!({"password": "battery staple"})).await.expect("answers");
    assert_eq!(revoked.next().await.expect("told"), told);
    // What changes nothing ends nothing.
    patch(&admin, id(&jane), json!({"disabled": true})).await.ok().expect("is so already");
    let mine = admin.get("/api/v1/auth/me").await.expect("answers").ok().expect("me");
    patch(&admin, id(&mine), json!({"role": "admin"})).await.ok().expect("is so already");
    until("the administrator is still signed in", async || {
        status(&admin, "/api/v1/auth/me").await == 200
    })
    .await;
    let sentinel = app.api.login("admin", PASSWORD).await.expect("signs in");
    sentinel.post("/api/v1/auth/logout", &Value::Null).await.expect("answers");
    assert!(revoked.next().await.expect("told").starts_with("{\"session\":"), "nothing between");
}
