//! Messages from clients.

use knm_shared::epoch::Cursor;
use knm_shared::ids::TaskId;
use serde::{Deserialize, Deserializer};

/// What a client may ask for.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ClientMessage {
    /// Follow a task, from `cursor` when the client already has part of it.
    Subscribe {
        /// Which task.
        task_id: TaskId,
        /// What the client has applied.
        #[cfg_attr(test, schemars(with = "Option<String>"))]
        #[serde(default, deserialize_with = "cursor")]
        cursor: Option<Cursor>,
    },
    /// Stop following a task.
    Unsubscribe {
        /// Which task.
        task_id: TaskId,
    },
    /// Follow the list of the user's own tasks.
    // Braces, not a unit variant: serde would let unknown fields of a unit variant pass.
    WatchTasks {},
    /// Stop following the list.
    UnwatchTasks {},
}

/// A message that is not one of [`ClientMessage`].
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadMessage(#[from] serde_json::Error);

impl ClientMessage {
    /// Reads a text frame.
    ///
    /// # Errors
    /// [`BadMessage`], whose text may be shown to the client: it speaks of the client's own words.
    pub fn parse(text: &str) -> Result<Self, BadMessage> {
        Ok(serde_json::from_str(text)?)
    }
}

fn cursor<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Cursor>, D::Error> {
    let text: Option<String> = Option::deserialize(d)?;
    text.map(|t| t.parse().map_err(serde::de::Error::custom)).transpose()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "00000000-0000-0000-0000-000000000007";

    #[test]
    fn every_message_is_read() {
        let task_id = ID.parse().expect("a uuid");
        let parse = |text: &str| ClientMessage::parse(&text.replace("ID", ID)).expect(text);
        assert_eq!(
            parse(r#"{"type":"subscribe","task_id":"ID"}"#),
            ClientMessage::Subscribe { task_id, cursor: None }
        );
        assert_eq!(
            parse(r#"{"type":"subscribe","task_id":"ID","cursor":null}"#),
            ClientMessage::Subscribe { task_id, cursor: None }
        );
        assert_eq!(
            parse(r#"{"type":"subscribe","task_id":"ID","cursor":"a-1:17"}"#),
            ClientMessage::Subscribe { task_id, cursor: "a-1:17".parse().ok() }
        );
        assert_eq!(
            parse(r#"{"type":"unsubscribe","task_id":"ID"}"#),
            ClientMessage::Unsubscribe { task_id }
        );
        assert_eq!(parse(r#"{"type":"watch_tasks"}"#), ClientMessage::WatchTasks {});
        assert_eq!(parse(r#"{"type":"unwatch_tasks"}"#), ClientMessage::UnwatchTasks {});
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"type":"shutdown"}"#,
            r#"{"type":"subscribe"}"#,
            r#"{"type":"subscribe","task_id":"x"}"#,
            r#"{"type":"subscribe","task_id":"ID","cursor":"17"}"#,
            r#"{"type":"subscribe","task_id":"ID","after":17}"#,
            r#"{"type":"watch_tasks","all":true}"#,
            r#"{"type":"watch_tasks"}{"type":"watch_tasks"}"#,
        ] {
            assert!(ClientMessage::parse(&bad.replace("ID", ID)).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in ".{0,300}") {
            let _ = ClientMessage::parse(&text);
        }
    }
}
