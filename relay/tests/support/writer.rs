//! An api that does what its writer would do, one flush at a time, by hand.

use knm_shared::ids::{Seq, TaskId, UserId};
use knm_shared::notification::{CHANNEL, ItemChange, Notification};
use knm_shared::session::Token;
use knm_shared::status::{Counts, ItemStatus, TaskStatus};
use tokio_postgres::Client;
use uuid::Uuid;

/// A signed-in user.
pub struct User {
    pub id: UserId,
    pub session: Uuid,
    pub token: String,
}

impl User {
    pub async fn sign_in(db: &Client) -> Self {
        let id = UserId(Uuid::new_v4());
        let session = Uuid::new_v4();
        let token = Uuid::new_v4().simple().to_string();
        let hash = Token::new(token.clone()).hash();
        db.execute(
            "INSERT INTO users (id, username, password_hash, role) VALUES ($1, $2, 'x', 'viewer')",
            &[&id.0, &id.to_string()],
        )
        .await
        .expect("a user");
        db.execute(
            "INSERT INTO sessions (id, user_id, kind, token_hash, expires_at, ends_at) \
             VALUES ($1, $2, 'session', $3, now() + interval '1 hour', now() + interval '1 day')",
            &[&session, &id.0, &hash],
        )
        .await
        .expect("a session");
        Self { id, session, token }
    }
}

/// A task and the states that its writer has written.
pub struct Task {
    pub id: TaskId,
    pub user: UserId,
    pub seq: i64,
    pub status: TaskStatus,
    pub items: Vec<ItemStatus>,
}

/// How a flush is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tell {
    /// With its items.
    Whole,
    /// Without them.
    Head,
    /// Not at all.
    Nothing,
}

impl Task {
    pub async fn create(db: &Client, user: &User, items: usize) -> Self {
        let id = TaskId(Uuid::now_v7());
        let total = i32::try_from(items).expect("few");
        db.execute(
            "INSERT INTO progress_tasks (id, user_id, cluster, action, total, pending, reason) \
             VALUES ($1, $2, 'default', 'label', $3, $3, 'why not')",
            &[&id.0, &user.id.0, &total],
        )
        .await
        .expect("a task");
        db.execute(
            "INSERT INTO progress_items (task_id, ordinal, node, node_uid) \
             SELECT $1, n, 'node-' || n, 'uid-' || n FROM generate_series(0, $2 - 1) n",
            &[&id.0, &total],
        )
        .await
        .expect("items");
        let status = TaskStatus::Queued;
        Self { id, user: user.id, seq: 1, status, items: vec![ItemStatus::Pending; items] }
    }

    /// A lie about the step to the present number: that every item came to this.
    pub fn lie(&self, status: ItemStatus) -> Notification {
        let item = |ordinal| ItemChange { ordinal, status, message: None };
        let items = self.items.len();
        Notification {
            task: self.id,
            user: self.user,
            prev: Seq(self.seq - 1),
            seq: Seq(self.seq),
            published_us: 0,
            status: TaskStatus::Running,
            counts: Counts::of(&vec![status; items]),
            error: None,
            items: Some((0..u32::try_from(items).expect("few")).map(item).collect()),
        }
    }

    /// One flush: rows and notification in one commit.
    pub async fn flush(
        &mut self,
        db: &mut Client,
        status: TaskStatus,
        changes: &[(usize, ItemStatus, Option<&str>)],
        tell: Tell,
    ) {
        let prev = self.seq;
        self.seq += 1;
        self.status = status;
        let tx = db.transaction().await.expect("begin");
        for (ordinal, state, message) in changes {
            self.items[*ordinal] = *state;
            tx.execute(
                "UPDATE progress_items SET status = $3, message = $4, seq = $5 \
                 WHERE task_id = $1 AND ordinal = $2",
                &[
                    &self.id.0,
                    &i32::try_from(*ordinal).expect("few"),
                    &state.as_str(),
                    message,
                    &self.seq,
                ],
            )
            .await
            .expect("an item");
        }
        let counts = Counts::of(&self.items);
        let [total, pending, running, succeeded, failed, skipped, cancelled] =
            counts.to_array().map(|c| i32::try_from(c).expect("few"));
        tx.execute(
            "UPDATE progress_tasks SET seq = $2, status = $3, total = $4, pending = $5, \
             running = $6, succeeded = $7, failed = $8, skipped = $9, cancelled = $10, \
             updated_at = clock_timestamp(), \
             started_at = coalesce(started_at, now()), \
             completed_at = CASE WHEN $3 IN ('completed', 'failed', 'cancelled') THEN now() END \
             WHERE id = $1",
            &[
                &self.id.0,
                &self.seq,
                &status.as_str(),
                &total,
                &pending,
                &running,
                &succeeded,
                &failed,
                &skipped,
                &cancelled,
            ],
        )
        .await
        .expect("the task");
        if tell != Tell::Nothing {
            let now: i64 = tx
                .query_one("SELECT (extract(epoch FROM clock_timestamp()) * 1e6)::bigint", &[])
                .await
                .expect("a clock")
                .get(0);
            let items = changes.iter().map(|(ordinal, status, message)| ItemChange {
                ordinal: u32::try_from(*ordinal).expect("few"),
                status: *status,
                message: message.map(str::to_owned),
            });
            let note = Notification {
                task: self.id,
                user: self.user,
                prev: Seq(prev),
                seq: Seq(self.seq),
                published_us: now,
                status,
                counts,
                error: None,
                items: (tell == Tell::Whole).then(|| items.collect()),
            };
            tx.execute("SELECT pg_notify($1, $2)", &[&CHANNEL, &note.encode()])
                .await
                .expect("notify");
        }
        tx.commit().await.expect("commit");
    }
}
