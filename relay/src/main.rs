//! The relay's process.

fn main() -> std::process::ExitCode {
    knm_relay::cli::main()
}
