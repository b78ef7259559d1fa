//! The one statement that stores progress, and the read that tells what became of it.

use std::collections::{HashMap, HashSet};

use bytes::{BufMut, BytesMut};
use knm_shared::ids::{OwnerId, TaskId};
use tokio_postgres::types::{IsNull, ToSql, Type, accepts, to_sql_checked};
use tokio_postgres::{Client, Error, Statement};
use uuid::Uuid;

use crate::lease::LEASE;
use crate::progress::{Batch, Json, Step, Verdict};

/// Rows and notifications of a whole batch: one round trip, one commit.
///
/// Tasks are locked in id order, as every statement on several tasks does; one that somebody else has
/// locked is left out and comes back unchanged, so that it delays nobody. Fencing (owner, token) and
/// the sequence number decide under the lock.
const FLUSH: &str = "
WITH step AS (
    SELECT * FROM unnest(
        $3::uuid[], $4::bigint[], $5::bigint[], $6::text[], $7::text[],
        $8::int[], $9::int[], $10::int[], $11::int[], $12::int[], $13::int[],
        $14::bool[], $15::bool[], $16::text[]
    ) AS s (id, token, prev, status, error,
            pending, running, succeeded, failed, skipped, cancelled,
            finishes_item, releases, note)
), locked AS MATERIALIZED (
    SELECT t.id FROM progress_tasks t
    WHERE t.id = ANY ($3) AND t.lease_owner = $1
    ORDER BY t.id
    FOR NO KEY UPDATE SKIP LOCKED
), changed AS (
    UPDATE progress_tasks t SET
        seq = s.prev + 1,
        status = s.status,
        error = coalesce(s.error, t.error),
        pending = s.pending, running = s.running, succeeded = s.succeeded,
        failed = s.failed, skipped = s.skipped, cancelled = s.cancelled,
        attempt = CASE WHEN s.finishes_item OR s.releases THEN 0 ELSE t.attempt END,
        lease_owner = CASE WHEN s.releases THEN NULL ELSE t.lease_owner END,
        lease_expires_at = CASE WHEN s.releases THEN NULL
                                ELSE clock_timestamp() + make_interval(secs => $2) END,
        started_at = coalesce(t.started_at, clock_timestamp()),
        updated_at = clock_timestamp(),
        completed_at = CASE WHEN s.status IN ('completed', 'failed', 'cancelled')
                            THEN clock_timestamp() END
    FROM step s JOIN locked l ON l.id = s.id
    WHERE t.id = s.id AND t.lease_owner = $1 AND t.lease_token = s.token AND t.seq = s.prev
    RETURNING t.id, t.seq, s.note
), items AS (
    UPDATE progress_items i SET
        status = coalesce(c.status, i.status),
        seq = x.seq,
        message = c.message,
        attempts = greatest(i.attempts, c.attempts),
        before = coalesce(c.before, i.before),
        before_version = CASE WHEN c.before IS NULL THEN i.before_version
                              ELSE c.before_version END,
        after = coalesce(c.after, i.after),
        started_at = coalesce(i.started_at, clock_timestamp() - make_interval(secs => c.ago)),
        finished_at = CASE WHEN c.status IN ('pending', 'running') THEN NULL
                           ELSE clock_timestamp() END
    FROM unnest(
        $17::uuid[], $18::int[], $19::text[], $20::text[], $21::int[],
        $22::jsonb[], $23::text[], $24::jsonb[], $25::float8[]
    ) AS c (task_id, ordinal, status, message, attempts, before, before_version, after, ago)
    JOIN changed x ON x.id = c.task_id
    WHERE i.task_id = c.task_id AND i.ordinal = c.ordinal
    RETURNING 1
), noted AS (
    SELECT pg_notify('progress_update', '{\"ts\":'
        || (extract(epoch FROM clock_timestamp()) * 1000000)::bigint || ',' || x.note)
    FROM changed x WHERE x.note IS NOT NULL
)
SELECT x.id, (SELECT count(*) FROM items), (SELECT count(*) FROM noted) FROM changed x";

const STATE: &str = "
SELECT id, seq, lease_token, lease_owner = $1 AS mine, lease_owner IS NULL AS free
FROM progress_tasks WHERE id = ANY ($2)";

/// Prepares the statement on a fresh connection of the writer.
///
/// # Errors
/// When the connection fails or the schema is not there.
pub async fn prepare(client: &Client) -> Result<Statement, Error> {
    // A lock on an item or a table, which SKIP LOCKED does not cover, must not hold up the others.
    client.batch_execute("SET lock_timeout = '1s'; SET synchronous_commit = on").await?;
    client.prepare(FLUSH).await
}

/// Writes a batch. Returns the tasks whose step was stored.
///
/// # Errors
/// The statement's error; nothing of the batch is stored then, unless the answer was lost.
pub async fn flush(
    client: &Client,
    statement: &Statement,
    owner: OwnerId,
    batch: &Batch,
) -> Result<HashSet<TaskId>, Error> {
    let columns = Columns::of(batch);
    let c = &columns;
    let [pending, running, succeeded, failed, skipped, cancelled] = &c.counts;
    let rows = client
        .query(
            statement,
            &[
                &owner.0,
                &LEASE.as_secs_f64(),
                &c.ids,
                &c.tokens,
                &c.prevs,
                &c.statuses,
                &c.errors,
                pending,
                running,
                succeeded,
                failed,
                skipped,
                cancelled,
                &c.finishes,
                &c.releases,
                &c.notes,
                &c.items.task_ids,
                &c.items.ordinals,
                &c.items.statuses,
                &c.items.messages,
                &c.items.attempts,
                &c.items.before,
                &c.items.before_versions,
                &c.items.after,
                &c.items.ago,
            ],
        )
        .await?;
    Ok(rows.iter().map(|row| TaskId(row.get(0))).collect())
}

/// What became of steps that a flush did not store.
///
/// # Errors
/// The statement's error; nothing is known then.
pub async fn verdicts(
    client: &Client,
    owner: OwnerId,
    steps: &[Step],
) -> Result<HashMap<TaskId, Verdict>, Error> {
    let ids: Vec<Uuid> = steps.iter().map(|s| s.task.0).collect();
    let rows = client.query(STATE, &[&owner.0, &ids]).await?;
    let rows: HashMap<Uuid, _> = rows.iter().map(|row| (row.get("id"), row)).collect();
    let verdict = |step: &Step| {
        let Some(row) = rows.get(&step.task.0) else {
            return Verdict::Lost;
        };
        let mine = row.get::<_, Option<bool>>("mine").unwrap_or(false);
        judge(
            step,
            knm_shared::ids::Seq(row.get("seq")),
            knm_shared::ids::LeaseToken(row.get("lease_token")),
            if mine {
                Holder::Me
            } else if row.get("free") {
                Holder::Nobody
            } else {
                Holder::Other
            },
        )
    };
    Ok(steps.iter().map(|step| (step.task, verdict(step))).collect())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    Me,
    Nobody,
    Other,
}

/// The row's fencing pair and sequence number against a step of unknown fate.
fn judge(
    step: &Step,
    seq: knm_shared::ids::Seq,
    token: knm_shared::ids::LeaseToken,
    holder: Holder,
) -> Verdict {
    if token != step.token || holder == Holder::Other {
        return Verdict::Lost;
    }
    match holder {
        // Nobody has claimed since, so it is this step that gave the lease up.
        Holder::Nobody if step.releases && seq == step.seq() => Verdict::Committed,
        Holder::Me if seq == step.seq() => Verdict::Committed,
        Holder::Me if seq == step.prev => Verdict::Again,
        Holder::Me if seq < step.prev => Verdict::FellBack(seq),
        _ => Verdict::Lost,
    }
}

/// The batch by columns, as `unnest` takes it.
#[derive(Default)]
struct Columns {
    ids: Vec<Uuid>,
    tokens: Vec<i64>,
    prevs: Vec<i64>,
    statuses: Vec<&'static str>,
    errors: Vec<Option<String>>,
    counts: [Vec<i32>; 6],
    finishes: Vec<bool>,
    releases: Vec<bool>,
    notes: Vec<Option<String>>,
    items: ItemColumns,
}

#[derive(Default)]
struct ItemColumns {
    task_ids: Vec<Uuid>,
    ordinals: Vec<i32>,
    statuses: Vec<Option<&'static str>>,
    messages: Vec<Option<String>>,
    attempts: Vec<i32>,
    before: Vec<Option<Json>>,
    before_versions: Vec<Option<String>>,
    after: Vec<Option<Json>>,
    ago: Vec<Option<f64>>,
}

/// Its text as it stands; `jsonb` has the version of its format in front of it (PostgreSQL's `jsonb_recv`).
impl ToSql for Json {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        if *ty == Type::JSONB {
            out.put_u8(1);
        }
        out.put_slice(self.as_str().as_bytes());
        Ok(IsNull::No)
    }

    accepts!(JSON, JSONB);
    to_sql_checked!();
}

impl Columns {
    fn of(batch: &Batch) -> Self {
        let mut c = Self::default();
        for step in &batch.steps {
            c.push(step, batch.silent);
        }
        c
    }

    fn push(&mut self, step: &Step, silent: bool) {
        self.ids.push(step.task.0);
        self.tokens.push(step.token.0);
        self.prevs.push(step.prev.0);
        self.statuses.push(step.status.as_str());
        self.errors.push(step.error.clone());
        let [_total, counts @ ..] = step.counts.to_array();
        for (column, count) in self.counts.iter_mut().zip(counts) {
            column.push(int(count));
        }
        self.finishes.push(step.finishes_item);
        self.releases.push(step.releases);
        self.notes.push((!silent).then(|| step.notification().encode_body()));
        let items = &mut self.items;
        for (ordinal, update) in &step.items {
            items.task_ids.push(step.task.0);
            items.ordinals.push(int(*ordinal));
            items.statuses.push(update.status.map(|s| s.as_str()));
            items.messages.push(update.message.clone());
            items.attempts.push(int(update.attempts));
            items.before.push(update.before.clone());
            items.before_versions.push(update.before_version.clone());
            items.after.push(update.after.clone());
            items.ago.push(update.started.map(|m| m.elapsed().as_secs_f64()));
        }
    }
}

/// Counts and ordinals are far below the limit of PostgreSQL's integer.
fn int(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use knm_shared::ids::{LeaseToken, Seq, UserId};
    use knm_shared::status::{Counts, TaskStatus};

    use super::*;

    fn step(releases: bool) -> Step {
        Step {
            task: TaskId(Uuid::nil()),
            user: UserId(Uuid::nil()),
            token: LeaseToken(3),
            prev: Seq(7),
            status: TaskStatus::Running,
            error: None,
            counts: Counts::default(),
            finishes_item: false,
            releases,
            items: Vec::new(),
        }
    }

    #[test]
    fn a_row_under_my_claim_tells_by_its_sequence_number() {
        let mine = |seq| judge(&step(false), Seq(seq), LeaseToken(3), Holder::Me);
        assert_eq!(mine(8), Verdict::Committed);
        assert_eq!(mine(7), Verdict::Again);
        assert_eq!(mine(6), Verdict::FellBack(Seq(6)));
        assert_eq!(mine(9), Verdict::Lost);
    }

    #[test]
    fn a_row_without_lease_is_committed_only_by_a_step_that_gave_it_up() {
        assert_eq!(judge(&step(true), Seq(8), LeaseToken(3), Holder::Nobody), Verdict::Committed);
        assert_eq!(judge(&step(false), Seq(8), LeaseToken(3), Holder::Nobody), Verdict::Lost);
        assert_eq!(judge(&step(true), Seq(7), LeaseToken(3), Holder::Nobody), Verdict::Lost);
    }

    #[test]
    fn another_claim_is_a_lost_lease_whatever_the_number() {
        for seq in 6..10 {
            assert_eq!(judge(&step(true), Seq(seq), LeaseToken(4), Holder::Me), Verdict::Lost);
            assert_eq!(judge(&step(true), Seq(seq), LeaseToken(3), Holder::Other), Verdict::Lost);
        }
    }
}
