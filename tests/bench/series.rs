//! What a mixed run costs Prometheus: how many series each container has, and whether that number stays
//! where it is.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use knm_tests::api::{Api, label_task};
use knm_tests::kube_sim::{Fault, FaultAction, Verb};
use knm_tests::pod::Container;
use knm_tests::scenario::World;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::Verdict;
use crate::rig::PATIENCE;

/// Figure to reach: series of one container, whatever it does.
const MOST: usize = 2_000;
const SAMPLES: u32 = 10;
const NODES: usize = 60;

pub(crate) async fn run(time: Duration) -> anyhow::Result<Verdict> {
    println!("series: a mixed run of {} s, two pods, {NODES} nodes", time.as_secs());
    let world = World::new("series").pods(2).nodes(NODES).start().await?;
    disturb(&world);
    let begun = Instant::now();
    let (mut seen, mut round) = (Vec::new(), 0);
    for sample in 1..=SAMPLES {
        while begun.elapsed() < time * sample / SAMPLES {
            play(&world, round).await?;
            round += 1;
        }
        let (mut api, mut relay) = ((0, 0), (0, 0));
        for pod in &world.pods {
            api = api.max(series(&pod.api).await?);
            relay = relay.max(series(&pod.relay).await?);
        }
        // A label without bound is no matter of speed: not excused by a short run either.
        ensure!(api.0.max(relay.0) <= MOST, "over {MOST} series: {api:?}, {relay:?}");
        println!(
            "  {:>4} s, {round:>5} rounds: api {:>5} series in {:>6} bytes, relay {:>5} in {:>6}",
            begun.elapsed().as_secs(),
            api.0,
            api.1,
            relay.0,
            relay.1
        );
        seen.push((api.0, relay.0));
    }
    world.stop().await?;
    let (half, end) = (seen[seen.len() / 2], seen[seen.len() - 1]);
    println!("  to reach: at most {MOST} in any container, and none more in the second half");
    Ok(Verdict::of(half == end))
}

/// Some calls of each kind fail.
fn disturb(world: &World) {
    for (every, code) in [(7, 409), (11, 429), (13, 500), (101, 403)] {
        world.sim.add_fault(Fault {
            resource: Some("nodes".into()),
            verbs: vec![Verb::Patch],
            when: knm_tests::kube_sim::When::Every(every),
            action: Some(FaultAction::Status { code, retry_after_seconds: None, message: None }),
            ..Fault::default()
        });
    }
}

/// A round of everything that users do, each with tasks and names of its own.
async fn play(world: &World, round: u32) -> anyhow::Result<()> {
    let api = world.sign_in((round % 2) as usize).await?;
    let nodes = world.nodes(0..NODES);
    let mut watcher = world.watcher(((round + 1) % 2) as usize).await?;
    let taint = json!({"set": [{"key": "example.com/t", "value": round.to_string(),
                                "effect": "NoSchedule"}], "overwrite": true});
    let plain = |action: &str, params: Value| json!({"action": action, "nodes": {"names": nodes}, "params": params});
    let mut label = label_task(&nodes, &format!("example.com/l{round}"), "x");
    label["reason"] = format!("round {round}").into();
    let mut rehearsal = label.clone();
    rehearsal["options"] = json!({"dry_run": true});
    let bodies = [
        rehearsal,
        label,
        plain("annotate", json!({"set": {"example.com/a": round.to_string()}, "overwrite": true})),
        plain("taint", taint),
        plain("drain", json!({})),
        plain("uncordon", json!({})),
    ];
    for body in bodies {
        let task = api.submit(&body).await?;
        watcher.subscribe(task).await?;
        watcher.until_all_complete(PATIENCE).await?;
        look(&api, &task.to_string()).await?;
    }
    Ok(())
}

/// What browsers ask, and what they get wrong.
async fn look(api: &Api, task: &str) -> anyhow::Result<()> {
    let paths = [
        format!("/api/v1/tasks/{task}"),
        format!("/api/v1/tasks/{task}/items?limit=10"),
        "/api/v1/tasks?limit=10".into(),
        "/api/v1/clusters/default/nodes?limit=10".into(),
        format!("/api/v1/nothing/{task}"),
        format!("/{task}"),
    ];
    for path in paths {
        api.get(&path).await.context("no answer")?;
    }
    Ok(())
}

/// Series and bytes of a scrape.
async fn series(container: &Container) -> anyhow::Result<(usize, usize)> {
    let text = container.admin("/metrics").await?.text();
    Ok((text.lines().filter(|line| !line.starts_with('#')).count(), text.len()))
}
