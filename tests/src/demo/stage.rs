//! Sets everything up in order, watches over it, takes it down in the reverse order.

use std::future::Future;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures_util::future::{join_all, select_all};
use serde_json::json;

use super::Options;
use crate::api::Api;
use crate::kube_sim::{KubeSim, SimOptions};
use crate::pod::{Pod, PodOptions};
use crate::postgres::{Cluster, ClusterOptions, Database, Server, Shutdown};
use crate::process::Ending;
use crate::prometheus::{Prometheus, PrometheusOptions, Rules, Target};
use crate::scratch;

/// Before a container is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// More restarts than this within [`RESTART_WINDOW`], and something is wrong with the demo itself.
const MAX_RESTARTS: usize = 10;
const RESTART_WINDOW: Duration = Duration::from_secs(60);
/// Of Prometheus, where there is one.
const SCRAPE_INTERVAL: Duration = Duration::from_secs(5);

/// The demo's user.
pub(super) const USER: &str = "admin";

/// What the pods manage.
pub(super) enum Kubernetes {
    /// Simulated, in this process.
    Simulated(Box<KubeSim>),
    /// Real.
    Real {
        /// Where the way to it is written.
        kubeconfig: PathBuf,
        /// Its context; empty: the current one.
        context: String,
    },
}

/// A running installation. Fields are dropped in order: pods before what they stand on.
pub(super) struct Stage {
    /// Scrapes the pods, with `--prometheus`.
    pub(super) prometheus: Option<Prometheus>,
    pub(super) pods: Vec<Pod>,
    pub(super) kubernetes: Kubernetes,
    pub(super) database: Database,
    /// The throwaway server, if there is one.
    cluster: Option<Cluster>,
    pub(super) password: String,
    /// Whether the pods serve the web UI.
    pub(super) has_ui: bool,
}

/// Says what is being done, and then how long it took.
async fn step<T>(what: &str, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    print!("{what} … ");
    let _ = std::io::stdout().flush();
    let start = Instant::now();
    let done = work.await;
    match &done {
        Ok(_) => println!("{:.1} s", start.elapsed().as_secs_f64()),
        Err(_) => println!("failed"),
    }
    done
}

impl Stage {
    pub(super) async fn set(options: &Options) -> anyhow::Result<Self> {
        let (cluster, database) = match &options.postgres {
            None => step("Starting PostgreSQL", throwaway()).await?,
            Some(url) => step("Connecting to the database", existing(url)).await?,
        };
        let kubernetes = match &options.kubeconfig {
            Some(path) => Kubernetes::Real {
                kubeconfig: std::path::absolute(path)?,
                context: options.context.clone().unwrap_or_default(),
            },
            None => {
                let what = format!("Simulating a cluster of {} nodes", options.nodes);
                step(&what, simulate(options)).await?
            }
        };
        let random = || format!("{:024x}", rand::random::<u128>() >> 32);
        let password = options.admin_password.clone().unwrap_or_else(random);
        let has_ui = options.web_dir.is_some();
        let mut stage = Self {
            prometheus: None,
            pods: Vec::new(),
            kubernetes,
            database,
            cluster,
            password,
            has_ui,
        };
        for letter in ('a'..).take(options.pods.into()) {
            let name = format!("pod-{letter}");
            let work = stage.add_pod(&name, options.web_dir.as_deref());
            step(&format!("Starting {name}: migrate, relay, api"), work).await?;
        }
        if options.prometheus {
            let work = stage.observe(&options.rules);
            stage.prometheus = Some(step("Starting Prometheus", work).await?);
        }
        Ok(stage)
    }

    async fn observe(&self, rules: &Path) -> anyhow::Result<Prometheus> {
        let options = PrometheusOptions {
            targets: self.pods.iter().flat_map(Target::of).collect(),
            rules: Rules::read(rules)?.write()?,
            interval: SCRAPE_INTERVAL,
        };
        Prometheus::start(&options).await
    }

    async fn add_pod(&mut self, name: &str, web_dir: Option<&Path>) -> anyhow::Result<()> {
        let (kubeconfig, context) = match &self.kubernetes {
            Kubernetes::Simulated(sim) => {
                let path = scratch::dir("kube-sim")?.join("kubeconfig");
                std::fs::write(&path, sim.kubeconfig())?;
                (path, String::new())
            }
            Kubernetes::Real { kubeconfig, context } => (kubeconfig.clone(), context.clone()),
        };
        let mut options = PodOptions::new(name, &kubeconfig, &self.password);
        options.context = context;
        if let Some(web_dir) = web_dir {
            options.config = json!({ "api": { "web_dir": std::path::absolute(web_dir)? } });
        }
        self.pods.push(Pod::prepare(&self.database, &options)?);
        let pod = self.pods.last_mut().expect("it has just been pushed");
        pod.start().await
    }

    /// A client of a pod's api, signed in.
    pub(super) async fn sign_in(&self, pod: &Pod) -> anyhow::Result<Api> {
        pod.client().login(USER, &self.password).await.with_context(|| match self.cluster {
            Some(_) => "signing in".to_owned(),
            None => format!(
                "the database may have a user {USER} already: give its password with \
                 --admin-password or in KNM_ADMIN_PASSWORD"
            ),
        })
    }

    /// Whether the database is this demo's own.
    pub(super) const fn throwaway(&self) -> bool {
        self.cluster.is_some()
    }

    /// Waits for a process to end that should not, and says which.
    pub(super) async fn unexpected_end(&self) -> anyhow::Error {
        let mut endings: Vec<Ending> = Vec::new();
        if let Some(cluster) = &self.cluster {
            match cluster.ending().await {
                Ok(ending) => endings.push(ending),
                Err(error) => return error,
            }
        }
        for container in self.pods.iter().flat_map(|pod| [&pod.relay, &pod.api]) {
            match container.process() {
                Ok(process) => endings.push(process.ending()),
                Err(error) => return error,
            }
        }
        let (ended, _, _) = select_all(endings.into_iter().map(|e| Box::pin(e.wait()))).await;
        ended
    }

    /// Starts again what ends, as the kubelet would: so that whoever tries the demo can kill what they
    /// like and watch. Returns when something does not stay up.
    pub(super) async fn tend(&mut self) -> anyhow::Error {
        let mut restarts: Vec<Instant> = Vec::new();
        loop {
            let ended = self.unexpected_end().await;
            restarts.retain(|at| at.elapsed() < RESTART_WINDOW);
            restarts.push(Instant::now());
            if restarts.len() > MAX_RESTARTS {
                return ended.context(format!("more than {MAX_RESTARTS} restarts in a minute"));
            }
            let first_line = ended.to_string().lines().next().unwrap_or_default().to_owned();
            println!("{first_line}; starting it again, as the kubelet would …");
            tokio::time::sleep(RESTART_PAUSE).await;
            if let Some(cluster) = &self.cluster
                && let Err(error) = cluster.start_if_ended().await
            {
                return error;
            }
            for container in self.pods.iter_mut().flat_map(|p| [&mut p.relay, &mut p.api]) {
                if let Err(error) = container.start_if_ended() {
                    return error;
                }
            }
        }
    }

    /// Stops the pods (api before relay), then what they stood on.
    pub(super) async fn strike(mut self) -> anyhow::Result<()> {
        if let Some(prometheus) = self.prometheus.take() {
            prometheus.stop().await?;
        }
        let stopped = join_all(self.pods.iter_mut().map(Pod::stop)).await;
        self.pods.clear();
        if let Kubernetes::Simulated(sim) = &self.kubernetes {
            sim.shutdown().await;
        }
        drop(self.database);
        if let Some(cluster) = &self.cluster {
            cluster.stop(Shutdown::Fast).await?;
        }
        stopped.into_iter().collect()
    }
}

async fn throwaway() -> anyhow::Result<(Option<Cluster>, Database)> {
    let cluster = Cluster::start(ClusterOptions::default()).await?;
    let name = "kube_node_manager";
    let create = format!("CREATE DATABASE {name}");
    cluster.server().connect().await?.batch_execute(&create).await?;
    let database = Database::existing(cluster.server().clone(), name);
    Ok((Some(cluster), database))
}

async fn existing(url: &str) -> anyhow::Result<(Option<Cluster>, Database)> {
    let server = Server::from_url(url)?;
    let name = server.maintenance_database().to_owned();
    server.connect().await?;
    Ok((None, Database::existing(server, &name)))
}

async fn simulate(options: &Options) -> anyhow::Result<Kubernetes> {
    if options.nodes == 0 {
        bail!("a cluster without nodes shows nothing");
    }
    let latency = Duration::from_millis(options.latency);
    let sim = SimOptions {
        nodes: options.nodes,
        pods: true,
        latency,
        jitter: latency,
        ..SimOptions::default()
    };
    Ok(Kubernetes::Simulated(Box::new(KubeSim::start(sim).await?)))
}
