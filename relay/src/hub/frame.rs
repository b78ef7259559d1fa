//! Frames as the hub hands them out: shared, and encoded by whoever sends them first, outside the
//! hub's lock.

use std::sync::Arc;

use knm_shared::epoch::Epoch;
use knm_shared::ids::TaskId;
use serde::Serialize;
use tokio_tungstenite::tungstenite::Bytes;

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
    /// The frame as it goes over the wire.
    #[must_use]
    pub fn encode(&self) -> Bytes {
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

/// The longest head of a frame.
const HEAD: usize = 10;
/// A whole message of text (RFC 6455 section 5.2: FIN and opcode 1).
const TEXT: u8 = 0x81;

/// A message as a WebSocket frame, head and all: a server's frames are not masked, so it is the same for
/// every client.
pub fn encode(message: &impl Serialize) -> Bytes {
    let mut frame = vec![0; HEAD];
    serde_json::to_writer(&mut frame, message)
        .expect("our messages have string keys and no failing parts");
    let len = (frame.len() - HEAD) as u64;
    let [.., high, low] = len.to_be_bytes();
    let start = match len {
        0..=125 => {
            frame[HEAD - 2..HEAD].copy_from_slice(&[TEXT, low]);
            HEAD - 2
        }
        126..=0xFFFF => {
            frame[HEAD - 4..HEAD].copy_from_slice(&[TEXT, 126, high, low]);
            HEAD - 4
        }
        _ => {
            frame[..2].copy_from_slice(&[TEXT, 127]);
            frame[2..HEAD].copy_from_slice(&len.to_be_bytes());
            0
        }
    };
    // It may wait for a slow client: what growing has left over goes.
    frame.shrink_to_fit();
    Bytes::from(frame).slice(start..)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket};

    use super::*;

    #[test]
    fn frames_of_every_length_are_what_a_client_reads() {
        for len in [0, 1, 123, 124, 125, 126, 200, 65_533, 65_534, 65_535, 200_000] {
            let text = "x".repeat(len);
            let frame = encode(&text);
            let mut client =
                WebSocket::from_raw_socket(Cursor::new(frame.to_vec()), Role::Client, None);
            let read = client.read().expect("a frame");
            assert_eq!(read, Message::text(format!("\"{text}\"")));
        }
    }
}
