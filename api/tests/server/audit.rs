//! The audit log: what is in it, who may read it, and how it leaves the house.

use http::Method;
use knm_shared::session::Role;
use knm_tests::api::Api;
use serde_json::{Value, json};

use super::support::{Options, PASSWORD, TestApp, refusal, until};

async fn entries(api: &Api, query: &str) -> Vec<Value> {
    let page = api.get(&format!("/api/v1/audit?{query}")).await.expect("answers");
    let page = page.ok().expect("a page");
    page["entries"].as_array().expect("entries").clone()
}

fn words(entries: &[Value]) -> Vec<String> {
    let word = |entry: &Value| {
        let text = |key: &str| entry[key].as_str().expect("text").to_owned();
        format!("{} {} {}", text("username"), text("action"), text("result"))
    };
    entries.iter().rev().map(word).collect()
}

#[tokio::test]
async fn every_sign_in_refusal_change_and_task_is_there() {
    let app = TestApp::start().await;
    let admin = app.signed_in(Role::Admin).await;
    let operator = app.signed_in(Role::Operator).await;
    let viewer = app.signed_in(Role::Viewer).await;
    assert!(app.api.login("jane", "no-such-password").await.is_err());
    let label = |key: &str| json!({"action": "label", "nodes": {"all": true}, "params": {"set": {key: "x"}}, "reason": "why"});
    let json = [("content-type", "application/json"), ("x-request-id", "asked-by-me")];
    let body = label("example.com/a").to_string();
    let task = operator.send(Method::POST, "/api/v1/tasks", &json, body).await.expect("answers");
    let task = task.ok().expect("a task");
    viewer.post("/api/v1/tasks", &label("a")).await.expect("answers");
    operator.post("/api/v1/tasks", &label("kubernetes.io/os")).await.expect("answers");
    viewer.get("/api/v1/users").await.expect("answers");
    app.api.with_token("knm_forged").get("/api/v1/tasks").await.expect("answers");
    // Neither of these is an event.
    app.api.get("/api/v1/auth/me").await.expect("answers");
    viewer.get("/api/v1/tasks").await.expect("answers");
    let jane = json!({"username": "jane", "password": PASSWORD, "role": "viewer"});
    let jane = admin.post("/api/v1/users", &jane).await.expect("answers").ok().expect("made");
    let path = format!("/api/v1/users/{}", jane["id"].as_str().expect("an id"));
    let change = json!({"role": "operator"}).to_string();
    admin
        .send(Method::PATCH, &path, &json[..1], change)
        .await
        .expect("answers")
        .ok()
        .expect("changed");

    let all = entries(&admin, "").await;
    assert_eq!(
        words(&all),
        [
            "admin session.create done",
            "operator session.create done",
            "viewer session.create done",
            "jane session.create refused",
            "operator task.submit done",
            "viewer task.submit refused",
            "operator task.submit refused",
            "viewer request refused",
            " request refused",
            "admin user.create done",
            "admin user.change done",
        ]
    );
    assert!(all.iter().all(|e| e["address"] == "127.0.0.1"), "{all:?}");
    let submitted = &entries(&admin, "action=task.&result=done").await[0];
    assert_eq!(submitted["target"], task["id"]);
    assert_eq!(submitted["cluster"], "default");
    assert_eq!(submitted["request_id"], "asked-by-me");
    assert_eq!(submitted["after"]["nodes"], 3);
    assert_eq!(submitted["after"]["reason"], "why");
    let changed = &entries(&admin, "action=user.change").await[0];
    assert_eq!(changed["target"], "jane");
    assert_eq!(
        (&changed["before"]["role"], &changed["after"]["role"]),
        (&json!("viewer"), &json!("operator"))
    );
    let text = serde_json::to_string(&all).expect("JSON");
    for secret in
        [PASSWORD, "no-such-password", "argon2", "knm_forged", admin.token().expect("signed in")]
    {
        assert!(!text.contains(secret), "{secret}");
    }

    for (query, count) in [
        ("user=operator", 3),
        ("user=nobody", 0),
        ("action=task.submit", 3),
        ("action=task", 0),
        ("result=refused", 5),
        ("target=jane", 2),
        ("cluster=default", 2),
        ("request_id=asked-by-me", 1),
        ("since=2000-01-01T00:00:00Z", 11),
        ("until=2000-01-01T00:00:00Z", 0),
        ("action=%25", 0),
    ] {
        assert_eq!(entries(&admin, query).await.len(), count, "{query}");
    }
    let first = admin.get("/api/v1/audit?limit=4").await.expect("answers").ok().expect("a page");
    let cursor = first["next_cursor"].as_i64().expect("more");
    let rest = entries(&admin, &format!("limit=1000&cursor={cursor}")).await;
    assert_eq!(rest.len(), all.len() - 4);
    assert_eq!(rest[0], all[4]);
    for (query, field) in
        [("limit=0", "limit"), ("result=x", "result"), ("since=x", "since"), ("x=1", "x")]
    {
        let answer = admin.get(&format!("/api/v1/audit?{query}")).await.expect("answers");
        assert_eq!(refusal(&answer), (422, "invalid".into(), vec![field.into()]), "{query}");
    }
}

/// What one may not read does not exist, and asking for it is a refusal all the same.
#[tokio::test]
async fn asking_for_what_one_may_not_read_is_there() {
    let app = TestApp::start().await;
    let admin = app.signed_in(Role::Admin).await;
    app.execute(
        "INSERT INTO progress_tasks (id, user_id, cluster, action, total, pending)
         SELECT '00000000-0000-7000-8000-000000000001', id, 'default', 'later', 1, 1 FROM users",
    )
    .await;
    let clusters = json!({"elsewhere": "operator"});
    let jane =
        json!({"username": "jane", "password": PASSWORD, "role": "operator", "clusters": clusters});
    admin.post("/api/v1/users", &jane).await.expect("answers").ok().expect("made");
    let jane = app.api.login("jane", PASSWORD).await.expect("signs in");
    let tasks = "/api/v1/tasks/00000000-0000-7000-8000-00000000000";
    for path in ["/api/v1/clusters/default", &format!("{tasks}1"), &format!("{tasks}2")] {
        assert_eq!(refusal(&jane.get(path).await.expect("answers")).0, 404, "{path}");
    }
    let label = json!({"action": "label", "nodes": {"all": true}, "params": {"set": {"a": "b"}}});
    let preview = jane.post("/api/v1/tasks/preview", &label).await.expect("answers");
    assert_eq!(refusal(&preview), (422, "invalid".into(), vec!["cluster".into()]));
    let refused = entries(&admin, "user=jane&result=refused").await;
    assert_eq!(refused.len(), 3, "a task that there is not is no secret: {refused:?}");
    for entry in refused {
        assert_eq!(entry["detail"], "jane may not read cluster default");
    }
}

#[tokio::test]
async fn what_was_before_is_there() {
    let encryption_key = "YSBrZXkgZm9yIHRlc3RzIGFuZCBkZW1vcyBvbmx5IDo=".to_owned();
    let app = TestApp::start_with(Options { encryption_key, ..Options::default() }).await;
    let admin = app.signed_in(Role::Admin).await;
    let json = [("content-type", "application/json")];
    let ask = async |method: Method, path: &str, body: Value| {
        let answer = admin.send(method, path, &json, body.to_string()).await.expect("answers");
        answer.ok().expect("done");
    };
    let at = |server: &str| {
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "a",
            "contexts": [{"name": "a", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "u", "user": {"token": "s3cr3t"}}],
        });
        json!({"kubeconfig": kubeconfig.to_string()})
    };
    let mut east = at("https://127.0.0.1:1");
    east["name"] = "east".into();
    ask(Method::POST, "/api/v1/clusters", east).await;
    let path = "/api/v1/clusters/east";
    ask(Method::PUT, path, at("https://127.0.0.1:2")).await;
    ask(Method::DELETE, path, Value::Null).await;
    let path = "/api/v1/freezes/default";
    for reason in ["first", "second"] {
        ask(Method::PUT, path, json!({"reason": reason})).await;
    }
    ask(Method::DELETE, path, Value::Null).await;
    app.execute(
        "INSERT INTO progress_tasks (id, user_id, cluster, action, total, pending)
         SELECT '00000000-0000-7000-8000-000000000001', id, 'default', 'later', 1, 1 FROM users",
    )
    .await;
    let task = "/api/v1/tasks/00000000-0000-7000-8000-000000000001";
    ask(Method::POST, &format!("{task}/pause"), Value::Null).await;
    let servers = ["https://127.0.0.1:1", "https://127.0.0.1:2"].map(|s| json!({"server": s}));
    let reasons = ["first", "second"].map(|r| json!({"reason": r}));
    let paused = json!({"action": "later", "desired": "pause"});
    let null = || Value::Null;
    for (word, before, after) in [
        ("cluster.add", null(), servers[0].clone()),
        ("cluster.replace", servers[0].clone(), servers[1].clone()),
        ("cluster.remove", servers[1].clone(), null()),
        ("cluster.thaw", reasons[1].clone(), null()),
        ("task.pause", json!({"desired": "run"}), paused),
    ] {
        let [entry] = &entries(&admin, &format!("action={word}")).await[..] else {
            panic!("{word}: one entry")
        };
        assert_eq!((&entry["before"], &entry["after"]), (&before, &after), "{word}");
    }
    let frozen = entries(&admin, "action=cluster.freeze").await;
    let [second, first] = &frozen[..] else { panic!("two: {frozen:?}") };
    assert_eq!((&first["before"], &first["after"]), (&null(), &reasons[0]));
    assert_eq!((&second["before"], &second["after"]), (&reasons[0], &reasons[1]));
    let text = serde_json::to_string(&entries(&admin, "").await).expect("JSON");
    assert!(!text.contains("s3cr3t"));
}

/// Who is behind a proxy that is trusted, and the proxy itself where it is not.
#[tokio::test]
async fn the_address_is_the_visitors() {
    for (trusted, address) in [(json!(["127.0.0.1"]), "203.0.113.7"), (json!([]), "127.0.0.1")] {
        let config = json!({"api": {"trusted_proxies": trusted}});
        let app = TestApp::start_with(Options { config, ..Options::default() }).await;
        let headers =
            [("content-type", "application/json"), ("x-forwarded-for", "6.6.6.6, 203.0.113.7")];
        let body = json!({"username": "jane", "password": "wrong"}).to_string();
        let login = app.api.send(Method::POST, "/api/v1/auth/login", &headers, body).await;
        assert_eq!(refusal(&login.expect("answers")).0, 401);
        let admin = app.signed_in(Role::Admin).await;
        assert_eq!(entries(&admin, "user=jane").await[0]["address"], address);
    }
}

#[tokio::test]
async fn the_export_is_whole_and_no_spreadsheet_runs_it() {
    let app = TestApp::start().await;
    let admin = app.signed_in(Role::Admin).await;
    // What an outsider writes into the log by trying to sign in.
    let formula = "=HYPERLINK(\"http://evil.example\";\"x\")";
    assert!(app.api.login(formula, "wrong").await.is_err());
    app.execute(
        "INSERT INTO audit_log (username, address, action, result, status, request_id)
         SELECT 'many', '192.0.2.1', 'task.submit', 'done', 202, n::text
         FROM generate_series(1, 2500) n",
    )
    .await;
    let csv = admin.get("/api/v1/audit/export").await.expect("answers");
    assert_eq!(csv.headers["content-type"], "text/csv; charset=utf-8");
    assert!(csv.headers["content-disposition"].to_str().expect("text").contains("audit.csv"));
    let text = csv.text();
    assert!(text.starts_with("id,at,user_id,username,"), "{}", &text[..100]);
    assert_eq!(text.matches("\r\n").count(), 1 + 2502, "the head, two sign-ins and 2,500 entries");
    assert!(!text.contains(",\"="), "a formula");
    assert!(text.contains(",\"'=HYPERLINK(\"\"http"), "{}", &text[text.len() - 400..]);

    let lines = admin.get("/api/v1/audit/export?format=jsonl&user=many").await.expect("answers");
    assert_eq!(lines.headers["content-type"], "application/jsonl");
    let ids: Vec<i64> = lines
        .text()
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).expect("JSON")["id"].as_i64().expect("an id")
        })
        .collect();
    assert_eq!(ids.len(), 2500);
    assert!(ids.is_sorted_by(|a, b| a > b), "newest first, each once");
    let told = entries(&admin, "action=audit.export").await;
    assert_eq!(told.len(), 2);
    assert_eq!(told[0]["target"], "format=jsonl&user=many");

    let operator = app.signed_in(Role::Operator).await;
    for path in ["/api/v1/audit", "/api/v1/audit/export"] {
        assert_eq!(refusal(&operator.get(path).await.expect("answers")).0, 403, "{path}");
    }
}

/// An entry that cannot be stored is no reason to lose it, nor to say that nothing was done.
#[tokio::test]
async fn what_cannot_be_stored_is_counted_and_what_was_done_is_answered() {
    let app = TestApp::start().await;
    let admin = app.signed_in(Role::Admin).await;
    app.execute("ALTER TABLE audit_log RENAME TO elsewhere").await;
    let jane = json!({"username": "jane", "password": PASSWORD, "role": "viewer"});
    let made = admin.post("/api/v1/users", &jane).await.expect("answers");
    assert_eq!(made.status, 201, "{}", made.text());
    app.execute("ALTER TABLE elsewhere RENAME TO audit_log").await;
    assert_eq!(entries(&admin, "action=user.create").await.len(), 0);
    let lost =
        app.registry.gather().into_iter().find(|m| m.name() == "knm_api_audit_failures_total");
    let lost = lost.expect("registered");
    assert!((lost.get_metric()[0].get_counter().get_value() - 1.0).abs() < 1e-9);
}

/// As deploy/security.md has it: everything works for a role that owns nothing.
#[tokio::test]
async fn a_role_that_only_serves_can_do_all_that_serving_takes() {
    let role = format!("app_{}", uuid::Uuid::new_v4().simple());
    let server = knm_tests::postgres::shared_server().await.expect("a server");
    let superuser = server.connect().await.expect("connects");
    let create = format!("CREATE ROLE {role} LOGIN PASSWORD 'x'");
    superuser.batch_execute(&create).await.expect("a role");
    let options = Options { role: Some(role.clone()), ..Options::default() };
    let app = TestApp::start_with(options).await;
    let admin = app.signed_in(Role::Admin).await;
    let jane = json!({"username": "jane", "password": PASSWORD, "role": "operator"});
    let jane = admin.post("/api/v1/users", &jane).await.expect("answers").ok().expect("made");
    let theirs = app.api.login("jane", PASSWORD).await.expect("signs in");
    let nodes = admin.nodes().await.expect("nodes");
    let task = theirs.label(&nodes, "example.com/a", "b").await.expect("accepted");
    until("the task is done", async || {
        admin.task(task).await.expect("a task")["status"] == "completed"
    })
    .await;
    let path = format!("/api/v1/users/{}", jane["id"].as_str().expect("an id"));
    let closed = json!({"disabled": true, "clusters": {"default": "viewer"}}).to_string();
    let json = [("content-type", "application/json")];
    let closed = admin.send(Method::PATCH, &path, &json, closed).await.expect("answers");
    closed.ok().expect("closed");
    let sql = app.database.connect().await.expect("connects");
    let by =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = $1";
    assert!(app.database.value::<i64>(by, &[&role]).await.expect("a count") > 0, "it is that role");
    assert_eq!(entries(&admin, "").await.len(), 5);
    sql.batch_execute(&format!("SET ROLE {role}")).await.expect("may");
    assert!(sql.batch_execute("DELETE FROM audit_log").await.is_err());
    drop(app);
}
