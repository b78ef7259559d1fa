//! The progress writer against a real PostgreSQL: what it stores, and what no fault makes it store.

use std::time::Duration;

use crate::support::{Bench, done, new_task, update};
use knm_api::db;
use knm_api::db::tasks::Telling;
use knm_api::progress::{End, ItemUpdate, Json, NotStored};
use knm_shared::notification::Notification;
use knm_shared::status::ItemStatus::{Failed, Running, Succeeded};
use knm_shared::status::{ItemStatus, TaskStatus};
use knm_tests::proxy::{Direction, Fault, Rule, Select, Swallow};

#[tokio::test]
async fn a_task_from_claim_to_end_is_stored_and_announced_step_by_step() {
    let bench = Bench::start().await;
    let mut listener = bench.listen().await;
    let task = bench.task(3).await;
    for ordinal in 0..3 {
        done(&bench, task, ordinal, Running).await;
    }
    for ordinal in 0..3 {
        let _ = bench.progress.record(task, ordinal, update(Succeeded));
    }
    let end = End::Finished { status: TaskStatus::Completed, error: None };
    bench.progress.end(task, end).durable().await.expect("stored");
    let row = bench.row(task).await;
    assert_eq!((row.status.as_str(), row.counts.succeeded, row.leased), ("completed", 3, false));
    assert_eq!(bench.statuses(task).await, ["succeeded"; 3]);
    // Every step once, without a gap, up to the row's own number.
    let mut seq = 0;
    while seq < row.seq {
        let note = Notification::decode(&listener.next().await).expect("ours");
        assert_eq!((note.task, note.prev.0, note.seq.0), (task, seq, seq + 1));
        seq = note.seq.0;
        if seq == row.seq {
            assert_eq!((note.status, note.counts.succeeded), (TaskStatus::Completed, 3));
        }
    }
    bench.stop().await;
}

#[tokio::test]
async fn what_a_takeover_must_know_is_durable_when_the_receipt_says_so() {
    let bench = Bench::start().await;
    let task = bench.task(1).await;
    let before = serde_json::json!({"team": null});
    let running = ItemUpdate { before: Some(before.clone().into()), ..update(Running) };
    bench.progress.record(task, 0, running).durable().await.expect("stored");
    let stored: serde_json::Value = bench.item(task, 0, "before").await;
    assert_eq!(stored, before);
    done(&bench, task, 0, Succeeded).await;
    let stored: serde_json::Value = bench.item(task, 0, "before").await;
    assert_eq!(stored, before, "a later update leaves it");
    bench.stop().await;
}

/// Handed back before anything was written to the node: its successor has nothing to keep or to doubt.
#[tokio::test]
async fn a_record_that_was_taken_back_binds_no_successor() {
    let bench = Bench::start().await;
    let task = bench.task(2).await;
    for ordinal in 0..2 {
        let before = Some(serde_json::json!({"team": "red"}).into());
        let running = ItemUpdate { before, ..update(Running) };
        bench.progress.record(task, ordinal, running).durable().await.expect("stored");
    }
    let back = ItemUpdate { before: Some(Json::null()), ..update(ItemStatus::Pending) };
    bench.progress.record(task, 1, back).durable().await.expect("stored");
    let sql = bench.database.connect().await.expect("connects");
    let sql: &tokio_postgres::Client = &sql;
    let items = knm_api::db::claim::items(sql, task).await.expect("reads");
    let known: Vec<_> = items.iter().map(|item| item.before.is_some()).collect();
    assert_eq!(known, [true, false]);
    bench.stop().await;
}

#[tokio::test]
async fn a_flush_carries_two_thousand_items_at_most() {
    let bench = Bench::start().await;
    let task = bench.task(5_000).await;
    done(&bench, task, 0, Running).await;
    let seq = bench.row(task).await.seq;
    let receipts: Vec<_> =
        (0..5_000).map(|o| bench.progress.record(task, o, update(Succeeded))).collect();
    for receipt in receipts {
        receipt.durable().await.expect("stored");
    }
    let row = bench.row(task).await;
    assert_eq!(row.counts.succeeded, 5_000);
    assert!(row.seq - seq >= 3, "5,000 items take at least three flushes");
    assert!(row.seq - seq <= 4, "and no more than one besides: {}", row.seq - seq);
    bench.stop().await;
}

/// Each of them has more than 1 KiB to say: 2,000 would be twice what a flush may carry.
#[tokio::test]
async fn a_flush_carries_a_mebibyte_at_most() {
    let bench = Bench::start().await;
    let task = bench.task(2_000).await;
    done(&bench, task, 0, Running).await;
    let seq = bench.row(task).await.seq;
    let said = || ItemUpdate { message: Some("x".repeat(1_000)), ..update(Failed) };
    let receipts: Vec<_> = (0..2_000).map(|o| bench.progress.record(task, o, said())).collect();
    for receipt in receipts {
        receipt.durable().await.expect("stored");
    }
    let sizes = "SELECT max(n) FROM (SELECT sum(octet_length(message)) AS n FROM progress_items
                 WHERE task_id = $1 AND seq > $2 GROUP BY seq) of_a_flush";
    let largest: i64 = bench.database.value(sizes, &[&task.0, &seq]).await.expect("reads");
    assert!(largest <= 1 << 20, "{largest} bytes");
    assert!(bench.row(task).await.seq - seq >= 2);
    bench.stop().await;
}

#[tokio::test]
async fn a_row_lock_delays_its_own_task_only() {
    let bench = Bench::start().await;
    let (locked, free) = (bench.task(1).await, bench.task(1).await);
    done(&bench, locked, 0, Running).await;
    let session = bench.database.connect().await.expect("connects");
    session.batch_execute("BEGIN").await.expect("begins");
    session
        .query("SELECT FROM progress_tasks WHERE id = $1 FOR UPDATE", &[&locked.0])
        .await
        .expect("locks");
    let waiting = bench.progress.record(locked, 0, update(Succeeded));
    for _ in 0..20 {
        done(&bench, free, 0, Running).await;
    }
    assert_eq!(bench.row(locked).await.counts.succeeded, 0, "still locked");
    session.batch_execute("ROLLBACK").await.expect("unlocks");
    waiting.durable().await.expect("stored after the lock is gone");
    bench.stop().await;
}

#[tokio::test]
async fn a_lock_on_an_item_delays_its_own_task_only() {
    let bench = Bench::start().await;
    let (locked, free) = (bench.task(1).await, bench.task(1).await);
    done(&bench, locked, 0, Running).await;
    let session = bench.database.connect().await.expect("connects");
    session.batch_execute("BEGIN").await.expect("begins");
    session
        .query("SELECT FROM progress_items WHERE task_id = $1 FOR UPDATE", &[&locked.0])
        .await
        .expect("locks");
    let waiting = bench.progress.record(locked, 0, update(Succeeded));
    done(&bench, free, 0, Running).await;
    done(&bench, free, 0, Succeeded).await;
    session.batch_execute("ROLLBACK").await.expect("unlocks");
    waiting.durable().await.expect("stored after the lock is gone");
    bench.stop().await;
}

#[tokio::test]
async fn an_answer_lost_after_the_commit_stores_nothing_twice() {
    let bench = Bench::start().await;
    let mut listener = bench.listen().await;
    let task = bench.task(1).await;
    done(&bench, task, 0, Running).await;
    let seq = bench.row(task).await.seq;
    let select = Select::application("knm-api-writer");
    let mut sprung = bench.proxy.swallow(Swallow::answer_to(select, &task.to_string()));
    let receipt = bench.progress.record(task, 0, update(Succeeded));
    sprung.wait().await;
    receipt.durable().await.expect("known to be stored");
    assert_eq!(bench.row(task).await.seq, seq + 1);
    let seqs = listener.seqs_until(seq + 1).await;
    assert_eq!(seqs, (2..=seq + 1).collect::<Vec<_>>(), "announced once");
    bench.stop().await;
}

#[tokio::test]
async fn a_request_that_never_arrived_is_sent_again() {
    let bench = Bench::start().await;
    let task = bench.task(1).await;
    done(&bench, task, 0, Running).await;
    let seq = bench.row(task).await.seq;
    let select = Select::application("knm-api-writer");
    let mut sprung = bench.proxy.swallow(Swallow::request(select, &task.to_string()));
    let receipt = bench.progress.record(task, 0, update(Succeeded));
    sprung.wait().await;
    receipt.durable().await.expect("stored");
    assert_eq!(bench.row(task).await.seq, seq + 1);
    bench.stop().await;
}

#[tokio::test]
async fn data_that_the_database_refuses_stops_one_item_and_no_other() {
    let bench = Bench::start().await;
    bench
        .execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF NEW.ordinal = 37 AND NEW.before IS NOT NULL THEN
                     RAISE EXCEPTION 'refused for the test' USING ERRCODE = '22P05';
                 END IF;
                 RETURN NEW;
             END $$;
             CREATE TRIGGER refuse BEFORE UPDATE ON progress_items
             FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        .await;
    let (bad, good) = (bench.task(100).await, bench.task(1).await);
    let running =
        || ItemUpdate { before: Some(serde_json::json!({"k": "v"}).into()), ..update(Running) };
    let receipts: Vec<_> = (0..100).map(|o| bench.progress.record(bad, o, running())).collect();
    done(&bench, good, 0, Succeeded).await;
    for (ordinal, receipt) in receipts.into_iter().enumerate() {
        let expected = if ordinal == 37 { Err(NotStored::Unstorable) } else { Ok(()) };
        assert_eq!(receipt.durable().await, expected, "item {ordinal}");
    }
    bench.until(bad, |row| row.counts.failed == 1).await;
    let message: String = bench.item(bad, 37, "message").await;
    assert!(message.contains("could not be stored"), "{message}");
    assert_eq!(bench.row(bad).await.counts.running, 99);
    bench.stop().await;
}

#[tokio::test]
async fn nul_bytes_and_long_messages_are_stored_without_a_search() {
    let bench = Bench::start().await;
    let task = bench.task(1).await;
    let failed = ItemUpdate {
        message: Some(format!("a\0b{}", "x".repeat(5_000))),
        before: Some(serde_json::json!({"k\0": "v\0"}).into()),
        ..update(Failed)
    };
    bench.progress.record(task, 0, failed).durable().await.expect("stored");
    let message: String = bench.item(task, 0, "message").await;
    assert!(message.starts_with("abx") && message.len() <= 1024, "{message}");
    let before: serde_json::Value = bench.item(task, 0, "before").await;
    assert_eq!(before, serde_json::json!({"k": "v"}));
    bench.stop().await;
}

/// The queue holds 8 GB; what it answers when it is full is put in the function's place.
const FULL_QUEUE: &str = "
    CREATE FUNCTION public.pg_notify(text, text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
        RAISE EXCEPTION 'too many notifications in the NOTIFY queue' USING ERRCODE = '54000';
    END $$;
    DO $$ BEGIN
        EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', current_database());
    END $$";

#[tokio::test]
async fn with_a_full_notification_queue_a_task_can_still_be_stored() {
    let bench = Bench::start().await;
    bench.execute(FULL_QUEUE).await;
    let sql = bench.database.connect().await.expect("connects");
    let client: &tokio_postgres::Client = &sql;
    let task = new_task(1);
    let refused = db::tasks::insert(client, &task, None, Telling::Aloud).await;
    assert!(db::is_queue_full(&refused.expect_err("it notifies")));
    let stored = db::tasks::insert(client, &task, None, Telling::Silent).await;
    assert_eq!(stored.expect("does not notify").expect("stored").view.total, 1);
    bench.stop().await;
}

#[tokio::test]
async fn a_full_notification_queue_costs_notifications_and_no_rows() {
    let bench = Bench::start().await;
    bench.execute(FULL_QUEUE).await;
    bench.database.terminate("knm-api-writer").await.expect("reconnects with the setting");
    let task = bench.task(2).await;
    done(&bench, task, 0, Running).await;
    done(&bench, task, 0, Succeeded).await;
    assert_eq!(bench.row(task).await.counts.succeeded, 1);
    assert!(bench.metrics.notify_failures.get() >= 2);
    bench.stop().await;
}

#[tokio::test]
async fn a_database_that_lost_commits_is_told_everything_since_the_claim() {
    let bench = Bench::start().await;
    let task = bench.task(3).await;
    for (ordinal, status) in [(0, Running), (0, Succeeded), (1, Running)] {
        done(&bench, task, ordinal, status).await;
    }
    // What a promoted standby without the last commits would show.
    bench
        .execute(&format!(
            "BEGIN;
             UPDATE progress_tasks SET seq = 2, pending = 3, running = 0, succeeded = 0
             WHERE id = '{task}';
             UPDATE progress_items SET status = 'pending', seq = 1 WHERE task_id = '{task}';
             COMMIT"
        ))
        .await;
    done(&bench, task, 2, Running).await;
    assert_eq!(bench.statuses(task).await, ["succeeded", "running", "running"]);
    let row = bench.row(task).await;
    assert_eq!((row.counts.succeeded, row.counts.running, row.counts.pending), (1, 2, 0));
    bench.stop().await;
}

/// Either half of the fencing pair is enough: after a failover that lost a claim, the next claim of
/// somebody else has the same token.
#[tokio::test]
async fn a_lease_that_was_taken_lets_nothing_through() {
    let bench = Bench::start().await;
    for taken in [
        "lease_owner = gen_random_uuid()",
        "lease_token = 9",
        "lease_owner = gen_random_uuid(), lease_token = 9",
        "lease_owner = NULL, lease_expires_at = NULL",
    ] {
        let task = bench.task(2).await;
        done(&bench, task, 0, Running).await;
        let seq = bench.row(task).await.seq;
        bench.execute(&format!("UPDATE progress_tasks SET {taken} WHERE id = '{task}'")).await;
        let lost = bench.progress.record(task, 0, update(Succeeded)).durable().await;
        assert!(matches!(lost, Err(NotStored::Lost(_))), "{taken}: {lost:?}");
        assert_eq!(bench.row(task).await.seq, seq, "{taken}");
        let status: String = bench.item(task, 0, "status").await;
        assert_eq!(status, ItemStatus::Running.as_str(), "{taken}");
        assert!(bench.lease(task).is_lost(), "{taken}");
    }
    bench.stop().await;
}

#[tokio::test]
async fn a_flush_renews_the_leases_that_it_touches() {
    let bench = Bench::start().await;
    let task = bench.task(2).await;
    done(&bench, task, 0, Running).await;
    bench
        .execute(&format!(
            "UPDATE progress_tasks SET lease_expires_at = clock_timestamp() WHERE id = '{task}'"
        ))
        .await;
    done(&bench, task, 1, Running).await;
    let left = "SELECT extract(epoch FROM lease_expires_at - clock_timestamp())::float8
                FROM progress_tasks WHERE id = $1";
    let left: f64 = bench.database.value(left, &[&task.0]).await.expect("reads");
    assert!(left > 5.0, "{left} s");
    bench.stop().await;
}

/// Claims in a row without a finished node are counted; whoever hands a task back has not died of it.
#[tokio::test]
async fn attempts_start_over_with_a_finished_node_and_with_a_hand_back() {
    let bench = Bench::start().await;
    let attempt = "SELECT attempt FROM progress_tasks WHERE id = $1";
    for (ordinal, status, expected) in [(0, Running, 2), (1, Failed, 0)] {
        let task = bench.task(2).await;
        bench.execute(&format!("UPDATE progress_tasks SET attempt = 2 WHERE id = '{task}'")).await;
        done(&bench, task, ordinal, status).await;
        let left: i32 = bench.database.value(attempt, &[&task.0]).await.expect("reads");
        assert_eq!(left, expected, "{status:?}");
        bench.execute(&format!("UPDATE progress_tasks SET attempt = 2 WHERE id = '{task}'")).await;
        bench.progress.end(task, End::Released).durable().await.expect("stored");
        let left: i32 = bench.database.value(attempt, &[&task.0]).await.expect("reads");
        assert_eq!((left, bench.row(task).await.leased), (0, false));
    }
    bench.stop().await;
}

/// What gathers while a flush is in flight goes with the next: one commit, however many tasks, and one
/// notification for each of them.
#[tokio::test]
async fn what_gathers_during_a_flush_is_one_commit_with_a_notification_for_each_task() {
    const TASKS: usize = 30;
    let bench = Bench::start().await;
    let mut tasks = Vec::new();
    for _ in 0..TASKS {
        let task = bench.task(3).await;
        done(&bench, task, 0, Running).await;
        tasks.push(task);
    }
    // The answer to this one takes as long as the others need to gather.
    let slow = bench.task(1).await;
    done(&bench, slow, 0, Running).await;
    let writer = Select::application("knm-api-writer");
    let hole = Rule::new(writer, Direction::ToClient, Fault::BlackHole);
    bench.proxy.set_rules([hole]);
    let in_flight = bench.progress.record(slow, 0, update(Succeeded));
    bench.until(slow, |row| row.counts.succeeded == 1).await;
    let mut listener = bench.listen().await;
    let mut receipts = Vec::new();
    for task in &tasks {
        receipts.extend((0..3).map(|o| bench.progress.record(*task, o, update(Succeeded))));
    }
    bench.proxy.heal().await;
    in_flight.durable().await.expect("stored");
    for receipt in receipts {
        receipt.durable().await.expect("stored");
    }
    let ids: Vec<_> = tasks.iter().map(|t| t.0).collect();
    let commits = "SELECT count(DISTINCT xmin::text) FROM progress_tasks WHERE id = ANY ($1)";
    assert_eq!(bench.database.value::<i64>(commits, &[&ids]).await.expect("counts"), 1);
    bench.execute("NOTIFY progress_update, 'mark'").await;
    let mut told = std::collections::BTreeSet::new();
    loop {
        let payload = listener.next().await;
        if payload == "mark" {
            break;
        }
        let note = Notification::decode(&payload).expect("ours");
        assert_eq!(note.items.as_ref().map(Vec::len), Some(3), "{payload}");
        assert!(told.insert(note.task), "{payload}: a second one");
    }
    assert_eq!(told, tasks.into_iter().collect());
    bench.stop().await;
}

#[tokio::test]
async fn an_answer_lost_to_the_last_step_is_no_lost_lease() {
    let bench = Bench::start().await;
    let task = bench.task(1).await;
    done(&bench, task, 0, Running).await;
    let select = Select::application("knm-api-writer");
    let mut sprung = bench.proxy.swallow(Swallow::answer_to(select, &task.to_string()));
    let _ = bench.progress.record(task, 0, update(Succeeded));
    let end = End::Finished { status: TaskStatus::Completed, error: None };
    let ended = bench.progress.end(task, end);
    sprung.wait().await;
    ended.durable().await.expect("known to be stored");
    assert!(!bench.lease(task).is_lost());
    assert_eq!(bench.row(task).await.status, "completed");
    bench.stop().await;
}

/// Flushes, heartbeats, claims and users' requests on the same rows, all at once.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_deadlocks() {
    let bench = Bench::start().await;
    let mut tasks = Vec::new();
    for _ in 0..40 {
        tasks.push(bench.task(20).await);
    }
    let stop = tokio_util::sync::CancellationToken::new();
    let mut disturbers = tokio::task::JoinSet::new();
    for kind in 0..4 {
        let disturber = bench.disturber(kind, &tasks).await;
        let stop = stop.clone();
        disturbers.spawn(async move {
            let mut rounds = 0;
            while !stop.is_cancelled() {
                disturber.round().await;
                rounds += 1;
            }
            rounds
        });
    }
    for round in 0..4 {
        let status = if round % 2 == 0 { Running } else { ItemStatus::Pending };
        let receipts: Vec<_> = tasks
            .iter()
            .flat_map(|t| (0..20).map(move |o| (*t, o)))
            .map(|(task, o)| bench.progress.record(task, o, update(status)))
            .collect();
        for receipt in receipts {
            tokio::time::timeout(Duration::from_secs(30), receipt.durable())
                .await
                .expect("no flush is stuck")
                .expect("stored");
        }
    }
    stop.cancel();
    while let Some(rounds) = disturbers.join_next().await {
        assert!(rounds.expect("no statement fails") > 0);
    }
    let deadlocks: i64 = bench
        .database
        .value("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()", &[])
        .await
        .expect("reads");
    assert_eq!(deadlocks, 0);
    bench.stop().await;
}
