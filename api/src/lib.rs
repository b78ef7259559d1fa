//! The api container of kube-node-manager: REST, task execution, progress writing.
//!
//! `main → app → routes | engine`; `routes → auth, tasks, clusters, db`. SQL lives in [`db`] and
//! nowhere else; what a task means knows neither SQL nor HTTP.

pub mod app;
pub mod audit;
pub mod auth;
pub mod causes;
pub mod cli;
pub mod clusters;
pub mod db;
pub mod engine;
pub mod executor;
pub mod field;
pub mod http;
pub mod k8s;
pub mod lease;
pub mod metrics;
pub mod openapi;
pub mod origin;
pub mod progress;
pub mod relay_link;
pub mod retention;
pub mod routes;
pub mod support;
pub mod tasks;
pub mod webhook;

/// Release.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
