//! Removes what nobody needs any more.

use jiff::Timestamp;
use tokio_postgres::types::Type;
use tokio_postgres::{Error, GenericClient};
use uuid::Uuid;

/// Tasks removed by one statement: few enough that their items' locks are short.
pub const BATCH: usize = 20;

/// Nodes of all of these together, but for the first, which goes whatever its size.
const BATCH_NODES: i64 = 10_000;

/// Expired sessions removed by one statement.
pub const BATCH_SESSIONS: u64 = 1_000;

/// A task's id tells when it was created (version 7), and none ends before it is created: the oldest
/// are found along the primary key. The lock is held for as long as the statement: one replica at a
/// time.
const TASKS: &str = "
WITH turn AS MATERIALIZED (
    SELECT pg_try_advisory_xact_lock(hashtext('knm retention')) AS mine
), oldest AS (
    SELECT id, total FROM progress_tasks
    WHERE id < $1 AND completed_at < $2 AND (SELECT mine FROM turn)
    ORDER BY id LIMIT $3
    FOR UPDATE SKIP LOCKED
), batch AS (
    SELECT id, sum(total) OVER (ORDER BY id) AS nodes, row_number() OVER (ORDER BY id) AS place
    FROM oldest
)
DELETE FROM progress_tasks
WHERE id IN (SELECT id FROM batch WHERE place = 1 OR nodes <= $4)";

/// The moment `days` ago, by the clock that the tasks' times are from: a pod whose own is wrong removes nothing
/// too early.
///
/// # Errors
/// The statement's.
pub async fn end(client: &impl GenericClient, days: u32) -> Result<Timestamp, Error> {
    let days = i32::try_from(days).unwrap_or(i32::MAX);
    let sql = "SELECT clock_timestamp() - make_interval(days => $1)";
    Ok(client.query_typed_one(sql, &[(&days, Type::INT4)]).await?.get(0))
}

/// Removes up to [`BATCH`] tasks that ended before `end`, with their items. Returns how many; none
/// also when another replica is at it.
///
/// # Errors
/// The statement's.
pub async fn tasks(client: &impl GenericClient, end: Timestamp) -> Result<usize, Error> {
    let batch = i64::try_from(BATCH).unwrap_or(i64::MAX);
    let params: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 4] = [
        (&first_id_at(end), Type::UUID),
        (&end, Type::TIMESTAMPTZ),
        (&batch, Type::INT8),
        (&BATCH_NODES, Type::INT8),
    ];
    let removed = client.execute_typed(TASKS, &params).await?;
    Ok(usize::try_from(removed).unwrap_or(usize::MAX))
}

const SESSIONS: &str = "
WITH turn AS MATERIALIZED (
    SELECT pg_try_advisory_xact_lock(hashtext('knm retention')) AS mine
)
DELETE FROM sessions WHERE id IN (
    SELECT id FROM sessions WHERE expires_at < now() AND (SELECT mine FROM turn)
    LIMIT $1
    FOR UPDATE SKIP LOCKED
)";

/// Removes up to [`BATCH_SESSIONS`] sessions and tokens that have expired. Returns how many; none also
/// when another replica is at it.
///
/// # Errors
/// The statement's.
pub async fn sessions(client: &impl GenericClient) -> Result<u64, Error> {
    let batch = i64::try_from(BATCH_SESSIONS).unwrap_or(i64::MAX);
    client.execute_typed(SESSIONS, &[(&batch, Type::INT8)]).await
}

/// Entries of the audit log removed by one statement.
pub const BATCH_ENTRIES: i32 = 1_000;

/// Only the function may delete there (V5 of the schema): it has the rights of the tables' owner.
const ENTRIES: &str = "
WITH turn AS MATERIALIZED (
    SELECT pg_try_advisory_xact_lock(hashtext('knm retention')) AS mine
)
SELECT CASE WHEN mine THEN audit_log_expire($1, $2) ELSE 0 END FROM turn";

/// Removes up to [`BATCH_ENTRIES`] entries of the audit log that are older than so many days. Returns how
/// many; none also when another replica is at it.
///
/// # Errors
/// The statement's; that of a missing right when the owner of the tables has not granted it.
pub async fn entries(client: &impl GenericClient, days: u32) -> Result<i64, Error> {
    let days = i32::try_from(days).unwrap_or(i32::MAX);
    let params: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
        [(&days, Type::INT4), (&BATCH_ENTRIES, Type::INT4)];
    Ok(client.query_typed_one(ENTRIES, &params).await?.get(0))
}

/// The smallest version 7 id of a moment (RFC 9562, section 5.7: 48 bits of milliseconds first).
fn first_id_at(moment: Timestamp) -> Uuid {
    let millis = u128::try_from(moment.as_millisecond()).unwrap_or(0);
    Uuid::from_u128(millis << 80)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_around_their_moment() {
        let now = Timestamp::now();
        let hour = jiff::SignedDuration::from_hours(1);
        assert!(first_id_at(now - hour) < Uuid::now_v7());
        assert!(first_id_at(now + hour) > Uuid::now_v7());
    }
}
