//! The pooled connections: a deadpool over [`Connector`], so that they are classified, encrypted and
//! named like all others. They keep no session state and nothing is reset between users.

use std::sync::Arc;
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{
    Manager as Managed, Metrics, Object, Pool as Deadpool, PoolError as DeadpoolError,
    RecycleError, RecycleResult, TimeoutType,
};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{App, ConnectError, Connector, Reporter, Session, Target};
use crate::config::Database;

/// How long a caller waits for a connection that others use.
pub const WAIT_TIMEOUT: Duration = Duration::from_secs(5);

/// How often idle connections are looked over.
const MAINTENANCE: Duration = Duration::from_secs(10);

/// A connection on loan; goes back when dropped. `&**client` is a [`tokio_postgres::Client`].
pub type Client = Object<Manager>;

/// Why no connection could be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PoolError {
    /// A new one could not be opened.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// All were in use for [`WAIT_TIMEOUT`].
    #[error("all {max} connections of the pool have been in use for {} s", WAIT_TIMEOUT.as_secs())]
    Busy {
        /// Connections of the pool.
        max: usize,
    },
    /// The process is stopping.
    #[error("the connection pool is closed")]
    Closed,
}

impl PoolError {
    /// A word for metrics and logs.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Connect(error) => error.kind.as_str(),
            Self::Busy { .. } => "busy",
            Self::Closed => "closed",
        }
    }
}

/// How many connections are doing what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolState {
    /// Open, idle or in use.
    pub size: usize,
    /// Idle.
    pub available: usize,
    /// Callers waiting for one.
    pub waiting: usize,
    /// The most there may be.
    pub max: usize,
}

/// The pool. Cheap to clone.
#[derive(Clone)]
pub struct Pool {
    inner: Deadpool<Manager>,
    max_idle: usize,
    max_lifetime: Duration,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("state", &self.state()).finish_non_exhaustive()
    }
}

impl Pool {
    /// A pool of at most `max` connections to `database.host`; nothing is opened yet.
    ///
    /// # Errors
    /// When the root certificate is of no use.
    pub fn new(db: &Database, app: App, max: usize) -> Result<Self, ConnectError> {
        let max_lifetime = if db.max_lifetime.is_zero() { Duration::MAX } else { db.max_lifetime };
        let manager = Manager {
            connector: Connector::new(db, app, Target::Pooled)?,
            reporter: Arc::new(Reporter::new(app)),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            max_lifetime,
        };
        let inner = Deadpool::builder(manager)
            .max_size(max)
            .wait_timeout(Some(WAIT_TIMEOUT))
            .runtime(Runtime::Tokio1)
            .build()
            .expect("a runtime is given, which is all that building can lack");
        let max_idle = (db.max_idle_conns as usize).min(max);
        Ok(Self { inner, max_idle, max_lifetime })
    }

    /// Borrows a connection. The failure is logged once per change of state.
    ///
    /// # Errors
    /// [`PoolError`]; within [`WAIT_TIMEOUT`] plus [`super::CONNECT_TIMEOUT`].
    pub async fn get(&self) -> Result<Client, PoolError> {
        self.inner.get().await.map_err(|error| match error {
            DeadpoolError::Backend(error) => PoolError::Connect(error),
            DeadpoolError::Timeout(TimeoutType::Wait) => {
                PoolError::Busy { max: self.inner.status().max_size }
            }
            // Only waiting is limited by the pool, hooks there are none.
            DeadpoolError::Timeout(_)
            | DeadpoolError::Closed
            | DeadpoolError::NoRuntimeSpecified
            | DeadpoolError::PostCreateHook(_) => PoolError::Closed,
        })
    }

    /// What the pool's connections are doing.
    #[must_use]
    pub fn state(&self) -> PoolState {
        let status = self.inner.status();
        PoolState {
            size: status.size,
            available: status.available,
            waiting: status.waiting,
            max: status.max_size,
        }
    }

    /// The connection failure that stands, if one does.
    #[must_use]
    pub fn failure(&self) -> Option<ConnectError> {
        self.inner.manager().reporter.failure()
    }

    /// Closes the idle connections: they lead to a server that is not to be asked any more.
    pub fn renew(&self) {
        self.inner.retain(|_, _| false);
    }

    /// Closes connections that are too old, or idle and more than `max_idle_conns`, until `shutdown`.
    pub async fn maintain(&self, shutdown: CancellationToken) {
        let mut ticks = interval(MAINTENANCE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => self.trim(),
            }
        }
    }

    fn trim(&self) {
        let mut kept = 0;
        self.inner.retain(|session, metrics| {
            let keep =
                !session.is_closed() && metrics.age() < self.max_lifetime && kept < self.max_idle;
            kept += usize::from(keep);
            keep
        });
    }

    /// Gives up a connection whose answer is not waited for any longer: the server is asked to cancel what
    /// it is doing. Until it has, or its socket is closed, the connection counts as lent, so that the server
    /// never has more of them than the pool may have.
    pub fn abandon(client: Client) {
        let Some(pool) = Client::pool(&client) else {
            return;
        };
        pool.manager().tasks.spawn(async move {
            client.cancel().await;
            drop(Client::take(client));
        });
    }

    /// Hands out no more connections and waits until all that were lent have come back and said
    /// goodbye to the server.
    pub async fn close(&self) {
        self.inner.close();
        let tasks = &self.inner.manager().tasks;
        tasks.close();
        tasks.wait().await;
    }

    /// The same for so long. Then the server is asked to cancel what it still does, and a second later
    /// its sockets are closed.
    pub async fn close_within(&self, limit: Duration) {
        if timeout(limit, self.close()).await.is_err() {
            let Manager { stop, tasks, .. } = self.inner.manager();
            stop.cancel();
            tasks.wait().await;
        }
    }
}

/// Opens and checks the pool's connections.
#[derive(Debug)]
pub struct Manager {
    connector: Connector,
    reporter: Arc<Reporter>,
    /// One task a connection, which ends with it.
    tasks: TaskTracker,
    /// Cancelled when no connection's answers are waited for any more.
    stop: CancellationToken,
    max_lifetime: Duration,
}

impl Managed for Manager {
    type Type = Session;
    type Error = ConnectError;

    async fn create(&self) -> Result<Session, ConnectError> {
        let connected = self.connector.connect().await;
        let connected = connected.inspect_err(|error| {
            self.reporter.failed(error);
        })?;
        self.reporter.connected();
        let (session, driver) =
            Session::new(connected, self.connector.tls(), self.stop.child_token());
        self.tasks.spawn(driver);
        Ok(session)
    }

    async fn recycle(
        &self,
        session: &mut Session,
        metrics: &Metrics,
    ) -> RecycleResult<ConnectError> {
        if session.is_closed() {
            Err(RecycleError::message("closed"))
        } else if metrics.age() >= self.max_lifetime {
            Err(RecycleError::message("older than max_lifetime"))
        } else {
            Ok(())
        }
    }
}
