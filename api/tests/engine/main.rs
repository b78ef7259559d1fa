//! The task engine's storage against a real PostgreSQL.

mod retention;
mod support;
mod writer;
