//! Composes the process: settings, logging, database, clusters, engine, server; then waits, and takes
//! it all down in the opposite order.

mod database;
mod stop;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hyper::body::Bytes;
use knm_shared::admin::{self, Admin, Readiness};
use knm_shared::config::{Config, Loaded, env};
use knm_shared::http::Limits;
use knm_shared::pg::{App, Pool, PoolGauges, register_connect_failures};
use knm_shared::phrases;
use knm_shared::telemetry::Recent;
use prometheus::Registry;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::auth::{AuditLog, Auth, Passwords};
use crate::clusters::{self, ClusterAdmin, Clusters, Sync};
use crate::engine::Engine;
use crate::http::client::Edge;
use crate::http::cors::Cors;
use crate::http::inflight::InFlight;
use crate::http::port::Port;
use crate::http::tls::{Files, Tls, TlsError};
use crate::relay_link::{self, tunnel::Tunnels};
use crate::routes::nodes::EventStreams;
use crate::routes::{self, Services, State, meta::MetaView};
use crate::{http, k8s, metrics, openapi, retention};

/// For requests in flight once the process stops. With the engine's time it stays below the 25 s
/// that the container has.
const DRAIN: Duration = Duration::from_secs(4);
/// How long a starting process is not ready for want of the first list of nodes.
const FIRST_LIST: Duration = Duration::from_secs(5);
const FIRST_LIST_LOOK: Duration = Duration::from_millis(20);
/// For connections to say goodbye to the server.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Parts that run as long as the process: one that ends is a fault.
type Permanent = JoinSet<Infallible>;

/// Runs until SIGTERM or SIGINT. Logging has been started, and keeps its `recent` lines for `/state`.
///
/// # Errors
/// What kept it from starting, or the part that broke.
pub async fn serve(loaded: Loaded, recent: Recent) -> anyhow::Result<()> {
    let config = &loaded.config;
    info!(version = crate::VERSION, config = %loaded.source, "starting knm-api");
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    let stop = stop::on_signal()?;

    let registry = Registry::new();
    admin::register_info(&registry, "api", crate::VERSION, &loaded)?;
    register_connect_failures(&registry, &[App::Api, App::ApiWriter, App::ApiLeases])?;
    let readiness = Readiness::new();
    let starting = readiness.latch("start");
    let relay_note = readiness.note("relay", "not asked yet");
    let pool = Pool::new(&config.database, App::Api, config.database.api_pool_size())?;
    let keys = clusters::Keyring::parse(&env::process(env::ENCRYPTION_KEY).unwrap_or_default())?;
    let configured = clusters::open(
        &config.kubernetes.cluster,
        clusters::Source::Configuration,
        &k8s::config(&config.kubernetes).await?,
        &config.executor,
    )?;
    let limits = config.executor.clone();
    let fleet = clusters::Registry::new(configured, pool.clone(), keys.clone(), limits);
    let clusters = fleet.clusters();
    let cluster_admin = ClusterAdmin::new(pool.clone(), keys, clusters.clone(), fleet.changed());

    let mut permanent = Permanent::new();

    let scraped = Scraped::register(&registry, &pool, &clusters)?;
    let metrics = Metrics::register(&registry)?;
    let audit = AuditLog::register(pool.clone(), &registry)?;
    let admin_port = Admin::new(registry, readiness.clone())
        .before_scrape(move || scraped.refresh())
        .with_state(move || json!({"version": crate::VERSION, "recent": recent.lines()}))
        .bind(config.api.admin_listen)
        .await?;
    info!(address = %admin_port.local_addr(), "admin port open");
    let admin_stop = CancellationToken::new();
    let mut admin_task = JoinSet::new();
    admin_task.spawn(admin_port.serve(admin_stop.clone()));

    // What the relay says of its listener stands in this log, too: after this process's own words on the
    // database, unless that has to be waited for.
    let relay_admin = relay_link::local(config.relay.admin_listen);
    let relay_watch = relay_link::watch::run(relay_admin, relay_note, metrics.relay.clone());
    let tried = CancellationToken::new();
    let first_try = tried.clone();
    permanent.spawn(async move {
        first_try.cancelled().await;
        relay_watch.await
    });

    let passwords = Passwords::new(hashes_at_once());
    info!("{}", phrases::DATABASE_INITIALIZING);
    tokio::select! {
        prepared = database::prepare(&config.database, &passwords, &tried) => prepared?,
        () = stop.cancelled() => return Ok(()),
    }
    info!("{}", phrases::DATABASE_INITIALIZED);
    let notify_type = config.progress.notify_type.as_str();
    info!("{} {notify_type} notification", phrases::PROGRESS_ENABLED);
    tried.cancel();

    permanent.spawn(fleet.run());
    permanent.spawn(retention::run(pool.clone(), retention::Kept::of(config)));
    let pool_stop = CancellationToken::new();
    let mut maintenance = JoinSet::new();
    let (pool_kept, pool_token) = (pool.clone(), pool_stop.clone());
    maintenance.spawn(async move { pool_kept.maintain(pool_token).await });

    let relay_url = meta(config).relay_url;
    let ui = routes::ui::Ui::load(&config.api.web_dir, relay_url.as_deref())?;
    // Whatever can fail comes before the engine: a process that holds leases stops in good order.
    let edge = Edge::new(&config.api.trusted_proxies, &config.api.public_url)?;
    let edge = edge.telling(readiness.note("proxies", "nobody forwards who is not trusted"));
    let tls = tls(config)?;
    if let Some(tls) = tls.clone() {
        permanent.spawn(tls.watch());
    }
    let port = Port::new(tls, edge.clone());
    let listener = knm_shared::http::bind(config.api.listen).await?;
    let address = listener.local_addr().context("the address of the listening socket")?;
    let broken = CancellationToken::new();
    let engine = Engine::start(
        config,
        pool.clone(),
        clusters.clone(),
        metrics.engine,
        &readiness,
        broken.clone(),
    )?;
    let tunnels = Tunnels::new(relay_link::local(config.relay.listen), metrics.relay);
    let streams = EventStreams::default();
    let known = clusters.clone();
    let state = State(Arc::new(Services {
        edge,
        cors: Cors::new(&config.api.allowed_origins),
        in_flight: InFlight::default(),
        audit: audit.clone(),
        exports: routes::audit::Exports::default(),
        auth: Auth::new(pool.clone(), config.auth.clone(), passwords),
        tasks: engine.service(),
        clusters,
        cluster_admin,
        streams: streams.clone(),
        tunnels: tunnels.clone(),
        meta: meta(config),
        ui,
        openapi: Bytes::from(openapi::document()),
    }));
    let server_stop = CancellationToken::new();
    let limits = Limits { drain: DRAIN, ..Limits::default() };
    let (router, token) = (routes::router(), server_stop.clone());
    let mut server = JoinSet::new();
    server.spawn(http::server::serve(listener, port, router, state, metrics.http, limits, token));
    info!(%address, "serving the API");
    tokio::select! {
        () = first_list(&known) => {}
        () = stop.cancelled() => {}
    }
    starting.open();

    let outcome = tokio::select! {
        () = stop.cancelled() => Ok(()),
        () = broken.cancelled() => Err(anyhow::anyhow!("a part of the engine broke; see the log")),
        ended = permanent.join_next() => Err(unexpected(ended)),
        ended = server.join_next() => Err(anyhow::anyhow!("the HTTP server ended: {ended:?}")),
        ended = admin_task.join_next() => Err(anyhow::anyhow!("the admin port ended: {ended:?}")),
    };

    info!("stopping");
    readiness.stop();
    streams.stop();
    engine.stop().await;
    server_stop.cancel();
    server.join_all().await;
    // What has begun is told before the pool closes.
    let _ = timeout(CLOSE_TIMEOUT, audit.close()).await;
    let _ = timeout(CLOSE_TIMEOUT, tunnels.close()).await;
    permanent.shutdown().await;
    pool_stop.cancel();
    maintenance.join_all().await;
    let _ = timeout(CLOSE_TIMEOUT, pool.close()).await;
    admin_stop.cancel();
    let _ = timeout(CLOSE_TIMEOUT, admin_task.join_all()).await;
    info!("stopped");
    outcome
}

/// Waits for the nodes of the configured cluster: before, requests about them can only be refused. One
/// that does not answer keeps nobody from being told so.
async fn first_list(clusters: &Clusters) {
    let listed = async {
        while let Some(cluster) = clusters.get(clusters.default_name())
            && cluster.nodes.state() == (Sync::Never { error: None })
        {
            tokio::time::sleep(FIRST_LIST_LOOK).await;
        }
    };
    let _ = timeout(FIRST_LIST, listed).await;
}

fn unexpected(ended: Option<Result<Infallible, tokio::task::JoinError>>) -> anyhow::Error {
    match ended {
        Some(Ok(never)) => match never {},
        Some(Err(panic)) => anyhow::Error::new(panic).context("a permanent part ended"),
        None => anyhow::anyhow!("no permanent part is left"),
    }
}

/// What the API's port encrypts with, if it does.
fn tls(config: &Config) -> Result<Option<Tls>, TlsError> {
    let (cert, key) = (config.api.tls_cert.clone(), config.api.tls_key.clone());
    let configured = !cert.as_os_str().is_empty();
    configured.then(|| Tls::load(Files { cert, key })).transpose()
}

fn meta(config: &Config) -> MetaView {
    MetaView {
        name: "kube-node-manager",
        version: Some(crate::VERSION),
        relay_url: Some(config.relay.public_url.clone()).filter(|url| !url.is_empty()),
        default_cluster: config.kubernetes.cluster.clone(),
    }
}

/// Half of the cores: logins must not starve everything else.
fn hashes_at_once() -> usize {
    std::thread::available_parallelism().map_or(1, |n| (n.get() / 2).clamp(1, 4))
}

/// What each part tells Prometheus as it happens.
struct Metrics {
    engine: metrics::Metrics,
    http: http::metrics::Metrics,
    relay: relay_link::metrics::Metrics,
}

impl Metrics {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            engine: metrics::Metrics::register(registry)?,
            http: http::metrics::Metrics::register(registry)?,
            relay: relay_link::metrics::Metrics::register(registry)?,
        })
    }
}

/// Gauges that are read when somebody asks.
struct Scraped {
    pool: Pool,
    pool_gauges: PoolGauges,
    clusters: Clusters,
    cluster_gauges: clusters::metrics::Gauges,
}

impl Scraped {
    fn register(
        registry: &Registry,
        pool: &Pool,
        clusters: &Clusters,
    ) -> Result<Self, prometheus::Error> {
        Ok(Self {
            pool: pool.clone(),
            pool_gauges: PoolGauges::register(registry, "knm_api_db_pool")?,
            clusters: clusters.clone(),
            cluster_gauges: clusters::metrics::Gauges::register(registry)?,
        })
    }

    fn refresh(&self) {
        self.pool_gauges.set(self.pool.state());
        self.cluster_gauges.set(&self.clusters);
    }
}
