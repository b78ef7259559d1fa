//! A database of one test.

use std::time::Duration;

use anyhow::Context as _;
use tokio_postgres::types::ToSql;

use super::Listener;
use super::server::{Server, Sql};

/// For something that has to happen.
const SOON: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A database that is dropped, with all sessions on it, when this is.
#[derive(Debug)]
pub struct Database {
    server: Server,
    name: String,
    owned: bool,
}

impl Database {
    pub(super) async fn create(server: Server, hint: &str) -> anyhow::Result<Self> {
        let name = format!("knm_{hint}_{:08x}", rand::random::<u32>());
        let sql = format!("CREATE DATABASE {name}");
        server.connect().await?.batch_execute(&sql).await.context("cannot create a database")?;
        Ok(Self { server, name, owned: true })
    }

    /// One that exists and stays.
    #[must_use]
    pub fn existing(server: Server, name: &str) -> Self {
        Self { server, name: name.into(), owned: false }
    }

    /// The server that it is on.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// For `psql`.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url(&self.name)
    }

    /// A session on it, named `knm-tests`.
    ///
    /// # Errors
    /// When the server does not take it.
    pub async fn connect(&self) -> anyhow::Result<Sql> {
        self.server.connect_to(&self.name).await
    }

    /// A LISTEN connection of the test's own.
    ///
    /// # Errors
    /// When the server does not take it.
    pub async fn listen(&self, channel: &str) -> anyhow::Result<Listener> {
        Listener::open(&self.server, &self.name, channel).await
    }

    /// The first column of the only row.
    ///
    /// # Errors
    /// When the query fails or does not give one row of that type.
    pub async fn value<T>(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> anyhow::Result<T>
    where
        T: for<'a> tokio_postgres::types::FromSql<'a>,
    {
        let row = self.connect().await?.query_one(sql, params).await.context(sql.to_owned())?;
        row.try_get(0).context(sql.to_owned())
    }

    /// Waits until a query counts so many.
    ///
    /// # Errors
    /// When it does not, or fails.
    pub async fn until(
        &self,
        count: &str,
        params: &[&(dyn ToSql + Sync)],
        wanted: i64,
    ) -> anyhow::Result<()> {
        let sql = self.connect().await?;
        let counted = async {
            while sql.query_one(count, params).await?.get::<_, i64>(0) != wanted {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(SOON, counted)
            .await
            .with_context(|| format!("not {wanted}: {count}"))?
    }

    /// Waits until a session of it waits for a lock.
    ///
    /// # Errors
    /// When none does.
    pub async fn until_blocked(&self) -> anyhow::Result<()> {
        let sql = self.connect().await?;
        let sessions = "SELECT count(*) FROM pg_stat_activity
                        WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let blocked = async {
            while sql.query_one(sessions, &[]).await?.get::<_, i64>(0) == 0 {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(SOON, blocked).await.context("nobody waits for a lock")?
    }

    /// Ends every session whose application name starts with `application`; says how many.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn terminate(&self, application: &str) -> anyhow::Result<i64> {
        self.value(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid() \
               AND starts_with(application_name, $1)",
            &[&application],
        )
        .await
    }

    /// The sessions on it but those of the tests: application name, state, query.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn sessions(&self) -> anyhow::Result<Vec<Activity>> {
        let rows = self
            .connect()
            .await?
            .query(
                "SELECT application_name, coalesce(state, ''), query FROM pg_stat_activity \
                 WHERE datname = current_database() AND application_name <> 'knm-tests' \
                   AND backend_type = 'client backend' ORDER BY application_name, pid",
                &[],
            )
            .await?;
        let activity = |row: &tokio_postgres::Row| Activity {
            application: row.get(0),
            state: row.get(1),
            query: row.get(2),
        };
        Ok(rows.iter().map(activity).collect())
    }
}

/// A row of `pg_stat_activity`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activity {
    /// `application_name`
    pub application: String,
    /// `active`, `idle`, `idle in transaction`, …
    pub state: String,
    /// The statement that runs or ran last.
    pub query: String,
}

impl Drop for Database {
    fn drop(&mut self) {
        if !self.owned {
            return;
        }
        let (server, name) = (self.server.clone(), self.name.clone());
        // On a thread, because a runtime cannot be entered from within another.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let sql = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
                let work = async { anyhow::Ok(server.connect().await?.batch_execute(&sql).await?) };
                tokio::time::timeout(Duration::from_secs(10), work).await?
            })
        });
        // The server may be gone already, and the database with it.
        let _ = dropping.join();
    }
}
