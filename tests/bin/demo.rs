//! `knm-demo`: all of kube-node-manager on one machine. `deploy/local/demo` builds and runs it.

use std::process::ExitCode;

use clap::Parser as _;
use knm_tests::demo::{Options, run};

#[tokio::main]
async fn main() -> ExitCode {
    run(Options::parse()).await
}
