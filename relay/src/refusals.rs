//! Tells the audit log whom the relay has turned away, as far as one party does not fill it with that. The door
//! and the sessions hand over and do not wait; one task writes.

use std::net::IpAddr;

use knm_shared::ids::TaskId;
use knm_shared::party::{Allowance, Party, with_left_out};
use prometheus::{IntCounter, Registry};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::db::Db;
use crate::hub::Owner;

/// Refusals that may wait for the database. More are only counted.
const WAITING: usize = 256;
/// Written by one statement.
const AT_ONCE: usize = 64;

/// What was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A connection.
    Connection,
    /// A subscription to a task.
    Task(TaskId),
}

impl Wanted {
    /// The word in the entry.
    #[must_use]
    pub const fn action(self) -> &'static str {
        match self {
            Self::Connection => "progress.connect",
            Self::Task(_) => "progress.follow",
        }
    }
}

/// An entry to be.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// Who, where that is known.
    pub owner: Option<Owner>,
    /// From where, as far as a trusted proxy knows.
    pub address: IpAddr,
    /// What.
    pub wanted: Wanted,
    /// The status of the answer; for a subscription, the one that HTTP would have.
    pub status: u16,
    /// Why not.
    pub detail: String,
}

/// Takes refusals. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Refusals {
    queue: mpsc::Sender<Refusal>,
    allowance: Allowance,
    lost: IntCounter,
}

/// Writes them.
#[derive(Debug)]
pub struct Clerk {
    queue: mpsc::Receiver<Refusal>,
    db: Db,
    lost: IntCounter,
}

impl Refusals {
    /// Registers:
    /// - `knm_relay_refusals_unwritten_total`: refusals that should stand in the audit log and do not, because
    ///   the database was away.
    ///
    /// # Errors
    /// When it is registered already.
    pub fn register(db: Db, registry: &Registry) -> Result<(Self, Clerk), prometheus::Error> {
        let lost = IntCounter::new(
            "knm_relay_refusals_unwritten_total",
            "Refusals that could not be written to the audit log",
        )?;
        registry.register(Box::new(lost.clone()))?;
        let (sender, queue) = mpsc::channel(WAITING);
        let refusals = Self { queue: sender, allowance: Allowance::default(), lost: lost.clone() };
        Ok((refusals, Clerk { queue, db, lost }))
    }

    /// Hands over.
    pub fn tell(&self, mut refusal: Refusal) {
        let party = Party::new(refusal.owner.map(|owner| owner.user), refusal.address);
        let Some(left_out) = self.allowance.admit(party) else { return };
        refusal.detail = with_left_out(&refusal.detail, left_out);
        if self.queue.try_send(refusal).is_err() {
            self.lost.inc();
        }
    }
}

impl Clerk {
    /// Writes until `stop`, and then what is still there.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::new();
        loop {
            let stopped = tokio::select! {
                biased;
                _ = self.queue.recv_many(&mut batch, AT_ONCE) => false,
                () = stop.cancelled() => true,
            };
            if batch.is_empty() {
                // Nobody is left who could refuse anybody, or it is enough.
                return;
            }
            if let Err(error) = self.db.write_refusals(&batch).await {
                self.lost.inc_by(batch.len() as u64);
                tracing::debug!(%error, refusals = batch.len(), "not written to the audit log");
            }
            batch.clear();
            if stopped {
                return;
            }
        }
    }
}
