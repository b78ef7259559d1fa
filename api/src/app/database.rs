//! The database before anything else uses it: schema up to date, first administrator made.

use std::time::Duration;

use knm_shared::config::{self, env};
use knm_shared::pg::{App, Connector, Reporter, Target};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::auth::{self, FirstAdmin, FirstAdminError, FirstAdminOutcome, Passwords};
use crate::db::migrate::{MigrateError, Migration};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Migrates and sees to the first administrator. While the database is away it tries on: the process
/// is alive and not ready, and its log says why. `tried` is cancelled when it has to wait.
///
/// # Errors
/// What no waiting will cure.
pub(super) async fn prepare(
    database: &config::Database,
    passwords: &Passwords,
    tried: &CancellationToken,
) -> anyhow::Result<()> {
    let connector = Connector::new(database, App::Api, Target::Direct)?;
    let reporter = Reporter::new(App::Api);
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match attempt(&connector, &reporter, passwords).await {
            Ok(()) => return Ok(()),
            Err(FirstAdminError::Database(error)) if error.is_transient() => error,
            Err(FirstAdminError::Credentials(error)) => {
                let (name, password) = (env::ADMIN_USERNAME, env::ADMIN_PASSWORD);
                anyhow::bail!("the first administrator ({name}, {password}): {error}");
            }
            Err(error) => return Err(error.into()),
        };
        match &error {
            MigrateError::Connect(error) => {
                reporter.failed(error);
            }
            error => warn!(%error, "the database cannot be prepared yet; trying on"),
        }
        tried.cancel();
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn attempt(
    connector: &Connector,
    reporter: &Reporter,
    passwords: &Passwords,
) -> Result<(), FirstAdminError> {
    let mut migration = Migration::begin(connector).await?;
    reporter.connected();
    migration.run(false).await?;
    match auth::ensure(&mut migration, passwords, first_admin()).await? {
        FirstAdminOutcome::NotNeeded => {}
        FirstAdminOutcome::Created => info!("created the first administrator"),
        FirstAdminOutcome::Missing => warn!(
            "there are no users yet: create the first administrator with \
             \"knm-api admin create --username NAME\", or start with {} set",
            env::ADMIN_PASSWORD
        ),
    }
    Ok(())
}

fn first_admin() -> Option<FirstAdmin> {
    let set = |name| env::process(name).filter(|value| !value.is_empty());
    let username = set(env::ADMIN_USERNAME).unwrap_or_else(|| "admin".to_owned());
    set(env::ADMIN_PASSWORD).map(|password| FirstAdmin { username, password })
}
