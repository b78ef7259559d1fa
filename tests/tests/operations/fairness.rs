//! What tasks of one pod share: the calls to a cluster, and its patience.

use std::time::{Duration, Instant};

use knm_shared::ids::TaskId;
use knm_tests::api::{Api, label_task};
use knm_tests::kube_sim::{Fault, FaultAction, When};
use knm_tests::scenario::World;
use serde_json::json;

use crate::support::{SOON, finish, look, steer, until};

async fn label(api: &Api, nodes: &[String], key: &str) -> anyhow::Result<TaskId> {
    let mut body = label_task(nodes, key, "b");
    body["options"] = json!({"concurrency": 200});
    api.submit(&body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_a_task_of_three_nodes_does_not_wait_for_one_of_5000() -> anyhow::Result<()> {
    // The cluster's calls are scarce: the big task alone would take all of them.
    let config = json!({"executor": {"cluster_concurrency": 8, "max_concurrency": 500}});
    let latency = Duration::from_millis(5);
    let world = World::new("fair").nodes(5000).latency(latency).config(config).start().await?;
    let api = world.sign_in(0).await?;
    until_known(&api, 5000).await?;
    let small = world.nodes(0..3);

    let start = Instant::now();
    let alone = label(&api, &small, "example.com/alone").await?;
    until(&api, alone, "ends", |t| t.outcome() == "completed").await?;
    let alone = start.elapsed();

    let big = label(&api, &world.nodes(0..5000), "example.com/big").await?;
    until_done(&api, big, 100).await?;
    let before = done(&api, big).await?;
    let start = Instant::now();
    let beside = label(&api, &small, "example.com/beside").await?;
    until(&api, beside, "ends", |t| t.outcome() == "completed").await?;
    let took = start.elapsed();
    let meanwhile = done(&api, big).await? - before;
    let ratio = took.as_secs_f64() / alone.as_secs_f64();
    println!(
        "3 nodes: alone {alone:?}, beside 5,000 {took:?} (×{ratio:.1}), {meanwhile} of them meanwhile"
    );
    // In turns it has its three calls after a few of the other's. How long a turn takes is the
    // machine's affair.
    assert!(meanwhile < 1000, "the big task did {meanwhile} nodes meanwhile");
    assert_eq!(look(&api, big).await?.outcome(), "running");
    // What comes after that is no question of fairness.
    steer(&api, big, "cancel").await?;
    until(&api, big, "ends", |t| t.outcome() == "cancelled").await?;
    world.stop().await
}

async fn until_known(api: &Api, nodes: u64) -> anyhow::Result<()> {
    let known = async {
        loop {
            let shown = api.get("/api/v1/clusters/default").await?.ok()?;
            if shown["nodes"] == nodes {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, known).await?
}

async fn done(api: &Api, task: TaskId) -> anyhow::Result<u64> {
    Ok(api.task(task).await?["current"].as_u64().unwrap_or_default())
}

async fn until_done(api: &Api, task: TaskId, nodes: u64) -> anyhow::Result<()> {
    while done(api, task).await? < nodes {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_tasks_leave_an_overloaded_cluster_alone() -> anyhow::Result<()> {
    let world = World::new("overload").nodes(200).start().await?;
    let api = world.sign_in(0).await?;
    // Every call is turned away at first, as an API server does that is overloaded.
    let status = FaultAction::Status { code: 429, retry_after_seconds: Some(1), message: None };
    world.sim.add_fault(Fault::patch("*", status).when(When::First(60)));
    let mut tasks = Vec::new();
    for n in 0..4 {
        tasks.push(label(&api, &world.nodes(0..200), &format!("example.com/t{n}")).await?);
    }
    for task in tasks {
        let ended = finish(&world, &api, task).await?;
        assert_eq!((ended.outcome(), ended.count("succeeded")), ("completed", 200));
    }
    let backoffs = world.pods[0].api.metric("knm_api_kube_backoffs_total").await?;
    assert!(backoffs >= 1.0, "{backoffs}");
    world.stop().await
}

/// One at a time on each of two pods: the oldest first, whoever comes when there is room again, and a
/// pod that is full leaves tasks to the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_is_worked_off_in_order_by_whoever_has_room() -> anyhow::Result<()> {
    let config = json!({"executor": {"max_concurrent_tasks": 1}});
    let latency = Duration::from_millis(20);
    let world =
        World::new("queue").pods(2).nodes(4).latency(latency).config(config).start().await?;
    let api = world.sign_in(0).await?;
    let mut tasks = Vec::new();
    for n in 0..24 {
        let mut body = label_task(&world.nodes(0..4), "example.com/a", &n.to_string());
        body["options"] = json!({"concurrency": 1});
        tasks.push(api.submit(&body).await?);
        // The first ones end while the last ones come.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut begun = Vec::new();
    for task in tasks {
        let ended = finish(&world, &api, task).await?;
        assert_eq!(ended.outcome(), "completed");
        let at: jiff::Timestamp = ended.task["started_at"].as_str().expect("a time").parse()?;
        begun.push(at);
    }
    // Two pods claim beside each other; neither overtakes by more than the one task that it takes.
    for pair in begun.windows(3) {
        assert!(pair[0] <= pair[2], "{begun:?}");
    }
    for pod in &world.pods {
        let worked = pod.api.log().lines().iter().any(|line| line.contains("task ends here"));
        assert!(worked, "{} did nothing", pod.name());
    }
    world.stop().await
}
