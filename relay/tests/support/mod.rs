//! A PostgreSQL of one's own, a writer by hand, a relay in this process and a WebSocket client.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(missing_docs, unreachable_pub, reason = "test code")]

pub mod client;
pub mod postgres;
pub mod relay;
pub mod writer;
