//! The figures of a run, and the rules that they have to keep.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::Options;
use super::tally::Tally;
use super::verdict::Verdict;
use crate::kube_sim::RequestSummary;

/// From so many items under way on, flushes have to be full. A change that comes alone does not wait
/// for company.
const LOADED: usize = 10_000;

/// The figures of a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// What was played.
    pub options: Options,
    /// From the first task to the end of the last client.
    pub took: Duration,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Tasks that completed and were checked.
    pub tasks: u64,
    /// Their items.
    pub items: u64,
    /// Their sequence numbers, summed.
    pub steps: u64,
    /// Flushes whose commit was acknowledged, as the pods count them. What a process had not told
    /// when it was killed is missing, here and in `changes` alike.
    pub flushes: u64,
    /// Item changes in them.
    pub changes: u64,
    /// Writes that changed a node.
    pub effective_writes: u64,
    /// Nodes that were not written once for every task that has them: name, writes that there were,
    /// writes that there must be.
    pub miswritten: Vec<(String, [u64; 2])>,
    /// Clients that came to their end.
    pub clients: u64,
    /// Final pictures that were compared with the rows.
    pub pictures: u64,
    /// Everything else that may be of interest.
    pub others: Vec<(&'static str, u64)>,
}

impl Report {
    pub(super) fn new(
        options: &Options,
        took: Duration,
        tally: &Tally,
        summary: &RequestSummary,
    ) -> Self {
        let writes = &summary.effective_writes;
        let expected = tally.expected_writes();
        let wrong = writes.keys().chain(expected.keys()).collect::<BTreeSet<_>>().into_iter();
        let wrong = wrong
            .map(|node| {
                (node.clone(), [writes, &expected].map(|m| m.get(node).copied().unwrap_or(0)))
            })
            .filter(|(_, [is, must])| is != must);
        let mut others: Vec<_> = [
            "connections",
            "frames",
            "snapshots",
            "resumes",
            "submissions repeated",
            "slow clients",
            "subscriptions of slow clients",
            "stuck clients",
            "floods closed",
            "greeted in storms",
        ]
        .map(|what| (what, tally.sum(what)))
        .into();
        others.push(("requests to Kubernetes", summary.requests));
        others.push(("of these disturbed", summary.faulted));
        others.extend(tally.counters());
        Self {
            options: options.clone(),
            took,
            faults: tally.faults(),
            tasks: tally.sum("tasks"),
            items: tally.sum("items"),
            steps: tally.sum("steps"),
            flushes: tally.counter("knm_api_flush_seconds_count"),
            changes: tally.counter("knm_api_flush_items_sum"),
            effective_writes: writes.values().sum(),
            miswritten: wrong.collect(),
            clients: tally.sum("clients"),
            pictures: tally.sum("pictures"),
            others,
        }
    }

    /// Commits that carried NOTIFY: flushes, and the creation of each task.
    #[must_use]
    pub fn notifying_commits(&self) -> u64 {
        self.flushes + self.tasks
    }

    /// Item changes for each commit that carried NOTIFY.
    #[must_use]
    pub fn changes_per_commit(&self) -> f64 {
        self.changes as f64 / self.notifying_commits().max(1) as f64
    }

    /// What the figures have to keep, everything having ended well.
    pub(super) fn check(&self, verdict: &Verdict) {
        if !self.miswritten.is_empty() {
            verdict.violated(format!(
                "{} nodes were not written once for each of their tasks: {:?}",
                self.miswritten.len(),
                &self.miswritten[..self.miswritten.len().min(5)]
            ));
        }
        if self.effective_writes != self.items {
            let Self { effective_writes, items, .. } = self;
            verdict.violated(format!("{effective_writes} effective writes for {items} items"));
        }
        // Each item is written at least as running and as succeeded. Less than that means that the
        // figures have missed too much to be believed.
        if self.changes < self.items * 2 * 8 / 10 {
            let Self { changes, items, .. } = self;
            verdict.violated(format!("only {changes} changes of {items} items were counted"));
        }
        let loaded = self.options.tasks * self.options.nodes >= LOADED;
        if loaded && self.changes_per_commit() < 10.0 {
            let (commits, changes) = (self.notifying_commits(), self.changes);
            verdict.violated(format!("{commits} commits with NOTIFY for {changes} item changes"));
        }
        if self.pictures == 0 || self.faults.is_empty() {
            verdict.violated("nothing has been watched or disturbed");
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { seed, duration, tasks, nodes, pods, clients, overlap, .. } = &self.options;
        writeln!(
            f,
            "seed {seed}: {duration:?} of faults, {tasks} tasks of {nodes} nodes at a time, {pods} \
             pods, {clients} clients{}",
            if *overlap { ", overlapping" } else { "" }
        )?;
        let total: u64 = self.faults.values().sum();
        let kinds: Vec<_> = self.faults.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
        let mut line = |what: &str, value: String| writeln!(f, "  {what:<38}{value}");
        line("took", format!("{:.0} s", self.took.as_secs_f64()))?;
        line("faults", format!("{total}: {}", kinds.join(", ")))?;
        line("tasks completed, exact", self.tasks.to_string())?;
        line("items", self.items.to_string())?;
        line("effective writes to nodes", self.effective_writes.to_string())?;
        line("steps (sum of seq)", self.steps.to_string())?;
        line("item changes stored", self.changes.to_string())?;
        let per_commit =
            format!("{} (1 for {:.1})", self.notifying_commits(), self.changes_per_commit());
        line("commits with NOTIFY", per_commit)?;
        line(
            "clients, final pictures equal to rows",
            format!("{}, {}", self.clients, self.pictures),
        )?;
        for (what, n) in &self.others {
            line(what, n.to_string())?;
        }
        Ok(())
    }
}

/// A line now and then.
pub(super) fn progress(tally: &Tally) -> String {
    let [tasks, items, frames, pictures] =
        ["tasks", "items", "frames", "pictures"].map(|what| tally.sum(what));
    format!("{tasks} tasks, {items} items done; {frames} frames, {pictures} pictures compared")
}
