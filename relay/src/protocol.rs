//! What travels over the WebSocket, as `relay/PROTOCOL.md` tells it to the authors of clients.
//!
//! Types and their JSON only: who may have what, and when, is the hub's and the session's business.

mod client;
mod close;
#[cfg(test)]
mod schema;
mod server;

pub use client::{BadMessage, ClientMessage};
pub use close::CloseReason;
pub use server::{
    CursorText, ErrorCode, Head, ItemRow, ItemUpdate, Mode, ModeKind, Progress, ResyncReason,
    ServerMessage, StepBody, percent,
};

/// The version in `hello`. A change that an old client would misread raises it.
pub const VERSION: u32 = 1;

/// Items in one page of a snapshot. Few in unit tests: their tasks are small and have pages all the same.
pub const PAGE_ITEMS: usize = if cfg!(test) { 2 } else { 1_000 };

/// The one path that serves WebSockets.
pub const PATH: &str = "/api/v1/progress/ws";
