//! A relay is stopped (SIGSTOP) under load: it takes nothing off its LISTEN connection any more. The
//! server's notification queue, which all databases share, must not fill because of it.

use std::time::Duration;

use anyhow::Context as _;
use knm_tests::by_hand::Tell;
use knm_tests::ws::frame::ServerFrame;
use tokio::time::Instant;

use crate::Verdict;
use crate::rig::{PATIENCE, Writer, stage};

/// Beside the changes, as other tasks and other programs would: 800 kB a second, so that socket buffers
/// are full within seconds.
const FLOOD: &str = "SELECT pg_notify('progress_update', n || repeat('x', 7900)) \
                     FROM generate_series(1, 100) n";
const USAGE: &str = "SELECT pg_notification_queue_usage()";
const LISTENERS: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                         AND application_name LIKE 'knm-relay-listener%'";

pub(crate) async fn run(hold: Duration, rate: u32) -> anyhow::Result<Verdict> {
    println!(
        "relay-stopped: stopped for {hold:?}, {rate} changes/s and 800 kB/s of other notifications"
    );
    let stage = stage("stopped").await?;
    let mut writer = Writer::known(&stage).await?;
    let mut watcher = stage.watcher(0);
    watcher.subscribe(writer.task.id()).await?;
    watcher.until(PATIENCE, |f| matches!(f, ServerFrame::Snapshot(s) if s.last)).await?;
    let relay = stage.relay(0).process()?;
    relay.pause()?;
    let begun = Instant::now();
    let (mut most, mut last, mut given_up): (f64, f64, _) = (0.0, 0.0, None);
    while begun.elapsed() < hold {
        stage.database.value::<i64>(&format!("SELECT count(*) FROM ({FLOOD}) f"), &[]).await?;
        writer.steps(rate, Duration::from_secs(1)).await?;
        last = stage.database.value(USAGE, &[]).await?;
        most = most.max(last);
        if given_up.is_none() && stage.database.value::<i64>(LISTENERS, &[]).await? == 0 {
            given_up = Some(begun.elapsed());
        }
    }
    relay.resume()?;
    println!("  queue usage: {:.6} % at most, {:.6} % at the end", most * 100.0, last * 100.0);
    match given_up {
        Some(after) => {
            println!("  the server gave its session up after {:.0} s", after.as_secs_f64())
        }
        None => println!("  the server did not give its session up"),
    }
    let Writer { mut db, mut task, .. } = writer;
    task.finish(&mut db, Tell::Whole).await.context("the end")?;
    watcher.until_all_complete(PATIENCE * 2).await?;
    stage.check_final(&watcher, &task).await?;
    println!("  its client ended with the rows");
    stage.until_state(0, "live", "live").await?;
    stage.stop().await?;
    Ok(Verdict::of(last == 0.0 && given_up.is_some()))
}
