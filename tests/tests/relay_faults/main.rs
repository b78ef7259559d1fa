//! The relay under faults: whatever happens to its connections, to what is said on the channel and to
//! its clients, each client ends with the rows, each step once and in order, the end exactly once.

mod clients;
mod hung;
mod listener;
mod pooler;
mod support;
mod truth;
