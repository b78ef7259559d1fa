//! PgBouncer in transaction mode in front of a server.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::bail;

use crate::ports;
use crate::postgres::{Server, run_as_postgres};
use crate::process::{Log, Process, Spec};
use crate::scratch;

const START: Duration = Duration::from_secs(20);

/// A running PgBouncer. Dropping it kills it.
#[derive(Debug)]
pub struct Pooler {
    address: SocketAddr,
    process: Process,
}

impl Pooler {
    /// Starts one; returns when it takes connections.
    ///
    /// # Errors
    /// When there is no `pgbouncer`, or it does not start.
    pub async fn start(server: &Server) -> anyhow::Result<Self> {
        let folder = scratch::dir("pooler")?;
        let address = SocketAddr::from(([127, 0, 0, 1], ports::free()));
        let (user, password) = (server.user(), server.password());
        let users = folder.join("users");
        std::fs::write(&users, format!("\"{user}\" \"{password}\"\n"))?;
        let ini = folder.join("pgbouncer.ini");
        // Every transaction on another connection than the one before: what one session keeps for the
        // next (a statement's name, a setting) is missed at once.
        let text = format!(
            "[databases]\n* = host={} port={} password={password}\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {}\nunix_socket_dir =\nauth_type = plain\n\
             auth_file = {}\npool_mode = transaction\n\
             server_round_robin = 1\nmin_pool_size = 3\n",
            server.host(),
            server.port(),
            address.port(),
            users.display(),
        );
        std::fs::write(&ini, text)?;
        // Like PostgreSQL, it refuses to run as root.
        let setpriv = run_as_postgres(&[&users, &ini])?;
        let log = Log::create(folder.join("pgbouncer.log"))?;
        let program = std::path::Path::new("pgbouncer");
        let spec = Spec::with_death_signal("pgbouncer", program, "KILL", &setpriv).arg(&ini);
        let process = spec.spawn(&log)?;
        tokio::select! {
            up = log.wait_for("process up", START) => { up?; }
            ended = process.wait(START) => bail!("pgbouncer ended ({})\n{}", ended?, log.tail(20)),
        }
        Ok(Self { address, process })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }
}
