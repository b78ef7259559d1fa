//! Where the built programs are.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// One of the project's programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `knm-api`
    Api,
    /// `knm-relay`
    Relay,
}

impl Program {
    /// The name of its file.
    #[must_use]
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Api => "knm-api",
            Self::Relay => "knm-relay",
        }
    }
}

/// It is not there.
#[derive(Debug, thiserror::Error)]
#[error("{} has not been built: run `cargo build --workspace --bins{profile}`", path.display())]
pub struct NotBuilt {
    path: PathBuf,
    profile: &'static str,
}

/// The program that was built in the same profile as this one.
///
/// # Errors
/// [`NotBuilt`]
pub fn program(program: Program) -> anyhow::Result<PathBuf> {
    let me = std::env::current_exe().context("this program does not know where it is")?;
    let folder = profile_folder(&me).context("this program is in no folder")?;
    let path = folder.join(program.file_name());
    if path.is_file() {
        return Ok(path);
    }
    let profile = if folder.ends_with("release") { " --release" } else { "" };
    Err(NotBuilt { path, profile }.into())
}

/// Tests are in `target/<profile>/deps`, programs in `target/<profile>`.
fn profile_folder(me: &Path) -> Option<&Path> {
    let folder = me.parent()?;
    if folder.ends_with("deps") { folder.parent() } else { Some(folder) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_and_programs_look_in_the_same_folder() {
        let expected = Some(Path::new("/t/debug"));
        assert_eq!(profile_folder(Path::new("/t/debug/deps/cross_pod-0a1b")), expected);
        assert_eq!(profile_folder(Path::new("/t/debug/knm-demo")), expected);
    }

    #[test]
    fn what_is_missing_is_said_with_the_command_that_helps() {
        let missing = NotBuilt { path: "/t/release/knm-api".into(), profile: " --release" };
        let said = missing.to_string();
        assert!(said.contains("/t/release/knm-api") && said.contains("--bins --release"), "{said}");
    }
}
