//! SQL: one module per table or question, and none anywhere else.

pub mod claim;
pub mod flush;
pub mod items;
pub mod tasks;
