//! A clock for a [`Cluster`](super::Cluster) that can be stepped while it runs, by libfaketime
//! (Debian's package `faketime`). Only the wall clock is faked: timeouts and the clocks of all other
//! processes go on as they are.

use std::path::PathBuf;

use anyhow::Context as _;

use super::ClusterOptions;
use crate::scratch;

/// The clock of a server.
#[derive(Debug)]
pub struct FakeClock {
    file: PathBuf,
    library: PathBuf,
}

impl FakeClock {
    /// A clock that is right, for now.
    ///
    /// # Errors
    /// When libfaketime is not installed.
    pub fn new() -> anyhow::Result<Self> {
        let library = library().context("libfaketime is missing: install the package faketime")?;
        let clock = Self { file: scratch::dir("clock")?.join("offset"), library };
        clock.set(0)?;
        Ok(clock)
    }

    /// Options of a server that goes by this clock.
    #[must_use]
    pub fn options(&self) -> ClusterOptions {
        let variables = [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ];
        let environment = variables.map(|(key, value)| (key.to_owned(), value)).to_vec();
        ClusterOptions { environment, ..ClusterOptions::default() }
    }

    /// Steps it: from now on it is so many seconds ahead of the right time, or behind.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set(&self, seconds: i64) -> anyhow::Result<()> {
        // Replaced in one step: a reader never finds half a number.
        let next = self.file.with_extension("next");
        std::fs::write(&next, format!("{seconds:+}\n"))?;
        std::fs::rename(&next, &self.file).context("the clock cannot be set")
    }
}

fn library() -> Option<PathBuf> {
    let folders = ["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from);
    // Debian has a folder for each architecture.
    let below = |folder: &PathBuf| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let nested: Vec<PathBuf> = folders.iter().flat_map(below).collect();
    let candidates = folders.into_iter().chain(nested);
    candidates.map(|folder| folder.join("faketime/libfaketime.so.1")).find(|path| path.is_file())
}
