//! What both binaries of kube-node-manager use, and nothing that only one of them needs.
//!
//! The wire and row vocabulary ([`ids`], [`status`], [`epoch`], [`notification`]) knows neither SQL
//! nor HTTP; [`access`] is who may do what. [`config`] is read once and validated whole. [`pg`] opens and classifies connections.
//! [`telemetry`], [`phrases`] and [`admin`] are how a process tells the world about itself, [`http`]
//! is how it listens ([`crowd`] is how much of that one network takes), and [`check`] tries out a configuration without starting anything.

pub mod access;
pub mod admin;
pub mod check;
pub mod config;
pub mod crowd;
pub mod epoch;
pub mod forwarded;
pub mod http;
pub mod ids;
pub mod notification;
pub mod party;
pub mod pg;
pub mod phrases;
pub mod session;
pub mod status;
pub mod telemetry;
