//! SQL: one module per table or question, and none anywhere else.

pub mod accounts;
pub mod audit;
pub mod claim;
pub mod clusters;
pub mod drains;
pub mod flush;
pub mod freezes;
pub mod items;
pub mod migrate;
pub mod retention;
pub mod sessions;
pub mod support;
pub mod tasks;
pub mod users;
pub mod webhooks;
