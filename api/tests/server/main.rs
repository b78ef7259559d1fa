//! The api's HTTP side as clients see it, on a real socket, a real database and a simulated cluster.

mod accounts;
mod audit;
mod command;
mod description;
mod migrations;
mod nodes;
mod outside_bytes;
mod problems;
mod races;
mod support;
mod tasks;
mod tls;
mod tunnel;
mod ui;
mod users;
