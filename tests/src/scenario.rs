//! The world that an integration test plays in: a database, a simulated cluster, pods, clients.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use knm_tests::scenario::World;
//!
//! let world = World::new("label").pods(2).nodes(10).start().await?;
//! let api = world.sign_in(1).await?;
//! let task = api.label(&world.nodes(0..10), "example.com/rack", "r1").await?;
//! let mut watcher = world.watcher(0).await?;
//! watcher.subscribe(task).await?;
//! watcher.until_all_complete(std::time::Duration::from_secs(30)).await?;
//! world.check_final(&watcher, task).await?;
//! # Ok(())
//! # }
//! ```

use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use knm_shared::ids::TaskId;
use serde_json::Value;

use crate::api::Api;
use crate::invariants::Rows;
use crate::kube_sim::{Authentication, KubeSim, Rule, SimOptions, User};
use crate::pod::{Address, ENCRYPTION_KEY, Pod, PodOptions};
use crate::postgres::{Cluster, ClusterOptions, Database, shared_server};
use crate::proxy::Proxy;
use crate::scratch;
use crate::ws::Watcher;

mod journal;
mod lease;
mod rights;

pub use journal::Change;
pub use lease::LeaseRow;
pub use rights::shipped_rights;

/// Of the first administrator of every world.
pub const ADMIN: &str = "admin";
/// Their password.
pub const PASSWORD: &str = "correct horse battery staple";

/// The last letters of pods' names.
const PODS: RangeInclusive<char> = 'a'..='z';

/// Also the name and the token by which the cluster knows the pod.
fn pod_name(letter: char) -> String {
    format!("pod-{letter}")
}

/// Which server the world's database is on.
#[derive(Debug, Clone)]
enum On {
    Shared,
    Own(ClusterOptions),
}

/// A world to be.
#[derive(Debug, Clone)]
pub struct WorldBuilder {
    name: String,
    pods: usize,
    sim: SimOptions,
    config: Value,
    proxies: bool,
    kube_proxies: bool,
    rights: Option<Vec<Rule>>,
    on: On,
}

impl WorldBuilder {
    /// How many pods. 1 without this.
    #[must_use]
    pub fn pods(mut self, pods: usize) -> Self {
        self.pods = pods;
        self
    }

    /// How many nodes the cluster has. 10 without this.
    #[must_use]
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.sim.nodes = nodes;
        self
    }

    /// How long every request to Kubernetes takes at least.
    #[must_use]
    pub fn latency(mut self, latency: std::time::Duration) -> Self {
        self.sim.latency = latency;
        self
    }

    /// Merged into every pod's configuration.
    #[must_use]
    pub fn config(mut self, config: Value) -> Self {
        self.config = config;
        self
    }

    /// Puts a proxy between PostgreSQL and each container: [`World::api_proxies`],
    /// [`World::relay_proxies`].
    #[must_use]
    pub fn proxies(mut self) -> Self {
        self.proxies = true;
        self
    }

    /// Puts a proxy between the cluster and each api: [`World::kube_proxies`].
    #[must_use]
    pub fn kube_proxies(mut self) -> Self {
        self.kube_proxies = true;
        self
    }

    /// What the pods may do in the cluster. [`shipped_rights`] without this.
    #[must_use]
    pub fn rights(mut self, rules: Vec<Rule>) -> Self {
        self.rights = Some(rules);
        self
    }

    /// On a server of its own, which the test may stop: [`World::cluster`].
    #[must_use]
    pub fn own_cluster(mut self, options: ClusterOptions) -> Self {
        self.on = On::Own(options);
        self
    }

    /// Starts everything; every container is ready when this returns.
    ///
    /// # Errors
    /// When something does not start; with the end of its log.
    pub async fn start(self) -> anyhow::Result<World> {
        let (cluster, server) = match self.on {
            On::Shared => (None, shared_server().await?),
            On::Own(options) => {
                let cluster = Cluster::start(options).await?;
                let server = cluster.server().clone();
                (Some(cluster), server)
            }
        };
        let database = server.database(&self.name).await?;
        // The cluster's log tells the pods apart by the tokens that they come with.
        let rights = self.rights.map_or_else(shipped_rights, Ok)?;
        let user = |name: String| User::with_rules(name, rights.clone());
        let tokens = PODS.map(|pod| (pod_name(pod), user(pod_name(pod))));
        let authentication = Authentication::Tokens(tokens.collect());
        let sim = KubeSim::start(SimOptions { authentication, ..self.sim }).await?;
        let folder = scratch::dir(&self.name)?;
        let mut world = World {
            pods: Vec::new(),
            api_proxies: Vec::new(),
            relay_proxies: Vec::new(),
            kube_proxies: Vec::new(),
            sim,
            database,
            cluster,
            folder,
            config: self.config,
            has_proxies: self.proxies,
            has_kube_proxies: self.kube_proxies,
        };
        for _ in 0..self.pods {
            world.add_pod().await?;
        }
        Ok(world)
    }
}

/// Everything that runs. Fields are dropped in order: pods before the database, that before its
/// server.
#[derive(Debug)]
pub struct World {
    /// In the order of their start; `pod-a`, `pod-b`, …
    pub pods: Vec<Pod>,
    /// Between the api of a pod and PostgreSQL, with [`WorldBuilder::proxies`].
    pub api_proxies: Vec<Proxy>,
    /// Between the relay of a pod and PostgreSQL, with [`WorldBuilder::proxies`].
    pub relay_proxies: Vec<Proxy>,
    /// Between the api of a pod and the cluster, with [`WorldBuilder::kube_proxies`].
    pub kube_proxies: Vec<Proxy>,
    /// The cluster.
    pub sim: KubeSim,
    /// The database.
    pub database: Database,
    /// Its server, with [`WorldBuilder::own_cluster`].
    pub cluster: Option<Cluster>,
    folder: PathBuf,
    config: Value,
    has_proxies: bool,
    has_kube_proxies: bool,
}

impl World {
    /// A world whose database and folders begin with `name` (lower case letters, digits and `_`).
    #[allow(clippy::new_ret_no_self, reason = "reads as what it starts")]
    #[must_use]
    pub fn new(name: &str) -> WorldBuilder {
        WorldBuilder {
            name: name.into(),
            pods: 1,
            sim: SimOptions { nodes: 10, ..SimOptions::default() },
            config: Value::Null,
            proxies: false,
            kube_proxies: false,
            rights: None,
            on: On::Shared,
        }
    }

    /// The options of the next pod, to be changed and given to [`Pod::run`].
    ///
    /// # Errors
    /// When a proxy cannot be started.
    pub async fn pod_options(&mut self) -> anyhow::Result<PodOptions> {
        let letter = PODS.clone().nth(self.pods.len()).context("too many pods")?;
        let name = pod_name(letter);
        let mut cluster = self.sim.addr();
        if self.has_kube_proxies {
            let proxy = Proxy::start(cluster.to_string()).await?;
            cluster = proxy.address();
            self.kube_proxies.push(proxy);
        }
        let kubeconfig = self.folder.join(format!("kubeconfig-{name}"));
        std::fs::write(&kubeconfig, self.sim.kubeconfig_through(cluster, &name))
            .context("cannot write the kubeconfig")?;
        let mut options = PodOptions::new(&name, &kubeconfig, PASSWORD);
        options.config = self.config.clone();
        if self.has_proxies {
            let upstream =
                format!("{}:{}", self.database.server().host(), self.database.server().port());
            for (proxies, address) in [
                (&mut self.api_proxies, &mut options.api_database),
                (&mut self.relay_proxies, &mut options.relay_database),
            ] {
                let proxy = Proxy::start(&upstream).await?;
                *address = Some(Address::from(proxy.address()));
                proxies.push(proxy);
            }
        }
        Ok(options)
    }

    /// Starts one more pod.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn add_pod(&mut self) -> anyhow::Result<&mut Pod> {
        let options = self.pod_options().await?;
        let pod = Pod::run(&self.database, &options).await?;
        self.pods.push(pod);
        Ok(self.pods.last_mut().expect("it has just been pushed"))
    }

    /// The names of some nodes.
    ///
    /// # Panics
    /// When the cluster has fewer.
    #[must_use]
    pub fn nodes(&self, range: Range<usize>) -> Vec<String> {
        self.sim.node_names()[range].to_vec()
    }

    /// A REST client of a pod, signed in as the administrator.
    ///
    /// # Errors
    /// When that fails.
    pub async fn sign_in(&self, pod: usize) -> anyhow::Result<Api> {
        self.pods[pod].client().login(ADMIN, PASSWORD).await
    }

    /// A watcher on a pod's relay, signed in.
    ///
    /// # Errors
    /// When that fails.
    pub async fn watcher(&self, pod: usize) -> anyhow::Result<Watcher> {
        let api = self.sign_in(pod).await?;
        Ok(Watcher::new(self.pods[pod].relay.address(), api.token()?))
    }

    /// A task's rows.
    ///
    /// # Errors
    /// When there is no such task.
    pub async fn rows(&self, task: TaskId) -> anyhow::Result<Rows> {
        Rows::read(&mut *self.database.connect().await?, task).await
    }

    /// The watcher's last picture is the rows; returns them.
    ///
    /// # Errors
    /// What differs.
    pub async fn check_final(&self, watcher: &Watcher, task: TaskId) -> anyhow::Result<Rows> {
        let rows = self.rows(task).await?;
        watcher.checker().check_final(task, &rows)?;
        Ok(rows)
    }

    /// How many tasks are stored.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn stored_tasks(&self) -> anyhow::Result<i64> {
        self.database.value("SELECT count(*) FROM progress_tasks", &[]).await
    }

    /// Stops the pods in order, and looks for the secrets of every world in what they have logged.
    ///
    /// # Errors
    /// When one ends with a failure, or has logged a secret.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        for pod in &mut self.pods {
            pod.stop().await?;
        }
        self.sim.shutdown().await;
        for log in self.pods.iter().flat_map(|pod| [pod.api.log(), pod.relay.log()]) {
            let path = log.path();
            let text = std::fs::read(path).with_context(|| path.display().to_string())?;
            let text = String::from_utf8_lossy(&text);
            for secret in [PASSWORD, ENCRYPTION_KEY] {
                ensure!(!text.contains(secret), "{} says {secret}", path.display());
            }
        }
        Ok(())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Shown by the test runners only for tests that fail, which is when it is wanted.
        for pod in &self.pods {
            eprint!("{}", pod.log_tails());
        }
    }
}
