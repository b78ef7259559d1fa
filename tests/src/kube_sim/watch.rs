//! Watches: a stream of events from a revision on, for one client.

use std::{sync::Arc, time::Duration};

use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    body::{Dropped, SimBody},
    filter::Filter,
    object::Object,
    query::Query,
    read,
    resource::Resource,
    route::ResourcePath,
    status::{ApiError, FieldError},
    store::{Event, EventKind, Expired, Store},
    table::{self, Rendering},
};

/// Events that go into one piece of the answer. It bounds the memory of a client that lags.
const BATCH: usize = 256;

/// What ends or disturbs every watch of the server.
#[derive(Debug, Clone)]
pub(crate) struct WatchControl {
    /// Raised by `drop_watches`: every watch that is open then breaks off.
    pub(crate) drops: watch::Receiver<u64>,
    /// The server stops.
    pub(crate) stop: CancellationToken,
    /// How often a watch that asked for bookmarks gets one.
    pub(crate) bookmark_interval: Duration,
}

/// What the stream does next.
#[derive(Debug)]
enum Phase {
    /// Sends the objects that are there; then, for a streaming list, the bookmark that says so.
    Initial { announce_end: bool },
    /// Sends what changes.
    Following,
    /// Has sent its last piece.
    Done,
}

struct Stream {
    store: Arc<Store>,
    resource: Resource,
    filter: Filter,
    rendering: Rendering,
    phase: Phase,
    /// Everything up to this revision has been sent.
    cursor: u64,
    revisions: watch::Receiver<u64>,
    control: WatchControl,
    bookmarks: bool,
    next_bookmark: Instant,
    deadline: Instant,
    /// Column definitions go with the first table only.
    columns_sent: bool,
}

/// Opens a watch.
pub(crate) fn open(
    store: &Arc<Store>,
    path: &ResourcePath,
    query: &Query,
    rendering: Rendering,
    mut control: WatchControl,
) -> Result<SimBody, ApiError> {
    let filter = Filter::parse(path, query)?;
    let revision = read::parse_revision(query)?.unwrap_or(0);
    let bookmarks = query.flag("allowWatchBookmarks");
    let streaming_list = query.get("sendInitialEvents").map(|_| query.flag("sendInitialEvents"));
    if streaming_list.is_some() && query.get("resourceVersionMatch") != Some("NotOlderThan") {
        let error = FieldError::forbidden(
            "resourceVersionMatch",
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        );
        return Err(ApiError::invalid("meta.k8s.io", "ListOptions", "", &[error]));
    }
    // Without a revision, or with 0, a watch begins with everything there is.
    let phase = match streaming_list {
        Some(true) => Phase::Initial { announce_end: bookmarks },
        None if revision == 0 => Phase::Initial { announce_end: false },
        _ => Phase::Following,
    };
    // The real server closes after a random time of 30 to 60 minutes.
    let timeout = query.number("timeoutSeconds").filter(|s| *s > 0).unwrap_or(1800);
    control.drops.mark_unchanged();
    let now = Instant::now();
    let stream = Stream {
        resource: path.resource,
        filter,
        rendering,
        cursor: if revision == 0 { store.revision() } else { revision },
        phase,
        revisions: store.subscribe(),
        bookmarks,
        next_bookmark: now + control.bookmark_interval,
        deadline: now + Duration::from_secs(timeout),
        columns_sent: false,
        store: Arc::clone(store),
        control,
    };
    let frames = futures_util::stream::try_unfold(stream, |mut stream| async move {
        match stream.next().await? {
            Some(bytes) => Ok(Some((Frame::data(Bytes::from(bytes)), stream))),
            None => Ok::<_, Dropped>(None),
        }
    });
    Ok(SimBody::stream(StreamBody::new(frames)))
}

impl Stream {
    /// The next piece of the answer; `None` at the regular end.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Dropped> {
        loop {
            match self.phase {
                Phase::Initial { announce_end } => {
                    let out = self.initial(announce_end);
                    self.phase = Phase::Following;
                    if !out.is_empty() {
                        return Ok(Some(out));
                    }
                }
                Phase::Following => {
                    if let Some(out) = self.follow().await? {
                        return Ok(Some(out));
                    }
                }
                Phase::Done => return Ok(None),
            }
        }
    }

    fn initial(&mut self, announce_end: bool) -> Vec<u8> {
        let (objects, revision) = self.store.list(self.resource);
        self.cursor = revision;
        let mut out = Vec::new();
        for object in &objects {
            if self.filter.matches(object) {
                self.write_object(&mut out, "ADDED", object);
            }
        }
        if announce_end {
            let annotations = json!({ "k8s.io/initial-events-end": "true" });
            self.write_bookmark(&mut out, Some(annotations));
        }
        out
    }

    async fn follow(&mut self) -> Result<Option<Vec<u8>>, Dropped> {
        self.revisions.borrow_and_update();
        let out = match self.store.events_after(self.resource, self.cursor, BATCH) {
            Ok((events, complete)) => {
                let mut out = Vec::new();
                for event in &events {
                    self.write_event(&mut out, event);
                }
                self.cursor = complete;
                out
            }
            Err(expired) => return Ok(Some(self.expire(expired))),
        };
        if !out.is_empty() {
            return Ok(Some(out));
        }
        // Nothing new: wait for it, or for one of the ends.
        tokio::select! {
            biased;
            () = self.control.stop.cancelled() => {
                self.phase = Phase::Done;
                Ok(None)
            }
            _ = self.control.drops.changed() => Err(Dropped),
            () = sleep_until(self.deadline) => {
                self.phase = Phase::Done;
                // The last bookmark lets the client go on exactly here.
                let mut out = Vec::new();
                if self.bookmarks {
                    self.write_bookmark(&mut out, None);
                }
                Ok((!out.is_empty()).then_some(out))
            }
            () = sleep_until(self.next_bookmark), if self.bookmarks => {
                self.next_bookmark = Instant::now() + self.control.bookmark_interval;
                let mut out = Vec::new();
                self.write_bookmark(&mut out, None);
                Ok(Some(out))
            }
            _ = self.revisions.changed() => Ok(None),
        }
    }

    fn expire(&mut self, expired: Expired) -> Vec<u8> {
        self.phase = Phase::Done;
        let status = read::too_old(self.cursor, expired).body();
        let mut out = json!({ "type": "ERROR", "object": status }).to_string().into_bytes();
        out.push(b'\n');
        out
    }

    /// What an event is for this client depends on whether the object was and is among its own.
    fn write_event(&mut self, out: &mut Vec<u8>, event: &Event) {
        let before = event.previous.as_ref().filter(|object| self.filter.matches(object));
        let is_in = event.kind != EventKind::Deleted && self.filter.matches(&event.object);
        match (before, is_in) {
            (None, false) => {}
            (None, true) => self.write_object(out, "ADDED", &event.object),
            (Some(_), true) => self.write_object(out, "MODIFIED", &event.object),
            (Some(_), false) if event.kind == EventKind::Deleted => {
                self.write_object(out, "DELETED", &event.object);
            }
            // It left the selector: the client is shown what it knew, under the new revision.
            (Some(before), false) => {
                let last = Arc::new(before.at(event.revision));
                self.write_object(out, "DELETED", &last);
            }
        }
    }

    fn write_object(&mut self, out: &mut Vec<u8>, kind: &str, object: &Arc<Object>) {
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\",\"object\":");
        match self.rendering {
            Rendering::Object => object.write(out),
            Rendering::Table(include) => {
                let metadata = json!({ "resourceVersion": object.revision().to_string() });
                let objects = std::slice::from_ref(object);
                let first = !std::mem::replace(&mut self.columns_sent, true);
                let table = table::render(self.resource, objects, metadata, include, first);
                out.extend_from_slice(table.to_string().as_bytes());
            }
        }
        out.extend_from_slice(b"}\n");
    }

    fn write_bookmark(&mut self, out: &mut Vec<u8>, annotations: Option<Value>) {
        let mut metadata = json!({ "resourceVersion": self.cursor.to_string() });
        if let Some(annotations) = annotations {
            metadata["annotations"] = annotations;
        }
        let object = match self.rendering {
            Rendering::Table(include) => {
                let first = !std::mem::replace(&mut self.columns_sent, true);
                table::render(self.resource, &[], metadata, include, first)
            }
            Rendering::Object => {
                let info = self.resource.info();
                // A bookmark is an empty object of the kind.
                let empty = info.schema.decode(json!({}), "", &mut Vec::new());
                let mut object = empty.ok().flatten().unwrap_or_else(|| json!({}));
                object["kind"] = info.kind.into();
                object["apiVersion"] = info.api_version.into();
                object["metadata"] = metadata;
                object
            }
        };
        let event = json!({ "type": "BOOKMARK", "object": object });
        out.extend_from_slice(event.to_string().as_bytes());
        out.push(b'\n');
    }
}
