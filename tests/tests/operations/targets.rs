//! Which nodes a task is for.

use knm_tests::scenario::World;
use serde_json::{Value, json};

use crate::support::{finish, patch, run, until_seen};

fn label(nodes: Value) -> Value {
    json!({"action": "label", "nodes": nodes, "params": {"set": {"example.com/a": "1"}}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_name_selector_field_and_all_frozen_at_the_submission() -> anyhow::Result<()> {
    let world = World::new("targets").nodes(6).start().await?;
    let api = world.sign_in(0).await?;
    for node in ["node-0002", "node-0004"] {
        let change =
            json!({"metadata": {"labels": {"rack": "r1"}}, "spec": {"unschedulable": true}});
        world.sim.change_node(node, patch(change))?;
        until_seen(&api, node, |n| n["unschedulable"] == true || n["schedulable"] == false).await?;
    }
    let names = |ended: &crate::support::Ended| -> Vec<String> {
        ended.items.iter().map(|i| i["node"].as_str().expect("a name").to_owned()).collect()
    };
    for (nodes, expected) in [
        (json!({"names": ["node-0003", "node-0001", "node-0003"]}), vec!["node-0003", "node-0001"]),
        (json!({"selector": "rack=r1"}), vec!["node-0002", "node-0004"]),
        (
            json!({"selector": "rack notin (r1),kubernetes.io/hostname in (node-0005,node-0004)"}),
            vec!["node-0005"],
        ),
        (json!({"field_selector": "metadata.name=node-0006"}), vec!["node-0006"]),
        (json!({"field_selector": "spec.unschedulable=true"}), vec!["node-0002", "node-0004"]),
        (
            json!({"all": true}),
            vec!["node-0001", "node-0002", "node-0003", "node-0004", "node-0005", "node-0006"],
        ),
    ] {
        let answer = api.post("/api/v1/tasks", &label(nodes.clone())).await?.ok()?;
        assert_eq!(answer["total"], expected.len(), "{nodes}: the count is shown at once");
        let ended = finish(&world, &api, answer["id"].as_str().expect("an id").parse()?).await?;
        assert_eq!(names(&ended), expected, "{nodes}");
        assert_eq!(ended.outcome(), "completed");
        for item in &ended.items {
            let node = world.sim.node(item["node"].as_str().expect("a name")).expect("a node");
            assert_eq!(item["node_uid"], node["metadata"]["uid"], "frozen by UID");
        }
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_names_are_refused_with_the_list() -> anyhow::Result<()> {
    let world = World::new("unknown_names").nodes(2).start().await?;
    let api = world.sign_in(0).await?;
    let names = json!({"names": ["node-0001", "a", "node-0002", "b"]});
    let problem = api.post("/api/v1/tasks", &label(names)).await?.problem()?;
    let fields: Vec<_> =
        problem.errors.iter().map(|e| (e.field.as_str(), e.message.as_str())).collect();
    assert_eq!(fields.len(), 2, "{fields:?}");
    assert!(fields[0].0 == "nodes.names[1]" && fields[0].1.contains("\"a\""), "{fields:?}");
    assert!(fields[1].0 == "nodes.names[3]" && fields[1].1.contains("\"b\""), "{fields:?}");
    assert_eq!(world.stored_tasks().await?, 0);
    world.stop().await
}

/// A node that is gone by the time of its turn fails alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_deleted_meanwhile_fails_alone() -> anyhow::Result<()> {
    let world = World::new("deleted").nodes(3).start().await?;
    let api = world.sign_in(0).await?;
    // Memory still has it: the write finds out.
    world.sim.drop_watches();
    world.sim.delete_node("node-0002")?;
    let answer =
        api.post("/api/v1/tasks", &label(json!({"names": ["node-0001", "node-0002"]}))).await?;
    if answer.status.is_success() {
        let id = answer.ok()?["id"].as_str().expect("an id").parse()?;
        let ended = finish(&world, &api, id).await?;
        assert_eq!((ended.status("node-0001"), ended.status("node-0002")), ("succeeded", "failed"));
        assert!(ended.message("node-0002").contains("not found"), "{:?}", ended.items);
    } else {
        // The watch was faster.
        assert_eq!(answer.problem()?.errors[0].field, "nodes.names[1]");
    }
    let rest = run(&world, &label(json!({"all": true}))).await?;
    assert_eq!(rest.outcome(), "completed");
    world.stop().await
}
