//! A throwaway PostgreSQL for the tests of this crate.
#![allow(dead_code, unreachable_pub, missing_docs)]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use knm_shared::config::{self, Config, Loaded};
use knm_shared::pg::{App, Connector, Target};
use tokio_postgres::Client;

pub const PASSWORD: &str = "c0rrect-h0rse";

/// A server that stops, and leaves nothing behind, when it is dropped.
pub struct Server {
    pub port: u16,
    pub folder: PathBuf,
    process: Child,
}

/// Everything that a server is made of, before it starts.
pub struct Setup {
    folder: PathBuf,
    bin: PathBuf,
    account: Option<(u32, u32)>,
    settings: Vec<String>,
}

impl Setup {
    /// A new cluster; role `postgres` with [`PASSWORD`].
    pub fn new() -> Self {
        let name = format!("knm-pg-{}", uuid::Uuid::new_v4().simple());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).expect("a new folder");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("own folder");
        let setup = Self { bin: bin(), account: account(), folder, settings: Vec::new() };
        setup.write("password", PASSWORD);
        setup.own(&setup.folder);
        let data = setup.data();
        let password = setup.folder.join("password");
        let status = setup
            .command("initdb")
            .args(["--username=postgres", "--auth=scram-sha-256", "--no-sync", "--encoding=UTF8"])
            .args(["--locale=C", "--no-instructions"])
            .arg(format!("--pwfile={}", password.display()))
            .arg(format!("--pgdata={}", data.display()))
            .status();
        assert!(status.expect("initdb runs").success(), "initdb failed");
        setup
    }

    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A line for the server's command line, like `ssl=on`.
    pub fn setting(mut self, setting: impl Into<String>) -> Self {
        self.settings.push(setting.into());
        self
    }

    /// Replaces pg_hba.conf.
    pub fn hba(self, lines: &str) -> Self {
        fs::write(self.data().join("pg_hba.conf"), lines).expect("written");
        self
    }

    /// A file in the server's folder that only the server may read.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, text).expect("written");
        self.own(&path);
        path
    }

    /// Gives a file to the account that the server runs as, with the rights that it insists on.
    pub fn own(&self, path: &Path) {
        if let Some((uid, gid)) = self.account {
            chown(path, Some(uid), Some(gid)).expect("root may");
        }
        if path.is_file() {
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("own file");
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        // PostgreSQL refuses to run as root.
        if let Some((uid, gid)) = self.account {
            command.uid(uid).gid(gid);
        }
        command.current_dir(&self.folder).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    pub async fn start(self) -> Server {
        let port = free_port();
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).arg("-p").arg(port.to_string());
        command.arg("-k").arg(&self.folder);
        for setting in ["fsync=off", "listen_addresses=127.0.0.1", "shared_buffers=16MB"] {
            command.arg("-c").arg(setting);
        }
        for setting in &self.settings {
            command.arg("-c").arg(setting);
        }
        let process = command.spawn().expect("postgres runs");
        let server = Server { port, folder: self.folder, process };
        server.wait().await;
        server
    }
}

impl Server {
    pub async fn start() -> Self {
        Setup::new().start().await
    }

    /// The server says in its pid file when it takes connections.
    async fn wait(&self) {
        let pid_file = self.folder.join("data/postmaster.pid");
        let deadline = Instant::now() + Duration::from_secs(30);
        while !fs::read_to_string(&pid_file).is_ok_and(|text| text.contains("ready")) {
            assert!(Instant::now() < deadline, "PostgreSQL does not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A configuration for this server; `more` are lines of its `database:` section.
    pub fn config(&self, more: &str) -> Loaded {
        let path = self.config_file(&self.database(more));
        config::load_with(Some(&path), &|_| None).expect("a valid configuration")
    }

    /// A `database:` section for this server. A key in `more` replaces the one here.
    pub fn database(&self, more: &str) -> String {
        let mut text = String::from("database:\n");
        let own = [
            ("host", "127.0.0.1".to_owned()),
            ("port", self.port.to_string()),
            ("database", "postgres".to_owned()),
            ("password", format!("\"{PASSWORD}\"")),
        ];
        for (key, value) in own {
            if !more.lines().any(|line| line.starts_with(&format!("{key}:"))) {
                text += &format!("  {key}: {value}\n");
            }
        }
        for line in more.lines() {
            text += &format!("  {line}\n");
        }
        text
    }

    /// Writes a configuration file.
    pub fn config_file(&self, text: &str) -> PathBuf {
        let path = self.folder.join(format!("{}.yaml", uuid::Uuid::new_v4().simple()));
        fs::write(&path, text).expect("written");
        path
    }

    /// A connection, driven in the background until the test ends.
    pub async fn client(&self) -> Client {
        let Config { database, .. } = self.config("").config;
        let connector = Connector::new(&database, App::Check, Target::Pooled).expect("no TLS");
        let (client, connection) = connector.connect().await.expect("connects");
        tokio::spawn(connection);
        client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = i32::try_from(self.process.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
        }
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A port that nothing listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port()
}

/// The newest PostgreSQL of this machine.
fn bin() -> PathBuf {
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    installed
        .map(|entry| entry.path().join("bin"))
        .filter(|bin| bin.join("initdb").exists())
        .max()
        .or_else(|| {
            let output = Command::new("pg_config").arg("--bindir").output().ok()?;
            Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
        })
        .expect("these tests need PostgreSQL's server programs")
}

/// The account to run as, when this one is root.
pub fn account() -> Option<(u32, u32)> {
    let id = |flag: &str, user: &[&str]| -> u32 {
        let output = Command::new("id").arg(flag).args(user).output().expect("id runs");
        let text = String::from_utf8(output.stdout).expect("digits");
        text.trim().parse().expect("as root, these tests need the account postgres")
    };
    (id("-u", &[]) == 0).then(|| (id("-u", &["postgres"]), id("-g", &["postgres"])))
}
