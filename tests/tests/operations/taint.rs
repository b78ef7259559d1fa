//! taint.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use knm_tests::scenario::World;
use serde_json::{Value, json};

use crate::support::{calls, patch, run, task};

fn taints(world: &World, node: &str) -> Value {
    world.sim.node(node).expect("a node")["spec"]["taints"].clone()
}

fn set(world: &World, node: &str, taints: Value) -> anyhow::Result<()> {
    world.sim.change_node(node, patch(json!({"spec": {"taints": taints}})))?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_and_effect_make_a_taint() -> anyhow::Result<()> {
    let world = World::new("taints").nodes(2).start().await?;
    let had = json!([
        {"key": "k", "value": "1", "effect": "NoSchedule"},
        {"key": "k", "value": "1", "effect": "PreferNoSchedule"},
        {"key": "other", "effect": "NoSchedule"},
    ]);
    set(&world, "node-0001", had)?;
    let one = |params| task("taint", &["node-0001"], params);

    let wanted = json!({"set": [{"key": "k", "value": "2", "effect": "NoSchedule"}]});
    let ended = run(&world, &one(wanted.clone())).await?;
    assert_eq!(
        taints(&world, "node-0001"),
        json!([
            {"key": "k", "value": "2", "effect": "NoSchedule"},
            {"key": "k", "value": "1", "effect": "PreferNoSchedule"},
            {"key": "other", "effect": "NoSchedule"},
        ])
    );
    let item = ended.item("node-0001");
    assert_eq!(item["before"], json!({"k:NoSchedule": "1"}));
    assert_eq!(item["after"], json!({"k:NoSchedule": "2"}));

    let writes = calls(&world, "patch").len();
    let again = run(&world, &one(wanted)).await?;
    assert_eq!(again.message("node-0001"), "unchanged");
    assert_eq!(calls(&world, "patch").len(), writes);

    let kept =
        json!({"set": [{"key": "k", "value": "3", "effect": "NoSchedule"}], "overwrite": false});
    let refused = run(&world, &one(kept)).await?;
    assert_eq!(refused.status("node-0001"), "failed");
    assert!(refused.message("node-0001").contains("k:NoSchedule"), "{:?}", refused.items);

    run(&world, &one(json!({"remove": [{"key": "k", "effect": "NoSchedule"}]}))).await?;
    assert_eq!(
        taints(&world, "node-0001"),
        json!([
            {"key": "k", "value": "1", "effect": "PreferNoSchedule"},
            {"key": "other", "effect": "NoSchedule"},
        ])
    );
    let both = json!({"set": [{"key": "k", "effect": "NoExecute"}]});
    run(&world, &one(both)).await?;
    run(&world, &one(json!({"remove": [{"key": "k"}]}))).await?;
    assert_eq!(taints(&world, "node-0001"), json!([{"key": "other", "effect": "NoSchedule"}]));
    run(&world, &one(json!({"remove": [{"key": "other"}]}))).await?;
    assert_eq!(taints(&world, "node-0001"), Value::Null);
    // Every write insisted on the version that it was planned for.
    assert!(calls(&world, "patch").iter().all(|r| r.precondition.is_some()));
    world.stop().await
}

/// A second writer changes its own taint of every node in a loop, each time from a fresh read and with
/// the resource version of it: nobody loses anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_writer_in_a_loop_loses_nothing_and_takes_nothing() -> anyhow::Result<()> {
    let world = Arc::new(
        World::new("two_writers")
            .nodes(4)
            .latency(std::time::Duration::from_millis(5))
            .start()
            .await?,
    );
    let (done, other) = (Arc::new(AtomicBool::new(false)), Arc::clone(&world));
    let stop = Arc::clone(&done);
    let writer = tokio::task::spawn_blocking(move || {
        let (mut written, mut round) = (0, 0);
        while !stop.load(Ordering::Relaxed) {
            round += 1;
            for node in other.nodes(0..4) {
                let now = other.sim.node(&node).expect("a node");
                let mut taints = now["spec"]["taints"].as_array().cloned().unwrap_or_default();
                taints.retain(|t| t["key"] != "theirs");
                taints.push(
                    json!({"key": "theirs", "value": format!("r{round}"), "effect": "NoSchedule"}),
                );
                let version = &now["metadata"]["resourceVersion"];
                let change =
                    json!({"metadata": {"resourceVersion": version}, "spec": {"taints": taints}});
                written += u32::from(other.sim.change_node(&node, patch(change)).is_ok());
            }
            // Slow enough to leave room for a read and a write in between.
            std::thread::sleep(std::time::Duration::from_millis(40));
        }
        written
    });
    let conflicts = || calls(&world, "patch").iter().filter(|r| r.status == 409).count();
    for round in 1..=30 {
        if round > 3 && conflicts() > 0 {
            break;
        }
        let value = round.to_string();
        let params = json!({"set": [{"key": "ours", "value": value, "effect": "NoSchedule"}]});
        let nodes = ["node-0001", "node-0002", "node-0003", "node-0004"];
        let ended = run(&world, &task("taint", &nodes, params)).await?;
        assert_eq!(ended.outcome(), "completed", "{:?}", ended.items);
        for node in nodes {
            let now = taints(&world, node);
            let has = |key: &str| {
                now.as_array().expect("taints").iter().find(|t| t["key"] == key).cloned()
            };
            assert_eq!(has("ours").expect("ours")["value"], value, "{node}: {now}");
            assert!(has("theirs").is_some(), "{node}: {now}");
        }
    }
    done.store(true, Ordering::Relaxed);
    let written = writer.await?;
    let conflicts = conflicts();
    assert!(
        written > 3 && conflicts > 0,
        "{written} writes, {conflicts} conflicts: nothing was tested"
    );
    let world = Arc::into_inner(world).expect("the writer is done");
    world.stop().await
}
