//! A WebSocket client of `/api/v1/progress/ws`.
//!
//! [`Connection`] is one socket and its frames. [`Watcher`] is what a good client does with them: it
//! subscribes, checks every frame ([`crate::invariants`]), reconnects and resumes by cursor.

mod connection;
pub mod frame;
mod latency;
mod watcher;

pub use connection::{Connection, Message, RefusedUpgrade};
pub use latency::Latencies;
pub use watcher::{Event, Watcher};
