//! The relay sidecar: from PostgreSQL's notifications to browsers.
//!
//! ```text
//! listener ──▶ hub ◀── session ◀── server
//!               ▲
//!              feed ──▶ db
//! ```
//!
//! The [`hub`] knows and decides; the [`listener`] tells it what happens, the [`feed`] reads what it
//! asks for, and each [`session`] takes its own client's frames from it. [`app`] puts them together.

pub mod app;
pub mod cli;
pub mod clock;
pub mod complaint;
pub mod db;
pub mod feed;
pub mod hub;
pub mod listener;
mod metrics;
pub mod protocol;
pub mod refusals;
pub mod server;
pub mod session;
pub mod status;
