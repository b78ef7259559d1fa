//! Some clients read nothing for a while. In each round the others are measured without and with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use knm_tests::stage::Stage;
use knm_tests::ws::{Connection, Latencies};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Verdict;
use crate::relay_latency::DELIVERY;
use crate::rig::{Histogram, PATIENCE, Step, Writer, client, measure, median, ms, stage};

/// The figure to reach: with slow clients to without.
const RATIO: f64 = 1.2;
/// Of what a slow client has missed, so much comes in one step; the rest had been on its way, as far as the
/// systems at both ends take it.
const ONE_STEP: f64 = 0.9;

/// What is played.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) sockets: usize,
    pub(crate) slow: usize,
    pub(crate) rate: u32,
    pub(crate) hold: Duration,
    pub(crate) rounds: usize,
}

/// How a slow client caught up.
#[derive(Debug, Clone, Copy, Default)]
struct CaughtUp {
    /// Changes that it had missed when it read again.
    missed: i64,
    /// Frames that told it of them.
    frames: i64,
    /// Changes in the largest of these frames.
    largest: i64,
}

pub(crate) async fn run(plan: &Plan) -> anyhow::Result<Verdict> {
    let Plan { sockets, slow, rate, hold, rounds } = plan;
    println!(
        "relay-slow: {slow} of {sockets} clients read nothing for {hold:?}, {rate} changes/s, \
         medians of {rounds} rounds"
    );
    let mut columns: [Vec<f64>; 4] = Default::default();
    let mut one_step = f64::INFINITY;
    for round in 1..=*rounds {
        let stage = stage(&format!("slow{round}")).await?;
        let (figures, caught_up) = play(&stage, plan).await?;
        let [without, with, client_without, client_with] = figures;
        println!(
            "  round {round}: p99 written {without:.2} → {with:.2} ms, received {client_without:.2} \
             → {client_with:.2} ms"
        );
        let least = caught_up.iter().min_by_key(|c| c.largest).context("nobody was slow")?;
        println!(
            "    a slow client missed {} changes; {} frames told it, the largest of {} changes",
            least.missed, least.frames, least.largest
        );
        one_step = one_step.min(least.largest as f64 / least.missed as f64);
        for (column, figure) in columns.iter_mut().zip(figures) {
            column.push(figure);
        }
        stage.stop().await?;
    }
    let [without, with, client_without, client_with] = columns.map(median);
    let (written, received) = (with / without, client_with / client_without);
    println!(
        "  p99 of the others, with to without: written {written:.2}, received {received:.2} (to reach: {RATIO})"
    );
    println!("  of what was missed, in one step: {one_step:.2} (to reach: {ONE_STEP})");
    Ok(Verdict::of(received <= RATIO && one_step >= ONE_STEP))
}

async fn play(stage: &Stage, plan: &Plan) -> anyhow::Result<([f64; 4], Vec<CaughtUp>)> {
    let mut writer = Writer::known(stage).await?;
    let (reading, _) = watch::channel(true);
    let written = Arc::new(AtomicI64::new(0));
    let mut slow = JoinSet::new();
    for _ in 0..plan.slow {
        let connection = client(stage, &writer.task).await?;
        slow.spawn(by_fits(connection, reading.subscribe(), Arc::clone(&written)));
    }
    let mut figures = [0.0; 4];
    for (i, with) in [false, true].into_iter().enumerate() {
        let enough = CancellationToken::new();
        let mut others = JoinSet::new();
        for _ in plan.slow..plan.sockets {
            let connection = client(stage, &writer.task).await?;
            others.spawn(measure(connection, enough.clone()));
        }
        writer.steps(plan.rate, Duration::from_secs(1)).await?;
        if with {
            reading.send(false)?;
        }
        let before = Histogram::of(stage.relay(0), DELIVERY).await?;
        writer.steps(plan.rate, plan.hold).await?;
        let after = Histogram::of(stage.relay(0), DELIVERY).await?;
        figures[i] = after.since(&before).quantile(0.99);
        enough.cancel();
        let mut received = Latencies::default();
        while let Some(measured) = others.join_next().await {
            received.extend(&measured??);
        }
        figures[2 + i] = ms(&received, 99);
    }
    written.store(writer.task.seq(), Ordering::Relaxed);
    reading.send(true)?;
    let mut caught_up = Vec::new();
    while let Some(one) = tokio::time::timeout(PATIENCE, slow.join_next()).await? {
        caught_up.push(one??);
    }
    Ok((figures, caught_up))
}

/// Reads, then reads nothing, then reads until it has everything that is written by then.
async fn by_fits(
    mut connection: Connection,
    mut reading: watch::Receiver<bool>,
    written: Arc<AtomicI64>,
) -> anyhow::Result<CaughtUp> {
    let mut at = 0;
    loop {
        tokio::select! {
            stop = reading.wait_for(|reading| !reading) => {
                stop?;
                break;
            }
            text = connection.next_text() => {
                at = Step::of(&text.context("closed")?).map_or(at, |step| step.seq);
            }
        }
    }
    reading.wait_for(|reading| *reading).await?;
    let target = written.load(Ordering::Relaxed);
    let mut caught_up = CaughtUp { missed: target - at, ..CaughtUp::default() };
    while at < target {
        let text = connection.next_text().await.context("closed before it had caught up")?;
        let Some(step) = Step::of(&text) else { continue };
        ensure!(step.prev == at, "a step from {} for a client at {at}", step.prev);
        at = step.seq;
        caught_up.frames += 1;
        caught_up.largest = caught_up.largest.max(step.seq - step.prev);
    }
    Ok(caught_up)
}
