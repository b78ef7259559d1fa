//! The programs that we are measured against, as processes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use knm_tests::api::Api;
use knm_tests::postgres::Database;
use knm_tests::process::{Log, Process, Spec};
use knm_tests::{ports, scratch};
use serde_json::{Value, json};

const START: Duration = Duration::from_secs(30);

/// Where they are.
#[derive(Debug, Clone)]
pub(crate) struct Peers {
    folder: PathBuf,
}

impl Peers {
    /// # Errors
    /// When they have not been installed.
    pub(crate) fn find(folder: &Path) -> anyhow::Result<Self> {
        let modules = folder.join("node_modules");
        ensure!(modules.is_dir(), "{} is not there: run `npm ci` in its folder", modules.display());
        Ok(Self { folder: folder.canonicalize()? })
    }

    /// The release of one of the packages.
    pub(crate) fn version(&self, package: &str) -> anyhow::Result<String> {
        let path = self.folder.join("node_modules").join(package).join("package.json");
        let manifest: Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
        Ok(manifest["version"].as_str().context("no version")?.to_owned())
    }

    /// Starts one of the scripts; returns when it is ready.
    pub(crate) async fn start(&self, script: &str, options: &Value) -> anyhow::Result<Peer> {
        let log = Log::create(scratch::dir("peer")?.join("peer.log"))?;
        let process = Spec::new(script, Path::new("/usr/bin/env"))
            .arg("node")
            .arg(self.folder.join(script))
            .arg(options.to_string())
            .env("NODE_ENV", "production")
            .spawn(&log)?;
        let ending = process.ending();
        let line = tokio::select! {
            line = log.wait_for("ready ", START) => line?,
            ended = ending.wait() => return Err(ended),
        };
        let port = line.strip_prefix("ready ").context("a port")?;
        let address = format!("127.0.0.1:{port}");
        Ok(Peer { control: Api::new(format!("http://{address}")), process, address })
    }

    /// A server of socket.io that knows the others over PostgreSQL or Redis.
    pub(crate) async fn socket_io(
        &self,
        database: &Database,
        redis: Option<&Redis>,
    ) -> anyhow::Result<Peer> {
        let adapter = if redis.is_some() { "redis" } else { "postgres" };
        let options = json!({
            "adapter": adapter,
            "postgres": database.url(),
            "redis": redis.map(Redis::url),
            // Channels of Redis are the server's, whatever the database.
            "name": database.name(),
        });
        self.start("socketio.mjs", &options).await
    }
}

/// A script that runs.
#[derive(Debug)]
pub(crate) struct Peer {
    control: Api,
    process: Process,
    address: String,
}

impl Peer {
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Has it do something.
    pub(crate) async fn ask(&self, what: &str, how: &Value) -> anyhow::Result<Value> {
        let answer = self.control.post(&format!("/{what}"), how).await?;
        answer.ok().with_context(|| format!("{what}\n{}", self.process.log().tail(20)))
    }
}

/// A Redis server that keeps nothing on disk.
#[derive(Debug)]
pub(crate) struct Redis {
    port: u16,
    _process: Process,
}

impl Redis {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let (port, folder) = (ports::free(), scratch::dir("redis")?);
        let log = Log::create(folder.join("redis.log"))?;
        let process = Spec::new("redis-server", Path::new("/usr/bin/env"))
            .args(["redis-server", "--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(&folder)
            .spawn(&log)?;
        let ending = process.ending();
        tokio::select! {
            ready = log.wait_for("Ready to accept connections", START) => { ready?; }
            ended = ending.wait() => return Err(ended),
        }
        Ok(Self { port, _process: process })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}
