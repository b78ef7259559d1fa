//! The relay's HTTP port: one path, which becomes a WebSocket for whoever may have one.

mod door;
mod doorkeeper;
mod metrics;
mod origin;
mod problem;
mod upgrade;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use knm_shared::config::Config;
use knm_shared::forwarded::{NoNetwork, Proxies};
use knm_shared::http::{Limits, Unserved, serve_over};
use knm_shared::session::{Identity, Token};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::metrics::ServerMetrics;

use self::door::Door;
use self::doorkeeper::{Away, Doorkeeper};
use self::origin::Origins;
use self::problem::Problem;
use self::upgrade::Handshake;
use crate::complaint::{Cause, Complaints};
use crate::db::Db;
use crate::hub::{HubHandle, Owner};
use crate::protocol::PATH;
use crate::refusals::{Refusal, Refusals, Wanted};
use crate::session::{self, Greeting, Visitor};

/// Before the upgrade; one network has no more than its share of it ([`door`]). After it, a connection counts against `relay.max_connections`.
const LIMITS: Limits = Limits {
    connections: 2_048,
    header_timeout: Duration::from_secs(10),
    header_bytes: 16 * 1024,
    drain: Duration::from_secs(2),
};
/// Connections over the limit that are upgraded only to be told so; beyond, they get a 503.
const TOLD: usize = 256;

/// The server and what its connections need.
#[derive(Debug)]
pub struct Server {
    doorkeeper: Doorkeeper,
    hub: HubHandle,
    origins: Origins,
    greeting: Greeting,
    max_connections: usize,
    metrics: ServerMetrics,
    complaints: Complaints,
    refusals: Refusals,
    proxies: Proxies,
    sessions: session::Context,
    /// Every upgraded connection.
    sockets: TaskTracker,
}

impl Server {
    /// Puts the parts together.
    ///
    /// # Errors
    /// [`NoNetwork`] for proxies that the configuration's validation would not have let pass.
    pub fn new(
        config: &Config,
        pod: String,
        db: Db,
        hub: HubHandle,
        metrics: ServerMetrics,
        sessions: session::Context,
    ) -> Result<Self, NoNetwork> {
        Ok(Self {
            doorkeeper: Doorkeeper::new(db),
            origins: Origins::new(config),
            greeting: Greeting::new(pod),
            max_connections: config.relay.max_connections as usize,
            metrics,
            complaints: sessions.complaints().clone(),
            refusals: sessions.refusals().clone(),
            proxies: Proxies::new(&config.api.trusted_proxies)?,
            sessions,
            hub,
            sockets: TaskTracker::new(),
        })
    }

    /// Serves until `shutdown`; then tells every client to come back elsewhere, and waits until all
    /// are gone or `grace` is over.
    pub async fn serve(self, listener: TcpListener, grace: Duration, shutdown: CancellationToken) {
        let server = Arc::new(self);
        let service = {
            let server = Arc::clone(&server);
            move |peer: SocketAddr| {
                let server = Arc::clone(&server);
                service_fn(move |request: Request<Incoming>| {
                    let server = Arc::clone(&server);
                    async move { Ok::<_, Infallible>(server.answer(peer, request).await) }
                })
            }
        };
        let (metrics, complaints) = (server.metrics.clone(), server.complaints.clone());
        let tell = move |peer: SocketAddr, unserved| {
            let (status, cause) = match unserved {
                Unserved::SlowHead => (StatusCode::REQUEST_TIMEOUT, Cause::SlowHead),
                Unserved::BadHead => (StatusCode::BAD_REQUEST, Cause::BadHead),
                Unserved::Crowded => (StatusCode::SERVICE_UNAVAILABLE, Cause::TooManyConnections),
            };
            metrics.refused(status);
            complaints.about(cause, &peer);
        };
        let door = Door::new(server.proxies.clone());
        serve_over(listener, door, service, LIMITS, tell, shutdown).await;
        server.hub.with(crate::hub::Hub::close);
        server.sockets.close();
        if tokio::time::timeout(grace, server.sockets.wait()).await.is_err() {
            tracing::warn!(left = server.sockets.len(), "clients did not leave in time");
        }
    }

    async fn answer(&self, peer: SocketAddr, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let client = self.proxies.client(request.headers(), peer.ip());
        match self.upgrade(client, request).await {
            Ok(response) => response,
            Err(problem) => {
                self.metrics.refused(problem.status());
                if let Some(cause) = complaint(problem.status()) {
                    self.complaints.about(cause, &client);
                }
                if problem.is_refusal() {
                    self.refusals.tell(Refusal {
                        owner: None,
                        address: client,
                        wanted: Wanted::Connection,
                        status: problem.status().as_u16(),
                        detail: problem.title().to_owned(),
                    });
                }
                problem.into()
            }
        }
    }

    async fn upgrade(
        &self,
        client: IpAddr,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Problem> {
        if request.uri().path() != PATH {
            return Err(Problem::new(StatusCode::NOT_FOUND, "this port serves WebSockets only")
                .with_detail(PATH));
        }
        if request.method() != Method::GET {
            return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "only GET"));
        }
        let handshake = Handshake::of(request.headers())?;
        self.origins.check(request.headers())?;
        let alarms = self.hub.alarms();
        let identity = self.identify(request.headers()).await?;
        let full = self.sockets.len() >= self.max_connections;
        if self.sockets.len() >= self.max_connections + TOLD {
            return Err(Problem::unavailable("the relay has no room for another connection"));
        }
        let owner = Owner { session: identity.session, user: identity.user };
        let visitor = Visitor { owner, address: client };
        let access = identity.access;
        let upgraded = hyper::upgrade::on(request);
        let (context, greeting) = (self.sessions.clone(), self.greeting.clone());
        self.sockets.spawn(async move {
            match upgrade::socket(upgraded).await {
                Ok(socket) if full => session::turn_away(socket, visitor, &context).await,
                Ok(socket) => {
                    session::run(socket, visitor, access, alarms, &greeting, context).await;
                }
                Err(error) => tracing::debug!(%client, %error, "upgrade failed"),
            }
        });
        Ok(handshake.accept())
    }

    /// Whoever cannot be identified gets nothing, also while the database is away. As the api has it, a program
    /// that does not say who it is has not tried to be anybody, and is no refusal.
    async fn identify(&self, headers: &HeaderMap) -> Result<Identity, Problem> {
        let unknown = || {
            Problem::new(StatusCode::UNAUTHORIZED, "sign in first")
                .with_detail("send the session cookie, or a token as Authorization: Bearer")
        };
        let token = Token::from_headers(headers).ok_or_else(unknown)?;
        match self.doorkeeper.identify(&token).await {
            Ok(identity) => identity.ok_or_else(|| unknown().refusing()),
            Err(Away) => {
                Err(Problem::unavailable("the database is away, so nobody can be identified"))
            }
        }
    }
}

/// What a refusal says of the client; nothing when it is the database that is away.
fn complaint(status: StatusCode) -> Option<Cause> {
    match status {
        StatusCode::UNAUTHORIZED => Some(Cause::Unidentified),
        StatusCode::FORBIDDEN => Some(Cause::ForeignOrigin),
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::UPGRADE_REQUIRED => {
            Some(Cause::NoHandshake)
        }
        _ => None,
    }
}
