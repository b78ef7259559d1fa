//! The task engine as one thing to start and to stop: claimer, runners, the progress writer, webhooks.

use std::time::Duration;

use anyhow::Context as _;
use knm_shared::admin::Readiness;
use knm_shared::config::Config;
use knm_shared::pg::Pool;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::clusters::Clusters;
use crate::executor::{CONTACT_KEPT, Executor, Failure};
use crate::k8s;
use crate::metrics::Metrics;
use crate::progress::Progress;
use crate::progress::writer::Writer;
use crate::tasks::{Action, Service};
use crate::webhook::{Allowed, Deliverer};

/// How long a stopping process waits for nodes in flight and for the last flush. Below the 25 s that
/// the whole container has.
const STOP_TIMEOUT: Duration = Duration::from_secs(18);

/// A running engine.
pub struct Engine {
    service: Service,
    executor: Executor,
    claimer: JoinHandle<()>,
    deliverer: JoinHandle<()>,
    writer: JoinHandle<()>,
    stop_writer: CancellationToken,
}

impl Engine {
    /// Starts claiming, working and writing. Whether leases are renewed stands among the notes.
    ///
    /// # Errors
    /// When the database's TLS settings or the addresses of webhooks cannot be used.
    pub fn start(
        config: &Config,
        pool: Pool,
        clusters: Clusters,
        metrics: Metrics,
        readiness: &Readiness,
        broken: CancellationToken,
    ) -> anyhow::Result<Self> {
        metrics.announce(Action::NAMES, &Failure::ALL.map(Failure::as_str), &k8s::VERBS);
        let progress = Progress::default();
        let limits = config.executor.clone();
        let executor = Executor::new(
            clusters.clone(),
            pool.clone(),
            limits.clone(),
            progress.clone(),
            metrics.clone(),
        );
        let service_metrics = metrics.clone();
        let writer = Writer::new(progress, executor.owner(), &config.database, metrics)?;
        let stop_writer = CancellationToken::new();
        let claimer = executor.claimer(&config.database, readiness.note("tasks", CONTACT_KEPT))?;
        let webhooks = Allowed::new(&config.webhook).context("webhook")?;
        let (secret, results) = (config.webhook.secret.clone(), service_metrics.webhooks.clone());
        let deliverer = Deliverer::new(pool.clone(), webhooks.clone(), secret, results);
        let admission = executor.admission();
        let service = Service::new(pool, clusters, limits, admission, webhooks, service_metrics);
        Ok(Self {
            service,
            claimer: permanent(
                "claimer",
                broken.clone(),
                async move { match claimer.run().await {} },
            ),
            deliverer: permanent("webhooks", broken.clone(), async move {
                match deliverer.run().await {}
            }),
            writer: permanent("progress writer", broken, writer.run(stop_writer.clone())),
            executor,
            stop_writer,
        })
    }

    /// What the routes ask of tasks.
    #[must_use]
    pub fn service(&self) -> Service {
        self.service.clone()
    }

    /// Ends nodes in flight, hands tasks back, stores the last progress.
    pub async fn stop(self) {
        let stopped = timeout(STOP_TIMEOUT, async {
            // The claimer goes on renewing while nodes end.
            self.executor.stop().await;
            self.stop_writer.cancel();
            if let Err(panic) = self.writer.await {
                error!(%panic, "the progress writer ended badly");
            }
        });
        match stopped.await {
            Ok(()) => info!("all tasks are handed back"),
            Err(_) => warn!(
                "not everything could be handed back in {STOP_TIMEOUT:?}; other replicas take over \
                 when the leases run out"
            ),
        }
        self.claimer.abort();
        // What it was about to send is due again in half a minute, from whoever is there.
        self.deliverer.abort();
    }
}

/// Runs a task whose end means that the process is of no use any more.
fn permanent(
    name: &'static str,
    broken: CancellationToken,
    work: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    let guard = Broken { name, token: broken, expected: false };
    tokio::spawn(async move {
        let mut guard = guard;
        work.await;
        guard.expected = true;
    })
}

/// Tells the process when its holder is dropped by a panic.
struct Broken {
    name: &'static str,
    token: CancellationToken,
    expected: bool,
}

impl Drop for Broken {
    fn drop(&mut self) {
        if !self.expected && std::thread::panicking() {
            error!(part = self.name, "a permanent part has panicked: the process stops");
            self.token.cancel();
        }
    }
}
