//! What a run plays on: everything of a real installation, with a proxy on every connection.

use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::json;
use tokio::sync::Mutex;

use super::Options;
use super::fault::Link;
use crate::api::Api;
use crate::kube_sim::{KubeSim, SimOptions};
use crate::pod::{Address, Pod, PodOptions};
use crate::postgres::{Cluster, ClusterOptions, Database};
use crate::proxy::Proxy;
use crate::scenario::ADMIN;

const PASSWORD: &str = "correct horse battery staple";
/// So many times the nodes of one task has the cluster: tasks meet at a node often, not always.
const CLUSTER: usize = 4;

/// What a request to Kubernetes takes at least, and up to so much longer. Faults find every task in
/// the middle of its work, and changes come fast enough to fill the flushes.
const LATENCY_MS: [u64; 2] = [20, 60];

/// A pod and the proxies around it.
#[derive(Debug)]
pub(super) struct Seat {
    /// Locked for as long as a fault changes what runs.
    pub(super) pod: Mutex<Pod>,
    /// Where REST clients connect.
    pub(super) api: Api,
    /// Where browsers connect: through a proxy.
    pub(super) relay: String,
    /// Where the api's metrics are.
    pub(super) api_admin: Api,
    /// Where the relay's metrics are.
    pub(super) relay_admin: Api,
    proxies: [(Link, Proxy); 4],
}

impl Seat {
    pub(super) fn proxy(&self, link: Link) -> &Proxy {
        let found = self.proxies.iter().find(|(l, _)| *l == link);
        &found.expect("every link has a proxy").1
    }
}

/// Everything that runs. Fields are dropped in order: pods before the database, that before its
/// server.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) seats: Vec<Seat>,
    pub(super) sim: KubeSim,
    pub(super) database: Database,
    pub(super) cluster: Cluster,
    /// Configuration and logs; not in the scratch folder, so that they may be kept.
    pub(super) folder: PathBuf,
}

impl Stage {
    pub(super) async fn start(options: &Options) -> anyhow::Result<Self> {
        let name = format!("knm-chaos-{}-{}", options.seed, std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let settings = [
            // A deadlock must be found before a lock timeout hides it.
            ("deadlock_timeout", "100ms"),
        ];
        let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let cluster =
            Cluster::start(ClusterOptions { settings: settings.into(), ..Default::default() })
                .await?;
        let database = cluster.server().database("chaos").await?;
        let [latency, jitter] = LATENCY_MS.map(std::time::Duration::from_millis);
        let sim = KubeSim::start(SimOptions {
            nodes: options.nodes * CLUSTER,
            seed: options.seed,
            latency,
            jitter,
            // The counts are complete without it; the entries would only take memory.
            request_log: 1_000,
            ..SimOptions::default()
        })
        .await?;
        let mut stage = Self { seats: Vec::new(), sim, database, cluster, folder };
        for number in 0..options.pods {
            let seat = stage.seat(number).await?;
            stage.seats.push(seat);
        }
        Ok(stage)
    }

    async fn seat(&self, number: usize) -> anyhow::Result<Seat> {
        let name = format!("pod-{number}");
        let folder = self.folder.join(&name);
        std::fs::create_dir_all(&folder)?;
        let server = self.database.server();
        let database = format!("{}:{}", server.host(), server.port());
        let api_database = Proxy::start(&database).await?;
        let relay_database = Proxy::start(&database).await?;
        let kubernetes = Proxy::start(self.sim.addr().to_string()).await?;
        let kubeconfig = folder.join("kubeconfig");
        let through_proxy = format!("http://{}", kubernetes.address());
        std::fs::write(
            &kubeconfig,
            self.sim.kubeconfig().replace(&self.sim.url(), &through_proxy),
        )?;
        let mut pod_options = PodOptions::new(&name, &kubeconfig, PASSWORD);
        pod_options.api_database = Some(Address::from(api_database.address()));
        pod_options.relay_database = Some(Address::from(relay_database.address()));
        pod_options.folder = Some(folder);
        // Every task a slot: what waits for one is no subject of faults.
        pod_options.config = json!({
            "executor": {"max_concurrent_tasks": 200},
            // All clients are one user's.
            "relay": {"max_connections_per_user": 2_000},
        });
        let mut pod = Pod::prepare(&self.database, &pod_options)?;
        let clients = Proxy::start(pod.relay.address()).await?;
        pod.start().await?;
        let admin = |address: String| Api::new(format!("http://{address}"));
        Ok(Seat {
            api: pod.client(),
            relay: clients.address().to_string(),
            api_admin: admin(pod.api.admin_address()),
            relay_admin: admin(pod.relay.admin_address()),
            proxies: [
                (Link::ApiDatabase, api_database),
                (Link::RelayDatabase, relay_database),
                (Link::Clients, clients),
                (Link::Kubernetes, kubernetes),
            ],
            pod: Mutex::new(pod),
        })
    }

    /// A token that is good at every pod.
    pub(super) async fn sign_in(&self) -> anyhow::Result<String> {
        let seat = self.seats.first().context("there are no pods")?;
        Ok(seat.api.login(ADMIN, PASSWORD).await?.token()?.to_owned())
    }

    /// Everything that the pods and PostgreSQL have logged and that must never be.
    pub(super) fn bad_log_lines(&self) -> anyhow::Result<Vec<String>> {
        let mut logs = vec![self.cluster.log().path().to_owned()];
        for number in 0..self.seats.len() {
            let folder = self.folder.join(format!("pod-{number}"));
            logs.extend(["api.log", "relay.log"].map(|file| folder.join(file)));
        }
        let mut bad = Vec::new();
        for path in logs {
            let text = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
            let lines = text.lines().filter(|l| BAD.iter().any(|phrase| l.contains(phrase)));
            bad.extend(lines.map(|line| format!("{}: {line}", path.display())));
        }
        Ok(bad)
    }

    /// Copies what is not in the kept folder yet.
    pub(super) fn keep_logs(&self) -> anyhow::Result<()> {
        std::fs::copy(self.cluster.log().path(), self.folder.join("postgres.log"))?;
        Ok(())
    }
}

/// No fault excuses these.
const BAD: [&str; 4] =
    ["deadlock detected", "panicked", "violates check constraint", "duplicate key value"];
