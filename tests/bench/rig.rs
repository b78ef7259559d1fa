//! What the benchmarks have in common: one relay right beside PostgreSQL, a writer, clients that
//! measure, and the relay's own figures.

use std::time::Duration;

use anyhow::{Context as _, bail};
use knm_shared::ids::TaskId;
use knm_shared::status::ItemStatus;
use knm_tests::by_hand::{Change, Flush, Task};
use knm_tests::pod::Container;
use knm_tests::postgres::{Sql, shared_server};
use knm_tests::stage::Stage;
use knm_tests::ws::frame::ClientFrame;
use knm_tests::ws::{Connection, Latencies};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Nodes of the task that is followed.
const ITEMS: u32 = 200;

/// A relay without a proxy in between, which says little; live.
pub(crate) async fn stage(name: &str) -> anyhow::Result<Stage> {
    let stage = relay(name, &json!({})).await?;
    stage.until_state(0, "live", "live").await?;
    Ok(stage)
}

/// The same with more configuration, live or not.
pub(crate) async fn relay(name: &str, more: &Value) -> anyhow::Result<Stage> {
    let database = shared_server().await?.database(name).await?;
    let server = database.server();
    let mut config = json!({
        "database": {"host": server.host(), "port": server.port()},
        "relay": {"max_connections_per_user": 20_000},
        "log": {"level": "info"},
    });
    if let (Some(config), Some(more)) = (config.as_object_mut(), more.as_object()) {
        config.extend(more.clone());
    }
    Stage::on(database, 1, &config).await
}

/// A task that never ends, and its writer, one statement a step.
pub(crate) struct Writer {
    pub(crate) db: Sql,
    pub(crate) task: Task,
    flush: Flush,
    n: u32,
}

impl Writer {
    /// Returns when the relay takes its notifications at their word.
    pub(crate) async fn known(stage: &Stage) -> anyhow::Result<Self> {
        const TAKEN: &str = "knm_relay_notifications_total{result=\"ok\"}";
        let db = stage.writer().await?;
        let flush = Flush::prepare(&db).await?;
        let mut writer = Self { db, task: stage.task(ITEMS).await?, flush, n: 0 };
        let known = async {
            while stage.relay(0).metric(TAKEN).await? < 1.0 {
                writer.step().await?;
                sleep(Duration::from_millis(20)).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(PATIENCE, known).await.context("the writer stays a stranger")??;
        Ok(writer)
    }

    /// One change.
    pub(crate) async fn step(&mut self) -> anyhow::Result<()> {
        self.n += 1;
        let status = if (self.n / ITEMS).is_multiple_of(2) {
            ItemStatus::Running
        } else {
            ItemStatus::Pending
        };
        let change = Change::saying(self.n % ITEMS, status, format!("try {}", self.n));
        self.flush.write(&self.db, &mut self.task, &[change]).await
    }

    /// Changes at an even rate; each at its own time, however late the one before was.
    pub(crate) async fn steps(&mut self, rate: u32, time: Duration) -> anyhow::Result<u32> {
        let mut tick = interval(Duration::from_secs(1) / rate);
        tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let (end, mut steps) = (Instant::now() + time, 0);
        while Instant::now() < end {
            tick.tick().await;
            self.step().await?;
            steps += 1;
        }
        Ok(steps)
    }
}

/// Subscribes and waits for the snapshot.
pub(crate) async fn client(stage: &Stage, task: &Task) -> anyhow::Result<Connection> {
    follow(&stage.relay(0).address(), stage.token(), task.id()).await
}

/// The same, for who has no stage.
pub(crate) async fn follow(relay: &str, token: &str, task: TaskId) -> anyhow::Result<Connection> {
    let mut connection = Connection::open(relay, Some(token)).await?;
    connection.send(&ClientFrame::Subscribe { task_id: task, cursor: None }).await?;
    loop {
        let text = connection.next_text().await.context("closed")?;
        if text.contains("\"type\":\"snapshot\"") {
            return Ok(connection);
        }
    }
}

/// What a frame says, without reading all of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) prev: i64,
    pub(crate) seq: i64,
    pub(crate) published_us: i64,
}

impl Step {
    pub(crate) fn of(text: &str) -> Option<Self> {
        let number = |key: &str| -> Option<i64> {
            let (_, rest) = text.split_once(key)?;
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            rest[..end].parse().ok()
        };
        if !text.starts_with("{\"type\":\"progress\"") {
            return None;
        }
        let (prev, seq) = (number("\"prev\":")?, number("\"seq\":")?);
        Some(Self { prev, seq, published_us: number("\"published_us\":")? })
    }
}

/// Follows and measures until it is enough, or until the end of the connection.
pub(crate) async fn measure(
    mut connection: Connection,
    enough: CancellationToken,
) -> anyhow::Result<Latencies> {
    let mut latencies = Latencies::default();
    let mut at = None;
    loop {
        let text = tokio::select! {
            () = enough.cancelled() => None,
            text = connection.next_text() => text,
        };
        let Some(text) = text else { return Ok(latencies) };
        let Some(step) = Step::of(&text) else { continue };
        if at.is_some_and(|at| at != step.prev) {
            bail!("a step from {} for a client at {at:?}", step.prev);
        }
        at = Some(step.seq);
        latencies.record(step.published_us);
    }
}

/// A histogram of the relay's, cumulative: upper bounds and counts.
#[derive(Debug, Clone)]
pub(crate) struct Histogram(Vec<(f64, f64)>);

impl Histogram {
    pub(crate) async fn of(relay: &Container, name: &str) -> anyhow::Result<Self> {
        let text = relay.admin("/metrics").await?.text();
        let prefix = format!("{name}_bucket{{le=\"");
        let buckets = text.lines().filter_map(|line| {
            let (bound, count) = line.strip_prefix(&prefix)?.split_once("\"} ")?;
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
            Some((bound, count.parse().ok()?))
        });
        Ok(Self(buckets.collect()))
    }

    /// What has come since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let pairs = self.0.iter().zip(&earlier.0);
        Self(pairs.map(|((bound, now), (_, then))| (*bound, now - then)).collect())
    }

    pub(crate) fn count(&self) -> f64 {
        self.0.last().map_or(0.0, |(_, n)| *n)
    }

    /// In milliseconds, by interpolation in the bucket, as Prometheus's `histogram_quantile`.
    pub(crate) fn quantile(&self, q: f64) -> f64 {
        let wanted = self.count() * q;
        let (mut low, mut below) = (0.0, 0.0);
        for (bound, n) in &self.0 {
            if *n >= wanted {
                let high = if bound.is_finite() { *bound } else { low };
                let share = if n > &below { (wanted - below) / (n - below) } else { 1.0 };
                return (low + (high - low) * share) * 1_000.0;
            }
            (low, below) = (*bound, *n);
        }
        f64::NAN
    }
}

/// Resident memory of a process, in KiB.
pub(crate) fn resident(container: &Container) -> anyhow::Result<u64> {
    let pid = container.process()?.pid();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// In milliseconds.
pub(crate) fn ms(latencies: &Latencies, percent: u32) -> f64 {
    latencies.percentile(percent).map_or(f64::NAN, |d| d.as_secs_f64() * 1_000.0)
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
