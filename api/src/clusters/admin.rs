//! Adding, changing and removing clusters, and freezing them.

use std::sync::Arc;

use knm_shared::config;
use knm_shared::ids::UserId;
use knm_shared::pg::{Pool, PoolError};
use tokio::sync::Notify;

use super::Clusters;
use super::kubeconfig::{self, Refused};
use super::seal::{Keyring, SealError};
use crate::db;
use crate::db::clusters::{Removal, Stored};
use crate::db::freezes::{EVERYWHERE, Freeze};

/// Longest reason of a freeze (octets).
const MAX_REASON: usize = 1024;

/// Why a request about clusters was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// A field is at fault; nothing was stored.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// Something stands against it.
    #[error("{0}")]
    Conflict(String),
    /// The database cannot be reached.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// It does not answer as it should.
    #[error(transparent)]
    Database(#[from] tokio_postgres::Error),
}

impl From<SealError> for AdminError {
    fn from(error: SealError) -> Self {
        Self::Conflict(format!("kubeconfigs cannot be stored here: {error}"))
    }
}

fn refused(field: &str, message: impl Into<String>) -> AdminError {
    AdminError::Refused(Refused { field: field.into(), message: message.into() })
}

/// See the module's description. Cheap to clone.
#[derive(Clone)]
pub struct ClusterAdmin {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Pool,
    keys: Keyring,
    clusters: Clusters,
    changed: Arc<Notify>,
}

impl ClusterAdmin {
    /// Stores through `pool`, and tells this process's registry by `changed`.
    #[must_use]
    pub fn new(pool: Pool, keys: Keyring, clusters: Clusters, changed: Arc<Notify>) -> Self {
        Self { inner: Arc::new(Inner { pool, keys, clusters, changed }) }
    }

    /// Adds a cluster. Every replica watches it within seconds.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn add(
        &self,
        user: UserId,
        name: &str,
        kubeconfig: &str,
        context: Option<&str>,
    ) -> Result<Stored, AdminError> {
        check_name(name)?;
        let taken = || AdminError::Conflict(format!("there is a cluster {name} already"));
        if name == self.inner.clusters.default_name() {
            return Err(taken());
        }
        let (server, sealed) = self.accept(name, kubeconfig, context).await?;
        let client = self.inner.pool.get().await?;
        let stored = db::clusters::insert(&**client, name, &server, &sealed, user).await?;
        self.inner.changed.notify_one();
        stored.ok_or_else(taken)
    }

    /// Gives a cluster another kubeconfig; returns its server before, too. Tasks go on with it.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn replace(
        &self,
        name: &str,
        kubeconfig: &str,
        context: Option<&str>,
    ) -> Result<(String, Stored), AdminError> {
        self.not_configured(name)?;
        let (server, sealed) = self.accept(name, kubeconfig, context).await?;
        let client = self.inner.pool.get().await?;
        let stored = db::clusters::replace(&**client, name, &server, &sealed).await?;
        self.inner.changed.notify_one();
        stored.ok_or_else(|| no_cluster(name))
    }

    /// Removes a cluster that no unfinished task is about; returns its server.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn remove(&self, name: &str) -> Result<String, AdminError> {
        self.not_configured(name)?;
        let mut client = self.inner.pool.get().await?;
        match db::clusters::remove(&mut client, name).await? {
            Removal::Removed(server) => {
                self.inner.changed.notify_one();
                Ok(server)
            }
            Removal::Unknown => Err(no_cluster(name)),
            Removal::InUse(tasks) => Err(AdminError::Conflict(format!(
                "{tasks} tasks on {name} have not ended: cancel them or wait for them first"
            ))),
        }
    }

    async fn accept(
        &self,
        name: &str,
        kubeconfig: &str,
        context: Option<&str>,
    ) -> Result<(String, Vec<u8>), AdminError> {
        let accepted = kubeconfig::accept(kubeconfig, context)?;
        kubeconfig::try_out(&accepted).await?;
        let sealed = self.inner.keys.seal(name, &accepted.text)?;
        Ok((accepted.server, sealed))
    }

    fn not_configured(&self, name: &str) -> Result<(), AdminError> {
        if name == self.inner.clusters.default_name() {
            return Err(AdminError::Conflict(format!(
                "{name} is the cluster of the configuration file, and is changed there"
            )));
        }
        Ok(())
    }

    /// Every freeze.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn freezes(&self) -> Result<Vec<Freeze>, AdminError> {
        let client = self.inner.pool.get().await?;
        Ok(db::freezes::all(&**client).await?)
    }

    /// Stops all work on a cluster, or everywhere, until it is lifted: running tasks pause, none is
    /// claimed. Returns the reason before, too, if it was frozen.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn freeze(
        &self,
        user: UserId,
        cluster: &str,
        reason: &str,
    ) -> Result<(Option<String>, Freeze), AdminError> {
        self.known(cluster)?;
        if reason.trim().is_empty() {
            return Err(refused("reason", "must say why: everyone sees it"));
        }
        if reason.len() > MAX_REASON || reason.contains('\0') {
            let rule = format!("must be no more than {MAX_REASON} bytes, without NUL");
            return Err(refused("reason", rule));
        }
        let client = self.inner.pool.get().await?;
        Ok(db::freezes::set(&**client, cluster, reason.trim(), user).await?)
    }

    /// Lets tasks go on, those that were paused by hand excepted. Returns why they did not.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn thaw(&self, cluster: &str) -> Result<String, AdminError> {
        let client = self.inner.pool.get().await?;
        let lifted = db::freezes::lift(&**client, cluster).await?;
        lifted.ok_or_else(|| AdminError::NotFound(format!("there is no freeze of {cluster}")))
    }

    fn known(&self, cluster: &str) -> Result<(), AdminError> {
        if cluster == EVERYWHERE || self.inner.clusters.names().any(|name| *name == *cluster) {
            return Ok(());
        }
        Err(no_cluster(cluster))
    }
}

fn no_cluster(name: &str) -> AdminError {
    AdminError::NotFound(format!("there is no cluster {name:?}"))
}

fn check_name(name: &str) -> Result<(), AdminError> {
    if config::is_cluster_name(name) {
        return Ok(());
    }
    Err(refused(
        "name",
        "must be up to 63 lower-case letters, digits and dashes, like \"prod-east\"",
    ))
}
