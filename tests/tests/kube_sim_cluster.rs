//! The cluster behind the simulated Kubernetes API: what replaces pods, where, and when.

// The recordings' client; not every test file needs all of it.
#[allow(dead_code)]
#[path = "kube_recordings/client.rs"]
mod client;
#[allow(dead_code)]
#[path = "kube_sim_pods/world.rs"]
mod world;

use std::time::Duration;

use anyhow::{Context, ensure};
use client::{Client, Events, MERGE};
use knm_tests::kube_sim::{Allow, Amount, KubeSim, SimOptions, SimPod, Workload};
use serde_json::{Value, json};
use world::{JSON, WEB, allowed, cordon, delete, evict, is_ready, ready, start, text, uid, until};

#[tokio::test]
async fn a_replica_set_replaces_elsewhere_and_at_once() -> anyhow::Result<()> {
    let (sim, client) = start(3).await?;
    let web = Workload { stops_in: Duration::MAX, ..Workload::replica_set("shop", "web", 2) };
    let names = sim.place(web, &["node-0001"])?;
    assert_eq!(sim.pods_on("node-0001").len(), 2);
    cordon(&sim, "node-0001", true)?;
    for name in &names {
        assert_eq!(evict(&client, name, json!({})).await?.status, 201);
    }
    // The old ones are still there, and the new ones are ready elsewhere.
    until(&sim, |sim| ready(sim, "web") == 2).await?;
    assert_eq!(sim.pods_on("node-0001").len(), 2);
    assert_eq!((sim.pods_on("node-0002").len(), sim.pods_on("node-0003").len()), (1, 1));
    Ok(())
}

#[tokio::test]
async fn a_pod_waits_until_a_node_takes_it() -> anyhow::Result<()> {
    let (sim, client) = start(1).await?;
    let names = sim.add_workload(Workload::replica_set("shop", "web", 1))?;
    cordon(&sim, "node-0001", true)?;
    assert_eq!(evict(&client, &names[0], json!({})).await?.status, 201);
    let waits = |sim: &KubeSim| {
        let pods = sim.pods();
        let waiting = |pod: &Value| {
            pod["status"]["phase"] == "Pending"
                && pod["status"]["conditions"][0]["reason"] == "Unschedulable"
        };
        pods.len() == 1 && pods.iter().all(waiting)
    };
    until(&sim, waits).await?;
    assert!(sim.pods()[0]["spec"]["nodeName"].is_null());
    cordon(&sim, "node-0001", false)?;
    until(&sim, |sim| ready(sim, "web") == 1).await?;
    assert_eq!(sim.pods_on("node-0001").len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_stateful_set_brings_the_same_name_back_as_another_pod() -> anyhow::Result<()> {
    let (sim, client) = start(3).await?;
    let names = sim.place(Workload::stateful_set("shop", "db", 2), &["node-0001", "node-0002"])?;
    assert_eq!(names, ["db-0", "db-1"]);
    let old = sim.pod("shop", "db-0").context("no pod")?;
    let from = text(&client.get("/api/v1/pods").await?.body["metadata"]["resourceVersion"]);
    assert_eq!(evict(&client, "db-0", json!({})).await?.status, 201);
    let back = |sim: &KubeSim| {
        sim.pod("shop", "db-0").is_some_and(|pod| uid(&pod) != uid(&old) && is_ready(&pod))
    };
    until(&sim, back).await?;
    let new = sim.pod("shop", "db-0").context("no pod")?;
    assert_eq!(new["spec"]["nodeName"], "node-0003", "neither the old node nor its sibling's");

    // The old one had to be gone first.
    let path = format!("/api/v1/pods?watch=1&resourceVersion={from}&timeoutSeconds=1");
    let mut events = Events::new(client.open("GET", &path, None, None).await?);
    let mut kinds = Vec::new();
    while let Some(event) = events.next().await? {
        let which = if uid(&event["object"]) == uid(&old) { "old" } else { "new" };
        kinds.push(format!("{which} {}", text(&event["type"])));
    }
    let at = |what: &str| kinds.iter().position(|kind| kind == what);
    assert!(at("old DELETED").context("no end")? < at("new ADDED").context("no beginning")?);
    Ok(())
}

#[tokio::test]
async fn a_daemon_comes_back_on_its_node_cordoned_or_not() -> anyhow::Result<()> {
    let (sim, client) = start(2).await?;
    let names = sim.add_workload(Workload::daemon_set("shop", "agent"))?;
    assert_eq!(names.len(), 2);
    cordon(&sim, "node-0001", true)?;
    let old = sim.pods_on("node-0001").remove(0);
    assert_eq!(evict(&client, &text(&old["metadata"]["name"]), json!({})).await?.status, 201);
    let back = |sim: &KubeSim| {
        let pods = sim.pods_on("node-0001");
        pods.len() == 1 && pods.iter().all(|pod| uid(pod) != uid(&old) && is_ready(pod))
    };
    until(&sim, back).await?;
    sim.nodes(1)?;
    until(&sim, |sim| sim.pods_on("node-0003").iter().any(is_ready)).await?;

    // A mirror comes back too: its kubelet still has the file.
    let mirror = sim.add_pod(SimPod::new("static").namespace("shop").node("node-0002").mirror())?;
    delete(&client, "static", "?gracePeriodSeconds=0").await?;
    let back =
        |sim: &KubeSim| sim.pod("shop", "static").is_some_and(|pod| uid(&pod) != uid(&mirror));
    until(&sim, back).await
}

#[tokio::test]
async fn the_pods_of_a_lost_node_go_when_it_does_not_come_back() -> anyhow::Result<()> {
    let pod_gc = Duration::from_millis(200);
    let sim = KubeSim::start(SimOptions { nodes: 2, pod_gc, ..SimOptions::default() }).await?;
    let client = Client::new(sim.url());
    for node in ["node-0001", "node-0002"] {
        sim.add_pod(SimPod::new(format!("on-{node}")).namespace("shop").node(node))?;
    }
    sim.delete_node("node-0001")?;
    sim.recreate_node("node-0002")?;
    // Without its kubelet nothing ends.
    delete(&client, "on-node-0001", "").await?;
    until(&sim, |sim| sim.pods_on("node-0001").is_empty()).await?;
    assert_eq!(sim.pods_on("node-0002").len(), 1);
    Ok(())
}

#[tokio::test]
async fn percentages_are_of_what_the_controllers_want() -> anyhow::Result<()> {
    let (sim, client) = start(1).await?;
    sim.add_budget("shop", "web", WEB, Allow::MaxUnavailable(Amount::Percent(30)))?;
    assert_eq!(allowed(&sim), Some(0), "nothing is there yet");
    sim.add_workload(Workload::replica_set("shop", "web", 4))?;
    // 30 % of 4 is 1.2, and rounded up.
    let status = sim.budget("shop", "web").context("no budget")?["status"].clone();
    assert_eq!((&status["desiredHealthy"], &status["expectedPods"]), (&json!(2), &json!(4)));
    assert_eq!((&status["currentHealthy"], &status["disruptionsAllowed"]), (&json!(4), &json!(2)));
    let condition = &status["conditions"][0];
    assert_eq!(
        (&condition["status"], &condition["reason"]),
        (&json!("True"), &json!("SufficientPods"))
    );

    let path = "/apis/apps/v1/namespaces/shop/replicasets/web";
    let scale = json!({ "spec": { "replicas": 10 } });
    client.send("PATCH", path, Some(MERGE), Some(&scale)).await?;
    until(&sim, |sim| ready(sim, "web") == 10).await?;
    assert_eq!(allowed(&sim), Some(3));

    // Daemons have no scale, so that a percentage of them is of nothing that is known.
    sim.add_workload(Workload::daemon_set("shop", "agent"))?;
    let labels = &[("app", "agent")];
    sim.add_budget("shop", "agent", labels, Allow::max_unavailable(1))?;
    let status = sim.budget("shop", "agent").context("no budget")?["status"].clone();
    assert_eq!(status["conditions"][0]["reason"], "SyncFailed");
    assert_eq!(status["disruptionsAllowed"], 0);
    Ok(())
}

#[tokio::test]
async fn the_control_endpoints_make_pods_too() -> anyhow::Result<()> {
    let (sim, client) = start(2).await?;
    let call = async |method: &str, path: &str, body: Value| {
        let answer = client.send(method, path, JSON, Some(&body)).await?;
        ensure!(answer.status == 200, "{method} {path}: {answer:?}");
        Ok(answer.body)
    };
    let workload = json!({ "namespace": "shop", "name": "web", "kind": "StatefulSet", "replicas": 2,
        "nodes": ["node-0002"], "stops_in_ms": "never", "grace_period_seconds": 5 });
    let made = call("POST", "/sim/workloads", workload).await?;
    assert_eq!(made["names"], json!(["web-0", "web-1"]));
    assert_eq!(sim.pods_on("node-0002").len(), 2);
    let budget = json!({ "namespace": "shop", "name": "web", "labels": { "app": "web" },
        "min_available": "50%" });
    let budget = call("POST", "/sim/budgets", budget).await?;
    assert_eq!(budget["status"]["disruptionsAllowed"], 1);
    let pod = json!({ "name": "a", "node": "node-0001", "owner": { "kind": "Job", "name": "j" } });
    let pod = call("POST", "/sim/pods", pod).await?;
    assert_eq!(pod["metadata"]["ownerReferences"][0]["apiVersion"], "batch/v1");
    assert_eq!(evict(&client, "web-1", json!({})).await?.status, 201);
    delete(&client, "web-0", "").await?;
    let violations = call("GET", "/sim/budgets/violations", Value::Null).await?;
    assert_eq!(violations.as_array().map(Vec::len), Some(1));
    let evictions = call("GET", "/sim/evictions", Value::Null).await?;
    assert_eq!((&evictions[0]["name"], &evictions[0]["status"]), (&json!("web-1"), &json!(201)));
    call("DELETE", "/sim/budgets/shop/web", Value::Null).await?;
    let unknown = json!({ "name": "a", "replica": 1 });
    assert_eq!(client.send("POST", "/sim/workloads", JSON, Some(&unknown)).await?.status, 400);
    Ok(())
}

#[tokio::test]
async fn a_populated_cluster_is_at_peace_and_the_same_each_time() -> anyhow::Result<()> {
    let populate = async || {
        let options = SimOptions { nodes: 12, pods: true, seed: 7, ..SimOptions::default() };
        anyhow::Ok(KubeSim::start(options).await?)
    };
    let sim = populate().await?;
    let describe = |sim: &KubeSim| -> Vec<String> {
        let place = |pod: &Value| {
            format!(
                "{} {} {}",
                pod["metadata"]["namespace"], pod["metadata"]["name"], pod["spec"]["nodeName"]
            )
        };
        sim.pods().iter().map(place).collect()
    };
    let pods = describe(&sim);
    assert_eq!(pods.len(), 12 * (2 + 5));
    for node in sim.node_names() {
        assert_eq!(sim.pods_on(&node).len(), 7, "{node}");
    }
    assert!(sim.pods().iter().all(is_ready));
    let client = Client::new(sim.url());
    let budgets = client.get("/apis/policy/v1/poddisruptionbudgets").await?.body;
    let budgets = budgets["items"].as_array().context("budgets")?.clone();
    assert!(budgets.len() >= 4);
    assert!(budgets.iter().any(|budget| budget["status"]["disruptionsAllowed"] != 0));
    assert_eq!(pods, describe(&populate().await?));
    Ok(())
}
