//! A streaming standby of a [`Cluster`]: it can be held back while the primary goes on, and promoted.
//!
//! Pausing the replay would not do to lose commits: a promotion ends the pause and replays whatever
//! has been received. What makes a standby lag for good is that it stops receiving.

use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::process::Signal;
use tokio::sync::Mutex;

use super::cluster::Cluster;
use super::server::Server;
use super::{Database, Shutdown};
use crate::process::Log;
use crate::scratch;

const COPY: Duration = Duration::from_secs(60);
const REPLAY: Duration = Duration::from_secs(30);
/// No signal tells of another server's replay; this is how often it is asked.
const ASK: Duration = Duration::from_millis(20);

/// A copy of a [`Cluster`] on the same port of another address, so that one list of hosts and one
/// port reach both. Dropping it shuts it down.
#[derive(Debug)]
pub struct Standby {
    cluster: Cluster,
    primary: Server,
}

impl Cluster {
    /// Copies the data and prepares a standby on `address`, a loopback address of its own. Nothing
    /// runs yet, and nothing is received before [`Standby::receive`].
    ///
    /// # Errors
    /// When the copy fails.
    pub async fn standby(&self, address: &str) -> anyhow::Result<Standby> {
        let folder = scratch::dir("standby")?;
        let data = folder.join("data");
        // PostgreSQL insists on a folder that nobody else can read.
        std::fs::DirBuilder::new().mode(0o700).create(&data)?;
        self.run_as.own(&data)?;
        let log = Log::create(folder.join("postgres.log"))?;
        let (host, port, user) = (self.server.host(), self.server.port(), self.server.user());
        let beside = self.binaries.initdb.canonicalize()?.with_file_name("pg_basebackup");
        let program = if beside.is_file() { beside } else { PathBuf::from("pg_basebackup") };
        let copying = self
            .spec("pg_basebackup", &program)
            .env("PGPASSWORD", self.server.password())
            .args(["--checkpoint=fast", "--wal-method=none", "--no-sync", "--no-manifest"])
            .args(["--host", host, "--username", user])
            .arg(format!("--port={port}"))
            .arg(format!("--pgdata={}", data.display()))
            .spawn(&log)?;
        let status = copying.wait(COPY).await?;
        ensure!(status.success(), "pg_basebackup ended with {status}\n{}", log.tail(20));
        let signal = data.join("standby.signal");
        std::fs::write(&signal, "")?;
        self.run_as.own(&signal)?;
        let standby = Standby {
            cluster: Self {
                server: Server::new(address, port, user, self.server.password()),
                binaries: self.binaries.clone(),
                run_as: self.run_as,
                environment: self.environment.clone(),
                data,
                log,
                process: Mutex::new(None),
            },
            primary: self.server.clone(),
        };
        standby.set("listen_addresses", address)?;
        standby.set("primary_conninfo", "")?;
        Ok(standby)
    }
}

impl Standby {
    /// Starts it without anything to replay: every login fails, because the copy is consistent only
    /// with the primary's log up to the copy's end.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_starving(&self) -> anyhow::Result<()> {
        self.cluster.launch("entering standby mode").await
    }

    /// Starts it, receives, and waits until it takes reads.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(&self) -> anyhow::Result<()> {
        self.set_receiving(true)?;
        self.cluster.start_again().await
    }

    /// Begins to receive, and waits until it takes reads.
    ///
    /// # Errors
    /// When that takes half a minute.
    pub async fn receive(&self) -> anyhow::Result<()> {
        self.set_receiving(true)?;
        self.cluster.signal(Signal::HUP).await?;
        self.cluster.log().wait_for("ready to accept read-only connections", REPLAY).await?;
        Ok(())
    }

    /// Waits until it has everything that the primary has committed by now.
    ///
    /// # Errors
    /// When that takes half a minute.
    pub async fn catch_up(&self) -> anyhow::Result<()> {
        let sql = "SELECT pg_current_wal_insert_lsn()::text";
        let lsn: String = self.primary.connect().await?.query_one(sql, &[]).await?.get(0);
        let sql = "SELECT coalesce(pg_last_wal_replay_lsn() >= $1::text::pg_lsn, false)";
        self.until(sql, &lsn).await.context("the standby does not catch up")
    }

    /// Stops receiving: what the primary commits from now on is not here.
    ///
    /// # Errors
    /// When the receiver does not end in half a minute.
    pub async fn hold_back(&self) -> anyhow::Result<()> {
        self.set_receiving(false)?;
        self.cluster.signal(Signal::HUP).await?;
        let sql = "SELECT $1 = '' AND NOT EXISTS (SELECT FROM pg_stat_wal_receiver)";
        self.until(sql, "").await.context("the standby goes on receiving")
    }

    /// Makes it a primary of its own, on a new timeline.
    ///
    /// # Errors
    /// When that takes a minute.
    pub async fn promote(&self) -> anyhow::Result<()> {
        let sql = "SELECT pg_promote(true, 60)";
        let promoted: bool = self.server().connect().await?.query_one(sql, &[]).await?.get(0);
        ensure!(promoted, "not promoted within a minute\n{}", self.cluster.log().tail(20));
        Ok(())
    }

    /// Where to connect.
    #[must_use]
    pub fn server(&self) -> &Server {
        self.cluster.server()
    }

    /// A database of the primary's, as it is here.
    #[must_use]
    pub fn database(&self, name: &str) -> Database {
        Database::existing(self.server().clone(), name)
    }

    /// Stops it.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(&self, how: Shutdown) -> anyhow::Result<()> {
        self.cluster.stop(how).await
    }

    fn set_receiving(&self, on: bool) -> anyhow::Result<()> {
        let (host, port) = (self.primary.host(), self.primary.port());
        let (user, password) = (self.primary.user(), self.primary.password());
        let conninfo = format!("host={host} port={port} user={user} password={password}");
        self.set("primary_conninfo", if on { &conninfo } else { "" })
    }

    /// The last value of a setting counts.
    fn set(&self, setting: &str, value: &str) -> anyhow::Result<()> {
        let path = self.cluster.data().join("postgresql.conf");
        let mut conf = std::fs::OpenOptions::new().append(true).open(path)?;
        writeln!(conf, "{setting} = '{value}'").context("cannot write postgresql.conf")
    }

    async fn until(&self, sql: &str, parameter: &str) -> anyhow::Result<()> {
        let session = self.server().connect().await?;
        let asking = async {
            while !session.query_one(sql, &[&parameter]).await?.get::<_, bool>(0) {
                tokio::time::sleep(ASK).await;
            }
            anyhow::Ok(())
        };
        match tokio::time::timeout(REPLAY, asking).await {
            Ok(done) => done,
            Err(_) => bail!("not within {REPLAY:?}\n{}", self.cluster.log().tail(20)),
        }
    }
}
