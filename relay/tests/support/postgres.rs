//! A throwaway PostgreSQL cluster in a temporary folder, gone when dropped.

use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use uuid::Uuid;

/// What a relay reads of the schema, as the api's migrations leave it.
const SCHEMA: &str = concat!(
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../api/migrations/V1__tasks_and_users.sql")),
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../api/migrations/V4__access.sql")),
);

pub struct Postgres {
    dir: PathBuf,
    bin: PathBuf,
    pub port: u16,
}

impl Postgres {
    /// An empty cluster that answers.
    pub fn start() -> Self {
        let bin = binaries();
        let dir = std::env::temp_dir().join(format!("knm-relay-{}", Uuid::new_v4().simple()));
        std::fs::create_dir_all(&dir).expect("a temporary folder");
        if let Some((uid, gid)) = other_user() {
            chown(&dir, Some(uid), Some(gid)).expect("root may");
        }
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .expect("a free port")
            .port();
        let postgres = Self { dir, bin, port };
        let data = postgres.data();
        postgres.run("initdb", &["-D", &data, "-U", "postgres", "-A", "trust", "--no-sync"]);
        postgres.up();
        postgres
    }

    /// A cluster with the schema that a relay needs.
    pub async fn with_schema() -> Self {
        let postgres = Self::start();
        postgres.migrate().await;
        postgres
    }

    pub async fn migrate(&self) {
        let client = self.client().await;
        client.batch_execute(SCHEMA).await.expect("the schema");
        client
            .batch_execute(
                "CREATE TABLE refinery_schema_history (version int4 PRIMARY KEY, name text, \
                 applied_on text, checksum text); \
                 INSERT INTO refinery_schema_history VALUES (4, 'access', '', '')",
            )
            .await
            .expect("the history");
    }

    pub fn up(&self) {
        let options = format!(
            "-p {} -k {} -c listen_addresses=127.0.0.1 -c fsync=off",
            self.port,
            self.dir.display()
        );
        let (data, log) = (self.data(), self.dir.join("log").display().to_string());
        self.run("pg_ctl", &["-D", &data, "-w", "-l", &log, "-o", &options, "start"]);
    }

    pub fn down(&self) {
        self.run("pg_ctl", &["-D", &self.data(), "-w", "-m", "immediate", "stop"]);
    }

    /// A connection whose other half runs until it is dropped.
    pub async fn client(&self) -> tokio_postgres::Client {
        self.client_as("postgres").await
    }

    /// The same as another role.
    pub async fn client_as(&self, role: &str) -> tokio_postgres::Client {
        let url = format!("host=127.0.0.1 port={} user={role} dbname=postgres", self.port);
        let (client, connection) =
            tokio_postgres::connect(&url, tokio_postgres::NoTls).await.expect("connects");
        tokio::spawn(connection);
        client
    }

    fn data(&self) -> String {
        self.dir.join("data").display().to_string()
    }

    fn run(&self, program: &str, args: &[&str]) {
        let program = self.bin.join(program);
        let mut command = match other_user() {
            Some((uid, gid)) => {
                let mut command = Command::new("setpriv");
                command.args([&format!("--reuid={uid}"), &format!("--regid={gid}")]);
                command.arg("--clear-groups").arg(&program);
                command
            }
            None => Command::new(&program),
        };
        let status = command
            .args(args)
            .current_dir(&self.dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("PostgreSQL is installed");
        assert!(status.success(), "{} {args:?}: {status}", program.display());
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let stop = ["-D", &self.data(), "-w", "-m", "immediate", "stop"].map(str::to_owned);
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            self.run("pg_ctl", &stop.each_ref().map(String::as_str));
        }));
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn binaries() -> PathBuf {
    let root = Path::new("/usr/lib/postgresql");
    let newest = std::fs::read_dir(root).ok().and_then(|versions| {
        versions.flatten().map(|v| v.path().join("bin")).filter(|b| b.join("initdb").exists()).max()
    });
    newest.unwrap_or_else(|| PathBuf::from("/usr/bin"))
}

/// PostgreSQL refuses to run as root.
fn other_user() -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    if std::fs::metadata("/proc/self").ok()?.uid() != 0 {
        return None;
    }
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = passwd.lines().find(|l| l.starts_with("postgres:"))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}
