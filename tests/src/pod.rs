//! A pod as processes: `knm-api migrate`, then `knm-relay`, then `knm-api`, in the kubelet's order.
//!
//! Both containers read one configuration file, as they read one ConfigMap in a cluster. Only when a
//! test puts a proxy in front of one of them, that one gets a file of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::Signal;
use serde_json::Value;

use crate::api::Api;
use crate::postgres::Database;
use crate::process::{Log, Spec};
use crate::{ports, scratch};

mod binaries;
mod config;
mod container;

pub use binaries::{NotBuilt, Program, program};
pub use config::{Address, config};
pub use container::Container;

const MIGRATE: Duration = Duration::from_secs(60);
const START: Duration = Duration::from_secs(60);
/// `terminationGracePeriodSeconds` of the shipped manifests.
const GRACE: Duration = Duration::from_secs(30);

/// What throwaway databases encrypt kubeconfigs with.
/// What every pod encrypts kubeconfigs with.
pub const ENCRYPTION_KEY: &str = "YSBrZXkgZm9yIHRlc3RzIGFuZCBkZW1vcyBvbmx5IDo=";

/// How a pod is started.
#[derive(Debug, Clone)]
pub struct PodOptions {
    /// The pod's name.
    pub name: String,
    /// kubeconfig of the default cluster.
    pub kubeconfig: PathBuf,
    /// Its context; empty: the current one.
    pub context: String,
    /// The node that it runs on, if it is to know.
    pub node: Option<String>,
    /// Where the api finds PostgreSQL; `None`: where it is.
    pub api_database: Option<Address>,
    /// Where the relay finds PostgreSQL; `None`: where it is.
    pub relay_database: Option<Address>,
    /// Password of the first administrator.
    pub admin_password: String,
    /// Merged into the configuration (RFC 7396).
    pub config: Value,
    /// Folder for the configuration and the logs; `None`: one in [`scratch`].
    pub folder: Option<PathBuf>,
    /// Another release's `knm-api`; `None`: this build's.
    pub api_program: Option<PathBuf>,
    /// Another release's `knm-relay`; `None`: this build's.
    pub relay_program: Option<PathBuf>,
}

impl PodOptions {
    /// A pod on a cluster.
    #[must_use]
    pub fn new(name: &str, kubeconfig: &Path, admin_password: &str) -> Self {
        Self {
            name: name.into(),
            kubeconfig: kubeconfig.into(),
            context: String::new(),
            node: None,
            api_database: None,
            relay_database: None,
            admin_password: admin_password.into(),
            config: Value::Null,
            folder: None,
            api_program: None,
            relay_program: None,
        }
    }
}

/// A pod whose containers run, or have been stopped. Dropping it kills them.
#[derive(Debug)]
pub struct Pod {
    name: String,
    /// The sidecar.
    pub relay: Container,
    /// The main container.
    pub api: Container,
    migrate: Spec,
    migrate_log: Log,
}

impl Pod {
    /// Prepares a pod; nothing runs yet.
    ///
    /// # Errors
    /// When the binaries have not been built or files cannot be written.
    pub fn prepare(database: &Database, options: &PodOptions) -> anyhow::Result<Self> {
        let name = options.name.clone();
        let folder = match &options.folder {
            Some(folder) => folder.clone(),
            None => scratch::dir(&name)?,
        };
        let ports: [u16; 4] = std::array::from_fn(|_| ports::free());
        let [api_port, api_admin, relay_port, relay_admin] = ports;
        let file = |part: &str, address: Option<&Address>| -> anyhow::Result<PathBuf> {
            let path = folder.join(format!("config{part}.yaml"));
            let config = config(database, address, options, ports);
            // JSON is YAML too.
            config::write(&path, &serde_json::to_string_pretty(&config)?)?;
            Ok(path)
        };
        let shared = file("", None)?;
        let own = |part: &str, address: Option<&Address>| match address {
            Some(_) => file(part, address),
            None => Ok(shared.clone()),
        };
        let api_config = own("-api", options.api_database.as_ref())?;
        let relay_config = own("-relay", options.relay_database.as_ref())?;
        let spec = |program: Program, config: &Path, arguments: &[&str]| -> anyhow::Result<Spec> {
            let other = match program {
                Program::Api => &options.api_program,
                Program::Relay => &options.relay_program,
            };
            let path = other.clone().map_or_else(|| binaries::program(program), Ok)?;
            let spec = Spec::new(format!("{} of {name}", program.file_name()), &path)
                .args(arguments)
                .arg("--config")
                .arg(config)
                .env("POD_NAME", &name)
                .env("DB_PASSWORD", database.server().password())
                .env("RUST_BACKTRACE", "1")
                .env("NODE_NAME", options.node.as_deref().unwrap_or_default());
            Ok(match program {
                Program::Api => spec
                    .env("KNM_ADMIN_PASSWORD", &options.admin_password)
                    .env("KNM_ENCRYPTION_KEY", ENCRYPTION_KEY),
                Program::Relay => spec,
            })
        };
        let log = |file: &str| Log::create(folder.join(file));
        Ok(Self {
            relay: Container::new(
                spec(Program::Relay, &relay_config, &[])?,
                log("relay.log")?,
                relay_port,
                relay_admin,
            ),
            api: Container::new(
                spec(Program::Api, &api_config, &[])?,
                log("api.log")?,
                api_port,
                api_admin,
            ),
            migrate: spec(Program::Api, &api_config, &["migrate"])?,
            migrate_log: log("migrate.log")?,
            name,
        })
    }

    /// Runs the init container, then starts the sidecar and waits for its startup probe, then starts
    /// the api and waits until both are ready.
    ///
    /// # Errors
    /// When one of them ends or is not ready in time; with the end of its log.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        let migrate = self.migrate.spawn(&self.migrate_log)?;
        let status = migrate.wait(MIGRATE).await?;
        if !status.success() {
            bail!("{} ended with {status}\n{}", migrate.name(), self.migrate_log.tail(20));
        }
        self.relay.start()?;
        self.relay.probe("/livez", START).await?;
        self.api.start()?;
        self.api.probe("/readyz", START).await?;
        self.relay.probe("/readyz", START).await
    }

    /// [`Pod::prepare`] and [`Pod::start`].
    ///
    /// # Errors
    /// See there.
    pub async fn run(database: &Database, options: &PodOptions) -> anyhow::Result<Self> {
        let mut pod = Self::prepare(database, options)?;
        pod.start().await?;
        Ok(pod)
    }

    /// The pod's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A REST client of its api, not signed in.
    #[must_use]
    pub fn client(&self) -> Api {
        Api::new(format!("http://{}", self.api.address()))
    }

    /// What `migrate` printed.
    #[must_use]
    pub fn migrate_log(&self) -> &Log {
        &self.migrate_log
    }

    /// The ends of its logs.
    #[must_use]
    pub fn log_tails(&self) -> String {
        [&self.migrate_log, self.relay.log(), self.api.log()].map(|log| log.tail(15)).concat()
    }

    /// SIGTERM to both in the order of a sidecar (KEP-753): the relay outlives the api. Returns when
    /// both have ended.
    ///
    /// # Errors
    /// When one had to be killed or ended with a failure.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let mut ended = Ok(());
        for container in [&mut self.api, &mut self.relay] {
            let stopped = container.stop(Signal::TERM, GRACE).await;
            ended = ended.and(stopped.and_then(|status| match status {
                Some(status) if !status.success() => bail!("{container:?} ended with {status}"),
                _ => Ok(()),
            }));
        }
        ended.with_context(|| format!("stopping {}", self.name))
    }

    /// SIGKILL to both, as when the node loses power.
    ///
    /// # Errors
    /// When they do not end.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.api.kill().await?;
        self.relay.kill().await
    }
}
