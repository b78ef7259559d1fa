//! What it takes to be there: size, memory, start.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use knm_tests::pod::{Program, program};
use knm_tests::scenario::World;
use knm_tests::scratch;
use rustix::process::Signal;

use super::Setting;
use super::figures::{Rounds, number};
use super::machine::{anonymous, resident};
use super::report::Report;
use crate::relay_idle;

const START: Duration = Duration::from_secs(30);

pub(crate) async fn run(setting: &Setting, report: &mut Report) -> anyhow::Result<()> {
    report.section("Footprint");
    let mut world = World::new("footprint").pods(1).nodes(setting.few(1_000, 50)).start().await?;
    // What is allocated for the start has been given back by then.
    tokio::time::sleep(Duration::from_secs(setting.few(5, 1))).await;
    let pod = &mut world.pods[0];
    let mut rows = Vec::new();
    for container in [Program::Api, Program::Relay] {
        let path = program(container)?;
        let this = match container {
            Program::Api => &mut pod.api,
            Program::Relay => &mut pod.relay,
        };
        let pid = this.process()?.pid();
        let memory = [resident(pid)?, anonymous(pid)?].map(|kib| number(kib * 1.024 / 1e3));
        let mut starts = Rounds::default();
        for _ in 0..setting.few(10, 2) {
            this.stop(Signal::TERM, START).await?;
            let begun = Instant::now();
            this.start()?;
            this.probe("/readyz", START).await?;
            starts.push(begun.elapsed().as_secs_f64() * 1_000.0);
        }
        let size = |path: &Path| anyhow::Ok(std::fs::metadata(path)?.len() as f64 / 1e6);
        rows.push(vec![
            container.file_name().into(),
            number(size(&path)?),
            stripped(&path)?.map_or("–".into(), number),
            memory.join(", "),
            starts.to_string(),
        ]);
    }
    world.stop().await?;
    report.say(
        "Memory is resident memory of an idle container beside a cluster of 1,000 nodes, which the api keeps \
         in memory; its own is what is neither the program's text nor a shared library. Readiness is asked \
         for every 20 ms.",
    );
    report.table(
        &["", "MB on disk", "MB stripped", "MB idle, of that its own", "ms to ready"],
        &rows,
    );
    let sockets = setting.few(10_000, 200);
    let idle = relay_idle::measure(sockets).await?;
    report.say(&format!(
        "The relay alone takes {} MB; with {} idle sockets {} KiB for each, with a task followed on each of \
         them {} KiB; {} MB when all have left. A scrape takes {} ms then.",
        number(idle.alone as f64 * 1.024 / 1e3),
        number(sockets as f64),
        number(idle.each(idle.full)),
        number(idle.each(idle.following)),
        number(idle.after as f64 * 1.024 / 1e3),
        number(idle.scrape),
    ));
    report.target(
        "relay memory",
        "≤ 15 MB idle; ≤ 20 KB per idle socket at 10,000",
        format!(
            "{} MB; {} KiB at {}",
            number(idle.alone as f64 * 1.024 / 1e3),
            number(idle.each(idle.full)),
            number(sockets as f64)
        ),
        idle.is_small(),
    );
    if setting.cold_build {
        report.say(&format!(
            "A cold release build of both programs takes {} s.",
            number(cold_build()?)
        ));
    }
    Ok(())
}

/// In MB; none without `strip`.
fn stripped(path: &Path) -> anyhow::Result<Option<f64>> {
    let out = scratch::dir("strip")?.join("stripped");
    let done = Command::new("strip").arg("-o").arg(&out).arg(path).status();
    if !done.is_ok_and(|status| status.success()) {
        return Ok(None);
    }
    Ok(Some(std::fs::metadata(&out)?.len() as f64 / 1e6))
}

/// In seconds.
fn cold_build() -> anyhow::Result<f64> {
    let target = scratch::dir("target")?;
    let begun = Instant::now();
    let status = Command::new("cargo")
        .args(["build", "--release", "--locked", "-p", "knm-api", "-p", "knm-relay"])
        .env("CARGO_TARGET_DIR", &target)
        .status()
        .context("cargo")?;
    ensure!(status.success(), "the build ended with {status}");
    Ok(begun.elapsed().as_secs_f64())
}
