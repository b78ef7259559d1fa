//! One-node tasks, from the first submit to the last one done. Each is one PATCH of one node, which the
//! API server counts.
//!
//! Ours does more for it: who asked, the node's past for an undo, progress to browsers, an audit log. The
//! queues are given what their documentation recommends for speed.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::future::try_join_all;
use knm_tests::api::{Api, label_task};
use knm_tests::kube_sim::{Authentication, KubeSim, SimOptions, User, Verb};
use knm_tests::postgres::Database;
use knm_tests::scenario::World;
use serde_json::json;

use super::Setting;
use super::figures::{Rounds, number};
use super::ours::database;
use super::peers::Peer;
use super::report::Report;

/// As many as tasks, so that no two write to one node.
const NODES: usize = 500;
/// Submitting at a time, in all systems.
const SENDERS: usize = 16;
/// Jobs of one process at a time, in all systems.
const CONCURRENCY: usize = 32;
const PATIENCE: Duration = Duration::from_secs(120);

#[allow(clippy::large_enum_variant, reason = "there is only a handful of them")]
enum System {
    Ours { world: Box<World>, clients: Vec<Api> },
    Queue { sim: KubeSim, workers: Vec<Peer>, done: &'static str, database: Database },
}

pub(crate) async fn run(setting: &Setting, report: &mut Report) -> anyhow::Result<()> {
    let tasks = setting.few(500, 60);
    report.section("Queue");
    report.say(&format!(
        "Tasks a second from the first submit to the last one done: {tasks} tasks of one node each, \
         {SENDERS} submitted at a time, {CONCURRENCY} worked on at a time by each process; each is one PATCH \
         at the same simulated API server, which has counted them. Ours takes tasks over REST, with a session, and keeps \
         each node's past and progress; the queues are called by their own libraries, in the process that \
         works. {} rounds.",
        setting.rounds()
    ));
    let mut systems = Vec::new();
    for processes in [1, 2] {
        let world = World::new("queue").pods(processes).nodes(NODES);
        let world = world.config(json!({"log": {"level": "warn"}})).start().await?;
        let mut clients = Vec::new();
        for pod in 0..processes {
            clients.push(world.sign_in(pod).await?);
        }
        let ours = System::Ours { world: Box::new(world), clients };
        systems.push((format!("kube-node-manager, {processes} pod{}", plural(processes)), ours));
        for (queue, done) in [
            ("graphile-worker", "SELECT count(*) FROM graphile_worker.jobs"),
            ("pg-boss", "SELECT count(*) FROM pgboss.job WHERE state <> 'completed'"),
        ] {
            let system = System::queue(setting, queue, done, processes).await?;
            systems.push((
                format!("{queue}, {processes} process{}", if processes == 1 { "" } else { "es" }),
                system,
            ));
        }
    }
    let mut figures = vec![(Rounds::default(), Rounds::default()); systems.len()];
    // What is done for the first time takes longer for everybody.
    for (name, system) in &systems {
        system.round(20, 0).await.with_context(|| name.clone())?;
    }
    for round in 1..=setting.rounds() {
        for ((name, system), (rate, submitted)) in systems.iter().zip(&mut figures) {
            let (submit, all) = system.round(tasks, round).await.with_context(|| name.clone())?;
            rate.push(tasks as f64 / all.as_secs_f64());
            submitted.push(tasks as f64 / submit.as_secs_f64());
        }
    }
    let rows: Vec<Vec<String>> = systems
        .iter()
        .zip(&figures)
        .map(|((name, _), (rate, submitted))| {
            vec![name.clone(), rate.to_string(), number(submitted.median())]
        })
        .collect();
    report.table(&["", "tasks/s done", "submitted/s"], &rows);
    for (_, system) in systems {
        if let System::Ours { world, .. } = system {
            world.stop().await?;
        }
    }
    Ok(())
}

const fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

impl System {
    async fn queue(
        setting: &Setting,
        queue: &str,
        done: &'static str,
        processes: usize,
    ) -> anyhow::Result<Self> {
        let database = database("queue_peer").await?;
        let tokens = [("worker".to_owned(), User::cluster_admin("worker"))];
        let authentication = Authentication::Tokens(tokens.into());
        let options = SimOptions { nodes: NODES, authentication, ..SimOptions::default() };
        let sim = KubeSim::start(options).await?;
        let mut workers = Vec::new();
        for _ in 0..processes {
            let options = json!({
                "queue": queue,
                "postgres": database.url(),
                "kube": sim.url(),
                "token": "worker",
                "concurrency": CONCURRENCY,
                "work": true,
            });
            workers
                .push(setting.peers.start("queue.mjs", &options).await.context(queue.to_owned())?);
        }
        Ok(Self::Queue { sim, workers, done, database })
    }

    /// How long submitting took, and all of it.
    async fn round(&self, tasks: usize, round: usize) -> anyhow::Result<(Duration, Duration)> {
        let value = format!("r{round}");
        let before = self.patches();
        let begun = Instant::now();
        let (submitted, ended) = match self {
            Self::Ours { world, clients } => {
                let names = world.nodes(0..NODES);
                let (names, value) = (&names, &value);
                let senders = (0..SENDERS).map(|sender| async move {
                    for n in (sender..tasks).step_by(SENDERS) {
                        let key = "bench.example.com/queue";
                        let mut task = label_task(&names[n..=n], key, value);
                        task["params"]["overwrite"] = true.into();
                        clients[sender % clients.len()].submit(&task).await?;
                    }
                    anyhow::Ok(())
                });
                try_join_all(senders).await?;
                let submitted = begun.elapsed();
                let open = "SELECT count(*) FROM progress_tasks WHERE completed_at IS NULL";
                until_none(&world.database, open).await?;
                let ended = begun.elapsed();
                let failed = "SELECT count(*) FROM progress_tasks WHERE status <> 'completed'";
                let failed: i64 = world.database.value(failed, &[]).await?;
                ensure!(failed == 0, "{failed} tasks have not completed");
                (submitted, ended)
            }
            Self::Queue { sim, workers, done, database } => {
                let names = sim.node_names();
                let senders = SENDERS / workers.len();
                let shares = workers.iter().enumerate().map(|(i, worker)| {
                    let own = (i..tasks).step_by(workers.len()).map(|n| names[n].clone());
                    let body = json!({"nodes": own.collect::<Vec<_>>(), "value": value, "senders": senders});
                    async move { worker.ask("submit", &body).await }
                });
                try_join_all(shares).await?;
                let submitted = begun.elapsed();
                until_none(database, done).await?;
                (submitted, begun.elapsed())
            }
        };
        let patches = self.patches() - before;
        ensure!(patches == tasks as u64, "{patches} PATCHes for {tasks} tasks");
        Ok((submitted, ended))
    }

    /// As the API server has counted them.
    fn patches(&self) -> u64 {
        let sim = match self {
            Self::Ours { world, .. } => &world.sim,
            Self::Queue { sim, .. } => sim,
        };
        sim.request_summary().by_verb.get(&Verb::Patch).copied().unwrap_or_default()
    }
}

async fn until_none(database: &Database, sql: &str) -> anyhow::Result<()> {
    let session = database.connect().await?;
    let statement = session.prepare(sql).await?;
    let none = async {
        while session.query_one(&statement, &[]).await?.get::<_, i64>(0) > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, none).await.context("not all tasks end")?
}
