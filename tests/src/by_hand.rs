//! A writer by hand: tasks whose every commit a test decides on, for what only the relay has to prove.
//!
//! It writes what the api's writer would write, with or without the notification. No api may run on
//! the same database: it would claim the tasks.

mod flush;

use anyhow::Context as _;
use knm_shared::ids::{Seq, TaskId, UserId};
use knm_shared::notification::{CHANNEL, ItemChange, Notification};
use knm_shared::session::Token;
use knm_shared::status::{Counts, ItemStatus, TaskStatus};
use tokio_postgres::{Client, Transaction};
use uuid::Uuid;

pub use flush::Flush;

/// A user with a session.
#[derive(Debug, Clone)]
pub struct User {
    id: UserId,
    token: String,
}

impl User {
    /// Makes one.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn sign_in(db: &Client) -> anyhow::Result<Self> {
        let (id, session) = (UserId(Uuid::new_v4()), Uuid::new_v4());
        let token = Uuid::new_v4().simple().to_string();
        let hash = Token::new(token.clone()).hash();
        db.execute(
            "INSERT INTO users (id, username, password_hash, role) VALUES ($1, $2, 'x', 'viewer')",
            &[&id.0, &id.to_string()],
        )
        .await?;
        db.execute(
            "INSERT INTO sessions (id, user_id, kind, token_hash, expires_at, ends_at) \
             VALUES ($1, $2, 'session', $3, now() + interval '1 hour', now() + interval '1 day')",
            &[&session, &id.0, &hash],
        )
        .await?;
        Ok(Self { id, token })
    }

    /// The session's token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }
}

/// How a commit is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tell {
    /// With its items.
    Whole,
    /// Without them, as when they do not fit.
    Head,
    /// Not at all.
    Nothing,
}

/// A change of one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub ordinal: u32,
    /// Its state.
    pub status: ItemStatus,
    /// Its message.
    pub message: Option<String>,
}

impl Change {
    /// Without a message.
    #[must_use]
    pub fn new(ordinal: u32, status: ItemStatus) -> Self {
        Self { ordinal, status, message: None }
    }

    /// With one.
    #[must_use]
    pub fn saying(ordinal: u32, status: ItemStatus, message: impl Into<String>) -> Self {
        Self { ordinal, status, message: Some(message.into()) }
    }
}

/// A task and what has been written of it.
#[derive(Debug, Clone)]
pub struct Task {
    id: TaskId,
    user: UserId,
    seq: i64,
    items: Vec<ItemStatus>,
}

impl Task {
    /// A queued task of `items` nodes, at sequence number 1.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn create(db: &Client, user: &User, items: u32) -> anyhow::Result<Self> {
        let id = TaskId(Uuid::now_v7());
        let total = i32::try_from(items)?;
        db.execute(
            "INSERT INTO progress_tasks (id, user_id, cluster, action, total, pending) \
             VALUES ($1, $2, 'default', 'label', $3, $3)",
            &[&id.0, &user.id.0, &total],
        )
        .await?;
        db.execute(
            "INSERT INTO progress_items (task_id, ordinal, node, node_uid) \
             SELECT $1, n, 'node-' || n, 'uid-' || n FROM generate_series(0, $2 - 1) n",
            &[&id.0, &total],
        )
        .await?;
        let items = vec![ItemStatus::Pending; items as usize];
        Ok(Self { id, user: user.id, seq: 1, items })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// Its sequence number.
    #[must_use]
    pub fn seq(&self) -> i64 {
        self.seq
    }

    /// Whether every item has ended.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.items.iter().all(|item| item.is_terminal())
    }

    /// How often [`Task::next`] will find something to do.
    #[must_use]
    pub fn steps_left(&self) -> usize {
        let steps = |item: &ItemStatus| match item {
            ItemStatus::Pending => 2,
            ItemStatus::Running => 1,
            _ => 0,
        };
        self.items.iter().map(steps).sum()
    }

    /// The next step of a run in order: an item begins, or the one that runs succeeds; the last one
    /// completes the task. False when there is none.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn next(&mut self, db: &mut Client, tell: Tell) -> anyhow::Result<bool> {
        let Some(at) = self.items.iter().position(|item| !item.is_terminal()) else {
            return Ok(false);
        };
        let status = match self.items[at] {
            ItemStatus::Pending => ItemStatus::Running,
            _ => ItemStatus::Succeeded,
        };
        self.write(db, &[Change::new(u32::try_from(at)?, status)], tell).await?;
        Ok(true)
    }

    /// [`Task::next`] to the end.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn finish(&mut self, db: &mut Client, tell: Tell) -> anyhow::Result<()> {
        while self.next(db, tell).await? {}
        Ok(())
    }

    /// One commit: rows and their notification. It ends the task when it ends the last item.
    ///
    /// # Errors
    /// When the database refuses; nothing has changed then.
    pub async fn write(
        &mut self,
        db: &mut Client,
        changes: &[Change],
        tell: Tell,
    ) -> anyhow::Result<()> {
        let mut next = self.clone();
        next.seq += 1;
        for change in changes {
            let item = next.items.get_mut(change.ordinal as usize).context("no such item")?;
            *item = change.status;
        }
        let transaction = db.transaction().await?;
        next.write_items(&transaction, changes).await?;
        next.write_head(&transaction).await?;
        let items = match tell {
            Tell::Nothing => None,
            Tell::Head => Some(None),
            Tell::Whole => Some(Some(changes)),
        };
        if let Some(items) = items {
            let payload = next.notification(items).encode();
            transaction.execute("SELECT pg_notify($1, $2)", &[&CHANNEL, &payload]).await?;
        }
        transaction.commit().await?;
        *self = next;
        Ok(())
    }

    /// What a commit that led to the present state would notify.
    #[must_use]
    pub fn notification(&self, changes: Option<&[Change]>) -> Notification {
        let item = |c: &Change| ItemChange {
            ordinal: c.ordinal,
            status: c.status,
            message: c.message.clone(),
        };
        Notification {
            task: self.id,
            user: self.user,
            prev: Seq(self.seq - 1),
            seq: Seq(self.seq),
            published_us: jiff::Timestamp::now().as_microsecond(),
            status: self.status(),
            counts: Counts::of(&self.items),
            error: None,
            items: changes.map(|changes| changes.iter().map(item).collect()),
        }
    }

    fn status(&self) -> TaskStatus {
        if self.ended() { TaskStatus::Completed } else { TaskStatus::Running }
    }

    async fn write_items(
        &self,
        transaction: &Transaction<'_>,
        changes: &[Change],
    ) -> anyhow::Result<()> {
        let ordinals: Vec<i32> =
            changes.iter().map(|c| i32::try_from(c.ordinal)).collect::<Result<_, _>>()?;
        let statuses: Vec<&str> = changes.iter().map(|c| c.status.as_str()).collect();
        let messages: Vec<Option<&str>> = changes.iter().map(|c| c.message.as_deref()).collect();
        transaction
            .execute(
                "UPDATE progress_items i SET status = c.status, message = c.message, seq = $2 \
                 FROM unnest($3::int[], $4::text[], $5::text[]) AS c (ordinal, status, message) \
                 WHERE i.task_id = $1 AND i.ordinal = c.ordinal",
                &[&self.id.0, &self.seq, &ordinals, &statuses, &messages],
            )
            .await?;
        Ok(())
    }

    async fn write_head(&self, transaction: &Transaction<'_>) -> anyhow::Result<()> {
        let [_total, counts @ ..] = Counts::of(&self.items).to_array();
        let mut columns = [0; 6];
        for (column, count) in columns.iter_mut().zip(counts) {
            *column = i32::try_from(count)?;
        }
        let [pending, running, succeeded, failed, skipped, cancelled] = columns;
        transaction
            .execute(
                "UPDATE progress_tasks SET seq = $2, status = $3, pending = $4, running = $5, \
                 succeeded = $6, failed = $7, skipped = $8, cancelled = $9, \
                 updated_at = clock_timestamp(), \
                 started_at = coalesce(started_at, clock_timestamp()), \
                 completed_at = CASE WHEN $3 = 'completed' THEN clock_timestamp() END \
                 WHERE id = $1",
                &[
                    &self.id.0,
                    &self.seq,
                    &self.status().as_str(),
                    &pending,
                    &running,
                    &succeeded,
                    &failed,
                    &skipped,
                    &cancelled,
                ],
            )
            .await?;
        Ok(())
    }
}
