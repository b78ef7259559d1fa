//! `knm-chaos`: random faults against pods under load, for as long as it is told to.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use knm_tests::chaos::{Options, Plan, run};
use knm_tests::scratch;

/// Runs pods, PostgreSQL, a simulated cluster and checked clients, breaks them at random, and says
/// whether anything was lost, doubled or out of order. The same seed is the same plan of faults.
///
/// Ends with 0 when everything held, with 1 otherwise: then the folder of logs is kept.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Decides the plan; without one a fresh one is taken and printed
    #[arg(long)]
    seed: Option<u64>,

    /// How long faults come: 60s, 30m, 2h
    #[arg(long, default_value = "60s", value_parser = duration)]
    duration: Duration,

    /// Tasks under way at every moment
    #[arg(long, default_value_t = 50)]
    tasks: usize,

    /// Nodes in each of them
    #[arg(long, default_value_t = 200)]
    nodes: usize,

    /// Pods
    #[arg(long, default_value_t = 2)]
    pods: usize,

    /// Clients at every moment
    #[arg(long, default_value_t = 6)]
    clients: usize,

    /// Slow, stuck, flooding and storming clients at every moment
    #[arg(long, default_value_t = 2)]
    rowdies: usize,

    /// Faults of different kinds at the same time: more than is promised
    #[arg(long)]
    overlap: bool,

    /// Print the plan and do nothing
    #[arg(long)]
    plan: bool,

    /// Keep the folder of logs even if all is well
    #[arg(long)]
    keep: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed: Result<jiff::SignedDuration, _> = text.parse();
    parsed.map_err(|e| e.to_string())?.try_into().map_err(|_| "a negative duration".to_owned())
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let options = Options {
        seed: args.seed.unwrap_or_else(|| u64::from(rand::random::<u32>())),
        duration: args.duration,
        tasks: args.tasks,
        nodes: args.nodes,
        pods: args.pods,
        clients: args.clients,
        rowdies: args.rowdies,
        overlap: args.overlap,
        keep: args.keep,
        verbose: true,
    };
    println!("seed {}", options.seed);
    if args.plan {
        for (number, lane) in Plan::of(&options).lanes.iter().enumerate() {
            println!("lane {number}");
            lane.iter().for_each(|step| println!("  {:>6.1?} then {}", step.gap, step.fault));
        }
        return ExitCode::SUCCESS;
    }
    let ended = run(options).await;
    scratch::close();
    match ended {
        Ok(report) => {
            println!("{report}0 violations");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
