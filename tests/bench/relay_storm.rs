//! A relay dies with all its clients, and all of them come back to its successor at the same moment.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use knm_tests::ws::Connection;
use knm_tests::ws::frame::ClientFrame;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Verdict;
use crate::rig::{PATIENCE, Step, Writer, client, median, stage};

const READS: &str = "knm_relay_read_seconds_count";

/// When each client was connected, and when it had what it had missed.
struct Back {
    connected: Duration,
    resumed: Duration,
}

pub(crate) async fn run(clients: usize, rounds: usize) -> anyhow::Result<Verdict> {
    println!("relay-storm: {clients} clients come back at once, medians of {rounds} rounds");
    let mut stage = stage("storm").await?;
    let mut columns: [Vec<f64>; 4] = Default::default();
    for _ in 0..rounds {
        let mut writer = Writer::known(&stage).await?;
        let mut connected = Vec::new();
        for _ in 0..clients {
            connected.push(client(&stage, &writer.task).await?);
        }
        let epoch = stage.state(0).await?["epoch"].as_str().context("an epoch")?.to_owned();
        let cursor = format!("{epoch}:{}", writer.task.seq());
        stage.relay_mut(0).kill().await?;
        drop(connected);
        writer.steps(200, Duration::from_millis(100)).await?;
        stage.relay_mut(0).start()?;
        stage.until_state(0, "live", "live").await?;
        let reads = stage.relay(0).metric(READS).await?;
        let backs = storm(&stage, &writer, &cursor, clients).await?;
        let reads = stage.relay(0).metric(READS).await? - reads;
        let last = |of: fn(&Back) -> Duration| {
            backs.iter().map(of).max().unwrap_or_default().as_secs_f64() * 1_000.0
        };
        let mut resumed: Vec<f64> =
            backs.iter().map(|b| b.resumed.as_secs_f64() * 1_000.0).collect();
        resumed.sort_by(f64::total_cmp);
        let figures =
            [last(|b| b.connected), resumed[resumed.len() / 2], last(|b| b.resumed), reads];
        for (column, figure) in columns.iter_mut().zip(figures) {
            column.push(figure);
        }
    }
    stage.stop().await?;
    let [connected, middle, resumed, reads] = columns.map(median);
    println!("  the last connected after        {connected:.0} ms");
    println!("  up to date: half of them after  {middle:.0} ms, all after {resumed:.0} ms");
    println!("  reads of the task's rows        {reads:.0}");
    Ok(Verdict::of(resumed <= 5_000.0))
}

async fn storm(
    stage: &knm_tests::stage::Stage,
    writer: &Writer,
    cursor: &str,
    clients: usize,
) -> anyhow::Result<Vec<Back>> {
    let (task, target) = (writer.task.id(), writer.task.seq());
    let barrier = Arc::new(Barrier::new(clients));
    let mut coming = JoinSet::new();
    for _ in 0..clients {
        let (address, token) = (stage.relay(0).address(), stage.token().to_owned());
        let (barrier, cursor) = (Arc::clone(&barrier), Some(cursor.to_owned()));
        coming.spawn(async move {
            barrier.wait().await;
            let begun = Instant::now();
            let mut connection = Connection::open(&address, Some(&token)).await?;
            let connected = begun.elapsed();
            connection.send(&ClientFrame::Subscribe { task_id: task, cursor }).await?;
            loop {
                let text = connection.next_text().await.context("closed")?;
                ensure!(!text.contains("\"type\":\"snapshot\""), "a snapshot for a good cursor");
                if Step::of(&text).is_some_and(|step| step.seq >= target) {
                    return Ok((Back { connected, resumed: begun.elapsed() }, connection));
                }
            }
        });
    }
    let mut backs = Vec::new();
    // All of them stay until the last has come.
    let mut connections = Vec::new();
    while let Some(come) = tokio::time::timeout(PATIENCE, coming.join_next()).await? {
        let (back, connection) = come??;
        backs.push(back);
        connections.push(connection);
    }
    Ok(backs)
}
