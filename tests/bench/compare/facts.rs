//! The machine, the versions and the settings that the figures belong to.

use std::fs;
use std::process::Command;
use std::time::Instant;

use anyhow::Context as _;

use super::Setting;
use super::figures::{Rounds, number};
use super::ours::database;
use super::report::Report;

/// What decides about durability and speed.
const SETTINGS: [&str; 8] = [
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_sync_method",
    "shared_buffers",
    "max_wal_size",
    "commit_delay",
    "max_connections",
];

pub(crate) async fn run(setting: &Setting, report: &mut Report) -> anyhow::Result<()> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or(": unknown");
    let model = model.trim_start_matches([' ', '\t', ':']);
    let cores = std::thread::available_parallelism()?;
    let memory = fs::read_to_string("/proc/meminfo")?;
    let kib = memory.split_ascii_whitespace().nth(1).and_then(|n| n.parse::<f64>().ok());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let sql = database("facts").await?;
    let version: String = sql.value("SHOW server_version", &[]).await?;
    let mut settings = Vec::new();
    for name in SETTINGS {
        let value: String = sql.value(&format!("SHOW {name}"), &[]).await?;
        settings.push(format!("`{name} = {value}`"));
    }
    anyhow::ensure!(
        settings.starts_with(&["`fsync = on`".into(), "`synchronous_commit = on`".into()]),
        "durability is off: {settings:?}"
    );
    let mut versions = vec![format!("PostgreSQL {version}")];
    for (program, argument) in
        [("node", "--version"), ("redis-server", "--version"), ("rustc", "--version")]
    {
        versions.push(first_line(program, &[argument])?);
    }
    versions.push(
        first_line("kubectl", &["version", "--client"])?.replace("Client Version:", "kubectl"),
    );
    for package in [
        "socket.io",
        "@socket.io/postgres-adapter",
        "@socket.io/redis-adapter",
        "graphile-worker",
        "pg-boss",
    ] {
        versions.push(format!("{package} {}", setting.peers.version(package)?));
    }
    report.preface(
        "Everything ran on this one machine, on loopback, while what it is compared with was idle: PostgreSQL, our programs or theirs, and the clients share its processors. The systems take \
         turns within each case. Figures are medians of the rounds, with the least and the most in brackets. \
         `tests/bench/run` makes this report; another machine gives other figures.",
    );
    let load = fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    report.preface(&format!(
        "- **Machine**: {cores} × {model}, {:.0} GB of memory, Linux {}; one 8 KiB write with fdatasync \
         takes {} µs; load {load} when the run began\n- **Versions**: {}\n- **PostgreSQL**: its defaults but for `max_connections`: {}\n\
         - **Ours**: {} release build",
        kib.unwrap_or_default() / 1e6,
        kernel.trim().splitn(3, '.').take(2).collect::<Vec<_>>().join("."),
        sync_time()?,
        versions.join(", "),
        settings.join(", "),
        env!("CARGO_PKG_VERSION"),
    ));
    Ok(())
}

fn first_line(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let out = Command::new(program).args(arguments).output().with_context(|| program.to_owned())?;
    let text = String::from_utf8_lossy(&out.stdout);
    let line = text.lines().next().unwrap_or_default();
    // redis-server goes on about its build.
    let line = line.split(" sha=").next().unwrap_or_default();
    Ok(if line.starts_with('v') { format!("{program} {line}") } else { line.to_owned() })
}

/// What a commit costs at least here, where the databases are.
fn sync_time() -> anyhow::Result<String> {
    use std::io::{Seek as _, Write as _};

    let path = knm_tests::scratch::dir("sync")?.join("file");
    let mut file = fs::File::create(path)?;
    let mut times = Rounds::default();
    for _ in 0..200 {
        file.rewind()?;
        file.write_all(&[1; 8192])?;
        let begun = Instant::now();
        file.sync_data()?;
        times.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    Ok(number(times.median()))
}
