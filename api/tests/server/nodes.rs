//! Nodes from memory.

use http::Method;
use knm_shared::session::Role;
use knm_tests::api::Api;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::support::{Options, TestApp, refusal, until};

const NODES: &str = "/api/v1/clusters/default/nodes";

fn patch(value: Value) -> serde_json::Map<String, Value> {
    value.as_object().expect("an object").clone()
}

fn names(page: &Value) -> Vec<String> {
    let nodes = page["nodes"].as_array().expect("nodes").iter();
    nodes.map(|n| n["name"].as_str().expect("a name").to_owned()).collect()
}

#[tokio::test]
async fn pages_cover_every_node_once_and_follow_changes() {
    let app = TestApp::start_with(Options { nodes: 25, ..Options::default() }).await;
    let api = app.signed_in(Role::Viewer).await;
    let mut seen = Vec::new();
    let mut path = format!("{NODES}?limit=10");
    loop {
        let page = api.get(&path).await.expect("answers").ok().expect("a page");
        assert_eq!((&page["total"], &page["matched"]), (&25.into(), &25.into()));
        assert_eq!(page["state"], "live");
        assert!(page["resource_version"].is_string());
        seen.extend(names(&page));
        let Some(next) = page["continue"].as_str() else { break };
        path = format!("{NODES}?limit=10&continue={next}");
    }
    assert_eq!(seen, app.sim.node_names());

    let name = &seen[4];
    let change = json!({
        "metadata": {"labels": {"team": "blue", "node-role.kubernetes.io/edge": ""}},
        "spec": {"unschedulable": true},
    });
    app.sim.change_node(name, patch(change)).expect("changed");
    let filtered = async |query: &str| {
        api.get(&format!("{NODES}?{query}")).await.expect("answers").ok().expect("a page")
    };
    until("the watch tells", async || filtered("label_selector=team").await["matched"] == 1).await;
    for query in [
        "label_selector=team%20in%20(blue,red),!absent",
        "field_selector=spec.unschedulable%3Dtrue",
        "q=TEAM%3Dblue",
        "q=edge",
        "status=schedulingdisabled",
        "label_selector=team%3Dblue&status=SchedulingDisabled&q=node",
    ] {
        assert_eq!(names(&filtered(query).await), [name.as_str()], "{query}");
    }
    let page = filtered("label_selector=team").await;
    let node = &page["nodes"][0];
    assert_eq!(
        (&node["unschedulable"], &node["roles"]),
        (&true.into(), &json!(["edge", "worker"]))
    );
    assert!(node["status"].as_array().is_some_and(|s| s.contains(&"SchedulingDisabled".into())));
    assert_eq!(filtered("label_selector=team%3Dred").await["matched"], 0);

    app.sim.delete_node(name).expect("deleted");
    until("the watch tells", async || filtered("limit=1").await["total"] == 24).await;
}

#[tokio::test]
async fn filters_that_are_none_are_refused_by_name() {
    let app = TestApp::start().await;
    let api = app.signed_in(Role::Viewer).await;
    for (query, field) in [
        ("label_selector=a%20b", "label_selector"),
        ("field_selector=spec.podCIDR%3Dx", "field_selector"),
        ("status=Sleeping", "status"),
        ("limit=0", "limit"),
        ("limit=10001", "limit"),
        ("continue=%2F%2F", "continue"),
        ("labels=x", "labels"),
    ] {
        let answer = api.get(&format!("{NODES}?{query}")).await.expect("answers");
        assert_eq!(refusal(&answer), (422, "invalid".into(), vec![field.into()]), "{query}");
    }
    let other = api.get("/api/v1/clusters/other/nodes").await.expect("answers");
    assert_eq!(refusal(&other).0, 404);
    let post = api.send(Method::POST, NODES, &[], "").await.expect("answers");
    assert_eq!(post.status, 405);
}

#[tokio::test]
async fn clusters_say_how_they_are() {
    let app = TestApp::start().await;
    let api = app.signed_in(Role::Viewer).await;
    until("the API server was asked", async || {
        let shown = api.get("/api/v1/clusters/default").await.expect("answers").ok();
        shown.expect("a cluster")["reachable"] == true
    })
    .await;
    let mut list = api.get("/api/v1/clusters").await.expect("answers").ok().expect("a list");
    let version = list["clusters"][0]["version"].take();
    assert!(version.as_str().is_some_and(|v| v.starts_with("v1.")), "{version}");
    let expected = json!([{
        "name": "default", "default": true, "source": "configuration", "server": app.sim.url(),
        "reachable": true, "version": null, "state": "live", "nodes": 3, "backing_off": false,
        "freezes": []
    }]);
    assert_eq!(list["clusters"], expected);
}

/// Whoever follows nodes leaves room for others who do.
#[tokio::test]
async fn one_user_follows_no_more_than_their_share() {
    let app = TestApp::start().await;
    let (viewer, operator) =
        (app.signed_in(Role::Viewer).await, app.signed_in(Role::Operator).await);
    let follow = async |api: &Api| {
        let token = api.token().expect("signed in");
        let head = format!(
            "GET {NODES}/events HTTP/1.1\r\nHost: knm\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        let mut stream = TcpStream::connect(app.address).await.expect("connects");
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut line = [0; "HTTP/1.1 200".len()];
        stream.read_exact(&mut line).await.expect("answers");
        (stream, String::from_utf8_lossy(&line)["HTTP/1.1 ".len()..].to_owned())
    };
    let mut streams = Vec::new();
    for _ in 0..20 {
        let (stream, status) = follow(&viewer).await;
        assert_eq!(status, "200");
        streams.push(stream);
    }
    assert_eq!(follow(&viewer).await.1, "429");
    assert_eq!(follow(&operator).await.1, "200");
    streams.pop();
    until("there is room again", async || follow(&viewer).await.1 == "200").await;
}
