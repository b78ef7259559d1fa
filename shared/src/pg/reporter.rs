//! Tells the log about connection failures once per change of state, however often they repeat.

use std::sync::Mutex;
use std::time::Instant;

use super::{App, ConnectError};

/// One reporter for each thing that connects.
#[derive(Debug)]
pub struct Reporter {
    app: App,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Connected,
    Failing { error: ConnectError, since: Instant, attempts: u64 },
}

impl Reporter {
    /// Nothing has failed yet.
    #[must_use]
    pub const fn new(app: App) -> Self {
        Self { app, state: Mutex::new(State::Connected) }
    }

    /// A connection could not be made. Returns whether this was news, and was logged.
    pub fn failed(&self, error: &ConnectError) -> bool {
        let mut state = self.state.lock().expect("no holder of this lock can panic");
        let (news, since, attempts) = match &*state {
            State::Connected => (true, Instant::now(), 1),
            State::Failing { error: known, since, attempts } => {
                (!known.same_state(error), *since, attempts + 1)
            }
        };
        *state = State::Failing { error: error.clone(), since, attempts };
        drop(state);
        if news {
            self.log(error);
        }
        news
    }

    /// A connection was made. Returns whether this ended a failure, and was logged.
    pub fn connected(&self) -> bool {
        let mut state = self.state.lock().expect("no holder of this lock can panic");
        let before = std::mem::replace(&mut *state, State::Connected);
        drop(state);
        let State::Failing { error, since, attempts } = before else {
            return false;
        };
        tracing::info!(
            app = self.app.as_str(),
            host = error.host(),
            port = error.port(),
            dbname = error.database(),
            attempts,
            seconds = since.elapsed().as_secs(),
            "PostgreSQL connection restored"
        );
        true
    }

    /// The failure that stands, if one does.
    pub fn failure(&self) -> Option<ConnectError> {
        match &*self.state.lock().expect("no holder of this lock can panic") {
            State::Connected => None,
            State::Failing { error, .. } => Some(error.clone()),
        }
    }

    fn log(&self, error: &ConnectError) {
        let message = match self.app {
            App::RelayListener => error.listener_message(),
            _ => format!("PostgreSQL connection problem: {}", error.guide_cause()),
        };
        tracing::error!(
            app = self.app.as_str(),
            reason = error.kind.as_str(),
            host = error.host(),
            port = error.port(),
            dbname = error.database(),
            next = error.next(),
            "{message}"
        );
    }
}
