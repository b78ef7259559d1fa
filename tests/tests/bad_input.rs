//! Wrong requests: a problem document that names the field, and nothing stored.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use http::Method;
use knm_tests::api::{Api, Problem};
use knm_tests::scenario::{ADMIN, World};
use knm_tests::ws::frame::ServerFrame;
use knm_tests::ws::{Connection, Message, RefusedUpgrade, Watcher};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message as WsMessage;

const SOON: Duration = Duration::from_secs(30);
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

fn good() -> Value {
    json!({"action": "label", "nodes": {"names": ["node-0001"]},
           "params": {"set": {"example.com/a": "b"}}})
}

/// The good task with one place changed.
fn with(pointer: &str, value: Value) -> Value {
    let mut task = good();
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    task.pointer_mut(parent).expect("a place")[key] = value;
    task
}

async fn refused(api: &Api, body: impl Into<String>) -> anyhow::Result<Problem> {
    let body = body.into();
    let shown = body.chars().take(200).collect::<String>();
    let answer = api.send(Method::POST, "/api/v1/tasks", &JSON, body).await?;
    let problem = answer.problem().with_context(|| shown.clone())?;
    ensure!((400..500).contains(&problem.status), "{shown}: {problem:?}");
    ensure!(!problem.title.is_empty() && !problem.request_id.is_empty(), "{shown}: {problem:?}");
    Ok(problem)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_task_is_refused_with_the_name_of_the_field() -> anyhow::Result<()> {
    let world = World::new("bad_tasks").nodes(3).start().await?;
    let api = world.sign_in(0).await?;
    let long = "x".repeat(64);
    let cases = [
        (with("/nodes/names", json!(["node-0001", "node-9999"])), "nodes.names[1]"),
        (with("/nodes/names", json!([])), "nodes.names"),
        (with("/nodes", json!({})), "nodes"),
        (with("/nodes/selector", json!("a=b")), "nodes"),
        (with("/nodes", json!({"selector": "a in (b"})), "nodes.selector"),
        (with("/nodes", json!({"selector": "no=such"})), "nodes.selector"),
        (with("/params/set", json!({"not a key": "b"})), "params.set.not a key"),
        (with("/params/set", json!({"a": "not a value!"})), "params.set.a"),
        (with("/params/set", json!({"a": long})), "params.set.a"),
        (with("/params/set", json!({"kubernetes.io/os": "x"})), "params.set.kubernetes.io/os"),
        (with("/params", json!({})), "params"),
        (with("/params/sett", json!({"a": "b"})), "params.sett"),
        (with("/action", json!("explode")), "action"),
        (with("/cluster", json!("nowhere")), "cluster"),
        (with("/options", json!({"concurrency": 0})), "options.concurrency"),
        (with("/options", json!({"no_such": 1})), "options.no_such"),
        (with("/no_such", json!(1)), "no_such"),
        (with("/reason", json!(7)), "reason"),
    ];
    for (body, field) in cases {
        let problem = refused(&api, body.to_string()).await?;
        let fields: Vec<_> = problem.errors.iter().map(|e| e.field.as_str()).collect();
        assert!(fields.contains(&field), "{body}: {fields:?} should name {field}: {problem:?}");
    }
    let mut missing = good();
    missing.as_object_mut().expect("an object").remove("action");
    let problem = refused(&api, missing.to_string()).await?;
    assert_eq!(problem.errors[0].field, "action", "{problem:?}");
    assert_eq!(world.stored_tasks().await?, 0);
    assert!(world.sim.request_summary().effective_writes.is_empty());
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_request_at_all_is_refused() -> anyhow::Result<()> {
    let world = World::new("bad_bodies").nodes(1).start().await?;
    let api = world.sign_in(0).await?;
    for broken in ["", "{", "[]", "null", "\"x\"", "{\"action\":\"label\"}}", "\u{0}"] {
        refused(&api, broken).await?;
    }
    let large = with("/reason", json!("x".repeat(4_300_000)));
    let problem = refused(&api, large.to_string()).await?;
    assert_eq!(problem.status, 413, "{problem:?}");
    let untyped = api.send(Method::POST, "/api/v1/tasks", &[], good().to_string()).await?;
    assert_eq!(untyped.problem()?.status, 415);
    let cases = [
        (Method::GET, "/api/v1/no/such", 404),
        (Method::DELETE, "/api/v1/tasks", 405),
        (Method::GET, "/api/v1/tasks/no-uuid", 404),
        (Method::GET, "/api/v1/tasks/01890a5d-ac96-774b-bcce-b302099a8057", 404),
        (Method::GET, "/api/v1/clusters/nowhere/nodes", 404),
    ];
    for (method, path, status) in cases {
        let problem = api.send(method.clone(), path, &[], "").await?.problem()?;
        assert!(
            problem.status == status || (status == 404 && [400, 422].contains(&problem.status)),
            "{method} {path}: {problem:?}"
        );
    }
    assert_eq!(world.stored_tasks().await?, 0);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_open_without_a_session() -> anyhow::Result<()> {
    let world = World::new("no_session").nodes(1).start().await?;
    let nobody = world.pods[0].client();
    for token in [None, Some("knm_made_up"), Some("x")] {
        let api = token.map_or_else(|| nobody.clone(), |t| nobody.with_token(t));
        for path in [
            "/api/v1/auth/me",
            "/api/v1/tasks",
            "/api/v1/clusters",
            "/api/v1/clusters/default/nodes",
            "/api/v1/tasks/01890a5d-ac96-774b-bcce-b302099a8057",
        ] {
            assert_eq!(api.get(path).await?.problem()?.status, 401, "{path} with {token:?}");
        }
        assert_eq!(api.post("/api/v1/tasks", &good()).await?.problem()?.status, 401);
        for address in [world.pods[0].relay.address(), world.pods[0].api.address()] {
            let error = Connection::open(&address, token).await.expect_err("no session");
            let refused = error.downcast_ref::<RefusedUpgrade>().context(error.to_string())?;
            assert_eq!(refused.status, 401, "{refused:?}");
            assert!(refused.content_type.starts_with("application/problem+json"), "{refused:?}");
        }
    }
    for open in ["/api/v1/meta", "/api/v1/openapi.json"] {
        nobody.get(open).await?.ok()?;
    }
    for (username, password) in [(ADMIN, "wrong"), ("nobody", "wrong"), ("", "")] {
        assert!(nobody.login(username, password).await.is_err(), "{username}");
    }
    assert_eq!(world.stored_tasks().await?, 0);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_malformed_message_closes_the_socket() -> anyhow::Result<()> {
    let world = World::new("bad_messages").nodes(1).start().await?;
    let api = world.sign_in(0).await?;
    for (first, second) in [
        ("no json", "{"),
        (r#"{"type":"subscribe"}"#, r#"{"type":"no_such"}"#),
        (r#"{"type":"watch_tasks","extra":1}"#, r#"{"type":"subscribe","task_id":"x"}"#),
        (
            r#"{"type":"subscribe","task_id":"01890a5d-ac96-774b-bcce-b302099a8057","cursor":"x"}"#,
            "[]",
        ),
    ] {
        let mut watcher = Watcher::new(world.pods[0].relay.address(), api.token()?);
        watcher.connect().await?;
        watcher.say(first).await?;
        let error = watcher.until(SOON, |f| matches!(f, ServerFrame::Error(_))).await?;
        let ServerFrame::Error(error) = error else { unreachable!("it was awaited") };
        assert_eq!(error.code, "bad_message", "{first}: {error:?}");
        watcher.say(second).await?;
        assert_eq!(closing_code(&mut watcher).await?, Some(1008), "{second}");
    }
    world.stop().await
}

async fn closing_code(watcher: &mut Watcher) -> anyhow::Result<Option<u16>> {
    let closing = async {
        loop {
            if let knm_tests::ws::Event::Closed(close) = watcher.next().await? {
                return anyhow::Ok(close.map(|(code, _)| code));
            }
        }
    };
    tokio::time::timeout(SOON, closing).await.context("the end")?
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_are_no_messages_close_the_socket() -> anyhow::Result<()> {
    let world = World::new("bad_frames").nodes(1).start().await?;
    let api = world.sign_in(0).await?;
    let token = api.token()?;
    for (message, code) in
        [(WsMessage::binary(vec![1, 2, 3]), 1003), (WsMessage::text("x".repeat(1 << 20)), 1009)]
    {
        let mut connection = Connection::open(&world.pods[0].relay.address(), Some(token)).await?;
        // The relay may close before it has read a message that is too large.
        let _ = connection.send_raw(message).await;
        let closing = async {
            loop {
                if let Message::Closed(close) = connection.next().await? {
                    return anyhow::Ok(close.map(|(code, _)| code));
                }
            }
        };
        assert_eq!(tokio::time::timeout(SOON, closing).await??, Some(code));
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_not_there_is_said_to_be_unknown() -> anyhow::Result<()> {
    let world = World::new("unknown_task").nodes(1).start().await?;
    let mut watcher = world.watcher(0).await?;
    watcher.subscribe("01890a5d-ac96-774b-bcce-b302099a8057".parse()?).await?;
    let error = watcher.until(SOON, |f| matches!(f, ServerFrame::Error(_))).await?;
    let ServerFrame::Error(error) = error else { unreachable!("it was awaited") };
    assert_eq!(error.code, "unknown_task", "{error:?}");
    assert!(error.task_id.is_some(), "{error:?}");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_page_gets_no_socket_and_a_signed_out_user_loses_it() -> anyhow::Result<()> {
    let world = World::new("origin").pods(2).nodes(1).start().await?;
    let api = world.sign_in(1).await?;
    let cookie = ("cookie", format!("knm_session={}", api.token()?));
    for address in [world.pods[0].relay.address(), world.pods[0].api.address()] {
        let evil = [cookie.clone(), ("origin", "https://evil.example".into())];
        let error = Connection::open_with(&address, &evil).await.expect_err("a foreign origin");
        let refused = error.downcast_ref::<RefusedUpgrade>().context(error.to_string())?;
        assert_eq!(refused.status, 403, "{refused:?}");
        let own = [cookie.clone(), ("origin", format!("http://{address}"))];
        Connection::open_with(&address, &own).await?.close().await;
    }
    let mut watcher = Watcher::new(world.pods[0].relay.address(), api.token()?);
    watcher.connect().await?;
    watcher.until(SOON, |f| matches!(f, ServerFrame::Hello(_))).await?;
    api.post("/api/v1/auth/logout", &Value::Null).await?.ok()?;
    assert_eq!(closing_code(&mut watcher).await?, Some(4401));
    assert_eq!(api.get("/api/v1/auth/me").await?.problem()?.status, 401);
    world.stop().await
}
