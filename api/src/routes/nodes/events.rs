//! The nodes of a cluster as they change: server-sent events, from memory.
//!
//! ```text
//! Listing ──last page──▶ Following ──20 s──▶ a sign of life
//!    │                      │
//!    └────────── 5 s ───────┴── the session has ended, or may not read the cluster any more, or the
//!    ▲                      │   cluster was removed or changed: the end
//!    └── too far behind, or the watch began anew: the whole again
//! ```
//!
//! A client that comes back gets the whole again, whatever it had. The whole is how it was when the list began;
//! what changes while its pages go out waits, and follows them. A page is written when the one before has been
//! taken: a thousand streams that begin anew at once hold the nodes that memory has anyway, not their text.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use std::vec;

use futures_util::stream;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use k8s_openapi::api::core::v1::Node;
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
use crate::clusters::{Change, Cluster, NodeCache};
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
    /// What is still to be sent of the whole.
    listing: Option<Listing>,
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
        let listing = Some(Listing::of(&cluster.nodes));
        Self { state, cluster, token, changes, listing, pause_ends, check_at, _room: room }
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
            let page = self.listing.as_mut().and_then(Listing::next);
            if page.as_ref().is_none_or(|page| page.last) {
                self.listing = None;
            }
            let event = match page {
                Some(page) => event("snapshot", &page),
                None => match self.follow().await {
                    ControlFlow::Continue(event) => event,
                    ControlFlow::Break(()) => return None,
                },
            };
            if event.is_some() {
                self.pause_ends = Instant::now() + PAUSE;
                return event;
            }
        }
    }

    /// What comes after the whole, if there is something to be sent; breaks off at the end.
    async fn follow(&mut self) -> ControlFlow<(), Option<Bytes>> {
        use ControlFlow::{Break, Continue};
        let (stopping, closed) = (&self.state.streams.stopping, &self.cluster.closed);
        tokio::select! {
            biased;
            () = stopping.cancelled() => Break(()),
            // What is followed here gets no more news: whoever comes back sees the cluster anew.
            () = closed.cancelled() => Break(()),
            change = self.changes.recv() => match change {
                Ok(Change::Upsert(node)) => Continue(event("upsert", &NodeView::from(&*node))),
                Ok(Change::Delete(node)) => {
                    let name = node.metadata.name.clone().unwrap_or_default();
                    Continue(event("delete", &DeleteEvent { name }))
                }
                Ok(Change::Reset) | Err(RecvError::Lagged(_)) => {
                    self.list();
                    Continue(None)
                }
                Err(RecvError::Closed) => Break(()),
            },
            () = sleep_until(self.pause_ends) => Continue(Some(Bytes::from_static(SIGN_OF_LIFE))),
            () = sleep_until(self.check_at) => Continue(None),
        }
    }

    /// Everything anew; what has changed up to now is in it, and what changes from now on follows it.
    fn list(&mut self) {
        self.changes = self.cluster.nodes.changes();
        self.listing = Some(Listing::of(&self.cluster.nodes));
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

/// The pages of the whole that have not been sent.
struct Listing {
    nodes: vec::IntoIter<Arc<Node>>,
    state: SyncName,
    first: bool,
}

impl Listing {
    fn of(cache: &NodeCache) -> Self {
        let state = (&cache.state()).into();
        Self { nodes: cache.list().into_iter(), state, first: true }
    }
}

impl Iterator for Listing {
    type Item = SnapshotEvent;

    /// Without nodes, too, there is one page.
    fn next(&mut self) -> Option<SnapshotEvent> {
        let nodes: Vec<_> =
            self.nodes.by_ref().take(PAGE).map(|node| NodeView::from(&*node)).collect();
        let first = std::mem::take(&mut self.first);
        if nodes.is_empty() && !first {
            return None;
        }
        Some(SnapshotEvent { first, last: self.nodes.len() == 0, nodes, state: self.state })
    }
}

/// Plain data has a JSON form; a node without one is not worth the stream.
fn event(event: &str, data: &impl Serialize) -> Option<Bytes> {
    let data = serde_json::to_string(data).ok()?;
    Some(Bytes::from(format!("event: {event}\ndata: {data}\n\n")))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    fn cache(nodes: usize) -> NodeCache {
        NodeCache::fixed((0..nodes).map(|n| Node {
            metadata: ObjectMeta { name: Some(format!("node-{n:05}")), ..ObjectMeta::default() },
            ..Node::default()
        }))
    }

    #[test]
    fn pages_are_written_one_by_one_and_only_the_ends_say_so() {
        for (nodes, pages) in [
            (0, &[(true, true, 0)][..]),
            (1, &[(true, true, 1)]),
            (PAGE, &[(true, true, PAGE)]),
            (PAGE + 1, &[(true, false, PAGE), (false, true, 1)]),
            (3 * PAGE, &[(true, false, PAGE), (false, false, PAGE), (false, true, PAGE)]),
        ] {
            let mut listing = Listing::of(&cache(nodes));
            for (nth, page) in pages.iter().enumerate() {
                let event = listing.next().expect("a page");
                assert_eq!((event.first, event.last, event.nodes.len()), *page, "{nth} of {nodes}");
                let left = nodes.saturating_sub((nth + 1) * PAGE);
                assert_eq!(listing.nodes.len(), left, "the rest is not looked at yet");
            }
            assert!(listing.next().is_none(), "{nodes}");
            assert!(listing.next().is_none(), "{nodes}");
        }
    }

    #[test]
    fn every_node_is_in_it_once_and_by_name() {
        let listing = Listing::of(&cache(2 * PAGE + 7));
        let pages: Vec<_> = listing.map(|page| serde_json::to_value(page).expect("JSON")).collect();
        let nodes = pages.iter().flat_map(|page| page["nodes"].as_array().expect("nodes"));
        let names: Vec<_> = nodes.map(|node| node["name"].as_str().expect("a name")).collect();
        let expected: Vec<_> = (0..2 * PAGE + 7).map(|n| format!("node-{n:05}")).collect();
        assert_eq!(names, expected);
        assert!(pages.iter().all(|page| page["state"] == pages[0]["state"]));
    }
}
