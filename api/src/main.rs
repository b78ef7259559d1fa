//! The api container's process.

/// Progress is many small values that live for one commit, and so is what Kubernetes answers: with the system's
/// allocator, a third of the processor's time went there (`tests/bench`, profiles).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    knm_api::cli::main()
}
