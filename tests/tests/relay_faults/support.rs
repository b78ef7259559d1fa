//! What these tests have in common.

use std::time::Duration;

use anyhow::Context as _;
use knm_tests::by_hand::{Task, Tell};
use knm_tests::postgres::Sql;
use knm_tests::stage::Stage;
use knm_tests::ws::frame::ServerFrame;
use knm_tests::ws::{Event, Watcher};
use tokio::task::JoinHandle;

/// For what takes seconds at most on an idle machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// What a client saw beside its tasks.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) watcher: Watcher,
    /// The `mode` frames in order.
    pub(crate) modes: Vec<String>,
    /// `progress` and `complete` frames.
    pub(crate) steps: usize,
}

/// Follows to the end of all tasks on one connection.
pub(crate) fn follow(mut watcher: Watcher, task: &Task) -> JoinHandle<anyhow::Result<Seen>> {
    let task = task.id();
    tokio::spawn(async move {
        let (mut modes, mut steps) = (Vec::new(), 0);
        let following = async {
            while !watcher.checker().completed(task) {
                match watcher.next().await? {
                    Event::Frame(frame) => match *frame {
                        ServerFrame::Mode(mode) => modes.push(mode.mode),
                        ServerFrame::Progress(_) | ServerFrame::Complete(_) => steps += 1,
                        _ => {}
                    },
                    Event::Closed(close) => anyhow::bail!("closed: {close:?}"),
                }
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(SOON * 2, following).await.context("the end does not come")??;
        Ok(Seen { watcher, modes, steps })
    })
}

/// Subscribes and waits for the whole snapshot.
pub(crate) async fn subscribed(mut watcher: Watcher, task: &Task) -> anyhow::Result<Watcher> {
    watcher.subscribe(task.id()).await?;
    watcher.until(SOON, |f| matches!(f, ServerFrame::Snapshot(page) if page.last)).await?;
    Ok(watcher)
}

/// Waits for a `mode` frame.
pub(crate) async fn until_mode(watcher: &mut Watcher, wanted: &str) -> anyhow::Result<()> {
    let told = watcher.until(SOON, |f| matches!(f, ServerFrame::Mode(m) if m.mode == wanted));
    told.await.with_context(|| format!("mode {wanted}"))?;
    Ok(())
}

/// Steps through a task, a few steps a second, so that faults fall between them.
pub(crate) fn writing(
    mut db: Sql,
    mut task: Task,
    pause: Duration,
) -> JoinHandle<anyhow::Result<Task>> {
    tokio::spawn(async move {
        while task.next(&mut db, Tell::Whole).await? {
            tokio::time::sleep(pause).await;
        }
        Ok(task)
    })
}

/// A session of the writer's whose notifications every relay takes at their word: it has been heard
/// of by a heartbeat. Those of a new session lead to reads.
pub(crate) async fn known_writer(stage: &Stage) -> anyhow::Result<Sql> {
    const TAKEN: &str = "knm_relay_notifications_total{result=\"ok\"}";
    let mut db = stage.writer().await?;
    let mut spare = stage.task(10_000).await?;
    for relay in stage.relays() {
        let before = relay.metric(TAKEN).await?;
        let taken = async {
            while relay.metric(TAKEN).await? <= before {
                spare.next(&mut db, Tell::Whole).await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(SOON, taken).await.context("the writer stays a stranger")??;
    }
    Ok(db)
}
