//! label and annotate.

use knm_tests::scenario::World;
use serde_json::{Value, json};

use crate::support::{calls, patch, run, task};

const NODES: [&str; 2] = ["node-0001", "node-0002"];

fn field(action: &str) -> &'static str {
    if action == "label" { "labels" } else { "annotations" }
}

fn metadata(world: &World, node: &str, action: &str) -> Value {
    world.sim.node(node).expect("a node")["metadata"][field(action)].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_set_changed_and_removed_and_the_past_is_kept() -> anyhow::Result<()> {
    for action in ["label", "annotate"] {
        let world = World::new("keys").nodes(2).start().await?;
        let had =
            json!({"metadata": {field(action): {"example.com/b": "old", "example.com/c": "x"}}});
        world.sim.change_node("node-0001", patch(had))?;
        let set = json!({"example.com/a": "1", "example.com/b": "new"});
        let params = json!({"set": set, "remove": ["example.com/c"]});
        let ended = run(&world, &task(action, &NODES, params.clone())).await?;
        assert_eq!(ended.outcome(), "completed", "{action}: {:?}", ended.items);
        let now = metadata(&world, "node-0001", action);
        assert_eq!((&now["example.com/a"], &now["example.com/b"]), (&json!("1"), &json!("new")));
        assert_eq!(now.get("example.com/c"), None);
        let first = ended.item("node-0001");
        let before = json!({"example.com/a": null, "example.com/b": "old", "example.com/c": "x"});
        assert_eq!(first["before"], before);
        let after = json!({"example.com/a": "1", "example.com/b": "new", "example.com/c": null});
        assert_eq!(first["after"], after);
        let second = ended.item("node-0002");
        assert_eq!(second["before"], json!({"example.com/a": null, "example.com/b": null}));

        // Once more: nothing is written.
        let writes = calls(&world, "patch").len();
        let again = run(&world, &task(action, &NODES, params)).await?;
        assert_eq!(again.message("node-0001"), "unchanged");
        assert_eq!(again.item("node-0001")["before"], Value::Null);
        assert_eq!(calls(&world, "patch").len(), writes, "{action}");
        world.stop().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_overwrite_only_nodes_with_another_value_are_refused() -> anyhow::Result<()> {
    for action in ["label", "annotate"] {
        let world = World::new("no_overwrite").nodes(2).start().await?;
        let had = json!({"metadata": {field(action): {"example.com/a": "old"}}});
        world.sim.change_node("node-0001", patch(had))?;
        let params = json!({"set": {"example.com/a": "new"}, "overwrite": false});
        let ended = run(&world, &task(action, &NODES, params)).await?;
        assert_eq!((ended.status("node-0001"), ended.status("node-0002")), ("failed", "succeeded"));
        let said = ended.message("node-0001");
        assert!(said.contains("already has a value (old)") && said.contains("overwrite"), "{said}");
        assert_eq!(metadata(&world, "node-0001", action)["example.com/a"], "old");
        assert_eq!(ended.outcome(), "failed");
        world.stop().await?;
    }
    Ok(())
}

/// Somebody else writes other keys of the same nodes all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_concurrent_writers_are_never_touched() -> anyhow::Result<()> {
    let world = World::new("concurrent").nodes(5).start().await?;
    let nodes: Vec<String> = world.nodes(0..5);
    let names: Vec<&str> = nodes.iter().map(String::as_str).collect();
    for action in ["label", "annotate"] {
        let body = task(action, &names, json!({"set": {"example.com/ours": "1"}}));
        let api = world.sign_in(0).await?;
        let id = api.submit(&body).await?;
        for i in 0..200 {
            let node = &nodes[i % nodes.len()];
            let key = format!("other.example.com/k{}", i / nodes.len());
            world.sim.change_node(node, patch(json!({"metadata": {field(action): {key: "x"}}})))?;
            tokio::task::yield_now().await;
        }
        let ended = crate::support::finish(&world, &api, id).await?;
        assert_eq!(ended.outcome(), "completed", "{:?}", ended.items);
        for node in &nodes {
            let now = metadata(&world, node, action);
            let theirs = now.as_object().expect("keys").keys();
            assert_eq!(theirs.filter(|k| k.starts_with("other.")).count(), 40, "{node}");
            assert_eq!(now["example.com/ours"], "1");
        }
    }
    world.stop().await
}
