//! What processes have used, as the kernel counts it.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use knm_tests::postgres::Server;

/// `sysconf(_SC_CLK_TCK)`, which is 100 on every Linux that there is.
const TICKS: f64 = 100.0;

/// Processor time of a process, all threads, user and system.
pub(crate) fn cpu(pid: i32) -> anyhow::Result<Duration> {
    let stat = stat(pid)?;
    Ok(ticks(&stat[11..13]))
}

/// Resident memory of a process, in KiB.
pub(crate) fn resident(pid: i32) -> anyhow::Result<f64> {
    memory(pid, "VmRSS:")
}

/// What of it is its own: neither the program's text nor shared libraries. In KiB.
pub(crate) fn anonymous(pid: i32) -> anyhow::Result<f64> {
    memory(pid, "RssAnon:")
}

fn memory(pid: i32, what: &str) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix(what)).context("no such line")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Processor time of a PostgreSQL server: the postmaster's, that of its children, and of those that it
/// has seen the end of.
pub(crate) fn cpu_of_server(postmaster: i32) -> anyhow::Result<Duration> {
    let own = stat(postmaster)?;
    let mut all = ticks(&own[11..15]);
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // It may have ended since.
        if let Ok(child) = stat(pid)
            && child[1] == postmaster.to_string()
        {
            all += ticks(&child[11..13]);
        }
    }
    Ok(all)
}

/// Processor time so far: of this machine, and of this process with all that it has started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    all: Duration,
    own: Duration,
    at: Instant,
}

impl Load {
    pub(crate) fn now() -> anyhow::Result<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        let line = text.lines().next().context("an empty /proc/stat")?;
        let fields: Vec<String> =
            line.split_ascii_whitespace().skip(1).map(str::to_owned).collect();
        anyhow::ensure!(fields.len() > 7, "a short /proc/stat");
        // All but idle, waiting for a disk, and stolen (proc(5)).
        let all = ticks(&fields[..3]) + ticks(&fields[5..7]);
        Ok(Self { all, own: own()?, at: Instant::now() })
    }

    /// What others have taken since, in percent of the processors. The kernel's own threads are others.
    pub(crate) fn others_since(&self) -> anyhow::Result<f64> {
        let now = Self::now()?;
        let busy = |load: &Self| load.all.saturating_sub(load.own).as_secs_f64();
        let cores = std::thread::available_parallelism()?.get() as f64;
        let whole = now.at.duration_since(self.at).as_secs_f64() * cores;
        Ok((busy(&now) - busy(self)).max(0.0) * 100.0 / whole)
    }
}

/// Of this process, its descendants, and those of them that have ended.
fn own() -> anyhow::Result<Duration> {
    let mut stats = std::collections::HashMap::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let name = entry.file_name();
        if let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok())
            && let Ok(stat) = stat(pid)
        {
            let parent: i32 = stat[1].parse()?;
            stats.insert(pid, (parent, ticks(&stat[11..15])));
        }
    }
    let me = i32::try_from(std::process::id())?;
    let is_ours = |pid: &i32| {
        let mut at = *pid;
        while at != me {
            match stats.get(&at) {
                Some((parent, _)) => at = *parent,
                None => return false,
            }
        }
        true
    };
    Ok(stats.iter().filter(|(pid, _)| is_ours(pid)).map(|(_, (_, time))| *time).sum())
}

/// The postmaster's process id, by its own word.
pub(crate) async fn postmaster(server: &Server) -> anyhow::Result<i32> {
    let sql = "SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)";
    let row = server.connect().await?.query_one(sql, &[]).await?;
    Ok(row.get::<_, String>(0).trim().parse()?)
}

/// The fields after the name, which may have spaces in it; the first is the state (proc(5)).
fn stat(pid: i32) -> anyhow::Result<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = text.rsplit_once(") ").context("not a stat line")?;
    let fields: Vec<String> = rest.split(' ').map(str::to_owned).collect();
    anyhow::ensure!(fields.len() > 20, "a short stat line");
    Ok(fields)
}

fn ticks(fields: &[String]) -> Duration {
    let sum: f64 = fields.iter().filter_map(|field| field.parse::<f64>().ok()).sum();
    Duration::from_secs_f64(sum / TICKS)
}
