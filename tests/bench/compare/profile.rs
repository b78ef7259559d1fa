//! Where the time goes on the three hottest paths, by `perf`.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use knm_shared::status::ItemStatus;
use knm_tests::by_hand::User;
use knm_tests::scenario::World;
use knm_tests::scratch;
use knm_tests::stage::migrate;
use serde_json::json;
use tokio::process::Command;

use super::Setting;
use super::crowd::Crowd;
use super::ours::{Engine, Mode, Ours, change, database};
use super::report::Report;
use super::throughput::write_ours;

/// Lines of each list.
const LINES: usize = 16;

pub(crate) async fn run(setting: &Setting, report: &mut Report) -> anyhow::Result<()> {
    report.section("Profiles");
    if !perf(&["--version"]).await.is_ok_and(|text| text.contains("perf")) {
        report.say("`perf` is not here (Debian: `linux-perf`): left out.");
        return Ok(());
    }
    report.say(
        "Samples of `perf record`, in percent: first what the processor was found in, then the functions of \
         ours with everything that they call.",
    );
    let time = setting.time(Duration::from_secs(3));
    flush(time, report).await.context("flush")?;
    fan_out(setting, time, report).await.context("hub to socket")?;
    items(setting, time, report).await.context("items")
}

/// 50 tasks with 50 nodes under way each, through the writer.
async fn flush(time: Duration, report: &mut Report) -> anyhow::Result<()> {
    let database = database("profile").await?;
    migrate(&database).await?;
    User::sign_in(&*database.connect().await?).await?;
    let engine = Engine::start(&database).await?;
    let mut tasks = Vec::new();
    for _ in 0..50 {
        tasks.push(engine.task(200).await?);
    }
    let backend: i32 = database
        .value(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() \
             AND starts_with(application_name, 'knm-api')",
            &[],
        )
        .await?;
    let own = i32::try_from(std::process::id())?;
    let working = write_ours(&engine, &tasks, 200, 50, time + Duration::from_secs(1));
    let (changes, writer, server) =
        tokio::join!(working, Sampled::take(own, time), Sampled::take(backend, time));
    changes?;
    writer?.tell("Flush: the writer, and those who wait for it, in one process", report).await?;
    server?.tell("Flush: the writer's session in PostgreSQL", report).await?;
    engine.stop(&tasks).await
}

/// 1,000 sockets on one task.
async fn fan_out(setting: &Setting, time: Duration, report: &mut Report) -> anyhow::Result<()> {
    let ours = Ours::start("profile", Mode::Postgres).await?;
    let task = ours.known_task(4_000).await?;
    let crowd = Crowd::gather(&ours.place(task), setting.few(1_000, 50)).await?;
    let enough = Arc::new(AtomicBool::new(false));
    let publishing = async {
        let (mut published, start) = (0_u64, crowd.items());
        while !enough.load(Ordering::Relaxed) {
            let arrived = (crowd.items() - start) / crowd.sockets() as u64;
            for _ in 0..100_u64.saturating_sub(published - arrived) {
                published += 1;
                let even = (published / 4_000).is_multiple_of(2);
                let status = if even { ItemStatus::Running } else { ItemStatus::Pending };
                let ordinal = u32::try_from(published % 4_000)?;
                let _ = ours.engine.progress.record(task, ordinal, change(status, 0));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        anyhow::Ok(())
    };
    let relay = ours.relay_pid()?;
    let sampling = async {
        let sampled = Sampled::take(relay, time).await;
        enough.store(true, Ordering::Relaxed);
        sampled
    };
    let (published, sampled) = tokio::join!(publishing, sampling);
    published?;
    sampled?.tell("Hub → socket: the relay with 1,000 sockets on one task", report).await?;
    drop(crowd);
    ours.stop(&[task]).await
}

/// A label on all nodes, again and again.
async fn items(setting: &Setting, time: Duration, report: &mut Report) -> anyhow::Result<()> {
    let world = World::new("profile").pods(1).nodes(setting.few(5_000, 100)).start().await?;
    let api = world.sign_in(0).await?;
    let pid = world.pods[0].api.process()?.pid();
    let enough = Arc::new(AtomicBool::new(false));
    let labelling = async {
        let mut round = 0;
        while !enough.load(Ordering::Relaxed) {
            round += 1;
            let task = api
                .submit(&json!({
                    "action": "label",
                    "nodes": {"all": true},
                    "params": {"set": {"bench.example.com/round": format!("r{round}")}, "overwrite": true},
                    "options": {"concurrency": 200},
                }))
                .await?;
            let mut watcher = world.watcher(0).await?;
            watcher.subscribe(task).await?;
            watcher.until_all_complete(Duration::from_secs(120)).await?;
        }
        anyhow::Ok(())
    };
    let sampling = async {
        let sampled = Sampled::take(pid, time).await;
        enough.store(true, Ordering::Relaxed);
        sampled
    };
    let (labelled, sampled) = tokio::join!(labelling, sampling);
    labelled?;
    sampled?
        .tell("Item execution: the api while it labels 5,000 nodes, 200 at a time", report)
        .await?;
    world.stop().await
}

/// Samples of one process.
struct Sampled(std::path::PathBuf);

impl Sampled {
    async fn take(pid: i32, time: Duration) -> anyhow::Result<Self> {
        let file = scratch::dir("perf")?.join("perf.data");
        let (path, pid) = (file.to_str().context("a path")?, pid.to_string());
        let seconds = time.as_secs_f64().to_string();
        perf(&[
            "record",
            "-q",
            "-F",
            "399",
            "--call-graph",
            "dwarf,16384",
            "-p",
            &pid,
            "-o",
            path,
            "--",
            "sleep",
            &seconds,
        ])
        .await?;
        Ok(Self(file))
    }

    async fn tell(&self, title: &str, report: &mut Report) -> anyhow::Result<()> {
        let path = self.0.to_str().context("a path")?;
        let common = [
            "report",
            "-i",
            path,
            "--stdio",
            "-g",
            "none",
            "--no-inline",
            "--percent-limit",
            "0.5",
        ];
        let own = perf(&[&common[..], &["--no-children", "--sort", "symbol"]].concat()).await?;
        let all = perf(&[&common[..], &["--children", "--sort", "symbol"]].concat()).await?;
        let own: Vec<String> = lines(&own).take(LINES).collect();
        let ours =
            |line: &String| line.contains("knm_") && !line.contains("{{closure}}::{{closure}}");
        let all: Vec<String> = lines(&all).filter(ours).take(LINES).collect();
        report.keep(&format!(
            "**{title}**\n\n```text\n{}\n\nours, with what they call:\n{}\n```",
            own.join("\n"),
            all.join("\n")
        ));
        println!("{title}: {} functions", own.len() + all.len());
        Ok(())
    }
}

/// The lines of figures, without addresses and hashes.
fn lines(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter(|line| line.trim_start().starts_with(|c: char| c.is_ascii_digit())).map(
        |line| {
            // Behind the symbol, newer versions have columns that are empty without more hardware.
            let columns = line.trim().split("   ").map(str::trim).filter(|part| !part.is_empty());
            let line =
                columns.take_while(|part| !part.starts_with('-')).collect::<Vec<_>>().join("  ");
            line.chars().take(150).collect()
        },
    )
}

async fn perf(arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new("perf");
    let command = command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let out = command.output().await.context("perf")?;
    ensure!(out.status.success(), "perf: {}", String::from_utf8_lossy(&out.stderr));
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}
