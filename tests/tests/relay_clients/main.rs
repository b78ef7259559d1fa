//! The relay and its clients: bad ones, crowds of them, those of the protocol's document, and what
//! Prometheus sees of it all.

mod clock;
mod crowd;
mod documented;
mod http;
mod input;
mod limits;
mod metrics;
mod snapshots;
mod support;
