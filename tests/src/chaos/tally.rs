//! Figures: the pods' own metrics, carried over the deaths of their processes, and what was seen.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::stage::{Seat, Stage};

/// A stopped process does not answer; nobody waits for it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Counters of the api that are carried.
const API: [&str; 6] = [
    "knm_api_flush_seconds_count",
    "knm_api_flush_items_sum",
    "knm_api_flush_retries_total",
    "knm_api_takeovers_total",
    "knm_api_lease_lost_total",
    "knm_api_notify_failures_total",
];
/// Counters of the relay that are carried.
const RELAY: [&str; 4] = [
    "knm_relay_notifications_total",
    "knm_relay_gaps_total",
    "knm_relay_resyncs_total",
    "knm_relay_listener_reconnects_total",
];

/// A counter of a process that may have started over.
#[derive(Debug, Clone, Copy, Default)]
struct Carried {
    earlier: f64,
    last: f64,
}

impl Carried {
    /// A counter that has fallen belongs to another process.
    fn see(&mut self, value: f64) {
        if value < self.last {
            self.earlier += self.last;
        }
        self.last = value;
    }
}

#[derive(Debug, Default)]
struct Inner {
    counters: BTreeMap<(&'static str, usize), Carried>,
    faults: BTreeMap<&'static str, u64>,
    sums: BTreeMap<&'static str, u64>,
    writes: BTreeMap<String, u64>,
}

/// All figures of a run.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<Inner>);

impl Tally {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the counters of every pod.
    pub(super) async fn scrape_all(&self, stage: &Stage) {
        for (number, seat) in stage.seats.iter().enumerate() {
            self.scrape(number, seat).await;
        }
    }

    /// Reads the counters of one pod, as far as it answers.
    pub(super) async fn scrape(&self, number: usize, seat: &Seat) {
        for (admin, names) in [(&seat.api_admin, &API[..]), (&seat.relay_admin, &RELAY[..])] {
            let answer = tokio::time::timeout(PATIENCE, admin.get("/metrics")).await;
            let Ok(Ok(answer)) = answer else { continue };
            let text = answer.text();
            let mut inner = self.lock();
            for name in names {
                let value = text.lines().filter_map(|line| sample(line, name)).sum();
                inner.counters.entry((name, number)).or_default().see(value);
            }
        }
    }

    /// A counter over all pods and all their processes.
    pub(super) fn counter(&self, name: &str) -> u64 {
        let inner = self.lock();
        let of_pods = inner.counters.iter().filter(|((n, _), _)| *n == name);
        let sum: f64 = of_pods.map(|(_, c)| c.earlier + c.last).sum();
        // Counters are whole numbers far below 2^53.
        sum as u64
    }

    /// A fault has come.
    pub(super) fn fault(&self, kind: &'static str) {
        *self.lock().faults.entry(kind).or_default() += 1;
    }

    /// How many faults have come, by kind.
    pub(super) fn faults(&self) -> BTreeMap<&'static str, u64> {
        self.lock().faults.clone()
    }

    /// Adds to a figure.
    pub(super) fn add(&self, what: &'static str, n: u64) {
        *self.lock().sums.entry(what).or_default() += n;
    }

    /// A completed task has to have written to each of these once.
    pub(super) fn expect_writes(&self, nodes: &[String]) {
        let mut inner = self.lock();
        for node in nodes {
            *inner.writes.entry(node.clone()).or_default() += 1;
        }
    }

    /// How many writes each node has to have seen.
    pub(super) fn expected_writes(&self) -> BTreeMap<String, u64> {
        self.lock().writes.clone()
    }

    /// A figure.
    pub(super) fn sum(&self, what: &str) -> u64 {
        self.lock().sums.get(what).copied().unwrap_or(0)
    }

    /// Every carried counter.
    pub(super) fn counters(&self) -> Vec<(&'static str, u64)> {
        API.into_iter().chain(RELAY).map(|name| (name, self.counter(name))).collect()
    }
}

fn sample(line: &str, name: &str) -> Option<f64> {
    let rest = line.strip_prefix(name)?;
    let whole_name = rest.starts_with('{') || rest.starts_with(' ');
    whole_name.then(|| rest.rsplit(' ').next()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_goes_on_over_a_restart() {
        let mut counter = Carried::default();
        for value in [3.0, 10.0, 2.0, 4.0] {
            counter.see(value);
        }
        assert!((counter.earlier + counter.last - 14.0).abs() < f64::EPSILON);
    }

    #[test]
    fn labels_are_summed_and_longer_names_are_not() {
        let text = "a_total{x=\"1\"} 2\na_total{x=\"2\"} 3\na_total_more 9\n# a_total 7";
        let sum: f64 = text.lines().filter_map(|l| sample(l, "a_total")).sum();
        assert!((sum - 5.0).abs() < f64::EPSILON);
    }
}
