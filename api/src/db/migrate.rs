//! Brings the schema up to date: embedded migrations, on one direct session, one process at a time.
//!
//! Old and new releases run side by side, so a schema that is newer than this release is as good as
//! its own. What is not ours is never touched: a database with tables of another program's stops the
//! migration with instructions.

mod foreign;
mod rights;

use std::time::Duration;

use knm_shared::pg::{ConnectError, Connector};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use super::audit;
use super::users::{self, NewAccount};
use crate::audit::{Record, Verdict};

mod embedded {
    #![allow(missing_docs, unreachable_pub, clippy::unwrap_used, reason = "generated")]
    refinery::embed_migrations!("migrations");
}

/// Any number, the same in every release: "knm" and "mig".
const LOCK: i64 = 0x006b_6e6d_006d_6967;

/// How long another process may migrate before this one gives up.
const LOCK_PATIENCE: Duration = Duration::from_secs(300);
const LOCK_POLL: Duration = Duration::from_millis(250);

/// How long a migration waits for a table that is in use: whoever comes next waits behind it.
const LOCK_TIMEOUT: &str = "5s";

/// Why the schema is not as this release needs it.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// No connection. Trying again may help.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection broke. Trying again may help.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// Another process has been migrating for too long.
    #[error(
        "another process has held the migration lock for {} s; look for a session of knm-api in \
         pg_stat_activity",
        LOCK_PATIENCE.as_secs()
    )]
    Locked,
    /// A table is in use. Trying again may help.
    #[error("a table that the migration changes is in use: {0}")]
    TableLocked(String),
    /// Tables of another program.
    #[error(
        "the database has tables that are not this program's: {}. Point database.database at an \
         empty database, or run \"knm-api migrate --adopt\" once to rename them to {}…",
        .0.join(", "), foreign::PREFIX
    )]
    Foreign(Vec<String>),
    /// `--adopt` has been run before.
    #[error("cannot rename {table}: {taken} exists already; rename or drop one of them by hand")]
    AdoptedBefore {
        /// The table that is in the way.
        table: String,
        /// The name that it would get.
        taken: String,
    },
    /// A statement failed.
    #[error("the server refused the migration: {0}")]
    Refused(String),
    /// The session's role cannot make tables, and some are missing.
    #[error(
        "the schema is at version {version} and this release needs {own_version}, but the role may not \
         create tables: run \"knm-api migrate\" as the role that owns them first"
    )]
    NotOwner {
        /// The version that the database is at.
        version: i32,
        /// The version that this release needs.
        own_version: i32,
    },
    /// Nobody to grant rights to.
    #[error("there is no role {0:?}; create it first")]
    NoSuchRole(String),
    /// Rights that are granted to an owner or a superuser take nothing away.
    #[error(
        "{0:?} owns the tables or is a superuser: grant to the role that the program serves with"
    )]
    OwnRole(String),
    /// The history in the database contradicts this release.
    #[error("the schema history does not fit this release: {0}")]
    History(#[source] Box<refinery::Error>),
}

impl MigrateError {
    /// Whether the same call may succeed later without anyone doing anything.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Broken(_) | Self::TableLocked(_) | Self::Locked)
    }
}

impl MigrateError {
    fn of(error: &tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(db) if *db.code() == SqlState::LOCK_NOT_AVAILABLE => {
                Self::TableLocked(db.to_string())
            }
            Some(db) => Self::Refused(db.to_string()),
            None => Self::Broken(error.to_string()),
        }
    }
}

impl From<tokio_postgres::Error> for MigrateError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::of(&error)
    }
}

/// What a migration found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Tables that `--adopt` renamed, with their new names.
    pub adopted: Vec<(String, String)>,
    /// Migrations that were applied, by name.
    pub applied: Vec<String>,
    /// The version that the database is at now.
    pub version: i32,
    /// The version that this release would bring it to.
    pub own_version: i32,
}

/// The migration lock, and the session that holds it. Everything that must happen once in an
/// installation happens here; the lock goes when this is dropped.
pub struct Migration {
    client: Client,
    connection: JoinHandle<()>,
}

impl Drop for Migration {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Migration {
    /// Opens the session and waits for the lock.
    ///
    /// # Errors
    /// [`MigrateError`]
    pub async fn begin(connector: &Connector) -> Result<Self, MigrateError> {
        let (client, connection) = connector.connect().await?;
        let connection = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the migration's connection ended");
            }
        });
        let migration = Self { client, connection };
        migration.lock().await?;
        Ok(migration)
    }

    /// Asks again and again instead of waiting in the server: a waiting statement holds a snapshot,
    /// and the holder's CREATE INDEX CONCURRENTLY would wait for that.
    async fn lock(&self) -> Result<(), MigrateError> {
        let deadline = Instant::now() + LOCK_PATIENCE;
        let mut told = false;
        loop {
            let row = self
                .client
                .query_typed_one("SELECT pg_try_advisory_lock($1)", &[(&LOCK, Type::INT8)])
                .await?;
            if row.get(0) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(MigrateError::Locked);
            }
            if !std::mem::replace(&mut told, true) {
                tracing::info!("another process is migrating the database; waiting for it");
            }
            sleep(LOCK_POLL).await;
        }
    }

    /// Applies what is missing. `adopt` renames tables of another program that are in the way.
    ///
    /// # Errors
    /// [`MigrateError`]; each migration is applied whole or not at all.
    pub async fn run(&mut self, adopt: bool) -> Result<Report, MigrateError> {
        let timeout = format!("SET lock_timeout = '{LOCK_TIMEOUT}'");
        self.client.batch_execute(&timeout).await?;
        if !rights::may_create(&self.client).await? {
            return self.found_as_it_is().await;
        }
        let found = foreign::tables(&self.client).await?;
        let adopted = match found.as_slice() {
            [] => Vec::new(),
            _ if adopt => foreign::rename(&mut self.client, found).await?,
            _ => return Err(MigrateError::Foreign(found)),
        };
        let runner = embedded::migrations::runner()
            // A newer release has been here: its schema serves this one too.
            .set_abort_missing(false)
            // The same version with another text is no newer schema, it is another program's.
            .set_abort_divergent(true);
        let own_version = runner.get_migrations().iter().map(|m| m.version()).max().unwrap_or(0);
        let report = runner.run_async(&mut self.client).await.map_err(classify)?;
        let applied: Vec<_> = report.applied_migrations().iter().map(ToString::to_string).collect();
        let row = self
            .client
            .query_typed_one("SELECT coalesce(max(version), 0) FROM refinery_schema_history", &[])
            .await?;
        let version: i32 = row.get(0);
        for (from, to) in &adopted {
            tracing::info!(from, to, "renamed a table of another program");
        }
        for migration in &applied {
            tracing::info!(migration, "applied a migration");
        }
        if version > own_version {
            tracing::info!(version, own_version, "the schema is newer than this release; going on");
        }
        Ok(Report { adopted, applied, version, own_version })
    }

    /// What there is to do for a role that does not own the tables: nothing.
    async fn found_as_it_is(&self) -> Result<Report, MigrateError> {
        let version = rights::version(&self.client).await?;
        let runner = embedded::migrations::runner();
        let own_version = runner.get_migrations().iter().map(|m| m.version()).max().unwrap_or(0);
        if version < own_version {
            return Err(MigrateError::NotOwner { version, own_version });
        }
        Ok(Report { adopted: Vec::new(), applied: Vec::new(), version, own_version })
    }

    /// Gives the role that the program serves with what that takes, and no more: it can add to the
    /// audit log, but not change it.
    ///
    /// # Errors
    /// [`MigrateError`]
    pub async fn grant(&mut self, role: &str) -> Result<(), MigrateError> {
        rights::grant(&mut self.client, role).await
    }

    /// Whether this program's schema is there.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn has_schema(&self) -> Result<bool, MigrateError> {
        const SQL: &str = "SELECT to_regclass('refinery_schema_history') IS NOT NULL";
        Ok(self.client.query_typed_one(SQL, &[]).await?.get(0))
    }

    /// Whether there is no account yet.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn has_no_users(&self) -> Result<bool, MigrateError> {
        Ok(!users::any(&self.client).await?)
    }

    /// Stores an account, and says so in the audit log. Returns false when the name is taken.
    ///
    /// # Errors
    /// When the database does not answer; nothing is stored then.
    pub async fn create_user(
        &mut self,
        new: &NewAccount<'_>,
        by: &str,
    ) -> Result<bool, MigrateError> {
        let transaction = self.client.transaction().await?;
        let Some(id) = users::insert(&transaction, new).await? else { return Ok(false) };
        let record = Record {
            user: None,
            username: by.to_owned(),
            session: None,
            address: None,
            action: "user.create".to_owned(),
            target: new.username.to_owned(),
            cluster: String::new(),
            verdict: Verdict::Done,
            status: 0,
            detail: String::new(),
            before: None,
            after: Some(serde_json::json!({"id": id.0, "role": new.role})),
            request_id: String::new(),
        };
        audit::insert(&transaction, &record).await?;
        transaction.commit().await?;
        Ok(true)
    }
}

/// The server cuts identifiers of more than 63 bytes by itself.
fn quote(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// refinery wraps the driver's error, whose code says whether trying again may help.
fn classify(error: refinery::Error) -> MigrateError {
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        if let Some(cause) = cause.downcast_ref::<tokio_postgres::Error>() {
            return MigrateError::of(cause);
        }
        source = cause.source();
    }
    MigrateError::History(Box::new(error))
}
