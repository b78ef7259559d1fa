//! The api's HTTP side as clients see it, on a real socket, a real database and a simulated cluster.

mod accounts;
mod command;
mod description;
mod migrations;
mod nodes;
mod problems;
mod support;
mod tasks;
mod tunnel;
mod ui;
