//! Notifications from somebody who is none of ours: any role in the database can NOTIFY.

use knm_shared::ids::{Seq, TaskId, UserId};
use knm_shared::notification::{CHANNEL, Notification, REVOKED_CHANNEL};
use knm_shared::status::{Counts, TaskStatus};
use serde_json::json;

use super::fault::Forgery;
use crate::postgres::{Database, Sql};

const TASKS: &str = "SELECT id, user_id, seq, total FROM progress_tasks WHERE completed_at IS NULL \
                     ORDER BY random() LIMIT $1";

/// Sends some of a kind.
pub(super) async fn send(database: &Database, what: Forgery, count: u32) -> anyhow::Result<()> {
    let session = database.connect().await?;
    let targets = session.query(TASKS, &[&i64::from(count)]).await?;
    match what {
        Forgery::Garbage => {
            let large = "x".repeat(7_900);
            for payload in ["", "{", "[]", "null", "{\"v\":1}", "\u{1F980}", &large] {
                notify(&session, CHANNEL, payload).await?;
            }
        }
        Forgery::Stranger => {
            for _ in 0..count {
                let stranger = target(TaskId(uuid::Uuid::now_v7()), UserId(uuid::Uuid::now_v7()));
                notify(&session, CHANNEL, &stranger.encode()).await?;
            }
        }
        Forgery::Revocation => {
            let sessions = session.query("SELECT id FROM sessions", &[]).await?;
            for row in sessions {
                let id: uuid::Uuid = row.get(0);
                notify(&session, REVOKED_CHANNEL, &json!({"session": id}).to_string()).await?;
            }
        }
        Forgery::OtherVersion | Forgery::End | Forgery::Ahead | Forgery::Behind => {
            for row in targets {
                let (seq, total): (i64, i32) = (row.get(2), row.get(3));
                let mut note = target(TaskId(row.get(0)), UserId(row.get(1)));
                note.counts.total = total.unsigned_abs();
                note.counts.pending = note.counts.total;
                let payload = match what {
                    Forgery::OtherVersion => {
                        json!({"v": 99, "task": note.task, "news": true}).to_string()
                    }
                    Forgery::End => {
                        note.counts.pending = 0;
                        note.counts.failed = note.counts.total;
                        note.status = TaskStatus::Failed;
                        step(note, seq, seq + 1)
                    }
                    Forgery::Ahead => step(note, seq + 1_000, seq + 1_001),
                    _ => step(note, 0, 1),
                };
                notify(&session, CHANNEL, &payload).await?;
            }
        }
    }
    Ok(())
}

fn target(task: TaskId, user: UserId) -> Notification {
    Notification {
        task,
        user,
        prev: Seq(1),
        seq: Seq(2),
        published_us: 0,
        status: TaskStatus::Running,
        counts: Counts::default(),
        error: None,
        items: Some(Vec::new()),
    }
}

fn step(note: Notification, prev: i64, seq: i64) -> String {
    Notification { prev: Seq(prev), seq: Seq(seq), ..note }.encode()
}

async fn notify(session: &Sql, channel: &str, payload: &str) -> anyhow::Result<()> {
    session.execute("SELECT pg_notify($1, $2)", &[&channel, &payload]).await?;
    Ok(())
}
