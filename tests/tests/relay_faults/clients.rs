//! Clients: slow ones, those whose relay dies, those with cursors of another time.

use std::time::Duration;

use knm_shared::ids::TaskId;
use knm_shared::status::ItemStatus;
use knm_tests::by_hand::{Change, Task, Tell};
use knm_tests::proxy::{Direction, Fault, Proxy, Rule, Select};
use knm_tests::stage::Stage;
use knm_tests::ws::Event;
use knm_tests::ws::frame::{ClientFrame, ServerFrame};
use knm_tests::ws::{Connection, Message};
use serde_json::Value;

use crate::support::{SOON, follow, known_writer, subscribed, writing};

/// Half a MiB a step: more than all buffers on the way hold after a dozen or two.
async fn rewrite(db: &mut knm_tests::postgres::Sql, task: &mut Task, n: u32) -> anyhow::Result<()> {
    let said = format!("{n} {}", "x".repeat(1000));
    let changes: Vec<Change> =
        (0..500).map(|i| Change::saying(i, ItemStatus::Running, &said)).collect();
    task.write(db, &changes, Tell::Head).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_client_gets_fewer_and_larger_steps_and_slows_nobody() -> anyhow::Result<()> {
    const STEPS: u32 = 60;
    let stage = Stage::live("slow", 1, &Value::Null).await?;
    let mut task = stage.task(500).await?;
    let road = Proxy::start(stage.relay(0).address()).await?;
    let slow = subscribed(stage.watcher_at(road.address().to_string()), &task).await?;
    let slow = follow(slow, &task);
    let mut fast = subscribed(stage.watcher(0), &task).await?;
    road.set_rules([Rule::new(Select::All, Direction::ToClient, Fault::BlackHole)]);
    let mut db = known_writer(&stage).await?;
    for n in 0..STEPS {
        rewrite(&mut db, &mut task, n).await?;
        // The fast one has each step before the next is written.
        let seq = task.seq();
        fast.until(SOON, |f| matches!(f, ServerFrame::Progress(d) if d.seq == seq)).await?;
    }
    let fast = follow(fast, &task);
    let last: Vec<Change> = (0..500).map(|i| Change::new(i, ItemStatus::Succeeded)).collect();
    task.write(&mut db, &last, Tell::Head).await?;
    let fast = fast.await??;
    stage.check_final(&fast.watcher, &task).await?;
    road.heal().await;
    let slow = slow.await??;
    stage.check_final(&slow.watcher, &task).await?;
    let most = STEPS as usize * 2 / 3;
    assert!(slow.steps > 0 && slow.steps < most, "{} of {} steps", slow.steps, STEPS + 1);
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_a_client_that_takes_or_answers_nothing_for_a_minute_is_closed() -> anyhow::Result<()>
{
    let stage = Stage::live("stuck", 1, &Value::Null).await?;
    let mut task = stage.task(500).await?;
    let road = Proxy::start(stage.relay(0).address()).await?;
    let stuck = subscribed(stage.watcher_at(road.address().to_string()), &task).await?;
    let stuck = follow(stuck, &task);
    // This one takes everything, and what it answers to pings gets lost.
    let other_road = Proxy::start(stage.relay(0).address()).await?;
    let mute = subscribed(stage.watcher_at(other_road.address().to_string()), &task).await?;
    let mute = follow(mute, &task);
    road.set_rules([Rule::new(Select::All, Direction::ToClient, Fault::BlackHole)]);
    other_road.set_rules([Rule::new(Select::All, Direction::ToServer, Fault::BlackHole)]);
    let mut db = known_writer(&stage).await?;
    for n in 0..40 {
        rewrite(&mut db, &mut task, n).await?;
    }
    let closed = async {
        let name = "knm_relay_closed_total{code=\"4408\"}";
        while stage.relay(0).metric(name).await.is_ok_and(|n| n < 2.0) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        stage.relay(0).metric(name).await
    };
    assert_eq!(tokio::time::timeout(SOON * 2, closed).await??, 2.0);
    let told = mute.await?.err().map(|closed| closed.to_string());
    assert!(told.as_ref().is_some_and(|closed| closed.contains("4408")), "{told:?}");
    assert_eq!(stage.relay(0).metric("knm_relay_websocket_connections").await?, 0.0);
    stuck.abort();
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_a_relay_is_killed_its_clients_resume_at_another() -> anyhow::Result<()> {
    let mut stage = Stage::live("killed", 2, &Value::Null).await?;
    let task = stage.task(40).await?;
    let mut watcher = subscribed(stage.watcher(0), &task).await?;
    let writing = writing(known_writer(&stage).await?, task.clone(), Duration::from_millis(50));
    for (from, to) in [(0, 1), (1, 0)] {
        let before = watcher.checker().picture(task.id()).map_or(0, |p| p.seq());
        let on = |f: &ServerFrame| matches!(f, ServerFrame::Progress(d) if d.seq >= before + 5);
        watcher.until(SOON, on).await?;
        stage.relay_mut(from).kill().await?;
        while !matches!(watcher.next().await?, Event::Closed(_)) {}
        let known = watcher.checker().picture(task.id()).map_or(0, |p| p.seq());
        watcher.move_to(stage.relay(to).address());
        watcher.connect().await?;
        // A step from where it stood, and no snapshot: only what is missing.
        let first = watcher
            .until(SOON, |f| matches!(f, ServerFrame::Snapshot(_) | ServerFrame::Progress(_)))
            .await?;
        assert!(matches!(&first, ServerFrame::Progress(d) if d.prev == known), "{first:?}");
        stage.relay_mut(from).start()?;
        stage.relay(from).probe("/readyz", SOON).await?;
        stage.until_state(from, "live", "live").await?;
    }
    let task = writing.await??;
    watcher.until_all_complete(SOON).await?;
    stage.check_final(&watcher, &task).await?;
    assert_eq!(watcher.connects(), 3);
    stage.stop().await
}

/// The first frame about a task after a subscription with a cursor.
async fn answer_to(stage: &Stage, task: TaskId, cursor: &str) -> anyhow::Result<ServerFrame> {
    let address = stage.relay(0).address();
    let mut connection = Connection::open(&address, Some(stage.token())).await?;
    let cursor = Some(cursor.to_owned());
    connection.send(&ClientFrame::Subscribe { task_id: task, cursor }).await?;
    loop {
        match tokio::time::timeout(SOON, connection.next()).await?? {
            Message::Frame(frame, _) => match *frame {
                ServerFrame::Hello(_) | ServerFrame::Mode(_) => {}
                frame => return Ok(frame),
            },
            Message::Closed(close) => anyhow::bail!("closed: {close:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_of_another_epoch_or_ahead_of_the_row_gets_a_snapshot() -> anyhow::Result<()> {
    let stage = Stage::live("cursors", 1, &Value::Null).await?;
    let mut task = stage.task(5).await?;
    let mut db = known_writer(&stage).await?;
    task.next(&mut db, Tell::Whole).await?;
    let watcher = subscribed(stage.watcher(0), &task).await?;
    let picture = watcher.checker().picture(task.id()).expect("subscribed").clone();
    task.next(&mut db, Tell::Whole).await?;
    let resumed = answer_to(&stage, task.id(), &picture.cursor()).await?;
    assert!(matches!(&resumed, ServerFrame::Progress(d) if d.prev == 2), "{resumed:?}");
    let ahead = format!("{}:99", picture.epoch());
    for cursor in [format!("0-1-2-3:{}", picture.seq()), ahead] {
        let frame = answer_to(&stage, task.id(), &cursor).await?;
        assert!(matches!(&frame, ServerFrame::Snapshot(s) if s.seq == 3), "{cursor}: {frame:?}");
    }
    stage.stop().await
}
