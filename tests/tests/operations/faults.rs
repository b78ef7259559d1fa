//! Operations on a cluster that fails every tenth request.

use knm_tests::kube_sim::{Allow, Fault, FaultAction, When, Workload};
use knm_tests::scenario::World;
use serde_json::{Value, json};

use crate::support::{check_evictions, evicted, run, task};

/// Every tenth request of each kind of trouble: 409, 429, 500, cut before and after the work.
fn troubles() -> [Fault; 5] {
    let status = |code, retry_after_seconds| FaultAction::Status {
        code,
        retry_after_seconds,
        message: None,
    };
    let writes = |action, every| Fault {
        verbs: ["get", "list", "patch", "create", "delete"].map(verb).into(),
        action: Some(action),
        when: When::Every(every),
        ..Fault::default()
    };
    [
        writes(status(409, None), 41),
        writes(status(429, Some(1)), 43),
        writes(status(500, None), 47),
        writes(FaultAction::Close, 37),
        writes(FaultAction::LoseAnswer, 53),
    ]
}

fn verb(name: &str) -> knm_tests::kube_sim::Verb {
    serde_json::from_value(name.into()).expect("a verb")
}

/// One request in ten, or a little more, meets one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_every_tenth_request_failing_all_tasks_complete_and_nothing_is_done_twice()
-> anyhow::Result<()> {
    const NODES: usize = 60;
    // A few nodes more, for the pods to go to.
    let world = World::new("troubles").nodes(NODES + 10).start().await?;
    let names = world.nodes(0..NODES);
    let nodes: Vec<&str> = names.iter().map(String::as_str).collect();
    world.sim.place(Workload::replica_set("shop", "web", 120), &nodes)?;
    world.sim.add_budget("shop", "web", &[("app", "web")], Allow::max_unavailable(40))?;
    world.sim.add_workload(Workload::daemon_set("shop", "agent"))?;
    let is_web = |pod: &&Value| pod["metadata"]["labels"]["app"] == "web";
    let uid = |pod: &Value| pod["metadata"]["uid"].as_str().map(str::to_owned);
    let pods: Vec<String> = world.sim.pods().iter().filter(is_web).filter_map(uid).collect();
    assert_eq!(pods.len(), 120);
    for fault in troubles() {
        world.sim.add_fault(fault);
    }
    let all = |action: &str, params: Value| task(action, &nodes, params);
    let taint = |field: &str| json!({field: [{"key": "k", "effect": "NoSchedule"}]});
    for (action, params) in [
        ("label", json!({"set": {"example.com/a": "1"}})),
        ("annotate", json!({"set": {"example.com/a": "1"}})),
        ("taint", taint("set")),
        ("taint", taint("remove")),
        ("cordon", json!({})),
        ("uncordon", json!({})),
        ("drain", json!({"ignore_daemonsets": true})),
    ] {
        world.sim.clear_requests();
        let ended = run(&world, &all(action, params)).await?;
        assert_eq!(
            ended.outcome(),
            "completed",
            "{action}: {:?}",
            ended.items.iter().filter(|i| i["status"] != "succeeded").collect::<Vec<_>>()
        );
        let writes = world.sim.request_summary().effective_writes;
        for node in &names {
            assert_eq!(writes.get(node), Some(&1), "{action} wrote {node} more than once");
        }
        for item in &ended.items {
            assert!(item["before"].is_object() && item["after"].is_object(), "{action}: {item}");
        }
    }
    let gone = evicted(&world);
    assert!(pods.iter().all(|pod| gone.contains(pod)), "every pod is gone");
    check_evictions(&world)?;
    let summary = world.sim.request_summary();
    assert!(
        summary.faulted * 12 > summary.requests,
        "{} of {}: too few",
        summary.faulted,
        summary.requests
    );
    world.stop().await
}
