//! What a process prints: kept in a file, and the newest lines in memory for those who wait for one.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, PipeReader, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::sync::watch;

/// Lines in memory; older ones are dropped there and remain in the file.
const MAX_LINES: usize = 50_000;

/// A place in a log: everything before it has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Mark(u64);

/// The log of a process, or of several that ran one after the other. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Log(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    lines: Mutex<Lines>,
    /// Number of lines so far.
    count: watch::Sender<u64>,
}

#[derive(Debug)]
struct Lines {
    file: File,
    first: u64,
    newest: VecDeque<Arc<str>>,
}

/// Resolves when the pipe of a process has been read to its end.
#[derive(Debug)]
pub(super) struct Done(mpsc::Receiver<()>);

impl Done {
    /// A grandchild may hold the pipe open; nobody waits for that.
    pub(super) fn wait(&self) {
        let _ = self.0.recv_timeout(Duration::from_millis(500));
    }
}

impl Log {
    /// A log in a new file, or at the end of an existing one.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn create(path: PathBuf) -> anyhow::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        let lines = Mutex::new(Lines { file, first: 0, newest: VecDeque::new() });
        Ok(Self(Arc::new(Shared { path, lines, count: watch::Sender::new(0) })))
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The place after the newest line.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark(*self.0.count.borrow())
    }

    /// The lines after `mark`, as far as they are still in memory.
    #[must_use]
    pub fn lines_since(&self, mark: Mark) -> Vec<Arc<str>> {
        let lines = self.lock();
        let skip = usize::try_from(mark.0.saturating_sub(lines.first)).unwrap_or(usize::MAX);
        lines.newest.iter().skip(skip).cloned().collect()
    }

    /// All lines, as far as they are still in memory.
    #[must_use]
    pub fn lines(&self) -> Vec<Arc<str>> {
        self.lines_since(Mark::default())
    }

    /// The last `n` lines under a heading that names the file.
    #[must_use]
    pub fn tail(&self, n: usize) -> String {
        let lines = self.lines();
        let last = &lines[lines.len().saturating_sub(n)..];
        let name = self.0.path.display();
        let mut out = format!("--- the last {} lines of {name}\n", last.len());
        for line in last {
            out.push_str(line);
            out.push('\n');
        }
        out
    }

    /// Waits for a line that contains `phrase`, past ones included.
    ///
    /// # Errors
    /// After `timeout`, with the end of the log.
    pub async fn wait_for(&self, phrase: &str, timeout: Duration) -> anyhow::Result<Arc<str>> {
        self.wait_for_after(Mark::default(), phrase, timeout).await
    }

    /// Waits for a line after `mark` that contains `phrase`.
    ///
    /// # Errors
    /// After `timeout`, with the end of the log.
    pub async fn wait_for_after(
        &self,
        mark: Mark,
        phrase: &str,
        timeout: Duration,
    ) -> anyhow::Result<Arc<str>> {
        let deadline = tokio::time::Instant::now() + timeout;
        let mut count = self.0.count.subscribe();
        let mut from = mark;
        loop {
            let seen = *count.borrow_and_update();
            if let Some(line) = self.lines_since(from).into_iter().find(|l| l.contains(phrase)) {
                return Ok(line);
            }
            from = from.max(Mark(seen));
            match tokio::time::timeout_at(deadline, count.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => bail!("the log has been closed"),
                Err(_) => bail!("no line with {phrase:?} within {timeout:?}\n{}", self.tail(30)),
            }
        }
    }

    /// Reads `pipe` to its end on a thread of its own, so that the process never waits for us.
    pub(super) fn follow(&self, pipe: PipeReader) -> Done {
        let log = self.clone();
        let (sender, done) = mpsc::sync_channel(1);
        let read = move || {
            let mut reader = BufReader::new(pipe);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                log.push(&line);
                line.clear();
            }
            let _ = sender.send(());
        };
        std::thread::Builder::new()
            .name("log".into())
            .spawn(read)
            .expect("a thread can be started");
        Done(done)
    }

    fn push(&self, line: &[u8]) {
        let mut lines = self.lock();
        // The folder may be gone at the very end.
        let _ = lines.file.write_all(line);
        let text = String::from_utf8_lossy(line);
        lines.newest.push_back(text.trim_end_matches(['\n', '\r']).into());
        if lines.newest.len() > MAX_LINES {
            lines.newest.pop_front();
            lines.first += 1;
        }
        let count = lines.first + lines.newest.len() as u64;
        drop(lines);
        self.0.count.send_replace(count);
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
