//! Side by side with what people would use instead: everything on loopback, on throwaway data, the
//! systems taking turns (A B A B …), the medians of the rounds reported with their extremes.
//!
//! Each case checks what it counts by something that none of the systems under test has counted: rows in
//! the database, frames at the clients, PATCHes at the API server.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::ValueEnum;

mod bare;
mod batch;
mod crowd;
mod facts;
mod fanout;
mod figures;
mod footprint;
mod latency;
mod machine;
mod ours;
mod peers;
mod plot;
mod profile;
mod queue;
mod recovery;
mod report;
mod rivals;
mod throughput;

use machine::Load;
use peers::Peers;
use report::Report;

use crate::Verdict;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Case {
    /// Publish → client
    Latency,
    /// Durable item changes a second, and how their cost grows
    Throughput,
    /// One change to many sockets
    Fanout,
    /// A label on many nodes
    Batch,
    /// One-node tasks from submit to done
    Queue,
    /// From a fault to the next progress
    Recovery,
    /// Size, memory, start
    Footprint,
    /// Where the time goes
    Profile,
}

/// How the comparison is run.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Cases; all of them without any
    cases: Vec<Case>,
    /// Folder with the peers' programs, `npm ci` done
    #[arg(long, default_value = "tests/bench/peers")]
    peers: PathBuf,
    /// Folder for the report; only printed without one
    #[arg(long)]
    results: Option<PathBuf>,
    /// Runs the batch case on the cluster behind this file: labels all of its nodes, and takes the label
    /// off again
    #[arg(long, value_name = "PATH")]
    kubeconfig: Option<PathBuf>,
    /// Also builds everything in a fresh folder, which takes many minutes
    #[arg(long)]
    cold_build: bool,
}

/// What every case needs to know.
pub(crate) struct Setting {
    pub(crate) quick: bool,
    pub(crate) peers: Peers,
    pub(crate) kubeconfig: Option<PathBuf>,
    pub(crate) cold_build: bool,
}

impl Setting {
    /// Rounds whose median counts.
    pub(crate) fn rounds(&self) -> usize {
        if self.quick { 2 } else { 5 }
    }

    /// How long a round is measured.
    pub(crate) fn time(&self, full: Duration) -> Duration {
        if self.quick { full.min(Duration::from_millis(500)) } else { full }
    }

    pub(crate) fn few<T: Copy>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

pub(crate) async fn run(options: &Options, quick: bool) -> anyhow::Result<Verdict> {
    let peers = Peers::find(&options.peers)?;
    let setting = Setting {
        quick,
        peers,
        kubeconfig: options.kubeconfig.clone(),
        cold_build: options.cold_build,
    };
    let mut report = Report::new(options.results.clone(), quick);
    let wanted = |case: Case| options.cases.is_empty() || options.cases.contains(&case);
    facts::run(&setting, &mut report).await?;
    let mut failed = Vec::new();
    for case in Case::value_variants().iter().copied().filter(|case| wanted(*case)) {
        let (begun, load) = (Instant::now(), Load::now()?);
        let played = match case {
            Case::Latency => Box::pin(latency::run(&setting, &mut report)).await,
            Case::Throughput => Box::pin(throughput::run(&setting, &mut report)).await,
            Case::Fanout => Box::pin(fanout::run(&setting, &mut report)).await,
            Case::Batch => Box::pin(batch::run(&setting, &mut report)).await,
            Case::Queue => Box::pin(queue::run(&setting, &mut report)).await,
            Case::Recovery => Box::pin(recovery::run(&setting, &mut report)).await,
            Case::Footprint => Box::pin(footprint::run(&setting, &mut report)).await,
            Case::Profile => Box::pin(profile::run(&setting, &mut report)).await,
        };
        if let Err(error) = played {
            // The others are worth knowing all the same.
            report.say(&format!("**This case failed:** {error:#}"));
            failed.push(format!("{case:?}"));
        }
        report.took(begun.elapsed(), load.others_since()?);
        report.write()?;
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    // What is missed is in the report, beside what is reached.
    Ok(Verdict::Reached)
}
