//! The last lines of the log that say something is wrong, for whoever looks later: `kubectl logs` may have
//! lost them by then, and a support bundle cannot read it.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Lines that are kept.
const LINES: usize = 100;
/// Bytes of one of them; the rest is cut off. Together with [`LINES`] it bounds the memory to 200 KB.
const LENGTH: usize = 2_000;
/// Shorter secrets would take away half of the text, and are none.
const SHORTEST_SECRET: usize = 4;

/// Fields that hold what users typed: an audit entry with its parameters, the name at a login that failed,
/// which may well be a password. Such lines stay in the log alone.
const USERS_OWN: [&str; 3] = ["before", "after", "username"];

/// Keeps lines at `warn` and `error`, without secrets. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Recent {
    lines: Arc<Mutex<VecDeque<String>>>,
    hidden: Arc<[Hidden]>,
}

/// A secret that shows itself as "…".
struct Hidden(String);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

impl Recent {
    /// Keeps lines with "…" in the place of these. The log itself has none of them; a server's error that
    /// quotes what it was sent would.
    #[must_use]
    pub fn hiding(secrets: impl IntoIterator<Item = String>) -> Self {
        let secrets = secrets.into_iter().filter(|secret| secret.len() >= SHORTEST_SECRET);
        let mut hidden: Vec<_> = secrets.map(Hidden).collect();
        // One may be a part of another.
        hidden.sort_by_key(|Hidden(secret)| std::cmp::Reverse(secret.len()));
        Self { lines: Arc::default(), hidden: hidden.into() }
    }

    /// What has been kept, oldest first, as it stands in the log.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.kept().iter().cloned().collect()
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, line: &[u8]) {
        let mut line = String::from_utf8_lossy(line).trim_end().to_owned();
        for Hidden(secret) in &*self.hidden {
            line = line.replace(secret, "…");
        }
        if line.len() > LENGTH {
            line.truncate(line.floor_char_boundary(LENGTH));
            line.push('…');
        }
        let mut kept = self.kept();
        if kept.len() == LINES {
            kept.pop_front();
        }
        kept.push_back(line);
    }
}

/// Standard output, and [`Recent`] for what is grave enough.
pub(super) struct Copying(pub(super) Recent);

impl MakeWriter<'_> for Copying {
    type Writer = Copy;

    fn make_writer(&self) -> Copy {
        Copy(None)
    }

    fn make_writer_for(&self, about: &Metadata<'_>) -> Copy {
        let fields = about.fields();
        let users_own = USERS_OWN.iter().any(|name| fields.field(name).is_some());
        Copy((*about.level() <= Level::WARN && !users_own).then(|| self.0.clone()))
    }
}

/// Of one line, which comes in one piece.
pub(super) struct Copy(Option<Recent>);

impl io::Write for Copy {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Kept even if nobody takes the output.
        if let Some(recent) = &self.0 {
            recent.keep(bytes);
        }
        io::stdout().write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Log;
    use crate::telemetry::subscriber;

    #[test]
    fn what_is_wrong_is_kept_without_secrets() {
        let recent = Recent::hiding(["hunter2".into(), "hunter2-and-more".into(), "a".into()]);
        let subscriber = subscriber(&Log::default(), Copying(recent.clone())).expect("a filter");
        tracing::subscriber::with_default(subscriber, || {
            let _task = tracing::info_span!("task", task = "t-1").entered();
            tracing::info!("all is well");
            tracing::warn!("sent hunter2-and-more, then hunter2");
            tracing::warn!(username = "typed", "a login failed");
            tracing::error!(error = "é".repeat(LENGTH), "long");
        });
        let lines = recent.lines();
        assert_eq!(lines.len(), 2, "{lines:#?}");
        assert!(lines[0].ends_with("WARN: sent …, then … task=t-1"), "{lines:#?}");
        assert!(lines[1].len() <= LENGTH + "…".len() && lines[1].ends_with("é…"), "{lines:#?}");
        assert!(!format!("{recent:?}").contains("hunter2"));
    }

    #[test]
    fn the_last_lines_are_kept() {
        let recent = Recent::default();
        (0..LINES + 5).for_each(|n| recent.keep(format!("{n}\n").as_bytes()));
        let lines = recent.lines();
        assert_eq!((lines.len(), lines[0].as_str()), (LINES, "5"));
        assert_eq!(lines[LINES - 1], (LINES + 4).to_string());
    }
}
