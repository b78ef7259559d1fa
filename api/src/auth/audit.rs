//! The audit log: every sign-in, change and task, and every refusal, as far as one party does not fill
//! it with them. What cannot be stored stands in the process's own log.

use knm_shared::party::{Allowance, Party, with_left_out};
use knm_shared::pg::{Pool, PoolError};
use prometheus::{IntCounter, Registry};
use tokio_util::task::TaskTracker;

use super::service::AuthError;
use crate::audit::{Record, Verdict};
use crate::db::audit;

/// See the module's description. Cheap to clone.
#[derive(Clone)]
pub struct AuditLog {
    pool: Pool,
    allowance: Allowance,
    unfinished: TaskTracker,
    /// `knm_api_audit_failures_total`: entries that could not be stored; the process's log has them.
    lost: IntCounter,
}

impl AuditLog {
    /// Stores through `pool`.
    ///
    /// # Errors
    /// When the metric's name is taken already.
    pub fn register(pool: Pool, registry: &Registry) -> Result<Self, prometheus::Error> {
        let lost = IntCounter::new(
            "knm_api_audit_failures_total",
            "Audit entries that could not be stored and stand only in the process's log",
        )?;
        registry.register(Box::new(lost.clone()))?;
        let (allowance, unfinished) = (Allowance::default(), TaskTracker::new());
        Ok(Self { pool, allowance, unfinished, lost })
    }

    /// Requests that are being finished although nobody waits for their answers.
    #[must_use]
    pub const fn unfinished(&self) -> &TaskTracker {
        &self.unfinished
    }

    /// Waits until they are.
    pub async fn close(&self) {
        self.unfinished.close();
        self.unfinished.wait().await;
    }

    /// Adds an entry. When that fails the entry is logged instead: what was done has been done.
    pub async fn add(&self, mut record: Record) {
        if record.verdict == Verdict::Refused {
            let party = record.address.map(|address| Party::new(record.user, address));
            match party.map_or(Some(0), |party| self.allowance.admit(party)) {
                None => return,
                Some(left_out) => record.detail = with_left_out(&record.detail, left_out),
            }
        }
        // There is nobody to store it; the caller has waited for that long enough.
        let away = record.status == 503;
        let stored =
            if away { Err("the database is away".into()) } else { self.store(&record).await };
        match stored {
            Ok(()) => log(&record),
            Err(error) => {
                self.lost.inc();
                let Record { before, after, .. } = &record;
                tracing::error!(error, ?before, ?after, "an audit entry could not be stored");
                log(&record);
            }
        }
    }

    /// Up to `limit` entries, newest first.
    ///
    /// # Errors
    /// [`AuthError::Pool`] and [`AuthError::Database`]
    pub async fn page(
        &self,
        filter: &audit::Filter,
        limit: u32,
    ) -> Result<Vec<audit::Entry>, AuthError> {
        Ok(audit::page(&**self.pool.get().await?, filter, limit).await?)
    }

    async fn store(&self, record: &Record) -> Result<(), String> {
        let client = self.pool.get().await.map_err(|e: PoolError| e.to_string())?;
        audit::insert(&**client, record).await.map_err(|e| e.to_string())
    }
}

/// A copy that whoever owns the database cannot change.
fn log(record: &Record) {
    let Record { username, action, target, cluster, verdict, status, request_id, .. } = record;
    tracing::info!(
        username,
        address = record.address_text(),
        action,
        target,
        cluster,
        result = verdict.as_str(),
        status,
        request_id,
        "audit"
    );
}
