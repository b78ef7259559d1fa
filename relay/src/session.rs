//! One WebSocket: takes the client's requests to the hub, and the hub's frames to the client as fast
//! as its socket takes them.
//!
//! Nothing queues here. While bytes of the last batch are still on their way, the hub is not asked;
//! what happens meanwhile becomes one larger step. A client that takes nothing for a minute is closed.

mod connection;
mod inbound;
mod metrics;
mod traffic;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use knm_shared::access::Access;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_tungstenite::WebSocketStream;
use tracing::Instrument;

pub use self::metrics::SessionMetrics;
pub use self::traffic::Traffic;

use self::connection::Connection;
use crate::clock::DatabaseClock;
use crate::complaint::Complaints;
use crate::hub::{ConnId, HubHandle, Owner, Welcome};
use crate::protocol::{CloseReason, ServerMessage, VERSION};
use crate::refusals::Refusals;

/// The largest message a client may send. The largest that makes sense is under 300 bytes.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// How often a client is pinged, which also keeps proxies from closing an idle connection.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// The socket under a session.
pub type Socket = WebSocketStream<Traffic<TcpStream>>;

/// What every `hello` says.
#[derive(Debug, Clone)]
pub struct Greeting {
    pod: Arc<str>,
}

impl Greeting {
    /// Of this pod.
    #[must_use]
    pub fn new(pod: String) -> Self {
        Self { pod: pod.into() }
    }

    fn hello<'a>(&'a self, welcome: &'a Welcome) -> ServerMessage<'a> {
        ServerMessage::Hello {
            version: VERSION,
            pod: &self.pod,
            release: env!("CARGO_PKG_VERSION"),
            epoch: &welcome.epoch,
            mode: welcome.mode,
            ping_interval_ms: PING_INTERVAL.as_millis() as u64,
        }
    }
}

/// What all sessions share.
#[derive(Debug, Clone)]
pub struct Context {
    hub: HubHandle,
    clock: DatabaseClock,
    metrics: SessionMetrics,
    complaints: Complaints,
    refusals: Refusals,
}

impl Context {
    /// Puts the parts together.
    #[must_use]
    pub const fn new(
        hub: HubHandle,
        clock: DatabaseClock,
        metrics: SessionMetrics,
        complaints: Complaints,
        refusals: Refusals,
    ) -> Self {
        Self { hub, clock, metrics, complaints, refusals }
    }

    /// What is said of clients.
    #[must_use]
    pub const fn complaints(&self) -> &Complaints {
        &self.complaints
    }

    /// What the audit log is told of them.
    #[must_use]
    pub const fn refusals(&self) -> &Refusals {
        &self.refusals
    }
}

/// Whose connection it is, and where its other end is, as far as a trusted proxy knows.
#[derive(Debug, Clone, Copy)]
pub struct Visitor {
    /// Whose.
    pub owner: Owner,
    /// Where.
    pub address: IpAddr,
}

/// Forgets the connection in the hub, however the session ends.
struct Registered {
    hub: HubHandle,
    id: ConnId,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.hub.with(|hub| hub.disconnect(self.id));
    }
}

/// Serves a client until one side ends it. The client was looked up after `alarms` alarms.
pub async fn run(
    socket: Socket,
    visitor: Visitor,
    access: Access,
    alarms: u64,
    greeting: &Greeting,
    context: Context,
) {
    let (wake, owner) = (Arc::new(Notify::new()), visitor.owner);
    let welcome = context.hub.with(|hub| hub.connect(owner, access, Arc::clone(&wake)));
    context.hub.recheck_since(alarms);
    let mut connection = Connection::new(socket, visitor, context);
    let welcome = match welcome {
        Ok(welcome) => welcome,
        Err(reason) => return connection.close(reason).await,
    };
    let registered = Registered { hub: connection.hub().clone(), id: welcome.id };
    let span = tracing::info_span!("session", conn = ?welcome.id, user = %owner.user);
    async {
        tracing::debug!("connected");
        let hello = crate::hub::encode(&greeting.hello(&welcome));
        let reason = connection.run(welcome.id, &wake, hello).await;
        drop(registered);
        match reason {
            Some(reason) => connection.close(reason).await,
            None => connection.leave().await,
        }
        tracing::debug!(?reason, "disconnected");
    }
    .instrument(span)
    .await;
}

/// Tells a client that there is no room for it.
pub async fn turn_away(socket: Socket, visitor: Visitor, context: &Context) {
    let mut connection = Connection::new(socket, visitor, context.clone());
    connection.close(CloseReason::TooManyConnections).await;
}
