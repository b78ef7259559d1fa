//! The latency histograms are true although the clocks of the database and of the relay differ.

use knm_tests::by_hand::Flush;
use knm_tests::by_hand::{Change, Tell};
use knm_tests::postgres::{Cluster, FakeClock};
use knm_tests::stage::Stage;
use knm_tests::ws::frame::ServerFrame;
use serde_json::Value;
use std::time::Duration;

use crate::support::{SOON, subscribed};

/// Latencies that the relay has measured: their number and their mean in seconds.
async fn mean(stage: &Stage, name: &str) -> anyhow::Result<(f64, f64)> {
    let count = stage.relay(0).metric(&format!("{name}_count")).await?;
    Ok((count, stage.relay(0).metric(&format!("{name}_sum")).await? / count))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_offset_between_the_clocks_is_taken_out_of_the_latencies() -> anyhow::Result<()> {
    for (name, seconds) in [("ahead", 3_600), ("behind", -3_600)] {
        let clock = FakeClock::new()?;
        clock.set(seconds)?;
        let cluster = Cluster::start(clock.options()).await?;
        let stage = Stage::on(cluster.server().database(name).await?, 1, &Value::Null).await?;
        stage.until_state(0, "live", "live").await?;
        let off = "SELECT extract(epoch FROM clock_timestamp())::float8 - $1";
        let here = jiff::Timestamp::now().as_duration().as_secs_f64();
        let off: f64 = stage.database.value(off, &[&here]).await?;
        anyhow::ensure!((off - seconds as f64).abs() < 60.0, "the clock is {off} s ahead");

        let mut task = stage.task(50).await?;
        let mut watcher = subscribed(stage.watcher(0), &task).await?;
        let mut db = stage.writer().await?;
        let flush = Flush::prepare(&db).await?;
        // The relay has heard of the writer once it believes it: its first words lead to reads.
        let heard = async {
            for n in 0.. {
                let change = Change::new(n % 50, knm_shared::status::ItemStatus::Running);
                flush.write(&db, &mut task, &[change]).await?;
                if mean(&stage, "knm_relay_delivery_latency_seconds").await?.0 >= 20.0 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(SOON, heard).await??;
        watcher.until(SOON, |f| matches!(f, ServerFrame::Progress(_))).await?;
        for name in ["knm_relay_notify_latency_seconds", "knm_relay_delivery_latency_seconds"] {
            let (count, mean) = mean(&stage, name).await?;
            // Without the correction an hour, or nothing at all.
            assert!(count > 0.0 && mean > 0.000_01 && mean < 5.0, "{name}: {mean} s in {count}");
        }
        task.finish(&mut db, Tell::Whole).await?;
        watcher.until_all_complete(SOON).await?;
        stage.check_final(&watcher, &task).await?;
        stage.stop().await?;
    }
    Ok(())
}
