//! Puts the relay together, starts it in order and stops it in order.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use knm_shared::admin::{self, Admin, Latch, Readiness};
use knm_shared::config::{Database, Loaded, NotifyType, env};
use knm_shared::pg::{App, Pool, PoolError, PoolGauges, register_connect_failures};
use knm_shared::phrases;
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::clock::DatabaseClock;
use crate::complaint::Complaints;
use crate::db::{Db, DbError};
use crate::feed::{Feed, FeedMetrics};
use crate::hub::{Hub, HubHandle, HubMetrics};
use crate::listener::{Listener, ListenerMetrics};
use crate::refusals::{Clerk, Refusals};
use crate::server::{Server, ServerMetrics};
use crate::session::{self, SessionMetrics};
use crate::status::{ListenerState, Status};

/// The migration that brought the newest table or column that the relay reads.
const SCHEMA_VERSION: i32 = 4;
/// How often the schema is looked for: the api migrates while the relay already waits.
const SCHEMA_RETRY: Duration = Duration::from_millis(500);
/// How often the wait is mentioned again.
const SCHEMA_REMINDER: u32 = 60;
/// For the clients to leave; with the rest of the stop, within the 10 s that the relay promises.
const GRACE: Duration = Duration::from_secs(6);
/// For answers of the database that are still due, likewise.
const LAST_ANSWERS: Duration = Duration::from_millis(300);

/// Where a relay can be reached, once it is bound.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// WebSockets.
    pub server: SocketAddr,
    /// Probes, metrics and state.
    pub admin: SocketAddr,
}

/// A relay with both ports bound and nothing served yet.
pub struct Relay {
    loaded: Loaded,
    registry: Registry,
    readiness: Readiness,
    started: Latch,
    status: Status,
    hub: HubHandle,
    db: Db,
    server: Server,
    listener: Option<Listener>,
    feed: Feed,
    clerk: Clerk,
    server_socket: TcpListener,
    admin: admin::Bound,
    addresses: Addresses,
}

/// Binds and runs a relay until `shutdown`.
///
/// # Errors
/// When a port is taken or the root certificate is of no use. A database that is away is waited for.
pub async fn run(loaded: Loaded, shutdown: CancellationToken) -> anyhow::Result<()> {
    let relay = Box::pin(Relay::bind(loaded)).await?;
    Box::pin(relay.run(shutdown)).await
}

impl Relay {
    /// Puts the parts together and binds both ports.
    ///
    /// # Errors
    /// See [`run`].
    pub async fn bind(loaded: Loaded) -> anyhow::Result<Self> {
        let config = &loaded.config;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        let registry = Registry::new();
        admin::register_info(&registry, "relay", env!("CARGO_PKG_VERSION"), &loaded)?;
        register_connect_failures(&registry, &[App::Relay, App::RelayListener])?;
        let readiness = Readiness::new();
        let started = readiness.latch("first start");

        let first = match config.progress.notify_type {
            NotifyType::Postgres => ListenerState::Connecting,
            NotifyType::Polling => ListenerState::Disabled,
        };
        let status = Status::new(first, readiness.note("listener", ""));
        let clock = DatabaseClock::default();
        let db = Db::new(pool(&config.database)?);
        let mode = crate::feed::first_mode(first, &config.progress);
        let of_user = config.relay.max_connections_per_user as usize;
        let hub = HubHandle::new(Hub::new(mode, of_user, HubMetrics::register(&registry)?));
        let listener_metrics = ListenerMetrics::register(&registry)?;
        listener_metrics.enter(first);
        let listener = match config.progress.notify_type {
            NotifyType::Polling => None,
            NotifyType::Postgres => Some(Listener::new(
                &config.database,
                hub.clone(),
                status.clone(),
                listener_metrics,
                clock.clone(),
            )?),
        };
        let feed = Feed::new(
            db.clone(),
            hub.clone(),
            status.clone(),
            FeedMetrics::register(&registry)?,
            &config.progress,
        );
        let complaints = Complaints::register(&registry)?;
        let session_metrics = SessionMetrics::register(&registry)?;
        let (refusals, clerk) = Refusals::register(db.clone(), &registry)?;
        let server = Server::new(
            config,
            env::pod_name(),
            db.clone(),
            hub.clone(),
            ServerMetrics::register(&registry)?,
            session::Context::new(hub.clone(), clock, session_metrics, complaints, refusals),
        )?;

        let admin = admin_port(&registry, &readiness, &status, &hub, &db)?;
        let admin = admin.bind(config.relay.admin_listen).await?;
        let server_socket = knm_shared::http::bind(config.relay.listen).await?;
        let addresses =
            Addresses { server: server_socket.local_addr()?, admin: admin.local_addr() };
        Ok(Self {
            loaded,
            registry,
            readiness,
            started,
            status,
            hub,
            db,
            server,
            listener,
            feed,
            clerk,
            server_socket,
            admin,
            addresses,
        })
    }

    /// Where it can be reached.
    #[must_use]
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Its metrics.
    #[must_use]
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Serves until `shutdown`, then lets go of clients and connections in that order.
    ///
    /// # Errors
    /// When a part ends that never should; the others have been stopped in order then, too.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        // The admin port answers to the very end; the others end with the clients.
        let (admin_stop, parts_stop) = (CancellationToken::new(), CancellationToken::new());
        let admin = tokio::spawn(self.admin.serve(admin_stop.clone()));
        let Addresses { server, admin: admin_address } = self.addresses;
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            listen = %server,
            admin = %admin_address,
            "relay starting"
        );

        let mut parts = JoinSet::new();
        let (db, stop) = (self.db.clone(), parts_stop.clone());
        parts.spawn(async move {
            db.pool().maintain(stop).await;
            "connection pool"
        });
        let started = tokio::select! {
            () = shutdown.cancelled() => false,
            () = wait_for_schema(&self.db, &self.hub, &self.status, self.listener.as_ref()) => true,
        };
        let mut result = Ok(());
        if started {
            let notify = self.loaded.config.progress.notify_type.as_str();
            self.status.info(format!("{} {notify} notification", phrases::PROGRESS_ENABLED));
            self.feed.spawn(&mut parts, &parts_stop);
            let (clerk, stop) = (self.clerk, parts_stop.clone());
            parts.spawn(async move {
                clerk.run(stop).await;
                "record of refusals"
            });
            if let Some(listener) = self.listener {
                let stop = parts_stop.clone();
                parts.spawn(async move {
                    listener.run(stop).await;
                    "listener"
                });
            }
            // Not before readiness has ended: whoever is sent away must not be sent back here.
            let clients_stop = CancellationToken::new();
            let clients =
                tokio::spawn(self.server.serve(self.server_socket, GRACE, clients_stop.clone()));
            self.started.open();
            tokio::select! {
                () = shutdown.cancelled() => {}
                Some(ended) = parts.join_next() => result = Err(unexpected(ended)),
            }
            self.readiness.stop();
            clients_stop.cancel();
            clients.await.context("the server ended unexpectedly")?;
        } else {
            self.readiness.stop();
        }

        parts_stop.cancel();
        while let Some(ended) = parts.join_next().await {
            ended.context("a part of the relay did not stop in order")?;
        }
        self.db.pool().close_within(LAST_ANSWERS).await;
        admin_stop.cancel();
        admin.await?;
        tracing::info!("relay stopped");
        result
    }
}

/// A permanent part has ended although nothing asked it to.
fn unexpected(ended: Result<&'static str, JoinError>) -> anyhow::Error {
    let error = match ended {
        Ok(name) => anyhow::anyhow!("{name} ended unexpectedly"),
        Err(error) => anyhow::anyhow!("a part of the relay failed: {error}"),
    };
    tracing::error!(%error, "stopping, so that the kubelet starts the relay again");
    error
}

/// One connection less than the relay's share: the heartbeats have their own.
fn pool(db: &Database) -> anyhow::Result<Pool> {
    let size = db.relay_pool_size().saturating_sub(1).max(1);
    Ok(Pool::new(db, App::Relay, size)?)
}

fn admin_port(
    registry: &Registry,
    readiness: &Readiness,
    status: &Status,
    hub: &HubHandle,
    db: &Db,
) -> anyhow::Result<Admin> {
    let gauges = PoolGauges::register(registry, "knm_relay_db_pool")?;
    let (db, status, hub) = (db.clone(), status.clone(), hub.clone());
    Ok(Admin::new(registry.clone(), readiness.clone())
        .before_scrape(move || gauges.set(db.pool().state()))
        .with_state(move || {
            let mut document = status.document();
            let (mode, epoch) = hub.with(|hub| (hub.mode().clone(), hub.epoch().cloned()));
            document["mode"] = mode.kind.as_str().into();
            document["mode_since"] = mode.since.to_string().into();
            document["epoch"] = epoch.map(|e| e.to_string()).into();
            document
        }))
}

/// Waits for the database and for the schema that this release reads.
///
/// Until then the listener has not begun, but a database that cannot be reached is its failure too:
/// the guide's phrases and the alert on its connection failures must not wait for a first success.
async fn wait_for_schema(db: &Db, hub: &HubHandle, status: &Status, listener: Option<&Listener>) {
    status.info(phrases::DATABASE_INITIALIZING);
    let mut attempts = 0u32;
    loop {
        let found = match db.schema_version().await {
            Ok(version) if version >= SCHEMA_VERSION => match db.epoch().await {
                Ok(history) => {
                    hub.with(|hub| hub.enter(history));
                    status.info(phrases::DATABASE_INITIALIZED);
                    return;
                }
                Err(error) => error.to_string(),
            },
            Ok(version) => format!("schema version {version}, waiting for {SCHEMA_VERSION}"),
            Err(error) => {
                if let (Some(listener), DbError::Pool(PoolError::Connect(cause))) =
                    (listener, &error)
                {
                    listener.connect_failed(cause);
                }
                error.to_string()
            }
        };
        if attempts.is_multiple_of(SCHEMA_REMINDER) {
            tracing::info!(found, "waiting for the database's schema; knm-api migrate creates it");
        }
        attempts = attempts.wrapping_add(1);
        tokio::time::sleep(SCHEMA_RETRY).await;
    }
}
