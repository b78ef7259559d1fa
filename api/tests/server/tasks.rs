//! Tasks over HTTP; what they do is tested where it is done.

use http::Method;
use http::header::LOCATION;
use knm_shared::ids::TaskId;
use knm_shared::session::Role;
use knm_tests::api::{Api, label_task};
use serde_json::json;

use super::support::{PASSWORD, TestApp, refusal, until};

#[tokio::test]
async fn a_task_is_accepted_carried_out_and_shown() {
    let app = TestApp::start().await;
    let api = app.signed_in(Role::Operator).await;
    let body = label_task(&app.sim.node_names(), "team", "blue");
    let answer = api.post("/api/v1/tasks", &body).await.expect("answers");
    assert_eq!(answer.status, 202, "{}", answer.text());
    let location = answer.headers[LOCATION].to_str().expect("ASCII").to_owned();
    let task = async || api.get(&location).await.expect("answers").ok().expect("a task");
    until("the task completes", async || task().await["status"] == "completed").await;
    assert_eq!(task().await["counts"]["succeeded"], 3);

    let items = api.get(&format!("{location}/items?status=succeeded&limit=2")).await;
    let items = items.expect("answers").ok().expect("a page");
    assert_eq!(items["items"].as_array().map(Vec::len), Some(2));
    let next = items["next_cursor"].as_str().expect("there is more");
    let rest = api.get(&format!("{location}/items?status=succeeded&limit=2&cursor={next}")).await;
    assert_eq!(
        rest.expect("answers").ok().expect("a page")["items"].as_array().map(Vec::len),
        Some(1)
    );

    let list = api.get("/api/v1/tasks?mine=true&status=completed&action=label").await;
    assert_eq!(
        list.expect("answers").ok().expect("a page")["tasks"].as_array().map(Vec::len),
        Some(1)
    );
    let late = api.post(&format!("{location}/cancel"), &serde_json::json!({})).await;
    assert_eq!(refusal(&late.expect("answers")).0, 409);
}

#[tokio::test]
async fn roles_decide_who_submits_and_steers() {
    let app = TestApp::start().await;
    let viewer = app.signed_in(Role::Viewer).await;
    let operator = app.signed_in(Role::Operator).await;
    let body = label_task(&app.sim.node_names(), "team", "blue");
    let refused = viewer.post("/api/v1/tasks", &body).await.expect("answers");
    assert_eq!(refusal(&refused), (403, "forbidden".into(), vec![]));
    let task = operator.submit(&body).await.expect("accepted");
    assert!(viewer.task(task).await.is_ok(), "whoever may read a cluster reads its tasks");
    app.account("second", Role::Operator).await;
    let second = app.api.login("second", PASSWORD).await.expect("signs in");
    let path = format!("/api/v1/tasks/{task}/cancel");
    let theirs = second.post(&path, &serde_json::json!({})).await.expect("answers");
    assert_eq!(refusal(&theirs).0, 403);
}

#[tokio::test]
async fn what_one_may_not_do_any_more_is_not_resumed() {
    let app = TestApp::start().await;
    let admin = app.signed_in(Role::Admin).await;
    app.account("jane", Role::Admin).await;
    let jane = app.api.login("jane", PASSWORD).await.expect("signs in");
    // Nothing is begun meanwhile.
    let json = [("content-type", "application/json")];
    let freeze = admin.send(Method::PUT, "/api/v1/freezes/*", &json, r#"{"reason":"a test"}"#);
    freeze.await.expect("answers").ok().expect("frozen");
    let body = json!({"action": "drain", "nodes": {"names": app.sim.node_names()}});
    let drain = jane.submit(&body).await.expect("accepted");
    let label = label_task(&app.sim.node_names(), "team", "blue");
    let label = jane.submit(&label).await.expect("accepted");
    app.execute("UPDATE users SET role = 'operator' WHERE username = 'jane'").await;
    let steer = async |api: &Api, task: TaskId, how: &str| {
        let path = format!("/api/v1/tasks/{task}/{how}");
        api.post(&path, &json!({})).await.expect("answers").status.as_u16()
    };
    for task in [drain, label] {
        assert_eq!(steer(&jane, task, "pause").await, 202, "one's own can be stopped");
    }
    assert_eq!(steer(&jane, drain, "resume").await, 403);
    assert_eq!(steer(&jane, label, "resume").await, 202);
    assert_eq!(steer(&admin, drain, "resume").await, 202);
}

#[tokio::test]
async fn queries_are_checked_by_name() {
    let app = TestApp::start().await;
    let api = app.signed_in(Role::Viewer).await;
    for (query, field) in [
        ("limit=0", "limit"),
        ("mine=1", "mine"),
        ("colour=red", "colour"),
        ("status=done", "status"),
    ] {
        let answer = api.get(&format!("/api/v1/tasks?{query}")).await.expect("answers");
        assert_eq!(refusal(&answer), (422, "invalid".into(), vec![field.into()]), "{query}");
    }
}
