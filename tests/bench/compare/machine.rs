//! What processes have used, as the kernel counts it.

use std::fs;
use std::time::Duration;

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
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("no VmRSS")?;
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
