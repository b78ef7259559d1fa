//! What these tests have in common.

use std::time::Duration;

use anyhow::Context as _;
use knm_tests::by_hand::Task;
use knm_tests::stage::Stage;
use knm_tests::ws::Watcher;
use knm_tests::ws::frame::ServerFrame;

pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Subscribes and waits for the whole snapshot.
pub(crate) async fn subscribed(mut watcher: Watcher, task: &Task) -> anyhow::Result<Watcher> {
    watcher.subscribe(task.id()).await?;
    watcher.until(SOON, |f| matches!(f, ServerFrame::Snapshot(page) if page.last)).await?;
    Ok(watcher)
}

/// How often the relay has counted this.
pub(crate) async fn counted(stage: &Stage, cause: &str) -> anyhow::Result<f64> {
    stage.relay(0).metric(&format!("knm_relay_bad_input_total{{cause=\"{cause}\"}}")).await
}

/// What came up `times` times is counted as often, and said in one line.
pub(crate) async fn told_once(stage: &Stage, cause: &str, times: usize) -> anyhow::Result<()> {
    let counting = async {
        while counted(stage, cause).await? < times as f64 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(())
    };
    let enough = tokio::time::timeout(SOON, counting).await;
    enough.with_context(|| format!("{cause} is not counted {times} times"))??;
    assert_eq!(counted(stage, cause).await?, times as f64, "{cause}");
    let said = stage.relay(0).log().lines();
    let about = |line: &&std::sync::Arc<str>| {
        line.contains("INFO") && line.contains("bad input from a client") && line.contains(cause)
    };
    assert_eq!(said.iter().filter(about).count(), 1, "{cause}: {}", stage.relay(0).log().tail(20));
    Ok(())
}
