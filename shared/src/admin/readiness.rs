//! Whether a process may be sent requests: not before its first start has finished, and not while it
//! stops. A database that is away is no reason: it is away for every replica, and a Service without
//! endpoints could not even say so.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};

/// Opens once every latch has dropped, and closes for good when the process stops.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    conditions: Vec<(String, bool)>,
    notes: Vec<(String, String)>,
    stopping: bool,
}

impl Readiness {
    /// Ready, as long as nobody takes a latch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no holder of this lock can panic")
    }

    /// A condition of the first start. It is met when the latch drops.
    pub fn latch(&self, name: impl Into<String>) -> Latch {
        let mut inner = self.inner();
        inner.conditions.push((name.into(), false));
        Latch { readiness: self.clone(), index: inner.conditions.len() - 1 }
    }

    /// A line for `/readyz?verbose` that says how something is and does not count.
    #[must_use]
    pub fn note(&self, name: impl Into<String>, text: impl Into<String>) -> Note {
        let mut inner = self.inner();
        inner.notes.push((name.into(), text.into()));
        Note { readiness: self.clone(), index: inner.notes.len() - 1 }
    }

    /// The process has begun to stop.
    pub fn stop(&self) {
        self.inner().stopping = true;
    }

    /// Whether requests are welcome.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let inner = self.inner();
        !inner.stopping && inner.conditions.iter().all(|(_, met)| *met)
    }

    /// A line for each condition and note, and the verdict.
    #[must_use]
    pub fn report(&self) -> String {
        let inner = self.inner();
        let mut out = String::new();
        let mut ready = !inner.stopping;
        for (name, met) in &inner.conditions {
            ready &= met;
            let (sign, state) = if *met { ("+", "ok") } else { ("-", "not yet") };
            writeln!(out, "[{sign}]{name} {state}").expect("writing to a String cannot fail");
        }
        if inner.stopping {
            out.push_str("[-]stopping\n");
        }
        for (name, text) in &inner.notes {
            writeln!(out, "[i]{name}: {text}").expect("writing to a String cannot fail");
        }
        out.push_str(if ready { "readyz check passed\n" } else { "readyz check failed\n" });
        out
    }
}

/// Keeps a process not ready for as long as it lives.
#[derive(Debug)]
#[must_use = "dropping a latch opens it"]
pub struct Latch {
    readiness: Readiness,
    index: usize,
}

impl Latch {
    /// The condition is met.
    pub fn open(self) {}
}

impl Drop for Latch {
    fn drop(&mut self) {
        self.readiness.inner().conditions[self.index].1 = true;
    }
}

/// A line whose owner keeps it true.
#[derive(Debug, Clone)]
pub struct Note {
    readiness: Readiness,
    index: usize,
}

impl Note {
    /// Says something else from now on.
    pub fn set(&self, text: impl Into<String>) {
        self.readiness.inner().notes[self.index].1 = text.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_latch_has_dropped_and_never_again_once_stopping() {
        let readiness = Readiness::new();
        assert!(readiness.is_ready());
        let (schema, listen) = (readiness.latch("schema"), readiness.latch("listen"));
        let note = readiness.note("listener", "connecting");
        drop(schema);
        assert!(!readiness.is_ready());
        assert_eq!(
            readiness.report(),
            "[+]schema ok\n[-]listen not yet\n[i]listener: connecting\nreadyz check failed\n"
        );
        listen.open();
        note.set("polling");
        assert!(readiness.is_ready());
        assert!(readiness.report().ends_with("[i]listener: polling\nreadyz check passed\n"));
        readiness.stop();
        assert!(!readiness.is_ready());
        assert!(readiness.report().contains("[-]stopping\n"));
    }
}
