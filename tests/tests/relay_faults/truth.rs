//! Rows are the truth: what is said on the channel, or not said, changes nothing about what clients
//! end with.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use knm_shared::ids::{Seq, TaskId};
use knm_shared::notification::{CHANNEL, ItemChange, Notification};
use knm_shared::status::{Counts, ItemStatus, TaskStatus};
use knm_tests::by_hand::{Task, Tell};
use knm_tests::proxy::{Direction, Fault, Rule, Select};
use knm_tests::scenario::World;
use knm_tests::stage::Stage;
use knm_tests::ws::Watcher;
use knm_tests::ws::frame::{Delta, ServerFrame};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use uuid::Uuid;

use crate::support::{SOON, follow, known_writer, subscribed};

const TOLD: [Tell; 4] = [Tell::Whole, Tell::Whole, Tell::Head, Tell::Nothing];

/// One task, and a client that comes at each moment of its life: before and after each commit, and
/// while the relay reads. All of them end with the same picture.
async fn watched_from_every_moment(stage: &Stage, seed: u64) -> anyhow::Result<()> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut task = stage.task(6).await?;
    let mut db = known_writer(stage).await?;
    let mut following = Vec::new();
    let mut come = async |task: &Task| -> anyhow::Result<()> {
        let mut watcher = stage.watcher(0);
        watcher.subscribe(task.id()).await?;
        following.push(follow(watcher, task));
        Ok(())
    };
    // Answers to reads take a moment, so that commits fall between a read and its answer.
    let moment = Duration::from_millis(rng.random_range(1..15));
    let reads = Select::application("knm-relay");
    stage.proxies[0].set_rules([Rule::new(reads, Direction::ToClient, Fault::Delay(moment))]);
    while !task.ended() {
        if rng.random_bool(0.7) {
            come(&task).await?;
        }
        let tell = *TOLD.choose(&mut rng).context("four ways")?;
        // The end is told: that an end which is not gets repaired takes half a minute, and a test of
        // its own.
        let tell = if task.steps_left() == 1 { Tell::Whole } else { tell };
        task.next(&mut db, tell).await?;
        if rng.random_bool(0.3) {
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..20))).await;
        }
    }
    come(&task).await?;
    for client in following {
        let seen = client.await??;
        stage.check_final(&seen.watcher, &task).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_every_moment_of_a_task_clients_come_to_the_same_picture() -> anyhow::Result<()> {
    let stage = Stage::live("moments", 1, &Value::Null).await?;
    let fresh = rand::random::<u64>();
    for seed in (0..12).chain([fresh]) {
        let watched = watched_from_every_moment(&stage, seed).await;
        watched.with_context(|| format!("seed {seed}"))?;
    }
    stage.stop().await
}

/// The rows have been read and are on their way to the relay when the next commits happen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_between_the_snapshot_and_its_arrival_follows_it() -> anyhow::Result<()> {
    let stage = Stage::live("between", 1, &Value::Null).await?;
    let mut db = known_writer(&stage).await?;
    for tell in [Tell::Whole, Tell::Head] {
        let mut task = stage.task(5).await?;
        let mut watcher = stage.watcher(0);
        watcher.connect().await?;
        watcher.until(SOON, |f| matches!(f, ServerFrame::Hello(_))).await?;
        let reads = Select::application("knm-relay");
        stage.proxies[0].set_rules([Rule::new(reads, Direction::ToClient, Fault::BlackHole)]);
        watcher.subscribe(task.id()).await?;
        let was_read = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE state = 'idle' \
                        AND datname = current_database() AND query LIKE '%progress_items%' \
                        AND application_name LIKE 'knm-relay %' \
                        AND state_change > $1::bigint * interval '1 microsecond' \
                            + timestamptz 'epoch')";
        let subscribed = jiff::Timestamp::now().as_microsecond() - 500_000;
        let read = async {
            while !stage.database.value::<bool>(was_read, &[&subscribed]).await? {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(SOON, read).await.context("the read")??;
        for _ in 0..3 {
            task.next(&mut db, tell).await?;
        }
        stage.proxies[0].heal().await;
        let first = watcher.until(SOON, |f| matches!(f, ServerFrame::Snapshot(_))).await?;
        assert!(matches!(&first, ServerFrame::Snapshot(s) if s.seq == 1), "{first:?}");
        let to = |f: &ServerFrame| matches!(f, ServerFrame::Progress(d) if d.seq == 4);
        watcher.until(SOON, to).await?;
        task.finish(&mut db, tell).await?;
        watcher.until_all_complete(SOON).await?;
        stage.check_final(&watcher, &task).await?;
    }
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_nobody_told_of_is_found_by_the_audit() -> anyhow::Result<()> {
    let stage = Stage::live("audit", 1, &Value::Null).await?;
    let mut task = stage.task(3).await?;
    let mut db = known_writer(&stage).await?;
    let following = follow(subscribed(stage.watcher(0), &task).await?, &task);
    while task.steps_left() > 1 {
        task.next(&mut db, Tell::Whole).await?;
    }
    task.next(&mut db, Tell::Nothing).await?;
    let untold = Instant::now();
    let seen = following.await??;
    // 30 s to the next audit and one of grace; the rest is for a busy machine.
    assert!(untold.elapsed() < Duration::from_secs(45), "{:?}", untold.elapsed());
    assert!(seen.modes.is_empty(), "found by a reconnect instead: {:?}", seen.modes);
    assert_eq!(stage.relay(0).metric("knm_relay_audit_repairs_total").await?, 1.0);
    stage.check_final(&seen.watcher, &task).await?;
    stage.stop().await
}

/// A step that nobody committed: items and counters that the rows do not have.
fn lie(task: TaskId, prev: i64, seq: i64, status: TaskStatus) -> Notification {
    let items = [ItemStatus::Failed; 4];
    let counts = match status {
        TaskStatus::Running => Counts::of(items.iter().chain([&ItemStatus::Running; 2])),
        _ => Counts::of(items.iter().chain([&ItemStatus::Succeeded; 2])),
    };
    let item =
        |ordinal| ItemChange { ordinal, status: ItemStatus::Failed, message: Some("a lie".into()) };
    Notification {
        task,
        user: knm_shared::ids::UserId(Uuid::nil()),
        prev: Seq(prev),
        seq: Seq(seq),
        published_us: 0,
        status,
        counts,
        error: Some("a lie".into()),
        items: Some((0..4).map(item).collect()),
    }
}

/// The next step that a client gets.
async fn next_step(watcher: &mut Watcher) -> anyhow::Result<Delta> {
    let step = |f: &ServerFrame| {
        matches!(f, ServerFrame::Progress(_) | ServerFrame::Complete(_) | ServerFrame::Resync(_))
    };
    match watcher.until(SOON, step).await? {
        ServerFrame::Progress(delta) | ServerFrame::Complete(delta) => Ok(delta),
        other => anyhow::bail!("not a step: {other:?}"),
    }
}

/// Said by a role that may connect and nothing else, which is all that NOTIFY takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_say_on_the_channel_reaches_no_client() -> anyhow::Result<()> {
    let stage = Stage::live("forged", 1, &Value::Null).await?;
    let mut task = stage.task(20).await?;
    let mut db = known_writer(&stage).await?;
    let stranger = stage.stranger().await?;
    let mut watcher = subscribed(stage.watcher(0), &task).await?;
    task.next(&mut db, Tell::Whole).await?;
    next_step(&mut watcher).await?;

    let (id, v9) = (task.id(), r#"{"v":9,"task":"TASK","sorry":[]}"#);
    let running = TaskStatus::Running;
    let forged = |prev: i64, seq: i64, status| lie(id, prev, seq, status).encode();
    let said: [&dyn Fn(i64) -> String; 14] = [
        &|_| String::new(),
        &|_| "progress".into(),
        &|_| "{}".into(),
        &|_| "[".repeat(7_999),
        &|_| format!("{{\"v\":1,\"task\":\"{id}\"}}"),
        &|_| v9.replace("TASK", &id.to_string()),
        &|_| v9.replace("TASK", &Uuid::nil().to_string()),
        &|_| lie(TaskId(Uuid::nil()), 1, 2, running).encode(),
        // The past, a gap, the far future, the very next step; each of them the end, too.
        &|_| forged(0, 1, running),
        &|at| forged(at + 5, at + 6, running),
        &|at| forged(at, at + 1_000, running),
        &|at| forged(at, at + 1, running),
        &|at| forged(at, at + 1, TaskStatus::Failed),
        &|at| forged(at + 5, i64::MAX, TaskStatus::Completed),
    ];
    for (number, what) in said.iter().enumerate() {
        let (at, payload) = (task.seq(), what(task.seq()));
        stranger.execute("SELECT pg_notify($1, $2)", &[&CHANNEL, &payload]).await?;
        // Twice: the second step is contiguous only with the first as it was really written.
        for _ in 0..2 {
            task.next(&mut db, Tell::Whole).await?;
        }
        let mut last = at;
        while last < task.seq() {
            let step = next_step(&mut watcher).await.with_context(|| format!("{number}"))?;
            assert_eq!(step.prev, last, "{number}: {step:?}");
            assert!(step.items.iter().all(|i| i.message.is_none()), "{number}: {step:?}");
            assert_eq!(step.progress.counts.failed, 0, "{number}: {step:?}");
            last = step.seq;
        }
    }
    task.finish(&mut db, Tell::Whole).await?;
    watcher.until_all_complete(SOON).await?;
    stage.check_final(&watcher, &task).await?;
    for (result, least) in [("unparseable", 5.0), ("unknown_version", 2.0)] {
        let name = format!("knm_relay_notifications_total{{result=\"{result}\"}}");
        let counted = stage.relay(0).metric(&name).await?;
        assert!(counted >= least, "{name} {counted}");
    }
    assert_eq!(stage.relay(0).metric("knm_relay_resyncs_total").await?, 0.0);
    stage.stop().await
}

/// The rows of a task change in the order of its sequence numbers, and so do its notifications, however
/// many tasks share a commit and whoever holds them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_happen_in_the_order_of_the_sequence() -> anyhow::Result<()> {
    const TASKS: usize = 8;
    let latency = Duration::from_millis(5);
    let world = World::new("order").pods(2).nodes(50).latency(latency).start().await?;
    let mut heard = world.database.listen(CHANNEL).await?;
    let apis = [world.sign_in(0).await?, world.sign_in(1).await?];
    let mut open = std::collections::BTreeMap::new();
    for n in 0..TASKS {
        let key = format!("example.com/{n}");
        open.insert(apis[n % 2].label(&world.nodes(0..50), &key, "b").await?, 0);
    }
    let mut steps = 0;
    while !open.is_empty() {
        let payload = tokio::time::timeout(SOON, heard.next()).await??;
        let note = Notification::decode(&payload)?;
        let last = open.get_mut(&note.task).context("a task of ours that has not ended")?;
        assert_eq!((note.prev.0, note.seq.0), (*last, *last + 1), "{payload}");
        *last = note.seq.0;
        steps += 1;
        if note.status.is_terminal() {
            let rows = world.rows(note.task).await?;
            assert_eq!((rows.seq, rows.status), (note.seq.0, note.status));
            open.remove(&note.task);
        }
    }
    assert!(steps > TASKS * 3, "{steps} steps: the test tests nothing");
    world.stop().await
}
