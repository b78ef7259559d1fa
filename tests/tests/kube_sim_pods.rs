//! The cluster behind the simulated Kubernetes API: evictions, disruption budgets, and what becomes of
//! pods. What a real API server answers is in the recordings; this is about what happens then.

// The recordings' client; not every test file needs all of it.
#[allow(dead_code)]
#[path = "kube_recordings/client.rs"]
mod client;

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, ensure};
use client::{Answer, Client, Events, MERGE};
use knm_tests::kube_sim::{
    Allow, Amount, Authentication, Fault, FaultAction, KubeSim, Rule, SimOptions, SimPod, User,
    When, Workload,
};
use serde_json::{Value, json};

const JSON: Option<&str> = Some("application/json");
const WEB: &[(&str, &str)] = &[("app", "web")];

async fn start(nodes: usize) -> anyhow::Result<(KubeSim, Client)> {
    let sim = KubeSim::start(SimOptions { nodes, ..SimOptions::default() }).await?;
    let client = Client::new(sim.url());
    Ok((sim, client))
}

async fn evict(client: &Client, name: &str, options: Value) -> anyhow::Result<Answer> {
    let path = format!("/api/v1/namespaces/shop/pods/{name}/eviction");
    let body = json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": { "name": name, "namespace": "shop" },
        "deleteOptions": options,
    });
    client.send("POST", &path, JSON, Some(&body)).await
}

async fn delete(client: &Client, name: &str, query: &str) -> anyhow::Result<Answer> {
    let path = format!("/api/v1/namespaces/shop/pods/{name}{query}");
    client.send("DELETE", &path, None, None).await
}

/// Waits for what must come soon.
async fn until(sim: &KubeSim, condition: impl FnMut(&KubeSim) -> bool) -> anyhow::Result<()> {
    let soon = Duration::from_secs(10);
    tokio::time::timeout(soon, sim.wait_until(condition)).await.context("it does not happen")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn uid(pod: &Value) -> String {
    text(&pod["metadata"]["uid"])
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let ready = |c: &Value| c["type"] == "Ready" && c["status"] == "True";
    pod["metadata"]["deletionTimestamp"].is_null() && conditions.iter().any(ready)
}

fn ready(sim: &KubeSim, app: &str) -> usize {
    let pods = sim.pods();
    pods.iter().filter(|pod| pod["metadata"]["labels"]["app"] == app && is_ready(pod)).count()
}

fn cordon(sim: &KubeSim, node: &str, unschedulable: bool) -> anyhow::Result<()> {
    let patch = json!({ "spec": { "unschedulable": unschedulable } });
    sim.change_node(node, patch.as_object().cloned().unwrap_or_default())?;
    Ok(())
}

fn allowed(sim: &KubeSim) -> Option<i64> {
    sim.budget("shop", "web")?["status"]["disruptionsAllowed"].as_i64()
}

#[tokio::test]
async fn fifty_evictions_at_once_keep_the_budget() -> anyhow::Result<()> {
    let (sim, client) = start(5).await?;
    let web =
        Workload { stops_in: Duration::from_millis(5), ..Workload::replica_set("shop", "web", 50) };
    let names = sim.add_workload(web)?;
    sim.add_budget("shop", "web", WEB, Allow::MinAvailable(Amount::Percent(90)))?;
    assert_eq!(allowed(&sim), Some(5));
    let mut tries = tokio::task::JoinSet::new();
    for name in names {
        let client = client.clone();
        tries.spawn(async move {
            loop {
                let answer = evict(&client, &name, json!({})).await?;
                match answer.status {
                    201 => return anyhow::Ok(()),
                    429 => {
                        let cause = &answer.body["details"]["causes"][0]["reason"];
                        ensure!(cause == "DisruptionBudget", "{answer:?}");
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    _ => anyhow::bail!("{answer:?}"),
                }
            }
        });
    }
    while let Some(done) = tries.join_next().await {
        done??;
    }
    assert_eq!(sim.budget_violations(), [""; 0]);
    assert_eq!(sim.lowest_healthy("shop", "web"), Some(45), "all five were used at a time");
    let granted = sim.evictions().iter().filter(|eviction| eviction.status == 201).count();
    assert_eq!(granted, 50);
    assert!(sim.evictions().len() > 50, "some were refused, and all are on record");
    until(&sim, |sim| ready(sim, "web") == 50 && sim.pods().len() == 50).await?;
    assert_eq!(allowed(&sim), Some(5));
    Ok(())
}

#[tokio::test]
async fn a_deletion_breaks_a_budget_and_is_remembered() -> anyhow::Result<()> {
    let (sim, client) = start(3).await?;
    let names = sim.add_workload(Workload::replica_set("shop", "web", 3))?;
    sim.add_budget("shop", "web", WEB, Allow::min_available(3))?;
    let refused = evict(&client, &names[0], json!({})).await?;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("retry-after"), "");
    assert!(sim.budget_violations().is_empty());
    assert_eq!(delete(&client, &names[0], "").await?.status, 200);
    let violations = sim.budget_violations();
    assert_eq!(violations.len(), 1, "{violations:?}");
    let words = format!("shop/web: 2 healthy, 3 needed, after a deletion of shop/{}", names[0]);
    assert!(violations[0].starts_with(&words), "{violations:?}");
    until(&sim, |sim| ready(sim, "web") == 3).await?;
    assert_eq!(sim.lowest_healthy("shop", "web"), Some(2));
    Ok(())
}

#[tokio::test]
async fn only_what_serves_is_under_the_budget() -> anyhow::Result<()> {
    let (sim, client) = start(1).await?;
    let pod =
        |name: &str| SimPod::new(name).namespace("shop").node("node-0001").labels(WEB).grace(0);
    sim.add_pod(pod("serves").owner("ReplicaSet", "web"))?;
    sim.add_budget("shop", "web", WEB, Allow::min_available(1))?;
    for (name, phase) in [("done", "Succeeded"), ("broken", "Failed"), ("early", "Pending")] {
        sim.add_pod(pod(name).phase(phase))?;
        assert_eq!(evict(&client, name, json!({})).await?.status, 201, "{name}");
        assert_eq!(sim.pod("shop", name), None, "{name}");
    }
    // One that is not ready does not count, as long as enough are.
    sim.add_pod(pod("sick").ready(false))?;
    assert_eq!(evict(&client, "sick", json!({ "dryRun": ["All"] })).await?.status, 201);
    assert!(sim.pod("shop", "sick").is_some());
    assert_eq!(evict(&client, "sick", json!({})).await?.status, 201);
    assert_eq!(evict(&client, "serves", json!({})).await?.status, 429);

    // When too few are ready nothing may go, unless the budget says that the sick always may.
    sim.remove_budget("shop", "web")?;
    sim.add_budget("shop", "web", WEB, Allow::min_available(2))?;
    sim.add_pod(pod("sick").ready(false))?;
    assert_eq!(evict(&client, "sick", json!({})).await?.status, 429);
    let path = "/apis/policy/v1/namespaces/shop/poddisruptionbudgets/web";
    let always = json!({ "spec": { "unhealthyPodEvictionPolicy": "AlwaysAllow" } });
    let budget = client.send("PATCH", path, Some(MERGE), Some(&always)).await?;
    assert_eq!(budget.body["metadata"]["generation"], 2);
    assert_eq!(evict(&client, "sick", json!({})).await?.status, 201);
    assert!(sim.budget_violations().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_budget_that_is_not_observed_yet_says_when_to_come_back() -> anyhow::Result<()> {
    let (sim, client) = start(2).await?;
    let names = sim.add_workload(Workload::replica_set("shop", "web", 2))?;
    sim.hold_budgets(true);
    sim.add_budget("shop", "web", WEB, Allow::max_unavailable(1))?;
    let early = evict(&client, &names[0], json!({})).await?;
    assert_eq!((early.status, early.header("retry-after")), (429, "10"));
    assert_eq!(early.body["details"]["retryAfterSeconds"], 10);
    assert_eq!(
        early.body["details"]["causes"][0]["message"],
        "The disruption budget web is still being processed by the server."
    );
    sim.hold_budgets(false);
    assert_eq!(evict(&client, &names[0], json!({})).await?.status, 201);
    assert_eq!(allowed(&sim), Some(0));
    Ok(())
}

/// So it is in the real server: the budget is charged first, and gets the charge back two minutes later.
#[tokio::test]
async fn a_wrong_uid_costs_the_budget_all_the_same() -> anyhow::Result<()> {
    let (sim, client) = start(2).await?;
    let names = sim.add_workload(Workload::replica_set("shop", "web", 3))?;
    sim.add_budget("shop", "web", WEB, Allow::max_unavailable(1))?;
    let wrong = json!({ "preconditions": { "uid": "other" } });
    assert_eq!(evict(&client, &names[0], wrong).await?.status, 409);
    let status = sim.budget("shop", "web").context("no budget")?["status"].clone();
    assert!(status["disruptedPods"][&names[0]].is_string(), "{status}");
    assert_eq!((&status["currentHealthy"], &status["disruptionsAllowed"]), (&json!(2), &json!(0)));
    assert_eq!(ready(&sim, "web"), 3);
    assert_eq!(evict(&client, &names[1], json!({})).await?.status, 429);
    // When the pod goes nevertheless, so does the entry.
    assert_eq!(delete(&client, &names[0], "").await?.status, 200);
    let status = sim.budget("shop", "web").context("no budget")?["status"].clone();
    assert!(status["disruptedPods"].is_null(), "{status}");
    assert!(sim.budget_violations().is_empty());
    until(&sim, |sim| allowed(sim) == Some(1)).await
}

#[tokio::test]
async fn an_eviction_says_why_and_takes_the_grace_that_it_is_given() -> anyhow::Result<()> {
    let (sim, client) = start(1).await?;
    let pod = SimPod::new("a").namespace("shop").node("node-0001").stuck();
    let before = sim.add_pod(pod)?;
    let wrong = json!({ "preconditions": { "uid": "other" }, "gracePeriodSeconds": 7 });
    assert_eq!(evict(&client, "a", wrong).await?.status, 409);
    assert_eq!(sim.pod("shop", "a"), Some(before.clone()), "a refusal leaves no trace");
    let right = json!({ "preconditions": { "uid": uid(&before) }, "gracePeriodSeconds": 7 });
    assert_eq!(evict(&client, "a", right).await?.status, 201);
    let after = sim.pod("shop", "a").context("it is stuck")?;
    assert_eq!(after["metadata"]["deletionGracePeriodSeconds"], 7);
    let conditions = after["status"]["conditions"].as_array().context("conditions")?;
    let reason =
        |c: &Value| c["type"] == "DisruptionTarget" && c["reason"] == "EvictionByEvictionAPI";
    assert!(conditions.iter().any(reason), "{after}");

    // Once more is no error and no change.
    assert_eq!(evict(&client, "a", json!({})).await?.status, 201);
    assert_eq!(sim.pod("shop", "a"), Some(after));

    let path = "/api/v1/namespaces/shop/pods/a/eviction";
    let other = json!({ "metadata": { "name": "b" } });
    let mismatch = client.send("POST", path, JSON, Some(&other)).await?;
    assert_eq!(mismatch.status, 400);
    let evictions = sim.evictions();
    let statuses: Vec<u16> = evictions.iter().map(|eviction| eviction.status).collect();
    assert_eq!(statuses, [409, 201, 201, 400]);
    assert!(evictions.iter().all(|e| e.uid == Some(uid(&before)) && e.name == "a"));
    assert_eq!(evictions[0].node.as_deref(), Some("node-0001"));
    Ok(())
}

#[tokio::test]
async fn a_watch_of_a_node_sees_pods_terminate_and_go() -> anyhow::Result<()> {
    let (sim, client) = start(2).await?;
    for (name, node) in [("a", "node-0001"), ("b", "node-0002"), ("c", "node-0001")] {
        sim.add_pod(SimPod::new(name).namespace("shop").node(node))?;
    }
    let path = "/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-0001";
    let list = client.get(path).await?.body;
    let names: Vec<String> = list["items"]
        .as_array()
        .context("items")?
        .iter()
        .map(|pod| text(&pod["metadata"]["name"]))
        .collect();
    assert_eq!(names, ["a", "c"]);
    let version = text(&list["metadata"]["resourceVersion"]);
    let path = format!("{path}&watch=1&resourceVersion={version}");
    let mut events = Events::new(client.open("GET", &path, None, None).await?);
    for name in ["b", "a"] {
        assert_eq!(delete(&client, name, "").await?.status, 200);
    }
    delete(&client, "c", "?gracePeriodSeconds=0").await?;
    let mut seen: HashMap<String, Vec<String>> = HashMap::new();
    while !["a", "c"].iter().all(|name| {
        seen.get(*name).is_some_and(|kinds| kinds.last().is_some_and(|kind| kind == "DELETED"))
    }) {
        let event = events.next().await?.context("the watch ended")?;
        let metadata = &event["object"]["metadata"];
        assert!(metadata["deletionTimestamp"].is_string(), "{event}");
        seen.entry(text(&metadata["name"])).or_default().push(text(&event["type"]));
    }
    // The kubelet shortens the grace period to nothing before it lets go.
    assert_eq!(seen["a"], ["MODIFIED", "MODIFIED", "DELETED"]);
    assert_eq!(seen["c"], ["MODIFIED", "DELETED"]);
    assert_eq!(seen.len(), 2);
    Ok(())
}

#[tokio::test]
async fn grace_periods_are_kept_and_can_only_be_shortened() -> anyhow::Result<()> {
    let (sim, client) = start(1).await?;
    sim.add_pod(SimPod::new("stuck").namespace("shop").node("node-0001").stuck())?;
    sim.add_pod(
        SimPod::new("slow").namespace("shop").node("node-0001").stops_in(Duration::from_secs(90)),
    )?;
    sim.add_pod(SimPod::new("nowhere").namespace("shop").starts_in(Duration::MAX))?;
    let left = |name: &str| {
        sim.pod("shop", name).map(|pod| pod["metadata"]["deletionGracePeriodSeconds"].clone())
    };
    delete(&client, "stuck", "?gracePeriodSeconds=60").await?;
    assert_eq!(left("stuck"), Some(json!(60)));
    delete(&client, "stuck", "?gracePeriodSeconds=90").await?;
    assert_eq!(left("stuck"), Some(json!(60)));
    delete(&client, "stuck", "?gracePeriodSeconds=1").await?;
    assert_eq!(left("stuck"), Some(json!(1)));

    // One that is slow ends with its grace period, one that is stuck does not.
    delete(&client, "slow", "?gracePeriodSeconds=1").await?;
    until(&sim, |sim| sim.pod("shop", "slow").is_none()).await?;
    assert!(sim.pod("shop", "stuck").is_some());
    let body = json!({ "gracePeriodSeconds": 0, "preconditions": { "uid": "other" } });
    let path = "/api/v1/namespaces/shop/pods/stuck";
    assert_eq!(client.send("DELETE", path, JSON, Some(&body)).await?.status, 409);
    assert_eq!(
        client.send("DELETE", path, JSON, Some(&json!({ "gracePeriodSeconds": 0 }))).await?.status,
        200
    );
    assert_eq!(sim.pod("shop", "stuck"), None);
    Ok(())
}

#[tokio::test]
async fn a_finalizer_keeps_a_pod() -> anyhow::Result<()> {
    let (sim, client) = start(1).await?;
    sim.add_pod(SimPod::new("a").namespace("shop").node("node-0001").grace(0))?;
    let path = "/api/v1/namespaces/shop/pods/a";
    let held = json!({ "metadata": { "finalizers": ["example.com/hold"] } });
    client.send("PATCH", path, Some(MERGE), Some(&held)).await?;
    delete(&client, "a", "").await?;
    let pod = sim.pod("shop", "a").context("it is held")?;
    assert!(pod["metadata"]["deletionTimestamp"].is_string());
    let free = json!({ "metadata": { "finalizers": null } });
    client.send("PATCH", path, Some(MERGE), Some(&free)).await?;
    assert_eq!(sim.pod("shop", "a"), None);
    Ok(())
}

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
async fn a_fault_can_hit_evictions_alone() -> anyhow::Result<()> {
    let (sim, client) = start(1).await?;
    for name in ["a", "b"] {
        sim.add_pod(SimPod::new(name).namespace("shop").node("node-0001").stuck())?;
    }
    let busy = FaultAction::Status { code: 503, retry_after_seconds: None, message: None };
    sim.add_fault(Fault::eviction("a", busy).when(When::First(1)));
    sim.add_fault(Fault::eviction("b", FaultAction::LoseAnswer));
    assert!(client.get("/api/v1/namespaces/shop/pods/a").await?.status == 200);
    assert_eq!(evict(&client, "a", json!({})).await?.status, 503);
    assert_eq!(evict(&client, "a", json!({ "dryRun": ["All"] })).await?.status, 201);
    assert!(evict(&client, "b", json!({})).await.is_err());
    let pod = sim.pod("shop", "b").context("it is stuck")?;
    assert!(pod["metadata"]["deletionTimestamp"].is_string(), "the lost answer was to a yes");

    let seen: Vec<_> = sim.evictions().into_iter().map(|e| (e.name, e.status, e.dry_run)).collect();
    let name = |name: &str| name.to_owned();
    assert_eq!(seen, [(name("a"), 503, false), (name("a"), 201, true), (name("b"), 201, false)]);
    let log = sim.requests();
    let last = log.last().context("no requests")?;
    assert_eq!(
        (last.subresource.as_deref(), last.namespace.as_deref()),
        (Some("eviction"), Some("shop"))
    );
    assert_eq!((last.resource.as_deref(), last.name.as_deref()), (Some("pods"), Some("b")));
    let effect = last.effect.clone().context("no effect")?;
    assert_eq!(effect.uid, uid(&pod));
    assert!(
        effect.before["deletionTimestamp"].is_null()
            && effect.after["deletionTimestamp"].is_string()
    );
    assert!(log[log.len() - 2].effect.is_none(), "a question has no effect");
    Ok(())
}

#[tokio::test]
async fn rights_to_evict_are_rights_of_their_own() -> anyhow::Result<()> {
    let rules = vec![
        Rule::new(&["create"], &["pods/eviction"]).in_group("").in_namespace("shop"),
        Rule::new(&["get", "create"], &["pods"]),
    ];
    let tokens = HashMap::from([("t".to_owned(), User::with_rules("drainer", rules))]);
    let authentication = Authentication::Tokens(tokens);
    let sim =
        KubeSim::start(SimOptions { nodes: 1, authentication, ..SimOptions::default() }).await?;
    let client = Client::new(sim.url()).with_token(Some("t"));
    for namespace in ["shop", "other"] {
        sim.add_pod(SimPod::new("a").namespace(namespace).node("node-0001"))?;
    }
    assert_eq!(evict(&client, "a", json!({ "dryRun": ["All"] })).await?.status, 201);
    let path = "/api/v1/namespaces/other/pods/a/eviction";
    let refused =
        client.send("POST", path, JSON, Some(&json!({ "metadata": { "name": "a" } }))).await?;
    assert_eq!(refused.status, 403);
    assert_eq!(
        refused.body["message"],
        "pods \"a\" is forbidden: User \"drainer\" cannot create resource \"pods/eviction\" in API \
         group \"\" in the namespace \"other\""
    );
    for (group, subresource, namespace, expected) in [
        ("", "eviction", "shop", true),
        ("", "eviction", "other", false),
        ("", "eviction", "", false),
        ("policy", "eviction", "shop", false),
        ("", "", "other", true),
        ("", "exec", "shop", false),
    ] {
        let body = json!({ "spec": { "resourceAttributes": {
            "verb": "create",
            "group": group,
            "resource": "pods",
            "subresource": subresource,
            "namespace": namespace,
        } } });
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let review = client.send("POST", path, JSON, Some(&body)).await?.body;
        assert_eq!(review["status"]["allowed"], expected, "{body}");
    }
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
