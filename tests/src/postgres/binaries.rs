//! Where PostgreSQL's server programs are, and whom they may run as.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

/// There is no PostgreSQL server on this machine.
#[derive(Debug, thiserror::Error)]
#[error(
    "PostgreSQL's server programs (initdb, postgres) are neither on PATH nor under \
     /usr/lib/postgresql: install them, on Debian with `apt-get install postgresql`"
)]
pub struct Missing;

/// The programs that a cluster needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// Makes a data directory.
    pub initdb: PathBuf,
    /// The server.
    pub postgres: PathBuf,
}

impl Binaries {
    /// Those on `PATH`, else the newest under `/usr/lib/postgresql`, where Debian puts them.
    ///
    /// # Errors
    /// When there are none.
    pub fn find() -> Result<Self, Missing> {
        let on_path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&on_path)
            .chain(debian_folders(Path::new("/usr/lib/postgresql")))
            .find_map(|folder| Self::in_folder(&folder))
            .ok_or(Missing)
    }

    fn in_folder(folder: &Path) -> Option<Self> {
        let found = Self { initdb: folder.join("initdb"), postgres: folder.join("postgres") };
        (found.initdb.is_file() && found.postgres.is_file()).then_some(found)
    }
}

/// `<base>/<version>/bin`, newest version first.
fn debian_folders(base: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(base).into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = entries
        .filter_map(|e| Some((e.file_name().to_str()?.parse().ok()?, e.path().join("bin"))))
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    versions.into_iter().map(|(_, path)| path).collect()
}

/// The user that the server runs as: PostgreSQL refuses to run as root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RunAs {
    /// This process is no root; the server runs as the same user.
    Myself,
    /// This process is root; the server runs as `postgres`.
    Postgres {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
    },
}

impl RunAs {
    pub(super) fn choose() -> anyhow::Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Myself);
        }
        let id = |flag| -> anyhow::Result<u32> {
            let out = Command::new("id").args([flag, "postgres"]).output()?;
            let text = String::from_utf8_lossy(&out.stdout);
            text.trim()
                .parse()
                .context("PostgreSQL refuses to run as root and there is no user postgres")
        };
        Ok(Self::Postgres { uid: id("-u")?, gid: id("-g")? })
    }

    /// Options of `setpriv` that make it so.
    pub(super) fn setpriv(self) -> Vec<String> {
        match self {
            Self::Myself => Vec::new(),
            Self::Postgres { uid, gid } => {
                vec![format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".into()]
            }
        }
    }

    /// Gives a file or folder to that user.
    pub(super) fn own(self, path: &Path) -> std::io::Result<()> {
        match self {
            Self::Myself => Ok(()),
            Self::Postgres { uid, gid } => std::os::unix::fs::chown(path, Some(uid), Some(gid)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_comes_first() {
        let base = crate::scratch::dir("versions").expect("a folder");
        for version in ["9", "15", "17", "doc"] {
            std::fs::create_dir_all(base.join(version).join("bin")).expect("a folder");
        }
        let found = debian_folders(&base);
        let expected: Vec<_> = ["17", "15", "9"].map(|v| base.join(v).join("bin")).into();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_missing_is_said_with_the_command_that_helps() {
        assert!(Missing.to_string().contains("apt-get install postgresql"));
    }
}
