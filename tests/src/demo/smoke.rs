//! The main job as a program: a batch label operation at one pod, watched live through another.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use knm_shared::ids::TaskId;
use knm_shared::status::{ItemStatus, TaskStatus};
use serde_json::{Value, json};

use super::display::Display;
use super::stage::{Kubernetes, Stage};
use crate::api::Api;
use crate::invariants::Rows;
use crate::kube_sim::{Fault, KubeSim};
use crate::ws::frame::{Delta, ServerFrame};
use crate::ws::{Event, Watcher};

const NODES: usize = 10;
const LABEL: &str = "knm.example.com/smoke";
const TIMEOUT: Duration = Duration::from_secs(120);

/// Plays it through and checks everything on the way.
///
/// # Errors
/// What was wrong.
pub(super) async fn run(stage: &Stage, max_latency: Duration) -> anyhow::Result<()> {
    let watched = stage.pods.first().context("there is no pod")?;
    let asked = stage.pods.last().context("there is no pod")?;
    let api = stage.sign_in(asked).await?;
    println!("Signed in at {} (http://{}).", asked.name(), asked.api.address());
    let mut watcher = Watcher::new(watched.relay.address(), api.token()?);
    watcher.connect().await.context("the WebSocket")?;
    watcher.until(TIMEOUT, |frame| matches!(frame, ServerFrame::Hello(_))).await?;
    println!("Opened a WebSocket at the relay of {}.", watched.name());

    let mut nodes = api.nodes().await?;
    ensure!(!nodes.is_empty(), "the cluster has no nodes");
    nodes.truncate(NODES);
    let refused = match &stage.kubernetes {
        Kubernetes::Simulated(sim) if nodes.len() > 1 => {
            let name = &nodes[nodes.len() / 2];
            sim.add_fault(Fault::patch_status(name, 403));
            Some(name.clone())
        }
        _ => None,
    };
    let value = format!("{:08x}", rand::random::<u32>());
    let label = Label { api: &api, nodes: &nodes };
    let outcome = async {
        let task = label.set(&value).await?;
        println!(
            "Submitted task {task} at {}: {LABEL}={value} on {} nodes",
            asked.name(),
            nodes.len()
        );
        if let Some(name) = &refused {
            println!("(the simulated cluster refuses {name}).");
        }
        follow(&mut watcher, task, nodes.len()).await?;
        let rows = Rows::read(&mut *stage.database.connect().await?, task).await?;
        watcher.checker().check_final(task, &rows).context("the client and the database differ")?;
        check_rows(&rows, refused.as_deref())?;
        if let Kubernetes::Simulated(sim) = &stage.kubernetes {
            check_labels(sim, &nodes, &value, refused.as_deref())?;
        }
        anyhow::Ok(())
    }
    .await;
    // A real cluster is left as it was found, whatever happened.
    if matches!(stage.kubernetes, Kubernetes::Real { .. }) {
        let removed = label.remove(&mut watcher).await.context("removing the label");
        outcome.and(removed)?;
        println!("Removed the label again.");
    } else {
        outcome?;
    }
    report(&watcher, stage, max_latency)
}

/// The label, set and removed.
struct Label<'a> {
    api: &'a Api,
    nodes: &'a [String],
}

impl Label<'_> {
    async fn set(&self, value: &str) -> anyhow::Result<TaskId> {
        self.submit(json!({"set": {LABEL: value}})).await
    }

    async fn remove(&self, watcher: &mut Watcher) -> anyhow::Result<()> {
        let task = self.submit(json!({"remove": [LABEL]})).await?;
        watcher.subscribe(task).await?;
        watcher.until_all_complete(TIMEOUT).await?;
        let ended = watcher.checker().progress(task).map(|p| p.status);
        ensure!(ended == Some(TaskStatus::Completed), "task {task} ended {ended:?}");
        Ok(())
    }

    async fn submit(&self, params: Value) -> anyhow::Result<TaskId> {
        // A few at a time, so that there is something to watch.
        let task = json!({"action": "label", "nodes": {"names": self.nodes}, "params": params,
                          "options": {"concurrency": 3}, "reason": "smoke test of the demo"});
        self.api.submit(&task).await
    }
}

/// Shows the task's progress until its end. The watcher checks every frame.
async fn follow(watcher: &mut Watcher, task: TaskId, nodes: usize) -> anyhow::Result<()> {
    let display = Display::new(nodes as u64);
    watcher.subscribe(task).await?;
    let watch = async {
        while !watcher.checker().completed(task) {
            match watcher.next().await? {
                Event::Frame(frame) => match *frame {
                    ServerFrame::Snapshot(page) if page.last => display.show(&page.task.progress),
                    ServerFrame::Progress(Delta { progress, .. })
                    | ServerFrame::Complete(Delta { progress, .. }) => display.show(&progress),
                    _ => {}
                },
                Event::Closed(close) => bail!("the WebSocket was closed: {close:?}"),
            }
        }
        Ok(())
    };
    let watched = tokio::time::timeout(TIMEOUT, watch).await;
    display.finish();
    watched.with_context(|| format!("task {task} has not ended within {TIMEOUT:?}"))?
}

fn check_rows(rows: &Rows, refused: Option<&str>) -> anyhow::Result<()> {
    let (failed, total) = (usize::from(refused.is_some()), rows.items.len());
    let (ok, not) = (rows.count(ItemStatus::Succeeded), rows.count(ItemStatus::Failed));
    ensure!(
        ok == total - failed && not == failed,
        "{ok} succeeded and {not} failed, expected {} and {failed}",
        total - failed
    );
    if let Some(name) = refused {
        let item = rows.items.iter().find(|i| i.node == name).context("the refused node")?;
        ensure!(item.status == ItemStatus::Failed, "{name} is {}", item.status);
        println!(
            "{name} failed as it should: {}",
            item.message.as_deref().unwrap_or("(no reason)")
        );
    }
    println!("Final counts {ok} succeeded, {not} failed: exact, and equal to the database.");
    Ok(())
}

/// What the cluster itself says.
fn check_labels(
    sim: &KubeSim,
    nodes: &[String],
    value: &str,
    refused: Option<&str>,
) -> anyhow::Result<()> {
    for name in nodes {
        let node = sim.node(name).context("the node is gone")?;
        let found = node["metadata"]["labels"][LABEL].as_str();
        let expected = (Some(name.as_str()) != refused).then_some(value);
        ensure!(found == expected, "node {name} has {LABEL}={found:?}, expected {expected:?}");
    }
    Ok(())
}

fn report(watcher: &Watcher, stage: &Stage, max_latency: Duration) -> anyhow::Result<()> {
    let latencies = watcher.latencies();
    let ms = |percent| latencies.percentile(percent).map(|d| d.as_secs_f64() * 1000.0);
    let (Some(p50), Some(p99)) = (ms(50), ms(99)) else {
        bail!("no progress came between the first snapshot and the end: nothing was watched live");
    };
    println!(
        "{} frames without a gap; publish to receipt: p50 {p50:.1} ms, p99 {p99:.1} ms ({} events).",
        watcher.frames(),
        latencies.len()
    );
    if !stage.throwaway() {
        println!("(By two clocks, the database's and this machine's: not judged.)");
    } else if p99 >= max_latency.as_secs_f64() * 1000.0 {
        bail!(
            "p99 from publish to receipt is {p99:.1} ms, must be under {} ms",
            max_latency.as_millis()
        );
    }
    println!("The main job works.");
    Ok(())
}
