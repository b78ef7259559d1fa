//! Relays without apis: the world of a test that decides on every commit itself, see [`crate::by_hand`].

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::by_hand::{Task, User};
use crate::invariants::Rows;
use crate::pod::{Address, Container, Pod, PodOptions, Program, program};
use crate::postgres::{Database, Server, Sql, shared_server};
use crate::process::{Log, Spec};
use crate::proxy::Proxy;
use crate::scratch;
use crate::ws::Watcher;

const START: Duration = Duration::from_secs(60);
const STATE: Duration = Duration::from_secs(60);

/// Relays, each behind a proxy of its own to PostgreSQL, and a signed-in user.
#[derive(Debug)]
pub struct Stage {
    pods: Vec<Pod>,
    /// Between each relay and PostgreSQL.
    pub proxies: Vec<Proxy>,
    /// The database.
    pub database: Database,
    user: User,
}

impl Stage {
    /// As many relays as asked for on a new database of the shared server, all of them live.
    /// `config` is merged into theirs.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn live(name: &str, relays: usize, config: &Value) -> anyhow::Result<Self> {
        let database = shared_server().await?.database(name).await?;
        let stage = Self::on(database, relays, config).await?;
        for relay in 0..relays {
            stage.until_state(relay, "live", "live").await?;
        }
        Ok(stage)
    }

    /// The same on a database of the caller's; returns when the relays are ready, live or not.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn on(database: Database, relays: usize, config: &Value) -> anyhow::Result<Self> {
        migrate(&database).await?;
        let user = User::sign_in(&*database.connect().await?).await?;
        let mut stage = Self { pods: Vec::new(), proxies: Vec::new(), database, user };
        for number in 0..relays {
            let server = stage.database.server();
            let proxy = Proxy::start(format!("{}:{}", server.host(), server.port())).await?;
            let mut options = options(&format!("relay-{number}"))?;
            options.relay_database = Some(Address::from(proxy.address()));
            if !config.is_null() {
                json_patch::merge(&mut options.config, config);
            }
            let mut pod = Pod::prepare(&stage.database, &options)?;
            pod.relay.start()?;
            stage.pods.push(pod);
            stage.proxies.push(proxy);
        }
        for pod in &stage.pods {
            pod.relay.probe("/readyz", START).await?;
        }
        Ok(stage)
    }

    /// A relay.
    #[must_use]
    pub fn relay(&self, number: usize) -> &Container {
        &self.pods[number].relay
    }

    /// All of them.
    pub fn relays(&self) -> impl Iterator<Item = &Container> {
        self.pods.iter().map(|pod| &pod.relay)
    }

    /// A relay, to be stopped and started.
    #[must_use]
    pub fn relay_mut(&mut self, number: usize) -> &mut Container {
        &mut self.pods[number].relay
    }

    /// A session of the writer's.
    ///
    /// # Errors
    /// When the server does not take it.
    pub async fn writer(&self) -> anyhow::Result<Sql> {
        self.database.connect().await
    }

    /// A session of a role that may connect, and so NOTIFY, and nothing else.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn stranger(&self) -> anyhow::Result<Sql> {
        const ROLE: &str = "knm_test_stranger";
        let password = format!("{:032x}", rand::random::<u128>());
        let sql = format!(
            "DO $$ BEGIN CREATE ROLE {ROLE}; EXCEPTION WHEN duplicate_object THEN END $$; \
             ALTER ROLE {ROLE} LOGIN PASSWORD '{password}'"
        );
        self.database.connect().await?.batch_execute(&sql).await?;
        let server = self.database.server();
        Server::new(server.host(), server.port(), ROLE, &password)
            .connect_to(self.database.name())
            .await
    }

    /// A new task of the user's.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn task(&self, items: u32) -> anyhow::Result<Task> {
        Task::create(&*self.database.connect().await?, &self.user, items).await
    }

    /// The token of the user's session.
    #[must_use]
    pub fn token(&self) -> &str {
        self.user.token()
    }

    /// A client of a relay.
    #[must_use]
    pub fn watcher(&self, relay: usize) -> Watcher {
        self.watcher_at(self.relay(relay).address())
    }

    /// A client of whatever listens there.
    #[must_use]
    pub fn watcher_at(&self, address: impl Into<String>) -> Watcher {
        Watcher::new(address, self.user.token())
    }

    /// The document of a relay's `/state`.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn state(&self, relay: usize) -> anyhow::Result<Value> {
        state(self.relay(relay)).await
    }

    /// Waits until a relay's listener and mode are so.
    ///
    /// # Errors
    /// When that takes a minute.
    pub async fn until_state(
        &self,
        relay: usize,
        listener: &str,
        mode: &str,
    ) -> anyhow::Result<()> {
        until_state(self.relay(relay), listener, mode).await
    }

    /// The watcher's last picture is the rows.
    ///
    /// # Errors
    /// What differs.
    pub async fn check_final(&self, watcher: &Watcher, task: &Task) -> anyhow::Result<Rows> {
        let rows = Rows::read(&mut *self.database.connect().await?, task.id()).await?;
        watcher.checker().check_final(task.id(), &rows)?;
        Ok(rows)
    }

    /// Stops the relays in good order.
    ///
    /// # Errors
    /// When one does not end well.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        for pod in &mut self.pods {
            pod.stop().await?;
        }
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Shown by the test runners only for tests that fail, which is when it is wanted.
        for pod in &self.pods {
            eprint!("{}", pod.relay.log().tail(40));
        }
    }
}

/// The document of a relay's `/state`.
///
/// # Errors
/// When it does not answer.
pub async fn state(relay: &Container) -> anyhow::Result<Value> {
    relay.admin("/state").await?.json()
}

/// Waits until a relay's listener and mode are so.
///
/// # Errors
/// When that takes a minute.
pub async fn until_state(relay: &Container, listener: &str, mode: &str) -> anyhow::Result<()> {
    let reached = async {
        while !state(relay).await.is_ok_and(|s| s["listener"] == listener && s["mode"] == mode) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(STATE, reached).await.is_err() {
        let tail = relay.log().tail(30);
        bail!("not {listener} and {mode} but {:?}\n{tail}", state(relay).await);
    }
    Ok(())
}

/// A relay that polls twice a second while it does not listen, and says everything in its log.
fn options(name: &str) -> anyhow::Result<PodOptions> {
    let folder = scratch::dir(name)?;
    // No api runs, and so nothing uses it; but it has to be there.
    let kubeconfig = folder.join("kubeconfig");
    std::fs::write(&kubeconfig, "{kind: Config, apiVersion: v1}")?;
    let mut options = PodOptions::new(name, &kubeconfig, "");
    options.config = json!({
        "progress": {"poll_interval": 500},
        "log": {"level": "debug"},
    });
    options.folder = Some(folder);
    Ok(options)
}

/// Creates the schema, as the init container would.
///
/// # Errors
/// When `knm-api migrate` fails.
pub async fn migrate(database: &Database) -> anyhow::Result<()> {
    let options = options("migrate")?;
    let folder = options.folder.as_deref().context("a folder")?;
    Pod::prepare(database, &options)?;
    let log = Log::create(folder.join("migrate-by-hand.log"))?;
    let process = Spec::new("knm-api migrate", &program(Program::Api)?)
        .args(["migrate", "--config"])
        .arg(folder.join("config.yaml"))
        .env("DB_PASSWORD", database.server().password())
        .spawn(&log)?;
    let status = process.wait(START).await?;
    if !status.success() {
        bail!("knm-api migrate ended with {status}\n{}", log.tail(20));
    }
    Ok(())
}
