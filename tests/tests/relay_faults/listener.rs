//! The LISTEN connection: terminated, black-holed, refused.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use knm_shared::phrases;
use knm_tests::by_hand::Tell;
use knm_tests::postgres::shared_server;
use knm_tests::proxy::{Direction, Fault, Rule, Select};
use knm_tests::stage::Stage;
use knm_tests::ws::frame::ServerFrame;
use serde_json::{Value, json};

use crate::support::{SOON, follow, known_writer, subscribed, until_mode, writing};

const LISTENER: &str = "knm-relay-listener";
const HEARTBEAT: &str = "knm_relay_listener_last_heartbeat_timestamp_seconds";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminated_listen_backend_costs_no_change() -> anyhow::Result<()> {
    let stage = Stage::live("terminated", 1, &Value::Null).await?;
    let mut task = stage.task(20).await?;
    let following = follow(subscribed(stage.watcher(0), &task).await?, &task);
    let mut db = known_writer(&stage).await?;
    let log = stage.relay(0).log();
    for _ in 0..3 {
        task.next(&mut db, Tell::Whole).await?;
        let mark = log.mark();
        assert_eq!(stage.database.terminate(LISTENER).await?, 1);
        // Committed while nobody listens: nothing but the rows can tell of it.
        task.next(&mut db, Tell::Whole).await?;
        let lost = log.wait_for_after(mark, phrases::LISTENER_PROBLEM, SOON).await?;
        assert!(lost.contains("ERROR") && lost.contains("terminating connection"), "{lost}");
        log.wait_for_after(mark, phrases::NOTIFIER_VERIFIED, SOON).await?;
        stage.until_state(0, "live", "live").await?;
    }
    task.finish(&mut db, Tell::Whole).await?;
    let seen = following.await??;
    let one_loss = ["polling", "catching_up", "live"];
    let kinds: Vec<&str> = seen.modes.iter().map(String::as_str).collect();
    assert!(kinds.ends_with(&one_loss) && kinds.len() >= 6, "{kinds:?}");
    stage.check_final(&seen.watcher, &task).await?;
    assert_eq!(stage.relay(0).metric("knm_relay_listener_reconnects_total").await?, 3.0);
    stage.stop().await
}

/// Bytes are taken and answered for by TCP, and go nowhere: neither end learns of it from its socket.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_a_black_holed_listener_is_found_within_ten_seconds() -> anyhow::Result<()> {
    let stage = Stage::live("black_hole", 1, &Value::Null).await?;
    let task = stage.task(60).await?;
    let mut watcher = subscribed(stage.watcher(0), &task).await?;
    let pause = Duration::from_millis(250);
    let writing = writing(known_writer(&stage).await?, task.clone(), pause);
    watcher.until(SOON, |f| matches!(f, ServerFrame::Progress(_))).await?;
    let hole = Rule::new(Select::application(LISTENER), Direction::ToClient, Fault::BlackHole);
    stage.proxies[0].set_rules([hole]);
    let begun = Instant::now();
    until_mode(&mut watcher, "polling").await?;
    let found = begun.elapsed();
    assert!(found <= Duration::from_secs(10), "found only after {found:?}");
    // A new attempt falls into the same hole. Meanwhile changes come by polling.
    let following = follow(watcher, &task);
    stage.relay(0).says(phrases::LISTENER_TIMEOUT, SOON).await?;
    stage.proxies[0].heal().await;
    let task = writing.await??;
    let seen = following.await??;
    stage.until_state(0, "live", "live").await?;
    stage.check_final(&seen.watcher, &task).await?;
    stage.stop().await
}

/// The same on every connection at once: not even heartbeats can be sent. Nobody is told that all is well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_a_relay_that_is_cut_off_altogether_says_so_within_ten_seconds() -> anyhow::Result<()>
{
    let stage = Stage::live("cut_off", 1, &Value::Null).await?;
    let mut task = stage.task(5).await?;
    let mut watcher = subscribed(stage.watcher(0), &task).await?;
    stage.proxies[0].set(Select::All, Fault::BlackHole);
    let begun = Instant::now();
    until_mode(&mut watcher, "polling").await?;
    let found = begun.elapsed();
    assert!(found <= Duration::from_secs(10), "found only after {found:?}");
    let mut db = stage.writer().await?;
    stage.proxies[0].heal().await;
    let following = follow(watcher, &task);
    task.finish(&mut db, Tell::Whole).await?;
    let seen = following.await??;
    stage.until_state(0, "live", "live").await?;
    stage.check_final(&seen.watcher, &task).await?;
    stage.stop().await
}

/// Nothing has to go to the server on that connection, so nothing is amiss while it cannot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_cannot_be_heard_goes_on_hearing() -> anyhow::Result<()> {
    let stage = Stage::live("mute", 1, &Value::Null).await?;
    let mut task = stage.task(10).await?;
    let following = follow(subscribed(stage.watcher(0), &task).await?, &task);
    let hole = Rule::new(Select::application(LISTENER), Direction::ToServer, Fault::BlackHole);
    stage.proxies[0].set_rules([hole]);
    let mut db = known_writer(&stage).await?;
    for _ in 0..2 {
        let last = stage.relay(0).metric(HEARTBEAT).await?;
        task.next(&mut db, Tell::Whole).await?;
        let beating = async {
            while stage.relay(0).metric(HEARTBEAT).await? <= last {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(SOON, beating).await??;
    }
    task.finish(&mut db, Tell::Whole).await?;
    let seen = following.await??;
    assert!(seen.modes.is_empty(), "{:?}", seen.modes);
    stage.check_final(&seen.watcher, &task).await?;
    stage.stop().await
}

/// Only the connection that sends the heartbeats is hurt: that says nothing about the listener.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_that_cannot_be_sent_do_not_condemn_the_listener() -> anyhow::Result<()> {
    let stage = Stage::live("unsent", 1, &Value::Null).await?;
    let mut task = stage.task(10).await?;
    let following = follow(subscribed(stage.watcher(0), &task).await?, &task);
    let mut db = known_writer(&stage).await?;
    let pool = Select::application("knm-relay");
    stage.proxies[0].set(pool, Fault::BlackHole);
    let log = stage.relay(0).log();
    let mark = log.mark();
    task.next(&mut db, Tell::Whole).await?;
    log.wait_for_after(mark, "heartbeat not sent", SOON).await?;
    task.next(&mut db, Tell::Whole).await?;
    stage.proxies[0].heal().await;
    task.finish(&mut db, Tell::Whole).await?;
    let seen = following.await??;
    assert!(seen.modes.is_empty(), "{:?}", seen.modes);
    stage.check_final(&seen.watcher, &task).await?;
    stage.stop().await
}

/// Every way that a TCP connection can end under the listener, one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_the_listen_connection_ends_nothing_is_lost() -> anyhow::Result<()> {
    let stage = Stage::live("endings", 1, &Value::Null).await?;
    let mut task = stage.task(20).await?;
    let following = follow(subscribed(stage.watcher(0), &task).await?, &task);
    let mut db = known_writer(&stage).await?;
    let (proxy, log) = (&stage.proxies[0], stage.relay(0).log());
    let listener = Select::application(LISTENER);
    let endings: [&dyn Fn() -> usize; 3] =
        [&|| proxy.cut(&listener), &|| proxy.reset(&listener), &|| {
            proxy.half_close(&listener, Direction::ToClient)
        }];
    for end in endings {
        task.next(&mut db, Tell::Whole).await?;
        let mark = log.mark();
        assert_eq!(end(), 1);
        task.next(&mut db, Tell::Whole).await?;
        log.wait_for_after(mark, phrases::LISTENER_PROBLEM, SOON).await?;
        stage.until_state(0, "live", "live").await?;
    }
    task.finish(&mut db, Tell::Whole).await?;
    let seen = following.await??;
    stage.check_final(&seen.watcher, &task).await?;
    stage.stop().await
}

/// Polling is too slow to see it and the next audit too far away: coming back to life has to tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_committed_while_nobody_listened_comes_with_the_reconnect() -> anyhow::Result<()> {
    let config = json!({"progress": {"poll_interval": 300_000}});
    let stage = Stage::live("reconnect", 1, &config).await?;
    let mut task = stage.task(3).await?;
    let mut db = known_writer(&stage).await?;
    let mut watcher = subscribed(stage.watcher(0), &task).await?;
    while task.steps_left() > 1 {
        task.next(&mut db, Tell::Whole).await?;
    }
    stage.proxies[0].refuse_new().await;
    assert_eq!(stage.proxies[0].cut(&Select::application(LISTENER)), 1);
    until_mode(&mut watcher, "polling").await?;
    // Losing the listener leads to one poll at once; after two attempts in vain it has long been.
    let failing = async {
        while stage.state(0).await?["connect_failures"].as_u64().is_none_or(|n| n < 3) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(SOON, failing).await??;
    task.next(&mut db, Tell::Whole).await?;
    stage.proxies[0].accept_new().await;
    until_mode(&mut watcher, "catching_up").await?;
    let back = Instant::now();
    watcher.until_all_complete(SOON).await?;
    assert!(back.elapsed() < Duration::from_secs(20), "by an audit: {:?}", back.elapsed());
    stage.check_final(&watcher, &task).await?;
    stage.stop().await
}

/// Its connection is accepted each time and ends before a heartbeat has come back: that is no success.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_verified_listener_starts_the_pauses_over() -> anyhow::Result<()> {
    let stage = Stage::live("pauses", 1, &Value::Null).await?;
    let (proxy, listener) = (&stage.proxies[0], Select::application(LISTENER));
    proxy.set(Select::application("knm-relay"), Fault::BlackHole);
    let begun = Instant::now();
    for _ in 0..5 {
        assert_eq!(proxy.cut(&listener), 1);
        stage.until_state(0, "lost", "polling").await?;
        stage.until_state(0, "verifying", "polling").await?;
    }
    // At least half of 0.2, 0.4, 0.8, 1.6 and 3.2 s; without growth at most a second together.
    assert!(begun.elapsed() >= Duration::from_millis(3_100), "{:?}", begun.elapsed());
    proxy.heal().await;
    stage.until_state(0, "live", "live").await?;
    stage.stop().await
}

/// A relay that is stopped takes nothing off its LISTEN connection: the server has to give it up, or
/// nobody's notification could leave the queue of the whole cluster.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_relay_does_not_hold_up_the_notification_queue() -> anyhow::Result<()> {
    const FLOOD: &str = "SELECT pg_notify('progress_update', n || repeat('x', 7900)) \
                         FROM generate_series(1, 4000) n";
    const SESSIONS: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = \
                            current_database() AND application_name LIKE 'knm-relay-listener%'";
    let database = shared_server().await?.database("queue").await?;
    // No proxy in between: it would take what the relay does not.
    let server = database.server();
    let direct = json!({"database": {"host": server.host(), "port": server.port()}});
    let stage = Stage::on(database, 1, &direct).await?;
    stage.until_state(0, "live", "live").await?;
    let mut task = stage.task(5).await?;
    let following = follow(subscribed(stage.watcher(0), &task).await?, &task);
    let relay = stage.relay(0).process()?;
    relay.pause()?;
    let mut db = stage.writer().await?;
    db.execute(FLOOD, &[]).await?;
    let stuck: f64 = stage.database.value("SELECT pg_notification_queue_usage()", &[]).await?;
    assert!(stuck > 0.0, "all of it was taken: the test tests nothing");
    let given_up = async {
        while stage.database.value::<i64>(SESSIONS, &[]).await? > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(SOON, given_up).await.context("the session stays")??;
    // Whoever notifies next clears what nobody waits for any more.
    task.finish(&mut db, Tell::Whole).await?;
    relay.resume()?;
    let seen = following.await??;
    stage.check_final(&seen.watcher, &task).await?;
    stage.until_state(0, "live", "live").await?;
    stage.stop().await
}
