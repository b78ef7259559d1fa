//! One temporary folder for everything that this process starts, and the janitor that removes it.
//!
//! The janitor is a shell in a process group of its own that waits for this process to end, however
//! it ends: its standard input is a pipe whose other end closes then. It stops the PostgreSQL servers
//! whose data lies in the folder and removes the folder, so that a panic, Ctrl-C or SIGKILL leaves
//! nothing behind. `KNM_TEST_KEEP=1` keeps the folder for a look at the logs.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::Context as _;

/// Keeps the folder when it is set and not empty.
pub const KEEP: &str = "KNM_TEST_KEEP";

/// `$1`: the folder; `$2`: `keep`, or empty.
///
/// SIGQUIT is PostgreSQL's immediate shutdown: no checkpoint, and its shared memory is given back.
const JANITOR: &str = r#"
trap '' INT TERM HUP
read -r _
for file in "$1"/*/data/postmaster.pid; do
  [ -f "$file" ] || continue
  read -r pid < "$file"
  kill -QUIT "$pid" 2>/dev/null
  turns=0
  while kill -0 "$pid" 2>/dev/null && [ "$turns" -lt 100 ]; do sleep 0.05; turns=$((turns + 1)); done
done
[ "$2" = keep ] || rm -rf -- "$1"
"#;

struct Scratch {
    root: PathBuf,
    janitor: Mutex<Option<Child>>,
}

static SCRATCH: OnceLock<Scratch> = OnceLock::new();
static NEXT: AtomicU32 = AtomicU32::new(0);
static KEPT: AtomicBool = AtomicBool::new(false);

fn open() -> io::Result<Scratch> {
    let name = format!("knm-{}-{:08x}", std::process::id(), rand::random::<u32>());
    let root = std::env::temp_dir().join(name);
    // Others (the user that PostgreSQL runs as) may pass through and not look around.
    fs::DirBuilder::new().mode(0o711).create(&root)?;
    let janitor = Command::new("sh")
        .args(["-c", JANITOR, "knm-janitor"])
        .arg(&root)
        .arg(if keep() { "keep" } else { "" })
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    Ok(Scratch { root, janitor: Mutex::new(Some(janitor)) })
}

/// Keeps the folder, as [`KEEP`] does. Has an effect only before the folder is first used.
pub fn keep_it() {
    KEPT.store(true, Ordering::Relaxed);
}

/// Whether the folder outlives this process.
#[must_use]
pub fn keep() -> bool {
    let asked = std::env::var_os(KEEP).is_some_and(|v| !v.is_empty() && v != "0");
    asked || KEPT.load(Ordering::Relaxed)
}

/// The folder of this process, made on first use.
///
/// # Errors
/// When the system's temporary folder cannot be written to, or there is no `sh`.
pub fn root() -> anyhow::Result<&'static Path> {
    if SCRATCH.get().is_none() {
        let opened = open().context("cannot make a temporary folder")?;
        if let Err(second) = SCRATCH.set(opened) {
            sweep(&second);
        }
    }
    Ok(&SCRATCH.get().expect("it has just been set").root)
}

/// A new folder in [`root`]. Its name starts with `hint`.
///
/// # Errors
/// See [`root`].
pub fn dir(hint: &str) -> anyhow::Result<PathBuf> {
    let path = root()?.join(format!("{hint}-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    fs::DirBuilder::new()
        .mode(0o711)
        .create(&path)
        .with_context(|| format!("cannot create {}", path.display()))?;
    Ok(path)
}

/// Lets the janitor do its work now and waits for it. For the end of a program; what still runs in
/// the folder loses it.
pub fn close() {
    if let Some(scratch) = SCRATCH.get() {
        sweep(scratch);
    }
}

fn sweep(scratch: &Scratch) {
    let janitor = scratch.janitor.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(mut janitor) = janitor {
        // `wait` closes the pipe first.
        let _ = janitor.wait();
    }
}
