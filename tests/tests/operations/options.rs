//! Every option with every action that it is for. `max_unavailable` and `waves` are for drains alone
//! and shown in `drain_turns`, `uncordon_on_failure` in `drain_ends`; that other actions refuse them,
//! in `refused`.

use std::time::Duration;

use jiff::Timestamp;
use knm_tests::kube_sim::{Fault, FaultAction, Verb};
use knm_tests::scenario::World;
use serde_json::{Value, json};

use crate::support::{calls, is_cordoned, run, steer, until, with_options};

/// Every action with parameters that change something on every node.
fn actions() -> [(&'static str, Value); 6] {
    [
        ("label", json!({"set": {"example.com/a": "1"}})),
        ("annotate", json!({"set": {"example.com/a": "1"}})),
        ("taint", json!({"set": [{"key": "example.com/a", "effect": "NoSchedule"}]})),
        ("cordon", json!({})),
        ("drain", json!({})),
        // Last: the nodes are cordoned by then.
        ("uncordon", json!({})),
    ]
}

fn all(action: &str, params: &Value, options: Value) -> Value {
    with_options(json!({"action": action, "nodes": {"all": true}, "params": params}), options)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_changes_nothing_and_says_what_it_would_do() -> anyhow::Result<()> {
    let world = World::new("dry_run").nodes(2).start().await?;
    for (action, params) in actions() {
        if action == "uncordon" {
            // Only a cordoned node shows something.
            assert_eq!(
                run(&world, &all("cordon", &json!({}), json!({}))).await?.outcome(),
                "completed"
            );
        }
        let before: Vec<_> = world.nodes(0..2).iter().map(|n| world.sim.node(n)).collect();
        let ended = run(&world, &all(action, &params, json!({"dry_run": true}))).await?;
        assert_eq!(ended.outcome(), "completed", "{action}: {:?}", ended.items);
        for item in &ended.items {
            let said = item["message"].as_str().unwrap_or_default();
            assert!(said.starts_with("dry run: "), "{action}: {item}");
        }
        let now: Vec<_> = world.nodes(0..2).iter().map(|n| world.sim.node(n)).collect();
        assert_eq!(now, before, "{action}");
        assert_eq!(ended.task["options"]["dry_run"], true);
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_more_failures_than_allowed_the_rest_is_not_started() -> anyhow::Result<()> {
    let world = World::new("max_failures").nodes(5).start().await?;
    for (action, params) in actions() {
        if action == "uncordon" {
            assert_eq!(
                run(&world, &all("cordon", &json!({}), json!({}))).await?.outcome(),
                "completed"
            );
        }
        let fault = world.sim.add_fault(Fault::patch_status("*", 403));
        for (most, failed) in [(0, 1), (2, 3)] {
            // One at a time, or others would be in flight.
            let options = json!({"max_failures": most, "concurrency": 1});
            let ended = run(&world, &all(action, &params, options)).await?;
            assert_eq!(ended.outcome(), "failed", "{action}");
            let counts = (ended.count("failed"), ended.count("cancelled"));
            assert_eq!(counts, (failed, 5 - failed), "{action}: {:?}", ended.items);
            let why = ended.task["error"].as_str().unwrap_or_default();
            assert!(why.contains(&format!("options.max_failures is {most}")), "{action}: {why}");
            let said = ended.message("node-0005");
            assert!(said.starts_with("not started: "), "{action}: {said}");
        }
        world.sim.remove_fault(fault);
        // As many as are allowed: everything is tried.
        let fault = world.sim.add_fault(Fault::patch_status("node-0001", 403));
        let ended = run(&world, &all(action, &params, json!({"max_failures": 1}))).await?;
        assert_eq!((ended.count("failed"), ended.count("succeeded")), (1, 4), "{action}");
        world.sim.remove_fault(fault);
        let back = if action == "uncordon" { "cordon" } else { "uncordon" };
        run(&world, &all(back, &json!({}), json!({}))).await?;
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_deadline_nothing_new_is_started() -> anyhow::Result<()> {
    let world = World::new("not_after").nodes(3).start().await?;
    for (action, params) in actions() {
        if action == "uncordon" {
            assert_eq!(
                run(&world, &all("cordon", &json!({}), json!({}))).await?.outcome(),
                "completed"
            );
        }
        // The first node takes until after the deadline, and is finished all the same.
        let slow = world.sim.add_fault(Fault {
            latency_ms: 2_500,
            action: None,
            ..Fault::patch("*", FaultAction::Hang)
        });
        let at = Timestamp::now() + Duration::from_secs(2);
        let options = json!({"not_after": at.to_string(), "concurrency": 1});
        let ended = run(&world, &all(action, &params, options)).await?;
        world.sim.remove_fault(slow);
        assert_eq!(ended.outcome(), "failed", "{action}: {:?}", ended.items);
        assert_eq!(ended.status("node-0001"), "succeeded", "{action}: {:?}", ended.items);
        for node in ["node-0002", "node-0003"] {
            assert_eq!(ended.status(node), "cancelled", "{action}: {:?}", ended.items);
            let said = ended.message(node);
            assert!(said.contains("options.not_after has passed"), "{action}: {said}");
        }
        let back = if action == "uncordon" { "cordon" } else { "uncordon" };
        run(&world, &all(back, &json!({}), json!({}))).await?;
    }
    world.stop().await
}

/// The cluster's log shows how many writes were under way at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_nodes_than_asked_for_are_worked_on_at_a_time() -> anyhow::Result<()> {
    let world =
        World::new("concurrency").nodes(9).latency(Duration::from_millis(30)).start().await?;
    for (action, params) in actions() {
        world.sim.clear_requests();
        let ended = run(&world, &all(action, &params, json!({"concurrency": 3}))).await?;
        assert_eq!(ended.outcome(), "completed", "{action}: {:?}", ended.items);
        let mut edges: Vec<(u64, i32)> = Vec::new();
        for call in calls(&world, Verb::Patch.as_str()) {
            edges.push((call.at_micros, 1));
            edges.push((call.at_micros + call.duration_micros, -1));
        }
        // An end before a start at the same moment.
        edges.sort_unstable();
        let mut at_once = 0;
        let most = edges
            .iter()
            .map(|(_, d)| {
                at_once += d;
                at_once
            })
            .max()
            .unwrap_or(0);
        assert!((2..=3).contains(&most), "{action}: {most} at a time");
        if action == "cordon" {
            run(&world, &all("uncordon", &json!({}), json!({}))).await?;
        }
    }
    world.stop().await
}

/// A task that is cancelled leaves what it has not started.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_finishes_what_is_in_flight_and_starts_nothing_else() -> anyhow::Result<()> {
    let world = World::new("cancelled").nodes(6).start().await?;
    let api = world.sign_in(0).await?;
    for (action, params) in actions() {
        if action == "uncordon" {
            assert_eq!(
                run(&world, &all("cordon", &json!({}), json!({}))).await?.outcome(),
                "completed"
            );
        }
        let slow = world.sim.add_fault(Fault {
            latency_ms: 700,
            action: None,
            ..Fault::patch("*", FaultAction::Hang)
        });
        let id = api.submit(&all(action, &params, json!({"concurrency": 1}))).await?;
        until(&api, id, "begun", |e| e.count("running") > 0).await?;
        steer(&api, id, "cancel").await?;
        let ended = crate::support::finish(&world, &api, id).await?;
        world.sim.remove_fault(slow);
        assert_eq!(ended.outcome(), "cancelled", "{action}");
        assert!(ended.count("cancelled") >= 3, "{action}: {:?}", ended.items);
        if action == "cordon" {
            let cordoned = world.nodes(0..6).iter().filter(|n| is_cordoned(&world, n)).count();
            assert_eq!(cordoned, ended.count("succeeded"));
        }
        let back = if action == "uncordon" { "cordon" } else { "uncordon" };
        run(&world, &all(back, &json!({}), json!({}))).await?;
    }
    world.stop().await
}
