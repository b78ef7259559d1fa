//! Memory: the relay alone, with idle sockets, and with a quiet task followed on each of them. And what
//! a scrape costs when they are many.

use std::time::{Duration, Instant};

use anyhow::ensure;
use knm_tests::stage::Stage;
use knm_tests::ws::Connection;
use knm_tests::ws::frame::ClientFrame;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::Verdict;
use crate::rig::{PATIENCE, median, resident, stage};

/// Figures to reach, in KiB.
const RELAY: u64 = 15 * 1024;
const SOCKET: f64 = 20.0;
/// Figure to reach, in milliseconds.
const SCRAPE: f64 = 10.0;
/// Of which the median counts.
const SCRAPES: usize = 51;
/// Connecting at a time.
const AT_ONCE: usize = 200;

/// In KiB, and a scrape in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Idle {
    /// The relay alone.
    pub(crate) alone: u64,
    /// With idle sockets.
    pub(crate) full: u64,
    /// With a quiet task followed on each of them.
    pub(crate) following: u64,
    /// After all have left.
    pub(crate) after: u64,
    pub(crate) scrape: f64,
    sockets: usize,
}

impl Idle {
    /// What a socket takes, in KiB.
    pub(crate) fn each(&self, now: u64) -> f64 {
        now.saturating_sub(self.alone) as f64 / self.sockets as f64
    }

    /// Whether memory is as it is to be.
    pub(crate) fn is_small(&self) -> bool {
        self.alone <= RELAY && self.each(self.full) <= SOCKET && self.each(self.following) <= SOCKET
    }
}

pub(crate) async fn run(sockets: usize) -> anyhow::Result<Verdict> {
    println!("relay-idle: {sockets} sockets");
    let idle = measure(sockets).await?;
    let Idle { alone, full, following, after, scrape, .. } = idle;
    println!("  idle relay                      {alone:>8} KiB (to reach: {RELAY})");
    println!(
        "  with idle sockets               {full:>8} KiB: {:.1} KiB each (to reach: {SOCKET})",
        idle.each(full)
    );
    println!(
        "  each after a snapshot of 1,000  {following:>8} KiB: {:.1} KiB each (to reach: {SOCKET})",
        idle.each(following)
    );
    println!("  a scrape                        {scrape:>8.1} ms (to reach: {SCRAPE})");
    println!("  after all have left             {after:>8} KiB");
    Ok(Verdict::of(idle.is_small() && scrape <= SCRAPE))
}

pub(crate) async fn measure(sockets: usize) -> anyhow::Result<Idle> {
    let stage = stage("idle").await?;
    sleep(Duration::from_secs(2)).await;
    let alone = resident(stage.relay(0))?;
    let mut clients = Vec::new();
    while clients.len() < sockets {
        let mut coming = JoinSet::new();
        for _ in 0..AT_ONCE.min(sockets - clients.len()) {
            let (address, token) = (stage.relay(0).address(), stage.token().to_owned());
            coming.spawn(async move { Connection::open(&address, Some(&token)).await });
        }
        while let Some(come) = coming.join_next().await {
            clients.push(come??);
        }
    }
    until_connected(&stage, sockets).await?;
    sleep(Duration::from_secs(2)).await;
    let full = resident(stage.relay(0))?;
    // A large frame each, and quiet again.
    let task = stage.task(1_000).await?;
    for client in &mut clients {
        client.send(&ClientFrame::Subscribe { task_id: task.id(), cursor: None }).await?;
        while client.next_text().await.is_some_and(|t| !t.contains("\"type\":\"snapshot\"")) {}
    }
    let following = resident(stage.relay(0))?;
    let scrape = scrape(&stage).await?;
    drop(clients);
    until_connected(&stage, 0).await?;
    let after = resident(stage.relay(0))?;
    stage.stop().await?;
    Ok(Idle { alone, full, following, after, scrape, sockets })
}

/// From request to answer, in milliseconds: the median.
async fn scrape(stage: &Stage) -> anyhow::Result<f64> {
    let mut times = Vec::new();
    for _ in 0..SCRAPES {
        let begun = Instant::now();
        ensure!(stage.relay(0).admin("/metrics").await?.status.is_success(), "no scrape");
        times.push(begun.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(median(times))
}

async fn until_connected(stage: &Stage, wanted: usize) -> anyhow::Result<()> {
    let connected = async {
        let name = "knm_relay_websocket_connections";
        while stage.relay(0).metric(name).await? != wanted as f64 {
            sleep(Duration::from_millis(50)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, connected).await?
}
