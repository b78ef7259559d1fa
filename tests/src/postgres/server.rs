//! How to reach a server, and sessions on it.

use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio_postgres::config::Host;
use tokio_postgres::{Client, NoTls};
use tokio_util::task::AbortOnDropHandle;

use super::Database;

/// A server and the superuser on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    host: String,
    port: u16,
    user: String,
    password: String,
    database: String,
}

impl Server {
    /// From its parts; the maintenance database is `postgres`.
    #[must_use]
    pub fn new(host: &str, port: u16, user: &str, password: &str) -> Self {
        Self {
            host: host.into(),
            port,
            user: user.into(),
            password: password.into(),
            database: "postgres".into(),
        }
    }

    /// From `postgres://USER:PASSWORD@HOST:PORT/DATABASE`.
    ///
    /// # Errors
    /// When the URL is not of that form.
    pub fn from_url(url: &str) -> anyhow::Result<Self> {
        let config: tokio_postgres::Config = url.parse().context("not a PostgreSQL URL")?;
        let Some(Host::Tcp(host)) = config.get_hosts().first() else {
            bail!("the PostgreSQL URL names no host");
        };
        let password = String::from_utf8_lossy(config.get_password().unwrap_or_default());
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let mut server = Self::new(host, port, config.get_user().unwrap_or("postgres"), &password);
        if let Some(database) = config.get_dbname() {
            server.database = database.into();
        }
        Ok(server)
    }

    /// Host name or address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Role.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Its password.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The database that [`Server::connect`] uses.
    #[must_use]
    pub fn maintenance_database(&self) -> &str {
        &self.database
    }

    /// URL of one of its databases, for `psql` and [`Server::from_url`].
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let Self { host, port, user, password, .. } = self;
        let colon = if password.is_empty() { "" } else { ":" };
        format!("postgres://{user}{colon}{password}@{host}:{port}/{database}")
    }

    /// A session on the maintenance database.
    ///
    /// # Errors
    /// When the server does not take it.
    pub async fn connect(&self) -> anyhow::Result<Sql> {
        self.connect_to(&self.database).await
    }

    /// How to connect to `database` as `knm-tests`.
    pub(super) fn config(&self, database: &str) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config
            .host(&self.host)
            .port(self.port)
            .user(&self.user)
            .password(&self.password)
            .dbname(database)
            .application_name("knm-tests")
            .connect_timeout(Duration::from_secs(10));
        config
    }

    /// A session on `database`.
    ///
    /// # Errors
    /// When the server does not take it.
    pub async fn connect_to(&self, database: &str) -> anyhow::Result<Sql> {
        let connecting = self.config(database).connect(NoTls).await;
        let (client, connection) = connecting.with_context(|| {
            format!("cannot connect to {database} on {}:{}", self.host, self.port)
        })?;
        let driver = AbortOnDropHandle::new(tokio::spawn(async move {
            // Its end shows as an error of the next query.
            let _ = connection.await;
        }));
        Ok(Sql { client, _driver: driver })
    }

    /// A new, empty database whose name begins with `hint`.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn database(&self, hint: &str) -> anyhow::Result<Database> {
        Database::create(self.clone(), hint).await
    }
}

/// A session. It ends when this is dropped.
#[derive(Debug)]
pub struct Sql {
    client: Client,
    _driver: AbortOnDropHandle<()>,
}

impl std::ops::Deref for Sql {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl std::ops::DerefMut for Sql {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_survives_the_round_trip() {
        let server = Server::new("db.example", 6543, "me", "s3cret");
        let url = server.url("postgres");
        assert_eq!(url, "postgres://me:s3cret@db.example:6543/postgres");
        assert_eq!(Server::from_url(&url).expect("a URL"), server);
    }

    #[test]
    fn a_url_without_a_host_is_refused() {
        assert!(Server::from_url("postgres:///x").is_err());
    }
}
