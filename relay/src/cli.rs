//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use knm_shared::check::{self, Component};
use knm_shared::config::{self, DEFAULT_PATH, env};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::app;

/// Carries task progress from PostgreSQL to WebSockets
#[derive(Debug, Parser)]
#[command(
    name = "knm-relay",
    version,
    after_help = "The relay runs beside the api in every pod and reads the same configuration file. \
                  It holds one LISTEN connection, serves /api/v1/progress/ws on relay.listen, and \
                  /livez, /readyz?verbose, /metrics and /state on relay.admin_listen."
)]
struct Cli {
    /// Configuration file
    #[arg(long, value_name = "FILE", global = true,
          help = format!("Configuration file [default: ${}, else {DEFAULT_PATH}]", env::CONFIG))]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Command {
    /// Run the relay (the default)
    Serve,
    /// Try the configuration and the connection out, say what was found, and change nothing
    Check,
}

/// The process, from its arguments to its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("cannot start the runtime: {error}")),
    };
    let path = cli.config.as_deref();
    runtime.block_on(async {
        match cli.command.unwrap_or(Command::Serve) {
            Command::Check if check::run(path, Component::Relay).await => ExitCode::SUCCESS,
            Command::Check => ExitCode::FAILURE,
            Command::Serve => match serve(path).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => failed(&format!("{error:#}")),
            },
        }
    })
}

fn failed(message: &str) -> ExitCode {
    eprintln!("knm-relay: {message}");
    ExitCode::FAILURE
}

async fn serve(path: Option<&std::path::Path>) -> anyhow::Result<()> {
    let loaded = config::load(path)?;
    let version = env!("CARGO_PKG_VERSION");
    let export = knm_shared::telemetry::start(&loaded.config, "knm-relay", version)?;
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let signals = tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "stopping");
        stop.cancel();
    });
    let result = app::run(loaded, shutdown).await;
    signals.abort();
    export.stop().await;
    result
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
        assert!(Cli::parse_from(["knm-relay"]).command.is_none());
        let cli = Cli::parse_from(["knm-relay", "check", "--config", "/x"]);
        assert!(matches!(cli.command, Some(Command::Check)));
        assert_eq!(cli.config, Some(PathBuf::from("/x")));
    }
}
