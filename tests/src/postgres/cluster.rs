//! One PostgreSQL server that a test owns: started, stopped, restarted at will.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::Signal;
use tokio::sync::Mutex;

use super::binaries::{Binaries, RunAs};
use super::server::Server;
use crate::process::{Ending, Log, Process, Spec};
use crate::{ports, scratch};

/// Of a primary ("… accept connections") and of a standby ("… accept read-only connections").
const READY: &str = "database system is ready to accept";
const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(30);

/// How a cluster is set up.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// `max_connections`: two pods take about 60, and many tests run at a time.
    pub max_connections: u32,
    /// More settings, as in `postgresql.conf`.
    pub settings: Vec<(String, String)>,
    /// Environment variables of the server.
    pub environment: Vec<(String, String)>,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self { max_connections: 300, settings: Vec::new(), environment: Vec::new() }
    }
}

/// <https://www.postgresql.org/docs/15/server-shutdown.html>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Waits for every client to leave.
    Smart,
    /// Disconnects every client, then writes everything back.
    Fast,
    /// As in a power failure: recovery at the next start.
    Immediate,
}

impl Shutdown {
    const fn signal(self) -> Signal {
        match self {
            Self::Smart => Signal::TERM,
            Self::Fast => Signal::INT,
            Self::Immediate => Signal::QUIT,
        }
    }
}

/// A server with a data directory of its own. Dropping it shuts it down (immediate); should this
/// process be killed, the server gets the same signal and the janitor of [`scratch`] the folder.
#[derive(Debug)]
pub struct Cluster {
    pub(super) server: Server,
    pub(super) binaries: Binaries,
    pub(super) run_as: RunAs,
    pub(super) environment: Vec<(String, String)>,
    pub(super) data: PathBuf,
    pub(super) log: Log,
    pub(super) process: Mutex<Option<Process>>,
}

impl Cluster {
    /// Makes a data directory and starts a server on it.
    ///
    /// # Errors
    /// When PostgreSQL is missing or does not start; its log is part of the message.
    pub async fn start(options: ClusterOptions) -> anyhow::Result<Self> {
        let binaries = Binaries::find()?;
        let run_as = RunAs::choose()?;
        let folder = scratch::dir("postgres")?;
        let data = folder.join("data");
        let password = format!("{:032x}", rand::random::<u128>());
        let server = Server::new("127.0.0.1", ports::free(), "postgres", &password);
        let log = Log::create(folder.join("postgres.log"))?;
        let (environment, process) = (options.environment.clone(), Mutex::new(None));
        let cluster = Self { server, binaries, run_as, environment, data, log, process };
        cluster.init(&password).await?;
        cluster.configure(&options)?;
        cluster.start_again().await?;
        Ok(cluster)
    }

    async fn init(&self, password: &str) -> anyhow::Result<()> {
        std::fs::create_dir(&self.data)?;
        self.run_as.own(&self.data)?;
        let secret = self.data.with_file_name("password");
        std::fs::write(&secret, password)?;
        self.run_as.own(&secret)?;
        let spec = self
            .spec("initdb", &self.binaries.initdb)
            .arg("-D")
            .arg(&self.data)
            .args(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8"])
            .args(["--locale=C", "--no-sync", "--no-instructions"])
            .arg(format!("--pwfile={}", secret.display()));
        let status = spec.spawn(&self.log)?.wait(START).await?;
        std::fs::remove_file(&secret)?;
        if !status.success() {
            bail!("initdb failed ({status})\n{}", self.log.tail(20));
        }
        Ok(())
    }

    fn configure(&self, options: &ClusterOptions) -> anyhow::Result<()> {
        use std::fmt::Write as _;

        let (port, max) = (self.server.port(), options.max_connections);
        let mut conf = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nmax_connections = {max}\n\
             unix_socket_directories = ''\nlogging_collector = off\nlog_min_messages = warning\n\
             timezone = 'UTC'\n"
        );
        for (key, value) in &options.settings {
            writeln!(conf, "{key} = '{}'", value.replace('\'', "''"))?;
        }
        // The last value of a setting counts.
        let path = self.data.join("postgresql.conf");
        let mut whole = std::fs::read_to_string(&path)?;
        whole.push_str(&conf);
        std::fs::write(&path, whole).context("cannot write postgresql.conf")
    }

    pub(super) fn spec(&self, name: &str, program: &Path) -> Spec {
        // The messages that are waited for are in English.
        Spec::with_death_signal(name, program, "QUIT", &self.run_as.setpriv()).env("LC_ALL", "C")
    }

    /// Where to connect.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// What the server prints.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Starts the server after [`Cluster::stop`]; waits until it takes connections.
    ///
    /// # Errors
    /// When it runs already or does not start.
    pub async fn start_again(&self) -> anyhow::Result<()> {
        self.launch(READY).await
    }

    /// Starts the server and waits for a line of its log.
    pub(super) async fn launch(&self, phrase: &str) -> anyhow::Result<()> {
        let mut slot = self.process.lock().await;
        if slot.as_ref().is_some_and(|p| p.status().is_none()) {
            bail!("PostgreSQL runs already");
        }
        let mark = self.log.mark();
        // Set behind setpriv: what they do to a program must not happen to root's.
        let variables = self.environment.iter().map(|(key, value)| format!("{key}={value}"));
        let spec = self.spec("postgres", Path::new("/usr/bin/env")).args(variables);
        let spec = spec.arg(&self.binaries.postgres).arg("-D").arg(&self.data);
        let process = spec.spawn(&self.log)?;
        tokio::select! {
            ready = self.log.wait_for_after(mark, phrase, START) => { ready?; }
            ended = process.wait(START) => {
                bail!("PostgreSQL ended ({:?})\n{}", ended?, self.log.tail(20));
            }
        }
        *slot = Some(process);
        Ok(())
    }

    /// Starts the server if it has ended by itself.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_if_ended(&self) -> anyhow::Result<()> {
        let ended = self.process.lock().await.as_ref().is_some_and(|p| p.status().is_some());
        if ended { self.start_again().await } else { Ok(()) }
    }

    /// Stops the server and waits for its end.
    ///
    /// # Errors
    /// When it does not end in half a minute.
    pub async fn stop(&self, how: Shutdown) -> anyhow::Result<()> {
        if let Some(process) = self.process.lock().await.take() {
            process.stop(how.signal(), STOP).await?;
        }
        Ok(())
    }

    /// [`Cluster::stop`], then [`Cluster::start_again`].
    ///
    /// # Errors
    /// See there.
    pub async fn restart(&self, how: Shutdown) -> anyhow::Result<()> {
        self.stop(how).await?;
        self.start_again().await
    }

    /// Tells of the end of the server process that runs now.
    ///
    /// # Errors
    /// When none does.
    pub async fn ending(&self) -> anyhow::Result<Ending> {
        let slot = self.process.lock().await;
        Ok(slot.as_ref().context("PostgreSQL does not run")?.ending())
    }

    /// Sends a signal to the server's main process: SIGSTOP keeps new connections waiting.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let slot = self.process.lock().await;
        slot.as_ref().context("PostgreSQL does not run")?.signal(signal)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let Some(process) = self.process.get_mut().take() else {
            return;
        };
        let _ = process.signal(Signal::CONT);
        let _ = process.signal(Signal::QUIT);
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while process.status().is_none() && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        if !scratch::keep()
            && let Some(folder) = self.data.parent()
        {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}
