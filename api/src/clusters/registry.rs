//! Keeps the clusters of this process like those in the database: opens new ones, closes removed ones,
//! opens changed ones anew. One that cannot be opened says why and disturbs no other.

use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use knm_shared::config;
use knm_shared::pg::Pool;
use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::{debug, error, info, warn};

use super::open::{Opened, open};
use super::seal::Keyring;
use super::{Clusters, Source, kubeconfig};
use crate::causes;
use crate::db::{self, clusters::Stored};

/// How soon a change that another replica made is seen.
const PERIOD: Duration = Duration::from_secs(2);

/// See the module's description.
pub struct Registry {
    clusters: Clusters,
    pool: Pool,
    keys: Keyring,
    limits: config::Executor,
    changed: Arc<Notify>,
    /// By name, in which version; `None` could not be opened.
    opened: BTreeMap<Arc<str>, (i64, Option<Opened>)>,
    configured: Opened,
}

impl Registry {
    /// A registry that starts with the configured cluster alone.
    #[must_use]
    pub fn new(configured: Opened, pool: Pool, keys: Keyring, limits: config::Executor) -> Self {
        let clusters = Clusters::single(configured.cluster.clone());
        Self {
            clusters,
            pool,
            keys,
            limits,
            changed: Arc::default(),
            opened: BTreeMap::new(),
            configured,
        }
    }

    /// The clusters that it keeps.
    #[must_use]
    pub fn clusters(&self) -> Clusters {
        self.clusters.clone()
    }

    /// Tells it that this process has changed something.
    #[must_use]
    pub fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }

    /// Follows the database. Never returns.
    ///
    /// # Panics
    /// When the watch of the configured cluster has.
    pub async fn run(mut self) -> Infallible {
        loop {
            let changed = Arc::clone(&self.changed);
            let told = changed.notified();
            assert!(!self.configured.is_broken(), "a part of the configured cluster has ended");
            self.drop_broken();
            // Without an answer everything stays as it is.
            if let Err(error) = self.round().await {
                debug!(%error, "the clusters in the database cannot be read");
            }
            let _ = timeout(PERIOD, told).await;
        }
    }

    /// Those that a panic has stopped are opened anew.
    fn drop_broken(&mut self) {
        self.opened.retain(|name, (_, opened)| {
            let broken = opened.as_mut().is_some_and(Opened::is_broken);
            if broken {
                error!(cluster = %name, "the cluster's watch has stopped; it is started anew");
            }
            !broken
        });
    }

    async fn round(&mut self) -> anyhow::Result<()> {
        let stored = db::clusters::all(&**self.pool.get().await?).await?;
        let names: HashSet<&str> = stored.iter().map(|s| s.name.as_str()).collect();
        let gone = |name: &Arc<str>| !names.contains(&**name);
        for name in self.opened.keys().filter(|n| gone(n)).cloned().collect::<Vec<_>>() {
            info!(cluster = %name, "the cluster was removed");
            self.clusters.remove(&name);
            self.opened.remove(&name);
        }
        for row in &stored {
            if self.opened.get(row.name.as_str()).is_none_or(|(version, _)| *version != row.version)
            {
                self.open(row).await?;
            }
        }
        Ok(())
    }

    async fn open(&mut self, row: &Stored) -> anyhow::Result<()> {
        let name: Arc<str> = row.name.as_str().into();
        let sealed = db::clusters::kubeconfig(&**self.pool.get().await?, &row.name).await?;
        // Removed since: the next round sees to that.
        let Some((version, sealed)) = sealed else { return Ok(()) };
        let opened = match self.try_open(&row.name, &sealed).await {
            Ok(opened) => {
                info!(cluster = %name, server = %row.server, "a cluster was added or changed");
                self.clusters.put(opened.cluster.clone());
                Some(opened)
            }
            Err(error) => {
                let error = causes::text(error.as_ref());
                warn!(cluster = %name, %error, "the cluster cannot be used");
                self.clusters.put_broken(Arc::clone(&name), error.into());
                None
            }
        };
        // What was there before ends here: tasks go on with the new one.
        self.opened.insert(name, (version, opened));
        Ok(())
    }

    async fn try_open(&self, name: &str, sealed: &[u8]) -> anyhow::Result<Opened> {
        anyhow::ensure!(
            name != self.clusters.default_name(),
            "the configuration file has a cluster of the same name, which is used instead"
        );
        let text = self.keys.open(name, sealed).context("the stored kubeconfig")?;
        let config = kubeconfig::config(&text).await?;
        Ok(open(name, Source::Database, &config, &self.limits)?)
    }
}
