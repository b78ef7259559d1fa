//! The api container's process.

fn main() -> std::process::ExitCode {
    knm_api::cli::main()
}
