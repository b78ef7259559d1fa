//! Every write to tasks and items with the session that made it, kept by triggers: what a test needs
//! to say that a process has changed *nothing*.

use anyhow::Context as _;
use knm_shared::ids::TaskId;
use uuid::Uuid;

use super::World;

const INSTALL: &str = "
CREATE TABLE write_journal (
    id bigserial PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    application text NOT NULL DEFAULT current_setting('application_name'),
    task_id uuid NOT NULL,
    ordinal int,
    old_owner uuid, new_owner uuid,
    old_token bigint, new_token bigint,
    old_seq bigint, new_seq bigint,
    new_status text
);
CREATE FUNCTION journal_task() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO write_journal
        (task_id, old_owner, new_owner, old_token, new_token, old_seq, new_seq, new_status)
    VALUES (NEW.id, OLD.lease_owner, NEW.lease_owner, OLD.lease_token, NEW.lease_token,
            OLD.seq, NEW.seq, NEW.status);
    RETURN NULL;
END $$;
CREATE FUNCTION journal_item() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO write_journal (task_id, ordinal, old_seq, new_seq, new_status)
    VALUES (NEW.task_id, NEW.ordinal, OLD.seq, NEW.seq, NEW.status);
    RETURN NULL;
END $$;
CREATE TRIGGER journal AFTER INSERT OR UPDATE ON progress_tasks
    FOR EACH ROW EXECUTE FUNCTION journal_task();
CREATE TRIGGER journal AFTER UPDATE ON progress_items
    FOR EACH ROW EXECUTE FUNCTION journal_item();";

const READ: &str = "
SELECT id, (extract(epoch FROM at) * 1000000)::bigint, application, task_id, ordinal,
       old_owner, new_owner, coalesce(old_token, 0), coalesce(new_token, 0),
       coalesce(old_seq, 0), coalesce(new_seq, 0), new_status
FROM write_journal ORDER BY id";

/// One write to one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Rises from write to write of the same task.
    pub id: i64,
    /// The database's clock, in microseconds since 1970.
    pub at_micros: i64,
    /// `application_name` of the session.
    pub application: String,
    /// Of which task.
    pub task: TaskId,
    /// The item; none when it is the task's own row.
    pub ordinal: Option<i32>,
    /// `lease_owner` before and after, of the task's own row.
    pub owner: (Option<Uuid>, Option<Uuid>),
    /// `lease_token` before and after, of the task's own row.
    pub token: (i64, i64),
    /// `seq` before and after.
    pub seq: (i64, i64),
    /// `status` afterwards.
    pub status: String,
}

impl Change {
    /// Whether a process of this pod wrote it.
    #[must_use]
    pub fn by(&self, pod: &str) -> bool {
        self.application.split(' ').nth(1) == Some(pod)
    }

    /// Whether it is a claim.
    #[must_use]
    pub fn is_claim(&self) -> bool {
        self.ordinal.is_none() && self.token.1 > self.token.0
    }

    /// Whether it is a claim of a task that somebody else still held.
    #[must_use]
    pub fn is_takeover(&self) -> bool {
        self.is_claim() && self.owner.0.is_some() && self.owner.0 != self.owner.1
    }

    /// Whether the lease was given up in it.
    #[must_use]
    pub fn releases(&self) -> bool {
        self.ordinal.is_none() && self.owner.0.is_some() && self.owner.1.is_none()
    }
}

impl World {
    /// Writes everything down from now on.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn keep_journal(&self) -> anyhow::Result<()> {
        let sql = self.database.connect().await?;
        sql.batch_execute(INSTALL).await.context("the journal cannot be kept")
    }

    /// All writes since [`World::keep_journal`].
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn journal(&self) -> anyhow::Result<Vec<Change>> {
        let rows = self.database.connect().await?.query(READ, &[]).await?;
        let change = |row: &tokio_postgres::Row| Change {
            id: row.get(0),
            at_micros: row.get(1),
            application: row.get(2),
            task: TaskId(row.get(3)),
            ordinal: row.get(4),
            owner: (row.get(5), row.get(6)),
            token: (row.get(7), row.get(8)),
            seq: (row.get(9), row.get(10)),
            status: row.get(11),
        };
        Ok(rows.iter().map(change).collect())
    }

    /// The writes to one task.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn journal_of(&self, task: TaskId) -> anyhow::Result<Vec<Change>> {
        Ok(self.journal().await?.into_iter().filter(|change| change.task == task).collect())
    }
}
