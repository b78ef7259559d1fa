//! What Prometheus, Grafana and those who are on call get: metrics as documented, panels with data,
//! alerts that fire when they should. Faults are injected for real, into real processes, and a real
//! Prometheus evaluates the rules that are shipped.
//!
//! So that a test takes seconds, its copy of the rules has no `for`, and where a test says so another
//! threshold or a shorter window; everything is scraped and evaluated once a second. That the rules hold
//! as they are, with their own times, is for `promtool test rules` (`dashboards/check`).

mod clients;
mod database;
mod documents;
mod leases;
mod listener;
mod panels;
mod support;
mod tasks;
mod tracing;
