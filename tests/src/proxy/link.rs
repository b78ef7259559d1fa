//! One connection through the proxy, as the handle sees it.

use std::sync::OnceLock;

use tokio::sync::watch;

use super::fault::{Direction, Fault, Rule, Select};

/// How a connection is ended from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    /// FIN both ways.
    Cut,
    /// RST both ways.
    Reset,
}

/// Commands to one connection and what is known of it.
#[derive(Debug)]
pub(super) struct Link {
    id: u64,
    application: OnceLock<Option<String>>,
    command: watch::Sender<Option<Command>>,
    half_closed: [watch::Sender<bool>; 2],
}

impl Link {
    pub(super) fn new(id: u64) -> Self {
        Self {
            id,
            application: OnceLock::new(),
            command: watch::Sender::new(None),
            half_closed: [watch::Sender::new(false), watch::Sender::new(false)],
        }
    }

    pub(super) const fn id(&self) -> u64 {
        self.id
    }

    /// The name in the startup message; `None` also before it has come.
    pub(super) fn application(&self) -> Option<&str> {
        self.application.get()?.as_deref()
    }

    pub(super) fn name(&self, application: Option<String>) {
        let _ = self.application.set(application);
    }

    pub(super) fn chosen_by(&self, select: &Select) -> bool {
        select.fits(self.id, self.application())
    }

    pub(super) fn fault(&self, rules: &[Rule], direction: Direction) -> Fault {
        let fits = |r: &&Rule| r.direction == direction && self.chosen_by(&r.select);
        rules.iter().rev().find(fits).map(|r| r.fault).unwrap_or_default()
    }

    pub(super) fn end(&self, how: Command) {
        self.command.send_replace(Some(how));
    }

    pub(super) async fn ended(&self) -> Command {
        let mut command = self.command.subscribe();
        let told = command.wait_for(Option::is_some).await.ok().and_then(|c| *c);
        told.unwrap_or(Command::Cut)
    }

    pub(super) fn half_close(&self, direction: Direction) {
        self.half_closed[direction as usize].send_replace(true);
    }

    pub(super) async fn half_closed(&self, direction: Direction) {
        let mut closed = self.half_closed[direction as usize].subscribe();
        if closed.wait_for(|now| *now).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
