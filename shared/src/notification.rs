//! The payload of a notification on the channel [`CHANNEL`].
//!
//! Rows are the truth; a notification is a hint that carries a copy. It names the step it makes
//! (`prev` to `seq`), so that a receiver knows whether it may apply it or has to read rows, and it
//! carries the changed items as long as all of them fit.
//!
//! Fields once given keep their meaning. A payload of another version means: read rows.

use std::fmt::Write as _;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::ids::{Ordinal, Seq, TaskId, UserId};
use crate::status::{Counts, ItemStatus, TaskStatus};

/// Carries every change of every task.
pub const CHANNEL: &str = "progress_update";

/// Carries the ids of sessions and users whose access ended. Payload: a [`Revocation`].
pub const REVOKED_CHANNEL: &str = "session_revoked";

/// PostgreSQL takes payloads under 8,000 bytes
/// (<https://www.postgresql.org/docs/15/sql-notify.html>).
pub const MAX_PAYLOAD: usize = 7_999;

/// The version this release writes.
pub const VERSION: u32 = 1;

/// `{"ts":` + up to 19 digits + `,`: what the flush statement puts before the rest.
const TIME_LEN: usize = 26;

/// One change of one item, as it travels: `[ordinal, "s"]` or `[ordinal, "f", "message"]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemChange {
    /// Which item.
    pub ordinal: Ordinal,
    /// Its state now.
    pub status: ItemStatus,
    /// Its message now.
    pub message: Option<String>,
}

/// One step of one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Which task.
    pub task: TaskId,
    /// Whose task.
    pub user: UserId,
    /// The sequence number before this step; equal to `seq` never.
    pub prev: Seq,
    /// The sequence number after this step.
    pub seq: Seq,
    /// The database's clock within the statement, in microseconds since 1970.
    pub published_us: i64,
    /// The task's state after this step.
    pub status: TaskStatus,
    /// The counters after this step.
    pub counts: Counts,
    /// The task's error, when it has one.
    pub error: Option<String>,
    /// The changed items; `None` when they did not all fit: read rows.
    pub items: Option<Vec<ItemChange>>,
}

/// Why a payload could not be used. The receiver reads rows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A newer or foreign writer; the task is known, what it says is not.
    #[error("notification version {version} for task {task}")]
    UnknownVersion {
        /// The version found.
        version: u32,
        /// The task to read.
        task: TaskId,
    },
    /// Not one of our payloads at all: any role in the database can NOTIFY.
    #[error("unparseable notification: {0}")]
    Unparseable(String),
}

const fn letter(status: ItemStatus) -> &'static str {
    match status {
        ItemStatus::Pending => "p",
        ItemStatus::Running => "r",
        ItemStatus::Succeeded => "s",
        ItemStatus::Failed => "f",
        ItemStatus::Skipped => "k",
        ItemStatus::Cancelled => "c",
    }
}

fn status_of(letter: &str) -> Option<ItemStatus> {
    ItemStatus::ALL.iter().copied().find(|s| self::letter(*s) == letter)
}

impl Notification {
    /// The payload without its time: everything after `{"ts":N,`. The flush statement puts the time
    /// in front of it, so that it is the database's clock at the moment of the write.
    ///
    /// Items that would make the payload too large are left out, all or none; so is the error.
    #[must_use]
    pub fn encode_body(&self) -> String {
        let mut body = self.encode_head();
        let room = MAX_PAYLOAD - TIME_LEN - 1;
        if let Some(error) = &self.error {
            let part = format!(",\"err\":{}", json(error));
            if body.len() + part.len() <= room {
                body.push_str(&part);
            }
        }
        if let Some(items) = self.encode_items(room.saturating_sub(body.len())) {
            body.push_str(&items);
        }
        body.push('}');
        body
    }

    fn encode_head(&self) -> String {
        let Self { task, user, prev, seq, status, counts, .. } = self;
        let [total, pending, running, succeeded, failed, skipped, cancelled] = counts.to_array();
        format!(
            "\"v\":{VERSION},\"task\":\"{task}\",\"user\":\"{user}\",\"prev\":{prev},\"seq\":{seq},\
             \"status\":\"{status}\",\"counts\":[{total},{pending},{running},{succeeded},{failed},\
             {skipped},{cancelled}]"
        )
    }

    fn encode_items(&self, room: usize) -> Option<String> {
        let items = self.items.as_ref()?;
        let mut out = String::from(",\"items\":[");
        for (i, item) in items.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(out, "{comma}[{},\"{}\"", item.ordinal, letter(item.status)).ok()?;
            if let Some(message) = &item.message {
                write!(out, ",{}", json(message)).ok()?;
            }
            out.push(']');
            if out.len() > room {
                return None;
            }
        }
        out.push(']');
        (out.len() <= room).then_some(out)
    }

    /// The whole payload, with the time that the notification carries.
    #[must_use]
    pub fn encode(&self) -> String {
        format!("{{\"ts\":{},{}", self.published_us, self.encode_body())
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// [`DecodeError`] when it is not of this version or not ours.
    pub fn decode(payload: &str) -> Result<Self, DecodeError> {
        let unparseable = |e: serde_json::Error| DecodeError::Unparseable(e.to_string());
        let Head { v, task } = serde_json::from_str(payload).map_err(unparseable)?;
        if v != VERSION {
            return Err(DecodeError::UnknownVersion { version: v, task });
        }
        let wire: Wire = serde_json::from_str(payload).map_err(unparseable)?;
        wire.try_into()
    }
}

fn json(s: &str) -> String {
    serde_json::Value::from(s).to_string()
}

#[derive(Deserialize)]
struct Head {
    v: u32,
    task: TaskId,
}

#[derive(Deserialize)]
struct Wire {
    ts: i64,
    task: TaskId,
    user: UserId,
    prev: Seq,
    seq: Seq,
    status: TaskStatus,
    counts: [u32; 7],
    err: Option<String>,
    items: Option<Vec<WireItem>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WireItem {
    Plain(Ordinal, String),
    WithMessage(Ordinal, String, Option<String>),
    // A later release may append to an item; what this one knows still holds.
    Longer(Ordinal, String, Option<String>, IgnoredAny),
}

impl TryFrom<Wire> for Notification {
    type Error = DecodeError;

    fn try_from(w: Wire) -> Result<Self, DecodeError> {
        if w.prev >= w.seq || w.prev < Seq(0) {
            let Wire { prev, seq, .. } = w;
            return Err(DecodeError::Unparseable(format!("no step leads from {prev} to {seq}")));
        }
        let items = w
            .items
            .map(|items| items.into_iter().map(ItemChange::try_from).collect::<Result<_, _>>());
        Ok(Self {
            task: w.task,
            user: w.user,
            prev: w.prev,
            seq: w.seq,
            published_us: w.ts,
            status: w.status,
            counts: Counts::from_array(w.counts),
            error: w.err,
            items: items.transpose()?,
        })
    }
}

impl TryFrom<WireItem> for ItemChange {
    type Error = DecodeError;

    fn try_from(item: WireItem) -> Result<Self, DecodeError> {
        let (ordinal, letter, message) = match item {
            WireItem::Plain(ordinal, letter) => (ordinal, letter, None),
            WireItem::WithMessage(ordinal, letter, message)
            | WireItem::Longer(ordinal, letter, message, _) => (ordinal, letter, message),
        };
        let status = status_of(&letter)
            .ok_or_else(|| DecodeError::Unparseable(format!("item state {letter:?}")))?;
        Ok(Self { ordinal, status, message })
    }
}

/// Whose access ended: the payload of [`REVOKED_CHANNEL`], as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Revocation {
    /// One session or token.
    Session(uuid::Uuid),
    /// Every session and token of a user.
    User(UserId),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn sample(items: Option<Vec<ItemChange>>) -> Notification {
        Notification {
            task: TaskId(Uuid::from_u128(7)),
            user: UserId(Uuid::from_u128(9)),
            prev: Seq(4),
            seq: Seq(5),
            published_us: 1_763_884_000_123_456,
            status: TaskStatus::Running,
            counts: Counts { total: 3, running: 1, succeeded: 2, ..Counts::default() },
            error: None,
            items,
        }
    }

    #[test]
    fn the_wire_format_is_pinned() {
        let failed = ItemChange {
            ordinal: 12,
            status: ItemStatus::Failed,
            message: Some("node \"x\" not found".into()),
        };
        let plain = ItemChange { ordinal: 3, status: ItemStatus::Succeeded, message: None };
        insta::assert_snapshot!(sample(Some(vec![failed, plain])).encode());
    }

    #[test]
    fn items_that_do_not_fit_are_left_out_and_the_rest_stays_readable() {
        let items = (0..5_000)
            .map(|ordinal| ItemChange { ordinal, status: ItemStatus::Running, message: None })
            .collect();
        let n = sample(Some(items));
        let payload = n.encode();
        assert!(payload.len() <= MAX_PAYLOAD);
        assert_eq!(Notification::decode(&payload), Ok(Notification { items: None, ..n }));
    }

    #[test]
    fn another_version_names_the_task_to_read() {
        let payload = sample(None).encode().replace("\"v\":1", "\"v\":2");
        let task = TaskId(Uuid::from_u128(7));
        assert_eq!(
            Notification::decode(&payload),
            Err(DecodeError::UnknownVersion { version: 2, task })
        );
    }

    #[test]
    fn a_longer_item_of_a_later_release_is_understood() {
        let payload = sample(None).encode();
        let payload = payload.replace(']', "],\"items\":[[1,\"s\",null,{\"new\":1}]]");
        let items = Notification::decode(&payload).expect("decodes").items.expect("items");
        assert_eq!(
            items,
            [ItemChange { ordinal: 1, status: ItemStatus::Succeeded, message: None }]
        );
    }

    #[test]
    fn a_new_field_of_a_later_release_changes_nothing() {
        let n = sample(None);
        let payload = n.encode().replace("{\"ts\"", "{\"new\":{\"x\":[1]},\"ts\"");
        assert_eq!(Notification::decode(&payload), Ok(n));
    }

    #[test]
    fn foreign_payloads_are_refused() {
        let backwards = sample(None).encode().replace("\"prev\":4", "\"prev\":5");
        for bad in ["", "hello", "{}", "[]", "null", "{\"v\":1}", backwards.as_str()] {
            assert!(
                matches!(Notification::decode(bad), Err(DecodeError::Unparseable(_))),
                "{bad:?}"
            );
        }
    }

    fn any_item() -> impl Strategy<Value = ItemChange> {
        (any::<u32>(), 0usize..6, proptest::option::of(".{0,400}")).prop_map(
            |(ordinal, status, message)| ItemChange {
                ordinal,
                status: ItemStatus::ALL[status],
                message,
            },
        )
    }

    proptest! {
        #[test]
        fn whatever_is_encoded_fits_and_decodes_to_itself_or_to_less(
            items in proptest::option::of(proptest::collection::vec(any_item(), 0..60)),
            error in proptest::option::of(".{0,3000}"),
            prev in 0i64..i64::MAX - 1,
            published_us in 0i64..4_000_000_000_000_000,
        ) {
            let n = Notification {
                prev: Seq(prev), seq: Seq(prev + 1), published_us, error, ..sample(items)
            };
            let payload = n.encode();
            prop_assert!(payload.len() <= MAX_PAYLOAD);
            let back = Notification::decode(&payload).expect("own payloads decode");
            if back.items.is_some() {
                prop_assert_eq!(&back.items, &n.items);
            }
            if back.error.is_some() {
                prop_assert_eq!(&back.error, &n.error);
            }
            let same_head = Notification { items: n.items.clone(), error: n.error.clone(), ..back };
            prop_assert_eq!(same_head, n);
        }

        #[test]
        fn decoding_never_panics(payload in ".{0,300}") {
            let _ = Notification::decode(&payload);
        }
    }
}
