//! Frames as the hub hands them out: shared, and encoded by whoever sends them first, outside the
//! hub's lock.

use std::sync::Arc;

use knm_shared::epoch::Epoch;
use knm_shared::ids::TaskId;
use serde::Serialize;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::answer::Answer;
use super::step::Step;
use crate::protocol::{CloseReason, ErrorCode, Head, Mode, ResyncReason, ServerMessage};

/// What to do for a connection.
#[derive(Debug)]
pub enum Next {
    /// Send this.
    Frame(Frame),
    /// Close it.
    Close(CloseReason),
    /// Nothing, until it is woken.
    Idle,
    /// The hub does not know the connection.
    Gone,
}

/// One message.
#[derive(Debug, Clone)]
pub enum Frame {
    /// A page of a snapshot.
    Page {
        /// What was read.
        answer: Arc<Answer>,
        /// Which page of it.
        page: usize,
    },
    /// A step of a task.
    Step {
        /// The step.
        step: Arc<Step>,
        /// Whether it reaches the client as it happens: then its delay says something about us.
        live: bool,
    },
    /// The user's list.
    List {
        /// Whether it replaces what the client has.
        full: bool,
        /// The tasks.
        heads: Vec<Arc<Head>>,
    },
    /// A new history.
    Resync(Epoch),
    /// How changes arrive.
    Mode(Arc<Mode>),
    /// A subscription has ended in failure.
    Refused {
        /// Of which task.
        task: TaskId,
        /// Why.
        code: ErrorCode,
    },
}

impl Frame {
    /// The frame's text.
    #[must_use]
    pub fn encode(&self) -> Utf8Bytes {
        match self {
            Self::Page { answer, page } => answer.encode_page(*page),
            Self::Step { step, .. } => step.encode(),
            Self::List { full, heads } => encode(&ServerMessage::Tasks {
                full: *full,
                tasks: heads.iter().map(Arc::as_ref).collect(),
            }),
            Self::Resync(epoch) => {
                encode(&ServerMessage::Resync { epoch, reason: ResyncReason::Epoch })
            }
            Self::Mode(mode) => encode(&ServerMessage::Mode(mode)),
            Self::Refused { task, code } => encode(&ServerMessage::Error {
                code: *code,
                message: match code {
                    ErrorCode::UnknownTask => "there is no such task, or no longer",
                    ErrorCode::Forbidden => "this task is not yours to read",
                    _ => "the task could not be read; subscribe again",
                },
                task_id: Some(*task),
            }),
        }
    }
}

/// A message as text.
pub fn encode(message: &impl Serialize) -> Utf8Bytes {
    serde_json::to_string(message)
        .expect("our messages have string keys and no failing parts")
        .into()
}
