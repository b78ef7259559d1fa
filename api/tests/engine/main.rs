//! The task engine's storage against a real PostgreSQL.

mod clusters;
mod leases;
mod race;
mod retention;
mod support;
mod writer;
