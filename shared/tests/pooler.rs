//! `check` through PgBouncer in transaction mode.

mod support;

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use knm_shared::check::{Component, run_with};
use support::{PASSWORD, Server, account, free_port};

struct Pooler {
    port: u16,
    process: Child,
}

impl Pooler {
    async fn start(server: &Server) -> Self {
        let port = free_port();
        let folder = server.folder.join("pooler");
        fs::create_dir(&folder).expect("a new folder");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("own folder");
        let ini = format!(
            "[databases]\n* = host=127.0.0.1 port={} password={PASSWORD}\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = plain\n\
             auth_file = {}/users\npool_mode = transaction\n",
            server.port,
            folder.display(),
        );
        fs::write(folder.join("pgbouncer.ini"), ini).expect("written");
        let users = format!("\"postgres\" \"{PASSWORD}\"\n");
        fs::write(folder.join("users"), users).expect("written");
        let mut command = Command::new("pgbouncer");
        command.arg("-q").arg(folder.join("pgbouncer.ini")).stderr(Stdio::null());
        if let Some((uid, gid)) = account() {
            chown(&folder, Some(uid), Some(gid)).expect("root may");
            command.uid(uid).gid(gid);
        }
        let process = command.spawn().expect("pgbouncer, of the Debian package of that name");
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "pgbouncer does not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self { port, process }
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn check(server: &Server, more: &str) -> (bool, String) {
    let file = server.config_file(&server.database(more));
    let mut out = Vec::new();
    let sound = run_with(Some(&file), Component::Relay, &|_| None, &mut out).await;
    (sound, String::from_utf8(out).expect("text"))
}

#[tokio::test]
async fn a_transaction_pooler_is_named_and_the_direct_server_helps() {
    let server = Server::start().await;
    let pooler = Pooler::start(&server).await;
    let through = format!("port: {}", pooler.port);
    let (sound, out) = check(&server, &through).await;
    assert!(
        !sound && out.contains("a pooler in transaction mode; set database.direct_host"),
        "{out}"
    );
    let beside = format!("{through}\ndirect_port: {}", server.port);
    let (sound, out) = check(&server, &beside).await;
    assert!(sound && out.contains("LISTEN works"), "{out}");
    let (sound, out) = check(&server, &format!("{through}\npassword: wrong")).await;
    assert!(!sound && out.contains("authentication failed"), "{out}");
    let (sound, out) = check(&server, &format!("{through}\ndatabase: nothing")).await;
    assert!(!sound && out.contains("create it"), "{out}");
}
