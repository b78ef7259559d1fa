//! `knm-bench`: how much, how fast, how evenly. Figures of one machine, with the settings they belong to.
//!
//! Everything runs on this machine: PostgreSQL, the relay and its clients share the processors. Measure
//! with a release build, on a machine that does nothing else.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use knm_tests::scratch;

mod compare;
mod relay_idle;
mod relay_latency;
mod relay_slow;
mod relay_stopped;
mod relay_storm;
mod rig;
mod series;

/// The api's: its writer runs in this process.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Benchmarks of kube-node-manager. Each prints its settings and its figures, and ends with 1 when a
/// figure to reach is not reached (not with --quick: that only shows that the benchmark works).
#[derive(Debug, Parser)]
#[command(name = "knm-bench", version)]
struct Args {
    /// Small and short: whether it works, not how fast
    #[arg(long, global = true)]
    quick: bool,

    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Clone, Subcommand)]
enum Bench {
    /// Memory of an idle relay, and of each idle socket; what a scrape costs then
    RelayIdle {
        /// Sockets
        #[arg(long, default_value_t = 10_000)]
        sockets: usize,
    },
    /// From publish to frame written, and to frame received: many sockets on one task
    RelayLatency {
        /// Sockets
        #[arg(long, default_value_t = 100)]
        sockets: usize,
        /// Changes a second
        #[arg(long, default_value_t = 200)]
        rate: u32,
        /// How long
        #[arg(long, default_value_t = 30)]
        seconds: u64,
    },
    /// Clients that read nothing for a while: what the others notice, and how the slow ones catch up
    RelaySlow {
        /// Sockets
        #[arg(long, default_value_t = 100)]
        sockets: usize,
        /// How many of them read nothing
        #[arg(long, default_value_t = 10)]
        slow: usize,
        /// Changes a second
        #[arg(long, default_value_t = 200)]
        rate: u32,
        /// How long they read nothing
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Rounds, whose medians count
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// All clients of a relay come back at once, with their cursors
    RelayStorm {
        /// Clients
        #[arg(long, default_value_t = 1_000)]
        clients: usize,
        /// Rounds, whose medians count
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// A relay that is stopped under load: what the server's notification queue does
    RelayStopped {
        /// How long it is stopped
        #[arg(long, default_value_t = 120)]
        seconds: u64,
        /// Changes a second
        #[arg(long, default_value_t = 200)]
        rate: u32,
    },
    /// How many series a mixed run leaves for Prometheus
    Series {
        /// How long
        #[arg(long, default_value_t = 600)]
        seconds: u64,
    },
    /// All of the relay's
    Relay,
    /// Side by side with what people would use instead; `tests/bench/run` prepares and runs it
    Compare(compare::Options),
}

/// Whether the figures to reach were reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Reached,
    Missed,
}

impl Verdict {
    fn of(reached: bool) -> Self {
        if reached { Self::Reached } else { Self::Missed }
    }
}

async fn play(bench: &Bench, quick: bool) -> anyhow::Result<Verdict> {
    let few = |n: usize, least: usize| if quick { n.min(least) } else { n };
    let short = |n: u64, least: u64| Duration::from_secs(if quick { n.min(least) } else { n });
    match *bench {
        Bench::Compare(ref options) => compare::run(options, quick).await,
        Bench::RelayIdle { sockets } => relay_idle::run(few(sockets, 200)).await,
        Bench::RelayLatency { sockets, rate, seconds } => {
            relay_latency::run(few(sockets, 20), rate, short(seconds, 2)).await
        }
        Bench::RelaySlow { sockets, slow, rate, seconds, rounds } => {
            let plan = relay_slow::Plan {
                sockets: few(sockets, 20),
                slow: few(slow, 2),
                rate,
                hold: short(seconds, 2),
                rounds: few(rounds, 1),
            };
            relay_slow::run(&plan).await
        }
        Bench::RelayStorm { clients, rounds } => {
            relay_storm::run(few(clients, 100), few(rounds, 1)).await
        }
        Bench::RelayStopped { seconds, rate } => relay_stopped::run(short(seconds, 3), rate).await,
        Bench::Series { seconds } => series::run(short(seconds, 5)).await,
        Bench::Relay => unreachable!("taken apart before"),
    }
}

fn parts(bench: &Bench) -> Vec<Bench> {
    if !matches!(bench, Bench::Relay) {
        return vec![bench.clone()];
    }
    ["relay-idle", "relay-latency", "relay-slow", "relay-storm", "relay-stopped"]
        .map(|name| Args::parse_from(["knm-bench", name]).bench)
        .into()
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    if cfg!(debug_assertions) && !args.quick {
        println!("NOTE: a debug build; its figures mean nothing");
    }
    let mut code = ExitCode::SUCCESS;
    for bench in parts(&args.bench) {
        match Box::pin(play(&bench, args.quick)).await {
            Ok(Verdict::Missed) if !args.quick => {
                println!("  NOT reached");
                code = ExitCode::FAILURE;
            }
            Ok(_) => {}
            Err(error) => {
                println!("failed: {error:#}");
                code = ExitCode::FAILURE;
                break;
            }
        }
    }
    scratch::close();
    code
}
