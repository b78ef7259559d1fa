//! What a holder had still to say when its claim was over, against the claim after it.

use std::sync::Arc;
use std::time::Duration;

use knm_api::db;
use knm_api::db::claim::{Claimed, Item, Seen};
use knm_api::db::tasks::Telling;
use knm_api::lease::{Lease, Moment};
use knm_api::progress::{Batch, Claim, Step};
use knm_shared::ids::{LeaseToken, OwnerId, Seq, TaskId};
use knm_shared::status::ItemStatus::{Pending, Running, Succeeded};
use knm_shared::status::{Counts, TaskStatus};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::support::{Bench, USER, done, new_task, update};

const ROUNDS: usize = 400;
const SOON: Duration = Duration::from_secs(20);

/// Stores a task of one item under a lease of `owner` that has run out; what a poll sees of it.
async fn forsaken(sql: &Client, owner: OwnerId) -> (TaskId, Seen) {
    let task = new_task(1);
    db::tasks::insert(sql, &task, Some(owner), Telling::Aloud)
        .await
        .expect("inserts")
        .expect("no key");
    let expire = "UPDATE progress_tasks SET lease_expires_at = clock_timestamp() WHERE id = $1";
    sql.execute(expire, &[&task.id.0]).await.expect("expires");
    let open = db::claim::poll(sql, &[task.id], &[], &[]).await.expect("polls");
    (task.id, open.first().expect("it is open").lease)
}

/// What a holder that is about to lose the task has to say.
fn last_words(task: TaskId) -> Batch {
    let step = Step {
        task,
        user: USER,
        token: LeaseToken(1),
        prev: Seq(1),
        status: TaskStatus::Running,
        error: None,
        counts: Counts::of(&[Succeeded]),
        finishes_item: true,
        releases: false,
        items: vec![(0, update(Succeeded))],
    };
    Batch { steps: vec![step], silent: false }
}

async fn claim(sql: &Client, task: TaskId, seen: Seen) -> Option<(Claimed, Vec<Item>)> {
    let successor = OwnerId(Uuid::new_v4());
    let claimed = db::claim::claim(sql, successor, &[(task, seen)], &[]).await.expect("claims");
    let claimed = claimed.into_iter().next()?;
    let items = db::claim::items(sql, task).await.expect("reads");
    Some((claimed, items))
}

/// Either the flush has committed before the claim and its successor sees it, or it changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_sees_the_last_flush_of_its_predecessor_or_there_is_none() {
    let bench = Bench::start().await;
    let [zombie, successor] = [bench.database.connect().await, bench.database.connect().await];
    let (zombie, successor) = (zombie.expect("connects"), successor.expect("connects"));
    let flush = db::flush::prepare(&zombie).await.expect("prepares");
    let (mut stored, mut claimed) = (0, 0);
    for round in 0..ROUNDS {
        let owner = OwnerId(Uuid::new_v4());
        let (task, seen) = forsaken(&zombie, owner).await;
        let batch = last_words(task);
        // Neither is to win every time.
        let head_start = Duration::from_micros(rand::random_range(0..1500));
        let delay = |first| if first { Duration::ZERO } else { head_start };
        let (flushed, taken) = tokio::join!(
            async {
                tokio::time::sleep(delay(round % 2 == 0)).await;
                db::flush::flush(&zombie, &flush, owner, &batch).await.expect("answers")
            },
            async {
                tokio::time::sleep(delay(round % 2 == 1)).await;
                claim(&successor, task, seen).await
            },
        );
        let row = "SELECT t.seq, i.status FROM progress_tasks t \
                   JOIN progress_items i ON i.task_id = t.id WHERE t.id = $1";
        let row = successor.query_one(row, &[&task.0]).await.expect("reads");
        let (seq, status): (i64, String) = (row.get(0), row.get(1));
        let expected = if flushed.contains(&task) { (2, Succeeded) } else { (1, Pending) };
        assert_eq!((seq, status.as_str()), (expected.0, expected.1.as_str()), "round {round}");
        if let Some((claim, items)) = &taken {
            let known = (claim.seq.0, items[0].status);
            assert_eq!(known, expected, "round {round}: the successor knows something else");
            assert_ne!(known.1, Running);
        }
        stored += usize::from(!flushed.is_empty());
        claimed += usize::from(taken.is_some());
    }
    assert!(stored > 0 && claimed > 0, "no race: {stored} flushes, {claimed} claims");
    bench.stop().await;
}

/// A step waits for a row that somebody has locked; by the time it is free, this process holds the task
/// under another claim.
#[tokio::test]
async fn a_step_of_an_earlier_claim_takes_nothing_from_the_present_one() {
    let bench = Bench::start().await;
    let task = bench.task(1).await;
    done(&bench, task, 0, Running).await;
    let seq = Seq(bench.row(task).await.seq);
    let session = bench.database.connect().await.expect("connects");
    session.batch_execute("BEGIN").await.expect("begins");
    let next = "UPDATE progress_tasks SET lease_token = 2 WHERE id = $1";
    session.execute(next, &[&task.0]).await.expect("locks");
    let retries = bench.metrics.flush_retries.with_label_values(&["locked"]);
    let lost = bench.progress.record(task, 0, update(Succeeded));
    let waits = async {
        while retries.get() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, waits).await.expect("the step waits");
    // Locked all the time: by the second from the moment on that the first lets go.
    let second = bench.database.connect().await.expect("connects");
    second.batch_execute("BEGIN").await.expect("begins");
    let lock = "SELECT FROM progress_tasks WHERE id = $1 FOR UPDATE";
    let lock = async { second.query(lock, &[&task.0]).await };
    let commit = async {
        until_waiting(&session).await;
        bench.progress.close(task);
        session.batch_execute("COMMIT").await.expect("commits");
    };
    let (locked, ()) = tokio::join!(lock, commit);
    locked.expect("locks");
    lost.durable().await.expect_err("its claim is over");
    let lease = Arc::new(Lease::claimed(Moment::now()));
    let claim = Claim {
        task,
        user: USER,
        token: LeaseToken(2),
        seq,
        status: TaskStatus::Running,
        items: vec![Running],
    };
    bench.progress.open(claim, Arc::clone(&lease));
    // Nothing tells that a step is not tried again: this is ten times the longest pause between tries.
    let taken = tokio::time::timeout(Duration::from_millis(750), lease.lost()).await;
    assert!(taken.is_err(), "the earlier step took the lease away");
    let present = bench.progress.record(task, 0, update(Succeeded));
    second.batch_execute("ROLLBACK").await.expect("unlocks");
    present.durable().await.expect("stored");
    assert_eq!(bench.row(task).await.counts.succeeded, 1);
    bench.stop().await;
}

/// Until a session waits for a lock that this one holds.
async fn until_waiting(holder: &Client) {
    let waiting = "SELECT count(*) FROM pg_stat_activity \
                   WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))";
    let waits = async {
        while holder.query_one(waiting, &[]).await.expect("reads").get::<_, i64>(0) == 0 {
            // Within a transaction this view is read once, unless it is told otherwise.
            holder.batch_execute("SELECT pg_stat_clear_snapshot()").await.expect("clears");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, waits).await.expect("somebody waits");
}
