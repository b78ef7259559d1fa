//! What the simulated Kubernetes API does beyond the recordings: watches, pages under change, faults,
//! the request log, rights.

// The recordings' client; not every test file needs all of it.
#[allow(dead_code)]
#[path = "kube_recordings/client.rs"]
mod client;

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, ensure};
use client::{Client, Events, MERGE};
use knm_tests::kube_sim::{
    Authentication, Fault, FaultAction, KubeSim, Rule, SimOptions, User, Verb, When,
};
use serde_json::{Map, Value, json};

async fn start(nodes: usize) -> anyhow::Result<(KubeSim, Client)> {
    let sim = KubeSim::start(SimOptions { nodes, ..SimOptions::default() }).await?;
    let client = Client::new(sim.url());
    Ok((sim, client))
}

fn labels(labels: Value) -> Value {
    json!({ "metadata": { "labels": labels } })
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().cloned().unwrap_or_default();
    items.iter().filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned)).collect()
}

/// Type, name and version of an event.
fn brief(event: &Value) -> (String, String, u64) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &event["object"]["metadata"];
    let version = text(&metadata["resourceVersion"]).parse().unwrap_or_default();
    (text(&event["type"]), text(&metadata["name"]), version)
}

async fn version(client: &Client) -> anyhow::Result<String> {
    let list = client.get("/api/v1/nodes?limit=1").await?.body;
    Ok(list["metadata"]["resourceVersion"].as_str().context("no version")?.to_owned())
}

#[tokio::test]
async fn pages_show_the_state_of_the_first_page() -> anyhow::Result<()> {
    let (sim, client) = start(7).await?;
    let first = client.get("/api/v1/nodes?limit=3").await?.body;
    assert_eq!(names(&first), ["node-0001", "node-0002", "node-0003"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 4);

    sim.delete_node("node-0004")?;
    sim.change_node("node-0005", object(labels(json!({ "new": "1" }))))?;
    sim.nodes(1)?;

    let token = first["metadata"]["continue"].as_str().context("no token")?;
    let second = client.get(&format!("/api/v1/nodes?limit=3&continue={token}")).await?.body;
    assert_eq!(names(&second), ["node-0004", "node-0005", "node-0006"]);
    assert_eq!(second["items"][1]["metadata"]["labels"]["new"], Value::Null);
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);

    sim.compact_history();
    let token = second["metadata"]["continue"].as_str().context("no token")?;
    let expired = client.get(&format!("/api/v1/nodes?limit=3&continue={token}")).await?;
    assert_eq!((expired.status, &expired.body["reason"]), (410, &json!("Expired")));
    let token = expired.body["metadata"]["continue"].as_str().context("no second token")?;
    let rest = client.get(&format!("/api/v1/nodes?limit=3&continue={token}")).await?.body;
    assert_eq!(names(&rest), ["node-0007"]);
    Ok(())
}

#[tokio::test]
async fn a_watch_shows_what_enters_changes_and_leaves_its_selector() -> anyhow::Result<()> {
    let (sim, client) = start(3).await?;
    let from = version(&client).await?;
    let path = format!("/api/v1/nodes?watch=true&labelSelector=pool&resourceVersion={from}");
    let mut events = Events::new(client.open("GET", &path, None, None).await?);
    for pool in [json!("a"), json!("b"), Value::Null] {
        sim.change_node("node-0002", object(labels(json!({ "pool": pool }))))?;
        sim.change_node("node-0001", object(labels(json!({ "other": pool }))))?;
    }
    let from: u64 = from.parse()?;
    let expected = [("ADDED", 1), ("MODIFIED", 3), ("DELETED", 5)];
    for (kind, offset) in expected {
        let event = events.next().await?.context("the watch ended")?;
        assert_eq!(brief(&event), (kind.to_owned(), "node-0002".to_owned(), from + offset));
    }
    Ok(())
}

#[tokio::test]
async fn a_streaming_list_ends_with_a_bookmark_that_says_so() -> anyhow::Result<()> {
    let (sim, client) = start(2).await?;
    let path = "/api/v1/nodes?watch=true&sendInitialEvents=true&allowWatchBookmarks=true\
                &resourceVersionMatch=NotOlderThan&timeoutSeconds=30";
    let mut events = Events::new(client.open("GET", path, None, None).await?);
    for name in ["node-0001", "node-0002"] {
        let (kind, seen, _) = brief(&events.next().await?.context("the watch ended")?);
        assert_eq!((kind.as_str(), seen.as_str()), ("ADDED", name));
    }
    let bookmark = events.next().await?.context("the watch ended")?;
    assert_eq!(bookmark["type"], "BOOKMARK");
    let annotations = &bookmark["object"]["metadata"]["annotations"];
    assert_eq!(annotations["k8s.io/initial-events-end"], "true");
    sim.delete_node("node-0001")?;
    let (kind, ..) = brief(&events.next().await?.context("the watch ended")?);
    assert_eq!(kind, "DELETED");
    Ok(())
}

#[tokio::test]
async fn a_watch_ends_with_an_error_when_history_or_connection_is_lost() -> anyhow::Result<()> {
    let (sim, client) = start(2).await?;
    let from = version(&client).await?;
    let path = format!("/api/v1/nodes?watch=true&resourceVersion={from}");
    let mut events = Events::new(client.open("GET", &path, None, None).await?);
    sim.change_node("node-0001", object(labels(json!({ "a": "1" }))))?;
    events.next().await?.context("the watch ended")?;
    assert_eq!(sim.open_watches(), 1);

    // History goes, and the open watch, which has seen everything, goes on.
    sim.compact_history();
    sim.change_node("node-0001", object(labels(json!({ "a": "2" }))))?;
    events.next().await?.context("the watch ended")?;

    assert_eq!(sim.drop_watches(), 1);
    assert!(events.next().await.is_err());

    // The old version is gone, and the answer is the last word.
    let mut events = Events::new(client.open("GET", &path, None, None).await?);
    let error = events.next().await?.context("the watch ended")?;
    assert_eq!((&error["type"], &error["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert_eq!(events.next().await?, None);
    Ok(())
}

#[tokio::test]
async fn a_node_that_came_back_is_another_node() -> anyhow::Result<()> {
    let (sim, client) = start(1).await?;
    let uid = |node: &Value| node["metadata"]["uid"].as_str().map(str::to_owned);
    let old = sim.node("node-0001").context("no node")?;
    let new = sim.recreate_node("node-0001")?;
    assert_ne!(uid(&old), uid(&new));
    assert_eq!(old["metadata"]["labels"], new["metadata"]["labels"]);

    let by_uid = json!({ "metadata": { "uid": uid(&old), "labels": { "a": "b" } } });
    let answer = client.patch("node-0001", by_uid).await?;
    assert_eq!((answer.status, &answer.body["reason"]), (422, &json!("Invalid")));
    let version = &old["metadata"]["resourceVersion"];
    let both = json!({ "metadata": { "uid": uid(&old), "resourceVersion": version } });
    assert_eq!(client.patch("node-0001", both).await?.status, 409);

    let body = json!({ "preconditions": { "uid": uid(&old) } });
    let path = "/api/v1/nodes/node-0001";
    let answer = client.send("DELETE", path, Some("application/json"), Some(&body)).await?;
    assert_eq!((answer.status, &answer.body["reason"]), (409, &json!("Conflict")));
    assert_eq!(sim.node_names(), ["node-0001"]);
    Ok(())
}

#[tokio::test]
async fn patches_of_every_kind_meet_the_same_rules() -> anyhow::Result<()> {
    let (_sim, client) = start(1).await?;
    let path = "/api/v1/nodes/node-0001";
    let patch = async |kind: &str, query: &str, body: Value| {
        let content_type = format!("application/{kind}");
        client.send("PATCH", &format!("{path}{query}"), Some(&content_type), Some(&body)).await
    };

    let json_patch = json!([{ "op": "add", "path": "/metadata/labels/a~1b", "value": "1" }]);
    let node = patch("json-patch+json", "", json_patch).await?.body;
    assert_eq!(node["metadata"]["labels"]["a/b"], "1");

    // Status belongs to the subresource; conditions merge by their type there.
    let ready = json!({ "status": { "conditions": [{ "type": "Ready", "status": "False" }] } });
    let kind = "strategic-merge-patch+json";
    let ignored = patch(kind, "", ready.clone()).await?.body;
    assert_eq!(ignored["metadata"]["resourceVersion"], node["metadata"]["resourceVersion"]);
    let node = patch(kind, "/status", ready).await?.body;
    let conditions = node["status"]["conditions"].as_array().context("no conditions")?.clone();
    assert_eq!(conditions.len(), 4);
    assert_eq!(conditions[3]["status"], "False");
    assert_eq!(conditions[3]["reason"], "KubeletReady");

    // Applying takes over by force only, and gives up what it no longer names.
    let apply = "apply-patch+yaml";
    let config = |labels: Value| json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "labels": labels } });
    let both = config(json!({ "a/b": "2", "mine": "yes" }));
    let refused = patch(apply, "?fieldManager=m", both.clone()).await?;
    assert_eq!((refused.status, &refused.body["reason"]), (409, &json!("Conflict")));
    let taken = patch(apply, "?fieldManager=m&force=true", both).await?.body;
    assert_eq!(taken["metadata"]["labels"]["a/b"], "2");
    let left = patch(apply, "?fieldManager=m", config(json!({ "mine": "yes" }))).await?.body;
    assert_eq!(left["metadata"]["labels"]["a/b"], Value::Null);
    assert_eq!(left["metadata"]["labels"]["mine"], "yes");
    assert_eq!(left["metadata"]["labels"]["kubernetes.io/os"], "linux");

    // Unknown fields are dropped with a word.
    let warned = client.patch("node-0001", json!({ "spec": { "taint": [] } })).await?;
    assert_eq!(warned.header("warning"), r#"299 - "unknown field \"spec.taint\"""#);
    let wrong_type = client.patch("node-0001", labels(json!({ "a": 1 }))).await?;
    assert_eq!(wrong_type.status, 422);
    let provider = client.patch("node-0001", json!({ "spec": { "externalID": "x" } })).await?;
    assert_eq!(provider.status, 422);
    Ok(())
}

#[tokio::test]
async fn faults_answer_cut_lose_and_delay() -> anyhow::Result<()> {
    let (sim, client) = start(5).await?;
    let busy = FaultAction::Status { code: 429, retry_after_seconds: Some(3), message: None };
    sim.add_fault(Fault::patch("node-0001", busy).when(When::First(1)));
    sim.add_fault(Fault::patch("node-0002", FaultAction::Close));
    sim.add_fault(Fault::patch("node-0003", FaultAction::LoseAnswer));
    sim.add_fault(Fault { verbs: vec![Verb::List], ..Fault::latency(Duration::from_millis(80)) });
    let hang = sim.add_fault(Fault::patch("node-0004", FaultAction::Hang));
    let change = || labels(json!({ "a": "b" }));

    let answer = client.patch("node-0001", change()).await?;
    assert_eq!((answer.status, answer.header("retry-after")), (429, "3"));
    assert_eq!(answer.body["details"]["retryAfterSeconds"], 3);
    assert_eq!(client.patch("node-0001", change()).await?.status, 200);

    assert!(client.patch("node-0002", change()).await.is_err());
    assert!(client.patch("node-0003", change()).await.is_err());
    let label = |name: &str| sim.node(name).map(|node| node["metadata"]["labels"]["a"].clone());
    assert_eq!(label("node-0002"), Some(Value::Null));
    assert_eq!(
        label("node-0003"),
        Some(json!("b")),
        "the lost answer was to a write that happened"
    );

    let patience = Duration::from_millis(100);
    let hanging = tokio::time::timeout(patience, client.patch("node-0004", change())).await;
    assert!(hanging.is_err());
    assert!(sim.remove_fault(hang));
    assert_eq!(client.patch("node-0004", change()).await?.status, 200);

    let begun = std::time::Instant::now();
    client.get("/api/v1/nodes").await?;
    assert!(begun.elapsed() >= Duration::from_millis(80));

    sim.clear_faults();
    assert_eq!(client.patch("node-0002", change()).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn the_log_proves_what_was_changed_and_how_often() -> anyhow::Result<()> {
    let (sim, client) = start(2).await?;
    sim.add_fault(Fault::patch("node-0002", FaultAction::LoseAnswer).when(When::First(1)));
    let version = sim.node("node-0001").context("no node")?["metadata"]["resourceVersion"].clone();
    let change = json!({ "metadata": { "resourceVersion": version, "labels": { "a": "b" } } });
    assert_eq!(client.patch("node-0001", change.clone()).await?.status, 200);
    assert_eq!(client.patch("node-0001", change).await?.status, 409);
    assert_eq!(client.patch("node-0001", labels(json!({ "a": "b" }))).await?.status, 200);
    assert_eq!(
        client.patch("node-0001?dryRun=All", labels(json!({ "c": "d" }))).await?.status,
        200
    );
    assert!(client.patch("node-0002", labels(json!({ "a": "b" }))).await.is_err());
    assert_eq!(client.patch("node-0002", labels(json!({ "a": "b" }))).await?.status, 200);

    let summary = sim.request_summary();
    assert_eq!(summary.patches["node-0001"], 4);
    assert_eq!(summary.effective_writes["node-0001"], 1);
    assert_eq!(summary.effective_writes["node-0002"], 1, "the repeated patch changed nothing");
    assert_eq!(summary.by_verb[&Verb::Patch], 6);
    assert_eq!((summary.by_status[&409], summary.faulted), (1, 1));

    let log = sim.requests();
    assert_eq!(log.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(log[0].precondition.as_deref(), version.as_str());
    let effect = log[0].effect.clone().context("no effect")?;
    assert_eq!(effect.before["labels"]["a"], Value::Null);
    assert_eq!(effect.after["labels"]["a"], "b");
    assert_eq!(log[4].fault.as_deref(), Some("lose_answer"));
    assert!(log[4].effect.is_some() && log[5].effect.is_none());
    Ok(())
}

#[tokio::test]
async fn the_control_endpoints_do_what_the_api_does() -> anyhow::Result<()> {
    let (sim, client) = start(1).await?;
    let call = async |method: &str, path: &str, body: Value| {
        let answer = client.send(method, path, Some(MERGE), Some(&body)).await?;
        ensure!(answer.status == 200, "{method} {path}: {answer:?}");
        Ok(answer.body)
    };
    let made = call("POST", "/sim/nodes", json!({ "count": 2 })).await?;
    assert_eq!(made["names"], json!(["node-0002", "node-0003"]));
    let fault = json!({ "name": "node-0003", "verbs": ["patch"],
        "action": { "status": { "code": 503 } } });
    let id = call("POST", "/sim/faults", fault.clone()).await?["ids"][0].clone();
    assert_eq!(client.patch("node-0003", json!({})).await?.status, 503);
    let listed = call("GET", "/sim/faults", Value::Null).await?;
    assert_eq!(listed[0]["fault"]["name"], "node-0003");
    call("DELETE", &format!("/sim/faults/{id}"), Value::Null).await?;
    assert_eq!(client.patch("node-0003", json!({})).await?.status, 200);

    // One that cannot be read leaves none of its list in force.
    let list = json!([fault, { "nmae": "node-0001" }]);
    let refused = client.send("POST", "/sim/faults", None, Some(&list)).await?;
    assert_eq!(refused.status, 400);
    assert_eq!(call("GET", "/sim/faults", Value::Null).await?, json!([]));

    let node = call("PATCH", "/sim/nodes/node-0001", labels(json!({ "a": "b" }))).await?;
    assert_eq!(node["metadata"]["labels"]["a"], "b");
    call("POST", "/sim/nodes/node-0001/recreate", Value::Null).await?;
    call("POST", "/sim/compact", Value::Null).await?;
    call("POST", "/sim/watches/drop", Value::Null).await?;
    let state = call("GET", "/sim/state", Value::Null).await?;
    assert_eq!((&state["nodes"], &state["watches"]), (&json!(3), &json!(0)));
    assert_eq!(state["revision"], state["compacted"]);
    let log = call("GET", "/sim/requests?verb=patch&name=node-0003", Value::Null).await?;
    assert_eq!(log.as_array().map(Vec::len), Some(2));
    call("DELETE", "/sim/requests", Value::Null).await?;
    assert_eq!(sim.request_summary().requests, 0);
    Ok(())
}

#[tokio::test]
async fn users_may_do_what_their_rules_say() -> anyhow::Result<()> {
    let reader = User::with_rules("reader", vec![Rule::new(&["get", "list"], &["nodes"])]);
    let tokens = HashMap::from([("t".to_owned(), reader)]);
    let options = SimOptions {
        nodes: 1,
        authentication: Authentication::Tokens(tokens),
        ..SimOptions::default()
    };
    let sim = KubeSim::start(options).await?;
    assert!(sim.kubeconfig_with_token("t").contains("token: \"t\""));
    let client = Client::new(sim.url()).with_token(Some("t"));
    assert_eq!(client.get("/api/v1/nodes/node-0001").await?.status, 200);
    assert_eq!(client.get("/api/v1/nodes?watch=1").await?.status, 403);
    assert_eq!(client.patch("node-0001", json!({})).await?.status, 403);
    let anonymous = client.with_token(None);
    assert_eq!(anonymous.get("/version").await?.status, 200);
    assert_eq!(anonymous.get("/api").await?.status, 403);
    Ok(())
}

#[tokio::test]
async fn shutdown_ends_what_is_open() -> anyhow::Result<()> {
    let (sim, client) = start(1).await?;
    sim.add_fault(Fault::patch("*", FaultAction::Hang));
    let mut events = Events::new(client.open("GET", "/api/v1/nodes?watch=1", None, None).await?);
    events.next().await?.context("the watch ended")?;
    let patch = tokio::spawn(async move { client.patch("node-0001", json!({})).await });
    while sim.request_summary().faulted == 0 {
        tokio::task::yield_now().await;
    }
    let address = sim.addr();
    tokio::time::timeout(Duration::from_secs(1), sim.shutdown()).await?;
    assert_eq!(events.next().await?, None);
    assert!(patch.await?.is_err());
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    Ok(())
}
