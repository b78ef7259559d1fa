//! A TCP proxy that stands between any two parts and injects faults.
//!
//! Lasting faults are [`Rule`]s: set with [`Proxy::set_rules`], in force at once on open connections
//! too, gone with [`Proxy::heal`]. Moments are commands: [`Proxy::cut`], [`Proxy::reset`],
//! [`Proxy::half_close`], [`Proxy::swallow`]. Both choose their connections with a [`Select`]; for
//! PostgreSQL by the `application_name` of the startup message, so that a test can hurt the LISTEN
//! connection and nothing else.
//!
//! A black hole holds bytes back and does not lose them: once healed they arrive late and in order,
//! as TCP would have it after a network outage.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

mod accept;
mod fault;
mod link;
mod pump;
mod startup;
mod trap;

pub use fault::{Direction, Fault, Rule, Select};
pub use trap::{Sprung, Swallow};

use link::{Command, Link};
use trap::Traps;

/// What passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Connections taken since the start.
    pub accepted: u64,
    /// Connections open now.
    pub open: u64,
    /// Bytes that came from clients.
    pub from_clients: u64,
    /// Bytes that went from clients to the server.
    pub to_server: u64,
    /// Bytes that went from the server to clients.
    pub to_client: u64,
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    rules: watch::Sender<Arc<[Rule]>>,
    accepting: watch::Sender<bool>,
    listening: watch::Sender<bool>,
    links: Mutex<BTreeMap<u64, Arc<Link>>>,
    traps: Traps,
    accepted: AtomicU64,
    from_clients: AtomicU64,
    to_server: AtomicU64,
    to_client: AtomicU64,
}

impl Shared {
    fn links(&self) -> Vec<Arc<Link>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// A running proxy. Dropping it ends every connection through it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Proxy {
    /// A proxy on a free loopback port in front of `upstream` (`host:port`).
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(upstream: impl Into<String>) -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, crate::ports::free()))
            .await
            .context("the proxy cannot listen")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream: upstream.into(),
            rules: watch::Sender::new(Arc::new([])),
            accepting: watch::Sender::new(true),
            listening: watch::Sender::new(true),
            links: Mutex::default(),
            traps: Traps::default(),
            accepted: AtomicU64::default(),
            from_clients: AtomicU64::default(),
            to_server: AtomicU64::default(),
            to_client: AtomicU64::default(),
        });
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(accept::run(listener, Arc::clone(&shared), tasks.clone(), stop.clone()));
        Ok(Self { address, shared, tasks, stop })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Replaces the lasting faults. Where two rules fit a connection and direction, the later counts.
    pub fn set_rules(&self, rules: impl IntoIterator<Item = Rule>) {
        self.shared.rules.send_replace(rules.into_iter().collect());
    }

    /// One lasting fault on `select`, both directions, instead of all others.
    pub fn set(&self, select: Select, fault: Fault) {
        self.set_rules(Direction::BOTH.map(|d| Rule::new(select.clone(), d, fault)));
    }

    /// No faults, new connections are taken.
    pub async fn heal(&self) {
        self.set_rules([]);
        self.accept_new().await;
    }

    /// Closes the listening socket: new connections are refused. Open ones are left alone.
    pub async fn refuse_new(&self) {
        self.switch(false).await;
    }

    /// The reverse of [`Proxy::refuse_new`].
    pub async fn accept_new(&self) {
        self.switch(true).await;
    }

    async fn switch(&self, on: bool) {
        self.shared.accepting.send_replace(on);
        // An error means that the proxy is being dropped.
        let _ = self.shared.listening.subscribe().wait_for(|now| *now == on).await;
    }

    /// Closes connections in order (FIN both ways); says how many.
    pub fn cut(&self, select: &Select) -> usize {
        self.command(select, |link| link.end(Command::Cut))
    }

    /// Resets connections (RST both ways); says how many.
    pub fn reset(&self, select: &Select) -> usize {
        self.command(select, |link| link.end(Command::Reset))
    }

    /// Ends one direction (FIN); the other goes on. Says of how many connections.
    pub fn half_close(&self, select: &Select, direction: Direction) -> usize {
        self.command(select, |link| link.half_close(direction))
    }

    fn command(&self, select: &Select, act: impl Fn(&Link)) -> usize {
        let chosen: Vec<_> =
            self.shared.links().into_iter().filter(|link| link.chosen_by(select)).collect();
        chosen.iter().for_each(|link| act(link));
        chosen.len()
    }

    /// Sets a trap that loses bytes and cuts the connection, once. See [`Swallow`].
    pub fn swallow(&self, swallow: Swallow) -> Sprung {
        self.shared.traps.set(swallow)
    }

    /// What passed.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let Shared { accepted, from_clients, to_server, to_client, .. } = &*self.shared;
        Counts {
            accepted: accepted.load(Ordering::Relaxed),
            open: self.shared.links().len() as u64,
            from_clients: from_clients.load(Ordering::Relaxed),
            to_server: to_server.load(Ordering::Relaxed),
            to_client: to_client.load(Ordering::Relaxed),
        }
    }

    /// The application names of the open connections whose startup message has been seen.
    #[must_use]
    pub fn applications(&self) -> Vec<String> {
        self.shared.links().iter().filter_map(|l| l.application().map(str::to_owned)).collect()
    }

    /// Ends every connection and waits for it.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        let _ = tokio::time::timeout(Duration::from_secs(5), self.tasks.wait()).await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.cancel();
        self.tasks.close();
    }
}
