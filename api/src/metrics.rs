//! What the task engine tells Prometheus. No task, node or user is ever a label.

use knm_shared::status::{ItemStatus, TaskStatus};
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

/// Every metric of the engine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// `knm_api_kube_requests_total{verb,code}`: calls to the Kubernetes API by HTTP status;
    /// `none` is no answer, `fenced` not sent because the lease had run out.
    pub kube_requests: IntCounterVec,
    /// `knm_api_kube_backoffs_total`: times that a cluster was left alone by all tasks for a while,
    /// because it answered 429 or 5xx, or not at all, several times in a row.
    pub kube_backoffs: IntCounter,
    /// `knm_api_webhooks_total{result}`: tries to tell somebody of a task's end: `delivered`, `failed` (to
    /// be repeated) and `given_up`.
    pub webhooks: IntCounterVec,
    /// `knm_api_items_total{action,result}`: nodes whose work has ended here.
    pub items: IntCounterVec,
    /// `knm_api_item_failures_total{reason}`: those of them that failed.
    item_failures: IntCounterVec,
    /// `knm_api_item_duration_seconds{action}`: from the start of a node to its end.
    pub item_duration: HistogramVec,
    /// `knm_api_tasks_finished_total{status,dry_run}`: tasks that this process ended. The guide alerts
    /// when under 95 % are completed; dry runs and cancelled tasks do not count there.
    tasks_finished: IntCounterVec,
    /// `knm_api_flush_seconds`: one flush of progress rows, from sending to the commit's answer.
    pub flush_seconds: Histogram,
    /// `knm_api_flush_items`: item changes in one flush.
    pub flush_items: Histogram,
    /// `knm_api_flush_retries_total{reason}`: flushes that had to be repeated.
    pub flush_retries: IntCounterVec,
    /// `knm_api_notify_failures_total`: flushes stored without their notification, because the
    /// server's notification queue is full.
    pub notify_failures: IntCounter,
    /// `knm_api_lease_lost_total`: tasks that another holder took from this process.
    pub lease_lost: IntCounter,
    /// `knm_api_takeovers_total`: tasks that this process took from a holder that had died.
    pub takeovers: IntCounter,
    /// `knm_api_drains_blocked`: nodes of this process whose drain waits for a disruption budget.
    pub drains_blocked: IntGauge,
    /// `knm_api_tasks_held`: tasks that this process works on.
    pub tasks_held: IntGauge,
    /// `knm_api_tasks{status}`: unfinished tasks in the database; the same in every replica, so use
    /// `max`, not `sum`.
    pub tasks: IntGaugeVec,
    /// `knm_api_oldest_queued_seconds`: age of the oldest task that nobody has claimed; database-wide.
    pub oldest_queued: IntGauge,
    /// `knm_api_stalled_tasks`: running tasks whose lease ran out a lease ago; database-wide.
    pub stalled: IntGauge,
}

const SECONDS: &[f64] = &[
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0,
    300.0,
];

/// What a flush is repeated for.
const FLUSH_RETRIES: [&str; 6] =
    ["no_answer", "queue_full", "data", "lock_timeout", "locked", "session"];

const SIZES: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0];

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// When a name is taken already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let r = registry;
        Ok(Self {
            kube_requests: vec(
                r,
                "knm_api_kube_requests_total",
                "Calls to the Kubernetes API by verb and answer",
                &["verb", "code"],
            )?,
            kube_backoffs: counter(
                r,
                "knm_api_kube_backoffs_total",
                "Times that all tasks left a cluster alone for a while, as it was overloaded or away",
            )?,
            webhooks: vec(
                r,
                "knm_api_webhooks_total",
                "Tries to tell somebody of a task's end, by result",
                &["result"],
            )?,
            items: vec(
                r,
                "knm_api_items_total",
                "Nodes whose work has ended, by action and result",
                &["action", "result"],
            )?,
            item_failures: vec(
                r,
                "knm_api_item_failures_total",
                "Nodes whose work failed, by reason",
                &["reason"],
            )?,
            item_duration: {
                let opts = HistogramOpts::new(
                    "knm_api_item_duration_seconds",
                    "Time from the start of a node to its end",
                );
                let h = HistogramVec::new(opts.buckets(SECONDS.to_vec()), &["action"])?;
                r.register(Box::new(h.clone()))?;
                h
            },
            tasks_finished: vec(
                r,
                "knm_api_tasks_finished_total",
                "Tasks that this process ended, by final status, dry runs apart",
                &["status", "dry_run"],
            )?,
            flush_seconds: histogram(
                r,
                "knm_api_flush_seconds",
                "One flush of progress rows, from sending to the answer of its commit",
                SECONDS,
            )?,
            flush_items: histogram(r, "knm_api_flush_items", "Item changes in one flush", SIZES)?,
            flush_retries: vec(
                r,
                "knm_api_flush_retries_total",
                "Flushes of progress rows that had to be repeated, by reason",
                &["reason"],
            )?,
            notify_failures: counter(
                r,
                "knm_api_notify_failures_total",
                "Flushes stored without notification because the server's queue is full",
            )?,
            lease_lost: counter(
                r,
                "knm_api_lease_lost_total",
                "Tasks that another holder took from this process",
            )?,
            takeovers: counter(
                r,
                "knm_api_takeovers_total",
                "Tasks that this process took from a dead holder",
            )?,
            drains_blocked: gauge(
                r,
                "knm_api_drains_blocked",
                "Nodes of this process whose drain waits for a disruption budget",
            )?,
            tasks_held: gauge(r, "knm_api_tasks_held", "Tasks that this process works on")?,
            tasks: {
                let opts = Opts::new(
                    "knm_api_tasks",
                    "Unfinished tasks in the database by status; the same in every replica",
                );
                let g = IntGaugeVec::new(opts, &["status"])?;
                r.register(Box::new(g.clone()))?;
                g
            },
            oldest_queued: gauge(
                r,
                "knm_api_oldest_queued_seconds",
                "Age of the oldest task that nobody has claimed, database-wide",
            )?,
            stalled: gauge(
                r,
                "knm_api_stalled_tasks",
                "Running tasks whose lease ran out more than a lease ago, database-wide",
            )?,
        })
    }

    /// Makes the series exist before their first event: the first increase of a counter that was not
    /// there before is none to Prometheus.
    pub fn announce(&self, actions: &[&str], failures: &[&str], verbs: &[&str]) {
        for action in actions {
            for result in [ItemStatus::Succeeded, ItemStatus::Failed, ItemStatus::Skipped] {
                self.items.with_label_values(&[*action, result.as_str()]);
            }
            self.item_duration.with_label_values(&[*action]);
        }
        for failure in failures {
            self.item_failures.with_label_values(&[*failure]);
        }
        for verb in verbs {
            self.kube_requests.with_label_values(&[*verb, "200"]);
        }
        for status in [TaskStatus::Completed, TaskStatus::Failed, TaskStatus::Cancelled] {
            for dry_run in [false, true] {
                self.tasks_finished(status, dry_run);
            }
        }
        for reason in FLUSH_RETRIES {
            self.flush_retries.with_label_values(&[reason]);
        }
        for result in ["delivered", "failed", "given_up"] {
            self.webhooks.with_label_values(&[result]);
        }
    }

    /// A node has failed.
    pub fn item_failed(&self, reason: &str) {
        self.item_failures.with_label_values(&[reason]).inc();
    }

    /// The counter of tasks that ended so.
    pub fn tasks_finished(&self, status: TaskStatus, dry_run: bool) -> IntCounter {
        let dry_run = if dry_run { "true" } else { "false" };
        self.tasks_finished.with_label_values(&[status.as_str(), dry_run])
    }
}

fn vec(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    let metric = IntCounter::new(name, help)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    let metric = IntGauge::new(name, help)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn histogram(
    registry: &Registry,
    name: &str,
    help: &str,
    buckets: &[f64],
) -> Result<Histogram, prometheus::Error> {
    let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    let metric = Histogram::with_opts(opts)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}
