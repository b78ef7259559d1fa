//! What the relay tells others about its listener: the state on `/state` and `/readyz?verbose`, and
//! the log lines of its state changes, which the api repeats for those who look there.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use knm_shared::admin::Note;
use serde::Serialize;
use tokio::sync::watch;

/// Lines kept for the api, which asks every few seconds.
const MAX_EVENTS: usize = 64;

/// What the listener is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ListenerState {
    /// Opening its connection, LISTEN included.
    Connecting,
    /// Waiting for the first heartbeat to come back.
    Verifying,
    /// Notifications arrive, and heartbeats prove it.
    Live,
    /// The connection was lost or could not be opened; a new attempt follows.
    Lost,
    /// `notify_type: polling`.
    Disabled,
}

impl ListenerState {
    /// Every state.
    pub const ALL: [Self; 5] =
        [Self::Connecting, Self::Verifying, Self::Live, Self::Lost, Self::Disabled];

    /// The word in `/state` and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Verifying => "verifying",
            Self::Live => "live",
            Self::Lost => "lost",
            Self::Disabled => "disabled",
        }
    }
}

/// How grave a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Info,
    /// Somebody must do something.
    Error,
}

#[derive(Debug, Clone, Serialize)]
struct Event {
    id: u64,
    at: Timestamp,
    level: Level,
    message: String,
}

#[derive(Debug, Serialize)]
struct Inner {
    listener: ListenerState,
    since: Timestamp,
    /// In a row.
    connect_failures: u64,
    last_error: Option<String>,
    round_trip_us: Option<u64>,
    events: VecDeque<Event>,
    #[serde(skip)]
    last_event: u64,
}

/// The listener's state as others see it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Status {
    inner: Arc<Mutex<Inner>>,
    changes: watch::Sender<ListenerState>,
    note: Note,
}

impl Status {
    /// Starts in a state; `note` is the listener's line on `/readyz?verbose`.
    #[must_use]
    pub fn new(state: ListenerState, note: Note) -> Self {
        note.set(state.as_str());
        let inner = Inner {
            listener: state,
            since: Timestamp::now(),
            connect_failures: 0,
            last_error: None,
            round_trip_us: None,
            events: VecDeque::new(),
            last_event: 0,
        };
        Self { inner: Arc::new(Mutex::new(inner)), changes: watch::Sender::new(state), note }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of this lock can panic")
    }

    /// Follows the states.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<ListenerState> {
        self.changes.subscribe()
    }

    /// The present state.
    #[must_use]
    pub fn state(&self) -> ListenerState {
        *self.changes.borrow()
    }

    /// Why the listener is not live, for people.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        self.inner().last_error.clone()
    }

    /// The listener has gone on to another state.
    pub fn enter(&self, state: ListenerState) {
        let text = {
            let mut inner = self.inner();
            if inner.listener != state {
                inner.listener = state;
                inner.since = Timestamp::now();
            }
            if state == ListenerState::Live {
                inner.connect_failures = 0;
                inner.last_error = None;
            } else {
                inner.round_trip_us = None;
            }
            match &inner.last_error {
                Some(error) => format!("{}: {error}", state.as_str()),
                None => state.as_str().to_owned(),
            }
        };
        self.note.set(text);
        self.changes.send_if_modified(|now| std::mem::replace(now, state) != state);
    }

    /// An attempt to connect has failed, or a connection was lost.
    pub fn failed(&self, error: &str) {
        let mut inner = self.inner();
        inner.connect_failures += 1;
        inner.last_error = Some(error.to_owned());
    }

    /// A heartbeat has come back.
    pub fn heard(&self, round_trip: Duration) {
        self.inner().round_trip_us = u64::try_from(round_trip.as_micros()).ok();
    }

    /// Keeps a line that the log has, for the api.
    pub fn keep(&self, level: Level, message: impl Into<String>) {
        let mut inner = self.inner();
        inner.last_event += 1;
        let event =
            Event { id: inner.last_event, at: Timestamp::now(), level, message: message.into() };
        inner.events.push_back(event);
        if inner.events.len() > MAX_EVENTS {
            inner.events.pop_front();
        }
    }

    /// Writes a line to the log and keeps it for the api.
    pub fn info(&self, message: impl Into<String>) {
        let message = message.into();
        tracing::info!("{message}");
        self.keep(Level::Info, message);
    }

    /// Writes a line to the log and keeps it for the api.
    pub fn error(&self, message: impl Into<String>) {
        let message = message.into();
        tracing::error!("{message}");
        self.keep(Level::Error, message);
    }

    /// The document of `/state`, to which the caller adds what the hub knows.
    #[must_use]
    pub fn document(&self) -> serde_json::Value {
        serde_json::to_value(&*self.inner()).expect("string keys and no failing parts")
    }
}
