//! `knm-postgres`: runs a command with a throwaway PostgreSQL, or just a throwaway PostgreSQL.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use knm_tests::postgres::{Cluster, ClusterOptions, SHARED, Shutdown};
use knm_tests::scratch;
use tokio::signal::unix::{SignalKind, signal};

/// Starts a PostgreSQL server on a free port, runs a command with its URL in KNM_TEST_POSTGRES, and
/// ends as the command ends. Without a command: prints the URL and runs until SIGINT or SIGTERM.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// max_connections of the server
    #[arg(long, value_name = "N", default_value_t = 400)]
    max_connections: u32,

    /// The command and its arguments
    #[arg(trailing_var_arg = true)]
    command: Vec<std::ffi::OsString>,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let options =
        ClusterOptions { max_connections: args.max_connections, ..ClusterOptions::default() };
    let cluster = Cluster::start(options).await?;
    let url = cluster.server().url("postgres");
    let code = if let Some((program, arguments)) = args.command.split_first() {
        let mut child = tokio::process::Command::new(program)
            .args(arguments)
            .env(SHARED, &url)
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        loop {
            tokio::select! {
                status = child.wait() => {
                    break status?.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(1);
                }
                // The terminal has sent it to the command too; its end is waited for.
                _ = interrupt.recv() => {}
                _ = terminate.recv() => child.start_kill()?,
            }
        }
    } else {
        println!("{url}");
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        0
    };
    cluster.stop(Shutdown::Fast).await?;
    drop(cluster);
    scratch::close();
    Ok(code.into())
}
