//! One label on many nodes, from asking to done: ours, kubectl, and the bare PATCHes that are the limit.
//!
//! Who has been labelled is asked of the API server after every round.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use knm_tests::api::Api;
use knm_tests::kube_sim::{KubeSim, SimOptions};
use knm_tests::pod::{Pod, PodOptions};
use knm_tests::postgres::Database;
use knm_tests::process::{Log, Spec};
use knm_tests::scenario::{ADMIN, PASSWORD};
use knm_tests::scratch;
use knm_tests::ws::Connection;
use knm_tests::ws::frame::ClientFrame;
use serde_json::json;

use super::Setting;
use super::bare::{Client, KEY};
use super::figures::{Rounds, number};
use super::ours::database;
use super::plot::{Line, Plot};
use super::report::Report;

const PATIENCE: Duration = Duration::from_secs(600);
const TIMES: f64 = 4.0;
const SHARE: f64 = 0.85;

#[derive(Debug, Clone, Copy)]
enum System {
    Ours { concurrency: usize },
    Kubectl,
    Xargs { processes: usize },
    Bare { at_a_time: usize },
}

impl System {
    const ALL: [Self; 7] = [
        Self::Ours { concurrency: 20 },
        Self::Ours { concurrency: 50 },
        Self::Ours { concurrency: 200 },
        Self::Kubectl,
        Self::Xargs { processes: 8 },
        Self::Bare { at_a_time: 20 },
        Self::Bare { at_a_time: 200 },
    ];

    fn title(self) -> String {
        match self {
            Self::Ours { concurrency } => format!("kube-node-manager, {concurrency} at a time"),
            Self::Kubectl => "kubectl label nodes --all".into(),
            Self::Xargs { processes } => format!("kubectl label under xargs -P {processes} -n 10"),
            Self::Bare { at_a_time } => format!("limit: bare PATCH, {at_a_time} at a time"),
        }
    }
}

/// A cluster, a pod on it, and others who reach it.
struct Field {
    pod: Pod,
    client: Client,
    kubeconfig: PathBuf,
    nodes: Vec<String>,
    rounds: u32,
    /// Both outlive the pod.
    _sim: Option<KubeSim>,
    _database: Database,
}

pub(crate) async fn run(setting: &Setting, report: &mut Report) -> anyhow::Result<()> {
    report.section("Batch operation");
    report.say(&format!(
        "Seconds from asking for a label on all nodes until the last one has it: for kubectl from its \
         start to its end, for kube-node-manager from the request to the final frame at a client, every \
         node's progress stored and told on the way. Each round sets another value, and asks the API \
         server afterwards whether all nodes have it. {} rounds, the systems in turns.",
        setting.rounds()
    ));
    if let Some(kubeconfig) = setting.kubeconfig.clone() {
        let mut field = Field::real(kubeconfig).await?;
        let figures = play(&mut field, &System::ALL, setting).await?;
        let nodes = field.nodes.clone();
        report.say(&format!("**{} nodes of a cluster of your own**", nodes.len()));
        tell(report, &System::ALL, &figures, nodes.len());
        field.client.label(&nodes, None, 20).await?;
        return field.stop().await;
    }
    let mut lines: Vec<Line> = System::ALL
        .iter()
        .map(|system| Line { name: system.title(), points: Vec::new() })
        .collect();
    for nodes in [100, 1_000, 5_000].map(|n| setting.few(n, n.min(200))) {
        let mut field = Field::simulated(nodes, Duration::ZERO).await?;
        let figures = play(&mut field, &System::ALL, setting).await?;
        field.stop().await?;
        report.say(&format!(
            "**{} nodes**, an API server that answers as fast as it can",
            number(nodes as f64)
        ));
        tell(report, &System::ALL, &figures, nodes);
        for (line, seconds) in lines.iter_mut().zip(&figures) {
            if seconds.len() > 0 {
                line.points.push((nodes as f64, seconds.clone()));
            }
        }
        if nodes == 1_000 || setting.quick {
            reach(report, &figures, "label 1,000 nodes");
        }
        if setting.quick {
            break;
        }
    }
    report.plot(&Plot {
        name: "batch",
        title: "Seconds to label so many nodes",
        x: "nodes",
        y: "seconds",
        lines,
    })?;
    let nodes = setting.few(1_000, 50);
    let mut field = Field::simulated(nodes, Duration::from_millis(5)).await?;
    let figures = play(&mut field, &System::ALL, setting).await?;
    field.stop().await?;
    report.say(&format!(
        "**{} nodes, and an API server that takes 5 ms for an answer**, as real ones do: here the \
         processors are less of a limit, and what counts is that there is always a request under way",
        number(nodes as f64)
    ));
    tell(report, &System::ALL, &figures, nodes);
    if !setting.quick {
        reach(report, &figures, "the same with 5 ms for an answer");
    }
    Ok(())
}

/// The best of ours against kubectl, and against the best of the bare PATCHes.
fn reach(report: &mut Report, figures: &[Rounds], what: &'static str) {
    let best = |wanted: fn(&System) -> bool| {
        System::ALL
            .iter()
            .zip(figures)
            .filter(|(system, _)| wanted(system))
            .map(|(_, seconds)| seconds.median())
            .fold(f64::INFINITY, f64::min)
    };
    let ours = best(|system| matches!(system, System::Ours { .. }));
    let kubectl = best(|system| matches!(system, System::Kubectl));
    let bare = best(|system| matches!(system, System::Bare { .. }));
    let (times, share) = (kubectl / ours, bare / ours);
    report.target(
        what,
        "≥ 4 × faster than `kubectl label nodes --all`, ≥ 85 % of the API server's bare PATCH rate",
        format!("{times:.1} × kubectl, {:.0} % of bare", share * 100.0),
        times >= TIMES && share >= SHARE,
    );
}

fn tell(report: &mut Report, systems: &[System], figures: &[Rounds], nodes: usize) {
    let rows: Vec<Vec<String>> = systems
        .iter()
        .zip(figures)
        .map(|(system, seconds)| {
            vec![system.title(), seconds.to_string(), number(nodes as f64 / seconds.median())]
        })
        .collect();
    report.table(&["", "seconds", "nodes/s"], &rows);
}

/// Seconds of each system.
async fn play(
    field: &mut Field,
    systems: &[System],
    setting: &Setting,
) -> anyhow::Result<Vec<Rounds>> {
    let mut figures = vec![Rounds::default(); systems.len()];
    // What is done for the first time takes longer; kubectl starts from nothing each time.
    for system in [System::Ours { concurrency: 20 }, System::Bare { at_a_time: 20 }] {
        field.round(system).await.with_context(|| system.title())?;
    }
    for _ in 0..setting.rounds() {
        for (system, seconds) in systems.iter().zip(&mut figures) {
            // Minutes a round, and no other answer than at 1,000.
            if matches!(system, System::Xargs { .. }) && field.nodes.len() > 1_000 {
                continue;
            }
            let took = field.round(*system).await.with_context(|| system.title())?;
            seconds.push(took.as_secs_f64());
        }
    }
    Ok(figures)
}

impl Field {
    /// Open to everybody: kubectl sends no token over plain HTTP.
    async fn simulated(nodes: usize, latency: Duration) -> anyhow::Result<Self> {
        let sim = KubeSim::start(SimOptions { nodes, latency, ..SimOptions::default() }).await?;
        let kubeconfig = scratch::dir("kubectl")?.join("kubeconfig");
        std::fs::write(&kubeconfig, sim.kubeconfig())?;
        let client = Client::Plain(Api::new(sim.url()));
        Self::on(kubeconfig, client, Some(sim)).await
    }

    async fn real(kubeconfig: PathBuf) -> anyhow::Result<Self> {
        let kubeconfig = kubeconfig.canonicalize().context("the kubeconfig")?;
        let client = Client::of(&kubeconfig).await?;
        Self::on(kubeconfig, client, None).await
    }

    async fn on(kubeconfig: PathBuf, client: Client, sim: Option<KubeSim>) -> anyhow::Result<Self> {
        let nodes = client.nodes().await?;
        ensure!(!nodes.is_empty(), "the cluster has no nodes");
        let database = database("batch").await?;
        let pod = Pod::run(&database, &PodOptions::new("pod-a", &kubeconfig, PASSWORD)).await?;
        Ok(Self { pod, client, kubeconfig, nodes, rounds: 0, _sim: sim, _database: database })
    }

    async fn round(&mut self, system: System) -> anyhow::Result<Duration> {
        self.rounds += 1;
        let value = format!("r{}", self.rounds);
        let took = match system {
            System::Ours { concurrency } => self.ours(&value, concurrency).await?,
            System::Kubectl => {
                let label = format!("kubectl label nodes --all --overwrite {KEY}={value}");
                self.shell(&label).await?
            }
            System::Xargs { processes } => {
                let label = format!("kubectl label --overwrite \"$@\" {KEY}={value}");
                let some = format!("xargs -P {processes} -n 10 sh -c '{label}' label");
                self.shell(&format!("kubectl get nodes -o name | {some}")).await?
            }
            System::Bare { at_a_time } => {
                self.client.label(&self.nodes, Some(&value), at_a_time).await?
            }
        };
        let labelled = self.client.labelled(&value).await?.len();
        ensure!(
            labelled == self.nodes.len(),
            "{labelled} of {} nodes are labelled",
            self.nodes.len()
        );
        Ok(took)
    }

    async fn ours(&self, value: &str, concurrency: usize) -> anyhow::Result<Duration> {
        let api = self.pod.client().login(ADMIN, PASSWORD).await?;
        let mut socket = Connection::open(&self.pod.relay.address(), Some(api.token()?)).await?;
        let body = json!({
            "action": "label",
            "nodes": {"all": true},
            "params": {"set": {KEY: value}, "overwrite": true},
            "options": {"concurrency": concurrency},
        });
        let begun = Instant::now();
        let task_id = api.submit(&body).await?;
        socket.send(&ClientFrame::Subscribe { task_id, cursor: None }).await?;
        let end = async {
            loop {
                let text = socket.next_text().await.context("the socket was closed")?;
                if text.starts_with("{\"type\":\"complete\"") {
                    ensure!(text.contains("\"status\":\"completed\""), "{text}");
                    return Ok(begun.elapsed());
                }
            }
        };
        tokio::time::timeout(PATIENCE, end).await.context("the task does not end")?
    }

    async fn shell(&self, command: &str) -> anyhow::Result<Duration> {
        let log = Log::create(scratch::dir("kubectl")?.join("log"))?;
        let begun = Instant::now();
        let process = Spec::new("kubectl", Path::new("/bin/sh"))
            .args(["-c", command])
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", scratch::root()?)
            .spawn(&log)?;
        let status = process.wait(PATIENCE).await?;
        let took = begun.elapsed();
        ensure!(status.success(), "{command}: {status}\n{}", log.tail(10));
        Ok(took)
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        self.pod.stop().await
    }
}
