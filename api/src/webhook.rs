//! Tells others that a task has ended: signed, repeated until they take it, never in a task's way.
//!
//! ```text
//! stored with the task ─▶ Waiting for its end ─▶ Due ─▶ Sending ─▶ delivered
//!                                                 ▲        └─ failed: later ─▶ given up after a day
//!                                                 └──────────┘
//! ```
//!
//! At least once: a process that dies between an answer and its row sends again, under the same
//! `X-KNM-Delivery`.

mod address;
mod deliver;
mod sign;

pub use address::{Address, AddressError, Allowed};
pub use deliver::Deliverer;
