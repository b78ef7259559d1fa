//! The demo: a whole installation on one machine, for a person to look at.
//!
//! `stage` sets it up and takes it down, `summary` says what is where, `smoke` plays the main
//! job through and checks it, `display` shows its progress.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::scratch;

mod display;
mod options;
mod smoke;
mod stage;
mod summary;

pub use options::Options;

use stage::Stage;

/// How the demo ended.
enum Outcome {
    /// The smoke test passed.
    Passed,
    /// Somebody asked for the end.
    Stopped,
}

/// Runs the demo until somebody stops it or, with `--smoke`, the job is done. A container that dies is
/// started again, as the kubelet would.
/// Whatever happens, nothing is left running, and nothing on disk without `--keep`.
pub async fn run(options: Options) -> ExitCode {
    if options.keep {
        scratch::keep_it();
    }
    let outcome = Box::pin(play(&options)).await;
    let folder = scratch::root().map(|root| root.display().to_string());
    scratch::close();
    if options.keep
        && let Ok(folder) = folder
    {
        println!("The folder {folder} has been kept.");
    }
    match outcome {
        Ok(Outcome::Passed) => ExitCode::SUCCESS,
        Ok(Outcome::Stopped) => {
            println!("Stopped.");
            // A smoke test that was stopped has not passed.
            if options.smoke { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(error) => {
            eprintln!("\nThe demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn play(options: &Options) -> anyhow::Result<Outcome> {
    let mut stop = StopSignals::new()?;
    // Dropped before it is complete, a stage takes itself down.
    let mut stage = tokio::select! {
        stage = Box::pin(Stage::set(options)) => stage?,
        () = stop.wait() => return Ok(Outcome::Stopped),
    };
    let outcome = tokio::select! {
        outcome = Box::pin(perform(options, &mut stage)) => outcome,
        () = stop.wait() => Ok(Outcome::Stopped),
    };
    if matches!(outcome, Ok(Outcome::Stopped)) {
        println!("\nStopping: api, relay, PostgreSQL (again to stop at once) …");
    }
    tokio::select! {
        struck = Box::pin(stage.strike()) => outcome.and_then(|o| struck.map(|()| o)),
        () = stop.wait() => outcome,
    }
}

async fn perform(options: &Options, stage: &mut Stage) -> anyhow::Result<Outcome> {
    if options.smoke {
        let most = Duration::from_millis(options.max_latency);
        return tokio::select! {
            passed = smoke::run(stage, most) => passed.map(|()| Outcome::Passed),
            ended = stage.unexpected_end() => Err(ended),
        };
    }
    println!("{}", summary::of(stage));
    Err(stage.tend().await)
}

/// SIGINT and SIGTERM.
struct StopSignals(Signal, Signal);

impl StopSignals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self(listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?))
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}
