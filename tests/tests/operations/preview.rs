//! POST /api/v1/tasks/preview.

use std::time::Duration;

use knm_tests::kube_sim::{Allow, Fault, FaultAction, Rule, SimPod, Verb, When};
use knm_tests::scenario::World;
use serde_json::{Value, json};

use crate::support::{SOON, calls, patch, task, until_seen};

fn node<'a>(preview: &'a Value, name: &str) -> &'a Value {
    let nodes = preview["nodes"].as_array().expect("nodes");
    nodes.iter().find(|n| n["node"] == name).expect("the node is there")
}

fn pod(world: &World, node: &str, name: &str, app: &str) -> anyhow::Result<()> {
    let pod = SimPod::new(name).namespace("shop").node(node).labels(&[("app", app)]);
    world.sim.add_pod(pod.owner("ReplicaSet", app))?;
    Ok(())
}

async fn preview(world: &World, body: &Value) -> anyhow::Result<Value> {
    let api = world.sign_in(0).await?;
    api.post("/api/v1/tasks/preview", body).await?.ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_difference_of_every_node_and_nothing_is_stored() -> anyhow::Result<()> {
    let world = World::new("preview").nodes(3).start().await?;
    let api = world.sign_in(0).await?;
    let change = |name, change: Value| world.sim.change_node(name, patch(change)).map(drop);
    let labelled = |value: &str| json!({"metadata": {"labels": {"example.com/a": value}}});
    change("node-0001", labelled("old"))?;
    change("node-0002", labelled("new"))?;
    change("node-0002", json!({"spec": {"unschedulable": true}}))?;
    until_seen(&api, "node-0002", |n| n["status"].to_string().contains("SchedulingDisabled"))
        .await?;
    let all = |action: &str, params: Value| json!({"action": action, "nodes": {"all": true}, "params": params});
    let params = json!({"set": {"example.com/a": "new"}, "overwrite": false});
    let shown = preview(&world, &all("label", params)).await?;
    assert_eq!((&shown["total"], &shown["changes"]), (&json!(3), &json!(1)), "{shown}");
    assert_eq!((&shown["unchanged"], &shown["refused"]), (&json!(1), &json!(1)), "{shown}");
    assert_eq!(node(&shown, "node-0001")["result"], "refused");
    assert!(node(&shown, "node-0001")["message"].to_string().contains("(old)"), "{shown}");
    assert_eq!(node(&shown, "node-0002")["result"], "unchanged");
    let third = node(&shown, "node-0003");
    assert_eq!(
        (&third["before"], &third["after"]),
        (&json!({"example.com/a": null}), &json!({"example.com/a": "new"}))
    );
    assert_eq!((&shown["required_role"], &shown["permitted"]), (&json!("operator"), &json!(true)));
    assert_eq!(shown["missing_rights"], json!([]));

    let shown = preview(&world, &all("cordon", json!({}))).await?;
    assert_eq!(node(&shown, "node-0001")["after"]["unschedulable"], true);
    assert_eq!(node(&shown, "node-0002")["result"], "unchanged");
    let shown = preview(&world, &all("uncordon", json!({}))).await?;
    assert_eq!(shown["changes"], 1, "{shown}");
    let shown = preview(&world, &all("annotate", json!({"set": {"example.com/a": "1"}}))).await?;
    assert_eq!(shown["changes"], 3, "{shown}");
    let params = json!({"set": [{"key": "k", "effect": "NoSchedule"}]});
    let shown = preview(&world, &all("taint", params)).await?;
    assert_eq!(node(&shown, "node-0001")["after"], json!({"k:NoSchedule": ""}));

    assert_eq!(world.stored_tasks().await?, 0);
    assert!(calls(&world, "patch").is_empty() && calls(&world, "get").is_empty());
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drains_pods_by_class_with_the_budgets_in_their_way() -> anyhow::Result<()> {
    let world = World::new("preview_drain").nodes(3).start().await?;
    pod(&world, "node-0001", "web-0", "web")?;
    pod(&world, "node-0001", "api-0", "api")?;
    world
        .sim
        .add_pod(SimPod::new("agent").namespace("shop").node("node-0001").daemonset("agent"))?;
    world.sim.add_pod(SimPod::new("bare").namespace("shop").node("node-0002"))?;
    world.sim.add_budget("shop", "web", &[("app", "web")], Allow::min_available(1))?;
    world.sim.add_budget("shop", "api", &[("app", "api")], Allow::max_unavailable(1))?;
    world.sim.add_budget("shop", "unrelated", &[("app", "x")], Allow::min_available(1))?;
    let params = json!({"ignore_daemonsets": true});
    let shown =
        preview(&world, &json!({"action": "drain", "nodes": {"all": true}, "params": params}))
            .await?;
    let first = node(&shown, "node-0001");
    assert_eq!(first["result"], "change", "{shown}");
    assert_eq!(first["pod_counts"], json!({"blocked": 1, "evict": 1, "stay": 1}), "{shown}");
    let blocked = first["pods"].as_array().expect("pods").iter().find(|p| p["fate"] == "blocked");
    let blocked = blocked.expect("one is blocked");
    assert_eq!(blocked["pod"], "shop/web-0");
    assert_eq!(blocked["reason"], "budget web needs 1 healthy pods and has 1");
    let second = node(&shown, "node-0002");
    assert_eq!(second["result"], "refused");
    assert!(second["message"].to_string().contains("use force"), "{second}");
    assert_eq!(node(&shown, "node-0003")["result"], "change", "the cordon");
    let budgets = shown["budgets"].as_array().expect("budgets");
    let names: Vec<_> = budgets
        .iter()
        .map(|b| (b["budget"].as_str().expect("a name"), b["disruptions_allowed"].as_i64()))
        .collect();
    assert_eq!(names, [("shop/web", Some(0)), ("shop/api", Some(1))]);
    assert!(world.sim.evictions().is_empty());

    // NoExecute: who does not tolerate it goes, and no budget is asked.
    let params = json!({"set": [{"key": "k", "effect": "NoExecute"}]});
    let shown = preview(&world, &task("taint", &["node-0001"], params)).await?;
    let first = node(&shown, "node-0001");
    assert_eq!(first["pod_counts"]["evict"].as_u64().map(|n| n >= 2), Some(true), "{shown}");
    assert_eq!(shown["required_role"], "admin");
    assert!(shown["warnings"].to_string().contains("without asking their disruption budgets"));
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_rights_in_the_cluster_are_named() -> anyhow::Result<()> {
    let read = Rule::new(&["get", "list", "watch"], &["nodes", "pods"]);
    let world = World::new("preview_rights").nodes(2).rights(vec![read]).start().await?;
    let shown = preview(&world, &task("drain", &["node-0001"], json!({}))).await?;
    assert_eq!(
        shown["missing_rights"],
        json!(["patch nodes", "create pods/eviction", "get daemonsets.apps"]),
        "{shown}"
    );
    let params = json!({"disable_eviction": true});
    let shown = preview(&world, &task("drain", &["node-0001"], params)).await?;
    assert!(shown["missing_rights"].to_string().contains("delete pods"), "{shown}");
    // Budgets may not be listed: that is said and keeps nothing else from being shown.
    assert!(shown["warnings"].to_string().contains("disruption budgets"), "{shown}");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_nodes_come_from_memory_in_one_request() -> anyhow::Result<()> {
    let world = World::new("preview_many").nodes(1000).start().await?;
    let api = world.sign_in(0).await?;
    until_seen(&api, "node-0500", |_| true).await?;
    for (action, params) in [
        ("label", json!({"set": {"example.com/a": "1"}})),
        ("taint", json!({"set": [{"key": "k", "effect": "NoSchedule"}]})),
        ("cordon", json!({})),
    ] {
        world.sim.clear_requests();
        let body = json!({"action": action, "nodes": {"all": true}, "params": params});
        let asked = api.post("/api/v1/tasks/preview", &body);
        let shown = tokio::time::timeout(SOON, asked).await??.ok()?;
        assert_eq!(shown["changes"], 1000, "{action}");
        // Only the rights are asked of the cluster.
        let reads = ["get", "list", "patch"].map(|verb| calls(&world, verb).len());
        assert_eq!(reads, [0, 0, 0], "{action}");
    }
    world.stop().await
}

/// What has ended, or not begun, is asked of no budget, as the eviction API does it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_do_not_run_are_guarded_by_nothing() -> anyhow::Result<()> {
    let world = World::new("preview_unguarded").nodes(2).start().await?;
    let job = |name: &str, phase: &str, node: &str| {
        let pod = SimPod::new(name).namespace("shop").node(node).labels(&[("app", "job")]);
        world.sim.add_pod(pod.owner("ReplicaSet", "job").phase(phase))
    };
    job("done", "Succeeded", "node-0001")?;
    job("lost", "Failed", "node-0001")?;
    job("new", "Pending", "node-0001")?;
    job("runs", "Running", "node-0002")?;
    for name in ["one", "two"] {
        world.sim.add_budget("shop", name, &[("app", "job")], Allow::min_available(1))?;
    }
    let shown = preview(&world, &task("drain", &["node-0001", "node-0002"], json!({}))).await?;
    let first = node(&shown, "node-0001");
    assert_eq!(first["result"], "change", "{shown}");
    assert_eq!(first["pod_counts"], json!({"evict": 3}), "{shown}");
    let second = node(&shown, "node-0002");
    assert_eq!(second["result"], "refused", "{shown}");
    assert!(second["message"].to_string().contains("more than one"), "{shown}");
    // Each covers four pods, and would be asked for one.
    let asked = shown["budgets"].as_array().expect("budgets").iter().map(|b| &b["pods"]);
    assert_eq!(asked.collect::<Vec<_>>(), [&json!(1), &json!(1)], "{shown}");
    world.stop().await
}

/// Of many nodes all pods of the cluster are listed, page by page, and only theirs are counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pods_of_many_nodes_come_in_pages() -> anyhow::Result<()> {
    let world = World::new("preview_pages").nodes(24).start().await?;
    let api = world.sign_in(0).await?;
    until_seen(&api, "node-0024", |_| true).await?;
    let name = |i: usize| format!("node-{i:04}");
    for i in 0..600 {
        pod(&world, &name(i % 24 + 1), &format!("web-{i}"), "web")?;
    }
    // 22 of the 24, with 25 pods each.
    let names: Vec<_> = (1..=22).map(name).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let no_execute = json!({"set": [{"key": "k", "effect": "NoExecute"}]});
    for body in [task("drain", &names, json!({})), task("taint", &names, no_execute)] {
        world.sim.clear_faults();
        world.sim.clear_requests();
        let shown = preview(&world, &body).await?;
        assert_eq!(shown["pods_known"], true, "{shown}");
        for name in &names {
            assert_eq!(node(&shown, name)["pod_counts"], json!({"evict": 25}), "{shown}");
        }
        let lists = calls(&world, "list");
        let pages = lists.iter().filter(|r| r.resource.as_deref() == Some("pods")).count();
        assert_eq!(pages, 2, "{lists:?}");

        // Half of them is no answer.
        world.sim.add_fault(Fault {
            resource: Some("pods".into()),
            verbs: vec![Verb::List],
            when: When::After(1),
            action: Some(FaultAction::Status {
                code: 503,
                retry_after_seconds: None,
                message: None,
            }),
            ..Fault::default()
        });
        let shown = preview(&world, &body).await?;
        assert_eq!(shown["pods_known"], false, "{shown}");
        assert!(shown["warnings"].to_string().contains("could not be listed"), "{shown}");
        assert_eq!(node(&shown, "node-0001").get("pod_counts"), None, "{shown}");
        assert_eq!(node(&shown, "node-0001").get("pods"), None, "{shown}");
    }
    world.stop().await
}

/// A cluster that does not answer costs a warning.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_cluster_nodes_are_shown_from_memory() -> anyhow::Result<()> {
    let config = json!({"executor": {"request_timeout": 1}});
    let world = World::new("preview_away").nodes(2).config(config).start().await?;
    let api = world.sign_in(0).await?;
    until_seen(&api, "node-0001", |_| true).await?;
    let hang = knm_tests::kube_sim::Fault {
        action: Some(knm_tests::kube_sim::FaultAction::Hang),
        ..knm_tests::kube_sim::Fault::latency(Duration::ZERO)
    };
    world.sim.add_fault(hang);
    let shown = preview(&world, &task("cordon", &["node-0001"], json!({}))).await?;
    assert_eq!(shown["changes"], 1, "{shown}");
    assert!(shown["warnings"].to_string().contains("rights"), "{shown}");
    world.stop().await
}
