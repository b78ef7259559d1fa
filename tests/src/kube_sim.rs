//! A simulated Kubernetes API server: real HTTP/1.1, real semantics, no cluster.
//!
//! `kubectl`, client-go and kube-rs can talk to it. What it answers is held to recordings of a real
//! kube-apiserver by `tests/kube_recordings.rs`: the same status, reason, details, message and effect
//! for the same state. Beyond that it can be told to be slow and to fail in the ways that networks and
//! API servers do, and it remembers what it was asked.
//!
//! It listens on plain HTTP and is meant for loopback. It runs on the caller's tokio runtime:
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use knm_tests::kube_sim::{Fault, KubeSim, SimOptions};
//!
//! let sim = KubeSim::start(SimOptions { nodes: 200, ..SimOptions::default() }).await?;
//! sim.add_fault(Fault::patch_status("node-0007", 403));
//! println!("kubectl --server={} get nodes", sim.url());
//! sim.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! # The path of a request
//!
//! `server` (connections) → `handler` (one request) → `route`, `faults`, `auth` → `read`, `watch` or
//! `write` → `store`. A write is a patch (`patch`, `apply`) on the sections of an `object`, which
//! `update` decodes by its `schema`, checks by its `strategy` and attributes by `managed_fields`. `control` has the
//! endpoints under `/sim/`, `side` what happens to nodes and pods without a client.
//!
//! # Pods
//!
//! `deletion` and `eviction` are the API server's part in the end of a pod. `disruption` is the controller
//! of disruption budgets, and runs inside every transaction of the `store`. `cluster` is everything else
//! that a cluster has: kubelets, a scheduler, controllers that replace what is gone. [`SimPod`] and
//! [`Workload`] say what there is and how long it takes.
//!
//! ```no_run
//! # async fn example(sim: knm_tests::kube_sim::KubeSim) -> anyhow::Result<()> {
//! use knm_tests::kube_sim::{Allow, SimPod, Workload};
//!
//! sim.place(Workload::replica_set("shop", "web", 3), &["node-0001", "node-0002"])?;
//! sim.add_budget("shop", "web", &[("app", "web")], Allow::max_unavailable(1))?;
//! sim.add_pod(SimPod::new("batch").namespace("shop").node("node-0001").stuck())?;
//! // … drain node-0001 …
//! sim.wait_until(|sim| sim.pods_on("node-0001").len() == 1).await;
//! assert!(sim.budget_violations().is_empty());
//! # Ok(())
//! # }
//! ```

mod access_review;
mod apply;
mod auth;
mod body;
mod clock;
mod cluster;
mod control;
mod defaults;
mod deletion;
mod discovery;
mod disruption;
mod eviction;
mod eviction_log;
mod faults;
mod field_set;
mod filter;
mod handler;
mod managed_fields;
mod millis;
mod node_factory;
mod object;
mod patch;
mod pod;
mod pods;
mod population;
mod query;
mod read;
mod request_log;
mod resource;
mod response;
mod route;
mod schema;
mod selector;
mod server;
mod side;
mod sim_pod;
mod status;
mod store;
mod strategy;
mod syntax;
mod table;
mod update;
mod watch;
mod workload;
mod write;
mod write_options;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Map, Value};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::{
    auth::{Access, Authentication, Rule, User},
    eviction_log::Eviction,
    faults::{Fault, FaultAction, FaultId, When},
    request_log::{Effect, RequestRecord, RequestSummary},
    route::Verb,
    sim_pod::SimPod,
    status::ApiError,
    workload::{Allow, Amount, Workload, WorkloadKind},
};
use self::{
    eviction_log::EvictionLog, faults::Faults, handler::Shared, request_log::RequestLog,
    resource::Resource, store::Store,
};

/// How a simulator starts.
#[derive(Debug, Clone)]
pub struct SimOptions {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// How many nodes there are from the start, `node-0001` and on.
    pub nodes: usize,
    /// Whether the nodes have pods on them from the start, with workloads and budgets.
    pub pods: bool,
    /// Whether there is a cluster behind the API: kubelets, a scheduler and controllers. Without one
    /// pods do not start, stop or come back by themselves.
    pub cluster: bool,
    /// How long the pods of a deleted node stay.
    pub pod_gc: Duration,
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// Every request to the API takes at least this long.
    pub latency: Duration,
    /// And up to this much longer.
    pub jitter: Duration,
    /// Who may do what.
    pub authentication: Authentication,
    /// How many events a kind's history keeps; a watch from before them is answered 410.
    pub history: usize,
    /// How many requests the log keeps.
    pub request_log: usize,
    /// How often a watch that asks for bookmarks gets one.
    pub bookmark_interval: Duration,
}

impl Default for SimOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            nodes: 0,
            pods: false,
            cluster: true,
            // The quarantine of the real collector.
            pod_gc: Duration::from_secs(40),
            seed: 0,
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            authentication: Authentication::Open,
            history: 10_000,
            request_log: 20_000,
            bookmark_interval: Duration::from_secs(60),
        }
    }
}

/// Why a simulator does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be bound.
    #[error("the simulated API server cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A node or what runs on it could not be made.
    #[error("the simulated cluster cannot be made")]
    Nodes(#[from] ApiError),
}

/// A running simulated API server. Dropping it stops it without waiting; [`KubeSim::shutdown`] waits.
#[derive(Debug)]
pub struct KubeSim {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    _stop_on_drop: DropGuard,
}

impl KubeSim {
    /// Starts a server; it is ready when this returns.
    pub async fn start(options: SimOptions) -> Result<Self, StartError> {
        let listen = |source| StartError::Listen { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let stop = CancellationToken::new();
        let store = Store::new(options.history);
        let faults = Faults::new(options.seed);
        if !options.latency.is_zero() || !options.jitter.is_zero() {
            let jitter_ms = u64::try_from(options.jitter.as_millis()).unwrap_or(u64::MAX);
            faults.add(Fault { jitter_ms, ..Fault::latency(options.latency) });
        }
        side::pods::make_namespaces(&store)?;
        side::make_nodes(&store, options.nodes)?;
        if options.pods {
            population::make(&store, options.seed)?;
        }
        let shared = Arc::new(Shared {
            store: Arc::new(store),
            faults,
            log: RequestLog::new(options.request_log),
            evictions: EvictionLog::new(options.request_log),
            answered: tokio::sync::watch::Sender::new(0),
            seed: options.seed,
            authentication: options.authentication,
            drops: tokio::sync::watch::Sender::new(0),
            bookmark_interval: options.bookmark_interval,
            stop: stop.clone(),
        });
        let mut tasks =
            vec![tokio::spawn(server::run(listener, Arc::clone(&shared), stop.clone()))];
        if options.cluster {
            let store = Arc::clone(&shared.store);
            let run = cluster::run(store, options.seed, options.pod_gc, stop.clone());
            tasks.push(tokio::spawn(run));
        }
        Ok(Self { address, shared, tasks: Mutex::new(tasks), _stop_on_drop: stop.drop_guard() })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The base URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A kubeconfig (YAML) with one context, `kube-sim`, and no credentials.
    pub fn kubeconfig(&self) -> String {
        kubeconfig(&self.url(), "{}")
    }

    /// The same for the user behind a token.
    pub fn kubeconfig_with_token(&self, token: &str) -> String {
        self.kubeconfig_through(self.address, token)
    }

    /// The same for somebody who reaches the server through a proxy at this address.
    pub fn kubeconfig_through(&self, address: SocketAddr, token: &str) -> String {
        kubeconfig(&format!("http://{address}"), &format!("{{token: {}}}", Value::from(token)))
    }

    /// Stops and waits until every connection has ended, a few seconds at most. Idempotent.
    pub async fn shutdown(&self) {
        self.shared.stop.cancel();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            // A panic in a task has been reported by the panic hook already.
            let _ = task.await;
        }
    }

    /// Adds so many nodes, numbered on from those that there are, and returns their names.
    pub fn nodes(&self, count: usize) -> Result<Vec<String>, ApiError> {
        side::make_nodes(&self.shared.store, count)
    }

    /// Adds a node with a body of its own, past admission; returns it as stored.
    pub fn add_node(&self, body: Map<String, Value>) -> Result<Value, ApiError> {
        side::add_node(&self.shared.store, body)
    }

    /// The names of all nodes, sorted.
    pub fn node_names(&self) -> Vec<String> {
        let (nodes, _) = self.shared.store.list(Resource::Nodes);
        nodes.iter().map(|node| node.name().to_owned()).collect()
    }

    /// A node as it is now.
    pub fn node(&self, name: &str) -> Option<Value> {
        self.shared.store.get(Resource::Nodes, name).map(|node| node.to_value())
    }

    /// Changes a node from the side, as a second writer (`side-writer`), by a merge patch; returns
    /// the node. A `status` in the patch is written too.
    pub fn change_node(&self, name: &str, patch: Map<String, Value>) -> Result<Value, ApiError> {
        side::change_node(&self.shared.store, name, patch)
    }

    /// Deletes a node.
    pub fn delete_node(&self, name: &str) -> Result<(), ApiError> {
        side::delete_node(&self.shared.store, name)
    }

    /// Deletes a node and adds it again with another UID; returns the new one.
    pub fn recreate_node(&self, name: &str) -> Result<Value, ApiError> {
        side::recreate_node(&self.shared.store, name)
    }

    /// Forgets the history: watches and continued lists from before are answered 410 (Expired).
    pub fn compact_history(&self) {
        self.shared.store.compact();
    }

    /// Cuts every open watch in the middle of its stream; returns how many there were.
    pub fn drop_watches(&self) -> usize {
        side::drop_watches(&self.shared)
    }

    /// How many watches are open.
    pub fn open_watches(&self) -> usize {
        self.shared.drops.receiver_count()
    }

    /// Puts a fault in force.
    pub fn add_fault(&self, fault: Fault) -> FaultId {
        self.shared.faults.add(fault)
    }

    /// Lifts a fault; `false` if it was not in force.
    pub fn remove_fault(&self, id: FaultId) -> bool {
        self.shared.faults.remove(id)
    }

    /// Lifts all faults, the latency of [`SimOptions`] among them.
    pub fn clear_faults(&self) {
        self.shared.faults.clear();
    }

    /// The log of requests, oldest first, as far as it reaches.
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.shared.log.records(0, |_| true)
    }

    /// Counts over all requests since the start or the last [`KubeSim::clear_requests`].
    pub fn request_summary(&self) -> RequestSummary {
        self.shared.log.summary()
    }

    /// Empties the log, the counts and the list of evictions.
    pub fn clear_requests(&self) {
        self.shared.log.clear();
        self.shared.evictions.clear();
    }
}

fn kubeconfig(url: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\n\
         kind: Config\n\
         current-context: kube-sim\n\
         clusters:\n\
         - name: kube-sim\n  cluster: {{server: \"{url}\"}}\n\
         users:\n\
         - name: kube-sim\n  user: {user}\n\
         contexts:\n\
         - name: kube-sim\n  context: {{cluster: kube-sim, user: kube-sim}}\n"
    )
}
