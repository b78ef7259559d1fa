//! The shipped ClusterRole: enough for everything that the program does, and nothing beyond it. (Every
//! other integration test has these rights too, [`shipped_rights`].)

use std::collections::BTreeSet;

use knm_tests::kube_sim::{Allow, RequestRecord, SimPod, Workload};
use knm_tests::scenario::{World, shipped_rights};
use serde_json::{Value, json};

use crate::support::{finish, run};

/// Verb, group, resource with its subresource.
type Right = (String, String, String);

fn granted() -> anyhow::Result<BTreeSet<Right>> {
    let mut rights = BTreeSet::new();
    for rule in shipped_rights()? {
        for verb in &rule.verbs {
            for (group, resource) in
                rule.groups.iter().flat_map(|g| rule.resources.iter().map(move |r| (g, r)))
            {
                rights.insert((verb.clone(), group.clone(), resource.clone()));
            }
        }
    }
    Ok(rights)
}

fn right(record: &RequestRecord) -> Option<Right> {
    let mut resource = record.resource.clone()?;
    if let Some(subresource) = &record.subresource {
        resource = format!("{resource}/{subresource}");
    }
    let group = record.path.strip_prefix("/apis/").and_then(|rest| rest.split('/').next());
    Some((record.verb.as_str().to_owned(), group.unwrap_or_default().to_owned(), resource))
}

fn task(action: &str, node: &str, params: Value) -> Value {
    json!({"action": action, "nodes": {"names": [node]}, "params": params})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_works_with_the_shipped_rights_and_uses_each_of_them() -> anyhow::Result<()>
{
    let world = World::new("rights").nodes(4).start().await?;
    let web = Workload::replica_set("shop", "web", 2);
    world.sim.place(web, &["node-0001", "node-0002"])?;
    world.sim.add_budget("shop", "web", &[("app", "web")], Allow::max_unavailable(1))?;
    world.sim.add_workload(Workload::daemon_set("shop", "agent"))?;
    world.sim.add_pod(SimPod::new("bare").namespace("shop").node("node-0003"))?;
    world.sim.wait_until(|sim| sim.pods_on("node-0003").len() == 2).await;
    let api = world.sign_in(0).await?;

    let set = |key: &str| json!({"set": {key: "1"}});
    let taint = json!({"set": [{"key": "example.com/t", "effect": "NoSchedule"}]});
    let labelled = run(&world, &api, &task("label", "node-0004", set("example.com/a"))).await?;
    run(&world, &api, &task("annotate", "node-0004", set("example.com/b"))).await?;
    run(&world, &api, &task("taint", "node-0004", taint)).await?;
    run(&world, &api, &task("cordon", "node-0004", json!({}))).await?;
    run(&world, &api, &task("uncordon", "node-0004", json!({}))).await?;

    let gently = task("drain", "node-0001", json!({"ignore_daemonsets": true}));
    let shown = api.post("/api/v1/tasks/preview", &gently).await?.ok()?;
    assert_eq!(shown["missing_rights"], json!([]), "{shown}");
    assert!(shown.to_string().contains("shop/web"), "{shown}");
    run(&world, &api, &gently).await?;
    let hard = json!({"ignore_daemonsets": true, "force": true, "disable_eviction": true});
    let hard = task("drain", "node-0003", hard);
    let shown = api.post("/api/v1/tasks/preview", &hard).await?.ok()?;
    assert_eq!(shown["missing_rights"], json!([]), "{shown}");
    run(&world, &api, &hard).await?;

    let detail = api.get("/api/v1/clusters/default/nodes/node-0002?pods=true").await?.ok()?;
    assert_eq!(detail["warnings"], json!([]), "{detail}");
    let revert = format!("/api/v1/tasks/{}/revert", labelled);
    let reverted = api.post(&revert, &json!({})).await?.ok()?;
    let id = reverted["id"].as_str().unwrap_or_default().parse()?;
    finish(&world, &api, id).await?;

    let requests = world.sim.requests();
    let ours = requests.iter().filter(|record| record.user.starts_with("pod-"));
    let refused: Vec<_> = ours.clone().filter(|record| record.status == 403).collect();
    assert!(refused.is_empty(), "{refused:#?}");
    let used: BTreeSet<Right> = ours.filter_map(right).collect();
    assert_eq!(used, granted()?, "asked for (left), and granted by deploy/base/rbac.yaml (right)");
    world.stop().await
}
