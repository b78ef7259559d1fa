//! From a fault to the next progress, as a client sees it that watches through the pod that is left.
//!
//! While a task runs there is a step every few milliseconds. After the fault the longest silence is
//! looked for; the step that ends it is the first one afterwards. Every run ends with the comparison of
//! the client's picture with the rows, and every node has been written to exactly once.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use knm_shared::ids::TaskId;
use knm_tests::api::label_task;
use knm_tests::postgres::{ClusterOptions, Shutdown};
use knm_tests::proxy::{Direction, Fault, Rule, Select};
use knm_tests::scenario::World;
use knm_tests::ws::frame::ServerFrame;
use knm_tests::ws::{Event, Watcher};
use rustix::process::Signal;
use serde_json::json;
use tokio::task::JoinSet;

use super::Setting;
use super::figures::{Rounds, number};
use super::plot::{Line, Plot};
use super::report::Report;

const LISTENER: &str = "knm-relay-listener";
const PATIENCE: Duration = Duration::from_secs(90);
/// Every node takes so long, and four are under way: a step every 15 ms.
const LATENCY: Duration = Duration::from_millis(60);
const AT_A_TIME: usize = 4;
const NODES: usize = 160;
/// Enough for the ten seconds in which a half-open connection is to be found.
const MANY_NODES: usize = 1_000;
const GRACE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disaster {
    Kill,
    Term,
    ListenerCut,
    PostgresRestart,
    HalfOpen,
}

impl Disaster {
    const ALL: [Self; 5] =
        [Self::Kill, Self::Term, Self::ListenerCut, Self::PostgresRestart, Self::HalfOpen];

    const fn title(self) -> &'static str {
        match self {
            Self::Kill => "pod killed (SIGKILL to both)",
            Self::Term => "api told to stop (SIGTERM)",
            Self::ListenerCut => "LISTEN session terminated",
            Self::PostgresRestart => "PostgreSQL restarted (fast)",
            Self::HalfOpen => "LISTEN connection half-open, until found",
        }
    }
}

pub(crate) async fn run(setting: &Setting, report: &mut Report) -> anyhow::Result<()> {
    let (worlds, turns) = setting.few((5, 4), (2, 1));
    report.section("Recovery");
    report.say(&format!(
        "Seconds from a fault to the next progress at a client that watches a task of {NODES} nodes of the \
         other pod; {} runs each, in {worlds} worlds of two pods at a time, with PostgreSQL servers of their \
         own. A lease is 15 s, and its end has to be seen by the taker's own clock. A SIGTERM counts from \
         the signal, not from the hand-back; a restart of PostgreSQL from its beginning.",
        worlds * turns
    ));
    let mut running = JoinSet::new();
    for number in 0..worlds {
        running.spawn(Box::pin(async move { play(number, turns).await }));
    }
    let mut figures: [Rounds; 5] = Default::default();
    while let Some(ended) = running.join_next().await {
        for (disaster, seconds) in ended?? {
            let at = Disaster::ALL.iter().position(|d| *d == disaster).context("known")?;
            figures[at].push(seconds);
        }
    }
    let rows: Vec<Vec<String>> = Disaster::ALL
        .iter()
        .zip(&figures)
        .map(|(disaster, seconds)| {
            let mut row = vec![disaster.title().to_owned(), seconds.len().to_string()];
            row.push(number(seconds.least()));
            row.extend([25, 50, 75, 90].map(|p| number(seconds.percentile(p))));
            row.push(number(seconds.most()));
            row
        })
        .collect();
    report.table(&["", "runs", "least", "p25", "p50", "p75", "p90", "most"], &rows);
    report.plot(&Plot {
        name: "recovery",
        title: "From a fault to the next progress: the runs, the quickest first",
        x: "run",
        y: "seconds",
        lines: Disaster::ALL.iter().zip(&figures).map(|(d, s)| sorted(*d, s)).collect(),
    })?;
    let [kill, term, _, _, half_open] = &figures;
    report.target(
        "takeover",
        "≤ lease + 5 s after kill -9; ≤ 2 s after the hand-back on SIGTERM",
        format!(
            "{} s at most; {} s at most, from the signal",
            number(kill.most()),
            number(term.most())
        ),
        kill.most() <= 20.0 && term.most() <= 2.0,
    );
    report.target(
        "half-open listener",
        "found ≤ 10 s; nothing lost, doubled or out of order, whatever fails",
        format!(
            "found in {} s at most; {} faults, every picture equal to its rows, every node written once",
            number(half_open.most()),
            figures.iter().map(Rounds::len).sum::<usize>()
        ),
        half_open.most() <= 10.0,
    );
    Ok(())
}

fn sorted(disaster: Disaster, seconds: &Rounds) -> Line {
    let n = seconds.len();
    let points = (1..=n).map(|run| {
        let mut one = Rounds::default();
        one.push(seconds.percentile(run * 100 / n));
        (run as f64, one)
    });
    Line { name: disaster.title().into(), points: points.collect() }
}

async fn play(number: usize, turns: usize) -> anyhow::Result<Vec<(Disaster, f64)>> {
    let mut world = World::new(&format!("recovery{number}"))
        .pods(2)
        .nodes(MANY_NODES)
        .latency(LATENCY)
        .own_cluster(ClusterOptions { max_connections: 200, ..ClusterOptions::default() })
        .proxies()
        .start()
        .await?;
    let mut seconds = Vec::new();
    for turn in 0..turns {
        for disaster in Disaster::ALL {
            let name = format!("example.com/t{turn}-{disaster:?}");
            let took = Box::pin(once(&mut world, disaster, &name));
            let took = took.await.with_context(|| format!("{disaster:?}, turn {turn}"))?;
            seconds.push((disaster, took.as_secs_f64()));
        }
    }
    world.stop().await?;
    Ok(seconds)
}

/// One task of the second pod, watched through the first.
async fn once(world: &mut World, disaster: Disaster, key: &str) -> anyhow::Result<Duration> {
    let nodes = if disaster == Disaster::HalfOpen { MANY_NODES } else { NODES };
    let api = world.sign_in(1).await?;
    let mut watcher = world.watcher(0).await?;
    let mut body = label_task(&world.nodes(0..nodes), key, "x");
    body["options"] = json!({"concurrency": AT_A_TIME});
    world.sim.clear_requests();
    let task = api.submit(&body).await?;
    watcher.subscribe(task).await?;
    watcher
        .until(PATIENCE, |f| matches!(f, ServerFrame::Progress(d) if d.progress.current >= 12))
        .await?;
    let following = tokio::spawn(follow(watcher, task));
    let at = Instant::now();
    strike(world, disaster).await?;
    let seen = following.await??;
    let found = match disaster {
        Disaster::HalfOpen => seen.polling.context("the relay never polled")?.duration_since(at),
        _ => silence_after(&seen.steps, at)?,
    };
    world.relay_proxies[0].heal().await;
    world.check_final(&seen.watcher, task).await?;
    let summary = world.sim.request_summary();
    let once = summary.effective_writes.values().filter(|n| **n == 1).count();
    ensure!(once == nodes && summary.effective_writes.len() == nodes, "{once} nodes written once");
    if disaster == Disaster::Kill || disaster == Disaster::Term {
        world.pods[1].kill().await?;
        world.pods[1].start().await?;
    }
    knm_tests::stage::until_state(&world.pods[0].relay, "live", "live").await?;
    Ok(found)
}

async fn strike(world: &mut World, disaster: Disaster) -> anyhow::Result<()> {
    match disaster {
        Disaster::Kill => world.pods[1].kill().await,
        Disaster::Term => {
            let status = world.pods[1].api.stop(Signal::TERM, GRACE).await?;
            ensure!(status.is_some_and(|s| s.success()), "the api ended with {status:?}");
            Ok(())
        }
        Disaster::ListenerCut => {
            let cut = world.database.terminate(LISTENER).await?;
            ensure!(cut >= 1, "nobody listens");
            Ok(())
        }
        Disaster::PostgresRestart => {
            world.cluster.as_ref().context("a cluster of its own")?.restart(Shutdown::Fast).await
        }
        Disaster::HalfOpen => {
            let listener = Select::application(LISTENER);
            let hole = Rule::new(listener, Direction::ToClient, Fault::BlackHole);
            world.relay_proxies[0].set_rules([hole]);
            // Healed once it must have been found, so that the task's end is seen live.
            tokio::time::sleep(Duration::from_secs(11)).await;
            world.relay_proxies[0].heal().await;
            Ok(())
        }
    }
}

struct Seen {
    watcher: Watcher,
    steps: Vec<Instant>,
    polling: Option<Instant>,
}

async fn follow(mut watcher: Watcher, task: TaskId) -> anyhow::Result<Seen> {
    let (mut steps, mut polling) = (vec![Instant::now()], None);
    let end = async {
        while !watcher.checker().completed(task) {
            match watcher.next().await? {
                Event::Frame(frame) => match *frame {
                    ServerFrame::Progress(_) | ServerFrame::Complete(_) => {
                        steps.push(Instant::now())
                    }
                    ServerFrame::Mode(mode) if mode.mode == "polling" => {
                        polling.get_or_insert_with(Instant::now);
                    }
                    _ => {}
                },
                Event::Closed(_) => watcher.connect().await?,
            }
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, end).await.context("the task does not end")??;
    Ok(Seen { watcher, steps, polling })
}

/// To the end of the longest silence after a moment.
fn silence_after(steps: &[Instant], at: Instant) -> anyhow::Result<Duration> {
    let after = steps.windows(2).filter(|pair| pair[1] > at);
    let longest = after.max_by_key(|pair| pair[1].duration_since(pair[0].max(at)));
    Ok(longest.context("no step after the fault")?[1].duration_since(at))
}
