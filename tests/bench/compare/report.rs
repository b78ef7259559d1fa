//! What is printed, and what is written to `results/`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::plot::Plot;
use crate::Verdict;

/// A row of the figures to reach.
#[derive(Debug, Clone)]
struct Target {
    what: &'static str,
    figure: &'static str,
    measured: String,
    verdict: Verdict,
}

/// The report as it grows.
pub(crate) struct Report {
    folder: Option<PathBuf>,
    name: String,
    /// What comes before the figures to reach.
    head: String,
    body: String,
    targets: Vec<Target>,
    plots: Vec<(String, String)>,
    begun: Instant,
}

impl Report {
    pub(crate) fn new(folder: Option<PathBuf>, quick: bool) -> Self {
        let now = jiff::Timestamp::now().to_string();
        let date = now.split('T').next().unwrap_or_default();
        let name = if quick { format!("{date}-quick") } else { date.to_owned() };
        Self {
            folder,
            name,
            head: format!("# Benchmarks of {date}\n"),
            body: String::new(),
            targets: Vec::new(),
            plots: Vec::new(),
            begun: Instant::now(),
        }
    }

    /// Before everything else.
    pub(crate) fn preface(&mut self, text: &str) {
        println!("{text}");
        let _ = writeln!(self.head, "\n{text}");
    }

    /// A new section.
    pub(crate) fn section(&mut self, title: &str) {
        println!("\n## {title}");
        let _ = writeln!(self.body, "\n## {title}");
    }

    /// A paragraph.
    pub(crate) fn say(&mut self, text: &str) {
        println!("{text}");
        let _ = writeln!(self.body, "\n{text}");
    }

    /// What only the file keeps.
    pub(crate) fn keep(&mut self, text: &str) {
        let _ = writeln!(self.body, "\n{text}");
    }

    /// A table; the first column is text, the others are figures.
    pub(crate) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        let table = table(head, rows);
        print!("\n{table}");
        let _ = write!(self.body, "\n{table}");
    }

    /// A plot beside the report.
    pub(crate) fn plot(&mut self, plot: &Plot) -> anyhow::Result<()> {
        let file = format!("{}-{}.svg", self.name, plot.name);
        let _ = writeln!(self.body, "\n![{}]({file})", plot.title);
        self.plots.push((file, plot.draw()?));
        Ok(())
    }

    /// A figure to reach, and the one that was.
    pub(crate) fn target(
        &mut self,
        what: &'static str,
        figure: &'static str,
        measured: String,
        reached: bool,
    ) {
        self.targets.push(Target { what, figure, measured, verdict: Verdict::of(reached) });
    }

    /// The end of a case, and how much of the processors somebody else has taken meanwhile.
    pub(crate) fn took(&mut self, time: Duration, others: f64) {
        self.say(&format!(
            "*{:.0} s. Others than this run, the kernel's own threads among them, had {others:.0} % of the \
             processors.*",
            time.as_secs_f64()
        ));
    }

    /// Writes what there is so far, and prints the figures to reach.
    pub(crate) fn write(&self) -> anyhow::Result<()> {
        let rows: Vec<Vec<String>> = self.targets.iter().map(Target::row).collect();
        let mut text = self.head.clone();
        if !rows.is_empty() {
            let table = table(&["what", "to reach", "measured", ""], &rows);
            println!("\nFigures to reach so far:\n\n{table}");
            let _ = write!(text, "\n## Figures to reach\n\n{table}");
        }
        let Some(folder) = &self.folder else { return Ok(()) };
        std::fs::create_dir_all(folder)?;
        for (file, svg) in &self.plots {
            std::fs::write(folder.join(file), svg).with_context(|| file.clone())?;
        }
        let took = self.begun.elapsed().as_secs();
        let _ = write!(text, "{}\nThe run took {} min {} s.\n", self.body, took / 60, took % 60);
        let path = folder.join(format!("{}.md", self.name));
        std::fs::write(&path, text).with_context(|| path.display().to_string())
    }
}

impl Target {
    fn row(&self) -> Vec<String> {
        let verdict = match self.verdict {
            Verdict::Reached => "reached",
            Verdict::Missed => "**missed**",
        };
        vec![self.what.into(), self.figure.into(), self.measured.clone(), verdict.into()]
    }
}

/// In GitHub's Markdown, with columns that line up in a terminal, too.
fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([head[column].chars().count(), 3]).max().unwrap_or(3)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &[String]| {
        let cells = cells.iter().zip(&widths).enumerate().map(|(i, (cell, width))| {
            if i == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
    };
    let mut text = line(&head.iter().map(ToString::to_string).collect::<Vec<_>>());
    let rule = widths.iter().enumerate().map(|(i, width)| {
        if i == 0 { "-".repeat(*width) } else { format!("{}:", "-".repeat(*width - 1)) }
    });
    text.push_str(&line(&rule.collect::<Vec<_>>()));
    rows.iter().for_each(|row| text.push_str(&line(row)));
    text
}
