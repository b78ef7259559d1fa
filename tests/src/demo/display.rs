//! A task's progress: a bar on a terminal, lines elsewhere.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressStyle};
use knm_shared::status::Counts;

use crate::ws::frame::HeadProgress;

/// Shows how far a task is.
pub(super) enum Display {
    /// On a terminal.
    Bar(ProgressBar),
    /// In a file or a pipe.
    Lines,
}

impl Display {
    pub(super) fn new(total: u64) -> Self {
        if !std::io::stdout().is_terminal() {
            return Self::Lines;
        }
        let style = ProgressStyle::with_template("  [{bar:40}] {pos}/{len}  {msg}")
            .expect("the template is right")
            .progress_chars("=> ");
        Self::Bar(ProgressBar::new(total).with_style(style))
    }

    pub(super) fn show(&self, progress: &HeadProgress) {
        let Counts { succeeded, failed, running, .. } = progress.counts;
        let counts = format!("{succeeded} succeeded, {failed} failed, {running} running");
        match self {
            Self::Bar(bar) => {
                bar.set_position(progress.current.into());
                bar.set_message(counts);
            }
            Self::Lines => {
                let HeadProgress { status, current, total, percent, .. } = progress;
                println!("  {current:>3} of {total}  {percent:>5.1} %  {status}: {counts}");
            }
        }
    }

    /// Leaves the bar where it is.
    pub(super) fn finish(&self) {
        if let Self::Bar(bar) = self {
            bar.abandon();
        }
    }
}
