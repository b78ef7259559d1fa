//! `knm-kube-sim`: the simulated Kubernetes API server as a program.

use std::{io::Write, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Context;
use clap::Parser;
use knm_tests::kube_sim::{KubeSim, SimOptions};
use tokio::signal::unix::{SignalKind, signal};

/// A simulated Kubernetes API server with nodes, for tests and demonstrations.
///
/// Prints `knm-kube-sim listening on http://ADDRESS:PORT` when it is ready and runs until it gets
/// SIGINT or SIGTERM. It has no authentication: everybody who reaches the address is cluster-admin.
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP)]
struct Args {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,

    /// Number of nodes: node-0001, node-0002, ...
    #[arg(long, value_name = "N", default_value_t = 10)]
    nodes: usize,

    /// Put workloads with pods and disruption budgets on the nodes
    #[arg(long)]
    pods: bool,

    /// Every request takes at least this long
    #[arg(long, value_name = "MS", default_value_t = 0)]
    latency: u64,

    /// Every request takes up to this much longer
    #[arg(long, value_name = "MS", default_value_t = 0)]
    jitter: u64,

    /// Decides whatever is left to chance
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Write a kubeconfig for this server to a file
    #[arg(long, value_name = "PATH")]
    write_kubeconfig: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
Talk to it:
  kubectl --server=http://127.0.0.1:PORT get nodes
  kubectl --server=http://127.0.0.1:PORT drain node-0001 --ignore-daemonsets

Control it while it runs (JSON over HTTP):
  POST   /sim/faults                 put a fault in force, or a list of them
  GET    /sim/faults                 the faults in force
  DELETE /sim/faults[/ID]            lift all faults, or one
  GET    /sim/requests               the log; ?after=SEQ&verb=VERB&resource=PLURAL&subresource=SUB
                                     &namespace=NAMESPACE&name=NAME&effective=1
  GET    /sim/requests/summary       counts
  DELETE /sim/requests               empty the log
  POST   /sim/nodes                  add nodes: {\"count\": N}
  PATCH  /sim/nodes/NAME             change a node as a second writer (merge patch)
  DELETE /sim/nodes/NAME             delete a node
  POST   /sim/nodes/NAME/recreate    delete a node and add it again with another UID
  POST   /sim/pods                   add a pod
  POST   /sim/workloads              add a workload with its first pods
  POST   /sim/budgets                add a disruption budget
  POST   /sim/budgets/hold           {\"hold\": true} stops the disruption controller
  GET    /sim/budgets/violations     how clients have broken budgets
  DELETE /sim/budgets/NAMESPACE/NAME remove a budget
  GET    /sim/evictions              every request to evict a pod, granted or not
  POST   /sim/compact                forget the history: old watches get 410
  POST   /sim/watches/drop           cut every open watch
  GET    /sim/state                  revision and counts

A pod and a workload, every member but the name optional; a delay may be \"never\":
  {\"name\": \"a\", \"namespace\": \"shop\", \"node\": \"node-0001\", \"labels\": {\"app\": \"a\"},
   \"owner\": {\"kind\": \"ReplicaSet\", \"name\": \"a\"}, \"mirror\": false, \"empty_dir\": false,
   \"phase\": \"Running\", \"ready\": true, \"grace\": 30, \"starts_in_ms\": 20, \"stops_in_ms\": 20}
  {\"name\": \"a\", \"namespace\": \"shop\", \"kind\": \"ReplicaSet\" | \"StatefulSet\" | \"DaemonSet\",
   \"replicas\": 3, \"nodes\": [\"node-0001\"], \"labels\": {\"app\": \"a\"}, \"starts_in_ms\": 20,
   \"stops_in_ms\": 20, \"grace_period_seconds\": 30, \"empty_dir\": false, \"parallel\": false}

A budget:
  {\"name\": \"a\", \"namespace\": \"shop\", \"labels\": {\"app\": \"a\"},
   \"min_available\": 2 | \"50%\"}, or \"max_unavailable\" instead

A fault, every member optional:
  {\"name\": \"node-00*\", \"resource\": \"nodes\", \"subresource\": \"eviction\", \"verbs\": [\"patch\"],
   \"when\": \"always\" | {\"first\": N} | {\"after\": N} | {\"every\": N} | {\"probability\": P},
   \"per_object\": true, \"latency_ms\": MS, \"jitter_ms\": MS,
   \"action\": {\"status\": {\"code\": 429, \"retry_after_seconds\": 1}}
           | \"close\" | \"lose_answer\" | \"hang\"}";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    // Before anything can be seen of the server, so that no signal finds the default handler.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let sim = KubeSim::start(SimOptions {
        listen: args.listen,
        nodes: args.nodes,
        pods: args.pods,
        seed: args.seed,
        latency: Duration::from_millis(args.latency),
        jitter: Duration::from_millis(args.jitter),
        ..SimOptions::default()
    })
    .await?;
    if let Some(path) = &args.write_kubeconfig {
        std::fs::write(path, sim.kubeconfig())
            .with_context(|| format!("cannot write the kubeconfig {}", path.display()))?;
    }
    println!("knm-kube-sim listening on {}", sim.url());
    std::io::stdout().flush()?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    sim.shutdown().await;
    Ok(())
}
