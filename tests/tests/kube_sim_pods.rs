//! The end of simulated pods: evictions, budgets, deletions. What a real API server answers is in the
//! recordings; this is about what happens then.

// The recordings' client; not every test file needs all of it.
#[allow(dead_code)]
#[path = "kube_recordings/client.rs"]
mod client;
#[allow(dead_code)]
#[path = "kube_sim_pods/world.rs"]
mod world;

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, ensure};
use client::{Client, Events, MERGE};
use knm_tests::kube_sim::{
    Allow, Amount, Authentication, Fault, FaultAction, KubeSim, Rule, SimOptions, SimPod, User,
    When, Workload,
};
use serde_json::{Value, json};
use world::{JSON, WEB, allowed, delete, evict, ready, start, text, uid, until};

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
