//! What is wrong with a configuration. Messages name keys, lines and variables; never a value that
//! came from the environment or stands under a secret's key.

use std::fmt;

/// Where a value was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A line of the file, from 1.
    Line(u64),
    /// A variable that filled a key in.
    Variable(&'static str),
    /// Nowhere: a default, or the whole file.
    Unknown,
}

/// One fault. Its `Display` is one line that says where it is and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    file: String,
    place: Place,
    key: String,
    message: String,
}

impl ConfigError {
    pub(super) fn new(file: &str, place: Place, key: &str, message: impl Into<String>) -> Self {
        Self { file: file.into(), place, key: key.into(), message: message.into() }
    }

    /// Of the whole file.
    pub(super) fn file(file: &str, message: impl Into<String>) -> Self {
        Self::new(file, Place::Unknown, "", message)
    }

    /// The key at fault, like `database.host`; empty when the fault is the file's.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The line of the file, from 1, when the value stands in it.
    #[must_use]
    pub const fn line(&self) -> Option<u64> {
        match self.place {
            Place::Line(line) => Some(line),
            Place::Variable(_) | Place::Unknown => None,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Line(line) => write!(f, "{}:{line}: ", self.file)?,
            Place::Variable(name) => write!(f, "environment variable {name}: ")?,
            Place::Unknown => write!(f, "{}: ", self.file)?,
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Every fault of a configuration, in the order of the file; at least one. `Display` puts one on a
/// line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    pub(super) fn new(mut faults: Vec<ConfigError>) -> Self {
        faults.sort_by_key(|fault| fault.line().unwrap_or(u64::MAX));
        Self(faults)
    }

    /// The faults.
    #[must_use]
    pub fn faults(&self) -> &[ConfigError] {
        &self.0
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(fault: ConfigError) -> Self {
        Self(vec![fault])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
