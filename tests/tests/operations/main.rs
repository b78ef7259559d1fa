//! Every node operation and every option, through the REST interface, on a simulated cluster.

mod support;

mod again;
mod cordon;
mod drain;
mod drain_ends;
mod drain_faults;
mod drain_turns;
mod fairness;
mod faults;
mod freeze;
mod keys;
mod options;
mod preview;
mod refused;
mod taint;
mod targets;
mod webhooks;
