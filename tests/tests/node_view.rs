//! One node in full, and the stream of what changes.

use std::time::Duration;

use anyhow::{Context as _, bail};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use knm_tests::kube_sim::SimPod;
use knm_tests::scenario::{ADMIN, World};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);

fn patch(value: Value) -> serde_json::Map<String, Value> {
    value.as_object().expect("an object").clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_shown_with_its_pods_and_what_was_done_to_it_by_whom() -> anyhow::Result<()> {
    let world = World::new("node_detail").nodes(2).start().await?;
    let api = world.sign_in(0).await?;
    let pod = SimPod::new("web-0").namespace("shop").node("node-0001").owner("ReplicaSet", "web");
    world.sim.add_pod(pod)?;
    let mut body = json!({"action": "label", "nodes": {"names": ["node-0001"]},
        "params": {"set": {"example.com/a": "1"}}});
    body["reason"] = json!("INC-7");
    let id = api.submit(&body).await?;
    let mut watcher = world.watcher(0).await?;
    watcher.subscribe(id).await?;
    watcher.until_all_complete(SOON).await?;
    let path = "/api/v1/clusters/default/nodes/node-0001";
    let shown = api.get(&format!("{path}?pods=true")).await?.ok()?;
    assert_eq!(shown["node"]["name"], "node-0001");
    assert!(shown["conditions"].to_string().contains("KubeletReady"), "{shown}");
    assert!(shown["capacity"]["cpu"].is_string() && shown["info"]["kernel"].is_string(), "{shown}");
    let pods = &shown["pods"];
    assert_eq!((&pods[0]["name"], &pods[0]["owner"]), (&json!("web-0"), &json!("ReplicaSet/web")));
    let entry = &shown["history"][0];
    assert_eq!(entry["task_id"], id.to_string());
    assert_eq!((&entry["username"], &entry["reason"]), (&json!(ADMIN), &json!("INC-7")));
    assert_eq!(entry["after"], json!({"example.com/a": "1"}));
    assert_eq!(api.get(path).await?.ok()?.get("pods"), None, "only on demand");
    assert_eq!(api.get("/api/v1/clusters/default/nodes/nobody").await?.problem()?.status, 404);
    let other = api.get("/api/v1/clusters/default/nodes/node-0002").await?.ok()?;
    assert_eq!(other["history"], json!([]));
    world.stop().await
}

/// An open stream of events.
struct Events {
    body: Incoming,
    text: String,
}

impl Events {
    async fn open(world: &World) -> anyhow::Result<Self> {
        let api = world.sign_in(0).await?;
        let client = Client::builder(TokioExecutor::new()).build_http();
        let request =
            http::Request::get(format!("{}/api/v1/clusters/default/nodes/events", api.base()))
                .header("authorization", format!("Bearer {}", api.token()?))
                .body(Empty::<Bytes>::new())?;
        let response = client.request(request).await?;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Ok(Self { body: response.into_body(), text: String::new() })
    }

    /// The next event; comments are left out. `None` at the end.
    async fn next(&mut self) -> anyhow::Result<Option<(String, Value)>> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let Some(head) = event.strip_prefix("event: ") else { continue };
                let (name, data) = head.split_once("\ndata: ").context("no data")?;
                return Ok(Some((name.to_owned(), serde_json::from_str(data)?)));
            }
            match tokio::time::timeout(SOON, self.body.frame()).await.context("silence")? {
                None => return Ok(None),
                Some(frame) => {
                    let Ok(data) = frame?.into_data() else { bail!("trailers") };
                    self.text.push_str(std::str::from_utf8(&data)?);
                }
            }
        }
    }

    async fn until(&mut self, wanted: impl Fn(&str, &Value) -> bool) -> anyhow::Result<Value> {
        loop {
            let (name, data) = self.next().await?.context("the stream ended")?;
            if wanted(&name, &data) {
                return Ok(data);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_followed_from_a_list_over_changes_to_the_end() -> anyhow::Result<()> {
    let world = World::new("node_events").nodes(700).start().await?;
    let mut events = Events::open(&world).await?;
    let (name, first) = events.next().await?.context("a list")?;
    assert_eq!(
        (name.as_str(), &first["first"], &first["last"]),
        ("snapshot", &json!(true), &json!(false))
    );
    let (_, second) = events.next().await?.context("the rest")?;
    assert_eq!((&second["first"], &second["last"]), (&json!(false), &json!(true)));
    let count = |part: &Value| part["nodes"].as_array().map_or(0, Vec::len);
    assert_eq!((count(&first), count(&second)), (500, 200));

    world.sim.change_node("node-0003", patch(json!({"spec": {"unschedulable": true}})))?;
    let changed =
        events.until(|event, data| event == "upsert" && data["name"] == "node-0003").await?;
    assert_eq!(changed["unschedulable"], true);
    world.sim.delete_node("node-0004")?;
    events.until(|event, data| event == "delete" && data["name"] == "node-0004").await?;
    // The watch begins anew, since what it has missed is forgotten: the whole again. It may be back
    // before that, and has missed nothing then.
    let is_whole = |event: &str, data: &Value| event == "snapshot" && data["first"] == true;
    let mut tries = 0;
    let again = loop {
        tries += 1;
        world.sim.drop_watches();
        let change = json!({"metadata": {"labels": {"example.com/try": tries.to_string()}}});
        world.sim.change_node("node-0005", patch(change))?;
        world.sim.compact_history();
        let whole = tokio::time::timeout(Duration::from_secs(5), events.until(is_whole)).await;
        if let Ok(whole) = whole {
            break whole?;
        }
    };
    assert!(count(&again) > 0);
    // The process stops: the stream ends, and does not hold it up.
    let reader = tokio::spawn(async move {
        while events.next().await?.is_some() {}
        anyhow::Ok(())
    });
    world.stop().await?;
    let _ = tokio::time::timeout(SOON, reader).await.context("the stream goes on")?;
    Ok(())
}
