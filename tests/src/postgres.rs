//! Throwaway PostgreSQL servers, and a database per test.
//!
//! [`shared_server`] is what nearly every test wants: the server named by `KNM_TEST_POSTGRES` (which
//! `tests/run` sets, so that all test processes use one), else one per test process. A test that
//! stops or restarts its server starts a [`Cluster`] of its own.
//!
//! NOTIFY channels and `pg_stat_activity` rows belong to a database, so each test makes its own.

use std::sync::Arc;

use tokio::sync::OnceCell;

mod binaries;
mod certificates;
mod cluster;
mod database;
mod fake_clock;
mod listener;
mod server;
mod standby;

pub use binaries::{Binaries, Missing};
pub use certificates::{Certificate, Certificates};
pub use cluster::{Cluster, ClusterOptions, Shutdown};
pub use database::{Activity, Database};
pub use fake_clock::FakeClock;
pub use listener::Listener;
pub use server::{Server, Sql};
pub use standby::Standby;

/// URL of a server on which tests may create databases.
pub const SHARED: &str = "KNM_TEST_POSTGRES";

/// The server that tests share. The first caller starts one when the environment names none.
///
/// # Errors
/// When the URL is wrong or no server can be started.
pub async fn shared_server() -> anyhow::Result<Server> {
    static CLUSTER: OnceCell<Arc<Cluster>> = OnceCell::const_new();
    if let Some(url) = std::env::var(SHARED).ok().filter(|url| !url.is_empty()) {
        return Server::from_url(&url);
    }
    let start = async || Cluster::start(ClusterOptions::default()).await.map(Arc::new);
    Ok(CLUSTER.get_or_try_init(start).await?.server().clone())
}

/// Gives files to the user that servers run as; the options of `setpriv` that make a program so.
///
/// # Errors
/// When there is no such user.
pub fn run_as_postgres(files: &[&std::path::Path]) -> anyhow::Result<Vec<String>> {
    let run_as = binaries::RunAs::choose()?;
    for file in files {
        run_as.own(file)?;
    }
    Ok(run_as.setpriv())
}
