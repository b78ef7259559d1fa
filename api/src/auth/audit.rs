//! The audit log: every sign-in, change and task, and every refusal, as far as one party does not fill
//! it with them. What cannot be stored stands in the process's own log.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use knm_shared::ids::UserId;
use knm_shared::pg::{Pool, PoolError};
use prometheus::{IntCounter, Registry};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::service::AuthError;
use crate::audit::{Record, Verdict};
use crate::db::audit;
use crate::origin::network;

/// Refusals of one party that are written in one [`WINDOW`]; further ones are only counted, and the next
/// entry says how many they were.
const REFUSALS: u32 = 60;
const WINDOW: Duration = Duration::from_secs(60);
/// Parties that are remembered; beyond, those of past windows are forgotten, then all.
const MAX_PARTIES: usize = 10_000;

/// Who is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Party {
    User(UserId),
    Network(IpAddr),
}

#[derive(Debug, Clone, Copy)]
struct Refusals {
    since: Instant,
    written: u32,
    left_out: u32,
}

/// See the module's description. Cheap to clone.
#[derive(Clone)]
pub struct AuditLog {
    pool: Pool,
    refusals: Arc<Mutex<HashMap<Party, Refusals>>>,
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
        let (refusals, unfinished) = (Arc::default(), TaskTracker::new());
        Ok(Self { pool, refusals, unfinished, lost })
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
            match self.admit(&record) {
                None => return,
                Some(0) => {}
                Some(left_out) => {
                    let detail = std::mem::take(&mut record.detail);
                    record.detail =
                        format!("{detail} (and {left_out} refusals before that were not written)");
                }
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

    /// Whether a refusal is written; with the number of those that were not before it.
    fn admit(&self, record: &Record) -> Option<u32> {
        let party = match (record.user, record.address) {
            (Some(user), _) => Party::User(user),
            (None, Some(address)) => Party::Network(network(address)),
            (None, None) => return Some(0),
        };
        let now = Instant::now();
        let mut all = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_PARTIES && !all.contains_key(&party) {
            all.retain(|_, r| now.duration_since(r.since) < WINDOW);
            if all.len() >= MAX_PARTIES {
                all.clear();
            }
        }
        let fresh = Refusals { since: now, written: 0, left_out: 0 };
        let refusals = all.entry(party).or_insert(fresh);
        if now.duration_since(refusals.since) >= WINDOW {
            *refusals = Refusals { left_out: refusals.left_out, ..fresh };
        }
        if refusals.written >= REFUSALS {
            refusals.left_out = refusals.left_out.saturating_add(1);
            return None;
        }
        refusals.written += 1;
        Some(std::mem::take(&mut refusals.left_out))
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

#[cfg(test)]
mod tests {
    use knm_shared::config::Config;
    use knm_shared::pg::App;

    use super::*;

    fn log() -> AuditLog {
        let config: Config =
            serde_json::from_value(serde_json::json!({"database": {"host": "127.0.0.1"}}))
                .expect("a configuration");
        let pool = Pool::new(&config.database, App::Api, 1).expect("no TLS to read");
        AuditLog::register(pool, &Registry::new()).expect("a registry of one's own")
    }

    fn refusal(n: u32) -> Record {
        Record {
            user: None,
            username: String::new(),
            session: None,
            address: Some(std::net::Ipv4Addr::from(n).into()),
            action: "request".into(),
            target: String::new(),
            cluster: String::new(),
            verdict: Verdict::Refused,
            status: 403,
            detail: String::new(),
            before: None,
            after: None,
            request_id: String::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_fills_the_log_with_refusals() {
        let log = log();
        let written = (0..1000).filter(|_| log.admit(&refusal(1)).is_some()).count();
        assert_eq!(written, REFUSALS as usize);
        assert_eq!(log.admit(&refusal(2)), Some(0), "others are written");
        tokio::time::advance(WINDOW).await;
        assert_eq!(log.admit(&refusal(1)), Some(1000 - REFUSALS), "what was left out is told");
        assert_eq!(log.admit(&refusal(1)), Some(0));
        for n in 0..3 * u32::try_from(MAX_PARTIES).expect("small") {
            log.admit(&refusal(n));
        }
        assert!(log.refusals.lock().expect("no panic").len() <= MAX_PARTIES);
    }
}
