//! Fast writing: one prepared statement a step, as the api's writer has it.

use anyhow::Context as _;
use knm_shared::notification::CHANNEL;
use knm_shared::status::Counts;
use tokio_postgres::{Client, Statement};

use super::{Change, Task};

/// Stands in the payload where the database puts its clock: no moment in history.
const CLOCK: i64 = 8_765_432_109_876_543;

const SQL: &str = "
    WITH items AS (
        UPDATE progress_items i SET status = c.status, message = c.message, seq = $2
        FROM unnest($3::int[], $4::text[], $5::text[]) AS c (ordinal, status, message)
        WHERE i.task_id = $1 AND i.ordinal = c.ordinal
    ), head AS (
        UPDATE progress_tasks SET seq = $2, status = 'running', pending = ($6::int[])[1], running = ($6::int[])[2],
            succeeded = ($6::int[])[3], failed = ($6::int[])[4],
            skipped = ($6::int[])[5], cancelled = ($6::int[])[6],
            updated_at = clock_timestamp(), started_at = coalesce(started_at, clock_timestamp())
        WHERE id = $1 RETURNING id
    )
    SELECT pg_notify($7::text, replace($8::text, $9::text, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint::text))
    FROM head";

/// The statement, prepared on one connection.
#[derive(Debug)]
pub struct Flush(Statement);

impl Flush {
    /// For this connection.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn prepare(db: &Client) -> anyhow::Result<Self> {
        Ok(Self(db.prepare(SQL).await?))
    }

    /// One step in one statement and one commit, told whole, with the database's own clock. It must not
    /// end the last item.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn write(
        &self,
        db: &Client,
        task: &mut Task,
        changes: &[Change],
    ) -> anyhow::Result<()> {
        task.seq += 1;
        let mut columns: [Vec<_>; 2] = Default::default();
        let mut ordinals = Vec::new();
        for change in changes {
            *task.items.get_mut(change.ordinal as usize).context("no such item")? = change.status;
            ordinals.push(i32::try_from(change.ordinal)?);
            columns[0].push(Some(change.status.as_str()));
            columns[1].push(change.message.as_deref());
        }
        let [statuses, messages] = columns;
        let [_total, counts @ ..] = Counts::of(&task.items).to_array();
        let counts: Vec<i32> = counts.into_iter().map(i32::try_from).collect::<Result<_, _>>()?;
        let mut note = task.notification(Some(changes));
        note.published_us = CLOCK;
        let (payload, clock) = (note.encode(), CLOCK.to_string());
        db.execute(
            &self.0,
            &[
                &task.id.0, &task.seq, &ordinals, &statuses, &messages, &counts, &CHANNEL,
                &payload, &clock,
            ],
        )
        .await?;
        Ok(())
    }
}
