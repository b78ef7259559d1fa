//! The nodes of a cluster as they change: server-sent events, from memory.
//!
//! ```text
//! Listing ──all pages──▶ Following ──20 s──▶ a sign of life
//!    │                      │
//!    └────────── 5 s ───────┴── the session has ended, or may not read the cluster any more, or the
//!    ▲                      │   cluster was removed or changed: the end
//!    └── too far behind, or the watch began anew: the whole again
//! ```
//!
//! A client that comes back gets the whole again, whatever it had.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use knm_shared::access::Action;
use knm_shared::session::{Identity, Token};
use serde::Serialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::{NodeView, cluster, known};
use crate::clusters::{Change, Cluster};
use crate::http::inflight::{Turn, Whose};
use crate::http::router::Outcome;
use crate::http::{Problem, Request, Response, boxed, problem};
use crate::routes::State;
use crate::routes::clusters::SyncName;

/// Streams that are open at a time.
const STREAMS: usize = 1000;
/// Nodes in one event of a list.
const PAGE: usize = 500;
/// How often something is sent when nothing changes, so that proxies keep the connection.
const PAUSE: Duration = Duration::from_secs(20);
/// A comment for what lies between, and an event for scripts, which do not get to see comments.
const SIGN_OF_LIFE: &[u8] = b":\nevent: ping\ndata: {}\n\n";
/// How often it is looked whether whoever follows still may, whatever else happens.
const CHECK: Duration = Duration::from_secs(5);

/// The streams that are open. Cheap to clone.
#[derive(Debug, Clone)]
pub struct EventStreams {
    room: Arc<Semaphore>,
    stopping: CancellationToken,
}

impl Default for EventStreams {
    fn default() -> Self {
        Self { room: Arc::new(Semaphore::new(STREAMS)), stopping: CancellationToken::new() }
    }
}

impl EventStreams {
    /// Ends all of them.
    pub fn stop(&self) {
        self.stopping.cancel();
    }
}

/// `event: snapshot`: a part of all nodes.
#[derive(Debug, Serialize, ToSchema)]
pub struct SnapshotEvent {
    /// Whether what the client has is to be forgotten first.
    first: bool,
    /// Whether this was the last part.
    last: bool,
    /// By name.
    nodes: Vec<NodeView>,
    /// Whether this is how the cluster is now.
    state: SyncName,
}

/// `event: delete`: a node is gone. (`event: upsert` carries a node as in lists.)
#[derive(Debug, Serialize, ToSchema)]
pub struct DeleteEvent {
    /// Its name.
    name: String,
}

/// Follow nodes
///
/// Server-sent events: `snapshot` with all nodes in parts, then `upsert` and `delete`, one node each; a
/// comment and an empty `ping` when nothing has come for 20 s. A new list begins with a `snapshot` whose
/// `first` is true. The stream ends when the cluster is removed or given another kubeconfig.
#[utoipa::path(
    get, path = "/api/v1/clusters/{cluster}/nodes/events", tag = "clusters",
    params(("cluster" = String, Path, description = "The cluster's name")),
    responses(
        (status = 200, body = SnapshotEvent, content_type = "text/event-stream"),
        (status = 404, body = problem::Document, content_type = "application/problem+json"),
        (status = 429, body = problem::Document, content_type = "application/problem+json"),
        (status = 503, body = problem::Document, content_type = "application/problem+json"),
    )
)]
pub async fn events(state: State, request: Request, identity: Identity) -> Outcome {
    let cluster = cluster(&state, &request)?;
    known(&cluster)?;
    let turn = state.in_flight.enter(Whose::Stream(identity.user))?;
    let room = Arc::clone(&state.streams.room).try_acquire_owned();
    let room = room.map_err(|_| Problem::unavailable("too many event streams are open"))?;
    let token = Token::from_headers(&request.parts.headers);
    let follower = Follower::new(state, cluster, token, (room, turn));
    let frames = stream::unfold(follower, |mut follower| async move {
        let bytes = follower.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(bytes)), follower))
    });
    let mut response = Response::new(boxed(StreamBody::new(frames)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would collect events otherwise.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

struct Follower {
    state: State,
    cluster: Cluster,
    token: Option<Token>,
    changes: Receiver<Change>,
    /// Events that are ready to be sent.
    ready: VecDeque<Bytes>,
    pause_ends: Instant,
    check_at: Instant,
    _room: (OwnedSemaphorePermit, Turn),
}

impl Follower {
    fn new(
        state: State,
        cluster: Cluster,
        token: Option<Token>,
        room: (OwnedSemaphorePermit, Turn),
    ) -> Self {
        let changes = cluster.nodes.changes();
        let (pause_ends, check_at) = (Instant::now() + PAUSE, Instant::now() + CHECK);
        let ready = VecDeque::new();
        let mut follower =
            Self { state, cluster, token, changes, ready, pause_ends, check_at, _room: room };
        follower.list();
        follower
    }

    /// The next bytes; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if Instant::now() >= self.check_at {
                if !self.is_welcome().await {
                    return None;
                }
                self.check_at = Instant::now() + CHECK;
            }
            if let Some(bytes) = self.ready.pop_front() {
                self.pause_ends = Instant::now() + PAUSE;
                return Some(bytes);
            }
            let (stopping, closed) = (&self.state.streams.stopping, &self.cluster.closed);
            tokio::select! {
                biased;
                () = stopping.cancelled() => return None,
                // What is followed here gets no more news: whoever comes back sees the cluster anew.
                () = closed.cancelled() => return None,
                change = self.changes.recv() => match change {
                    Ok(Change::Upsert(node)) => self.push("upsert", &NodeView::from(&*node)),
                    Ok(Change::Delete(node)) => {
                        let name = node.metadata.name.clone().unwrap_or_default();
                        self.push("delete", &DeleteEvent { name });
                    }
                    Ok(Change::Reset) | Err(RecvError::Lagged(_)) => self.list(),
                    Err(RecvError::Closed) => return None,
                },
                () = sleep_until(self.pause_ends) => {
                    self.ready.push_back(Bytes::from_static(SIGN_OF_LIFE));
                }
                () = sleep_until(self.check_at) => {}
            }
        }
    }

    /// Everything anew; what has changed up to now is in it.
    fn list(&mut self) {
        self.changes = self.cluster.nodes.changes();
        self.ready.clear();
        let sync = self.cluster.nodes.state();
        let nodes = self.cluster.nodes.list();
        let parts = nodes.chunks(PAGE).count().max(1);
        for part in 0..parts {
            let page = nodes.chunks(PAGE).nth(part).unwrap_or_default();
            let event = SnapshotEvent {
                first: part == 0,
                last: part + 1 == parts,
                nodes: page.iter().map(|node| NodeView::from(&**node)).collect(),
                state: (&sync).into(),
            };
            self.push("snapshot", &event);
        }
    }

    fn push(&mut self, event: &str, data: &impl Serialize) {
        // Plain data has a JSON form; a node without one is not worth the stream.
        if let Ok(data) = serde_json::to_string(data) {
            self.ready.push_back(Bytes::from(format!("event: {event}\ndata: {data}\n\n")));
        }
    }

    /// Whether the session still holds and may read the cluster; a database that is away is no reason to
    /// end.
    async fn is_welcome(&self) -> bool {
        let Some(token) = &self.token else { return false };
        match self.state.auth.identify(token).await {
            Ok(None) => false,
            Ok(Some(who)) => who.access.may_on(&self.cluster.name, Action::ReadCluster),
            Err(_) => true,
        }
    }
}
