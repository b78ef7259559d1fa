//! What is removed, and what is not.

use crate::support::{Bench, done};
use jiff::{SignedDuration, Timestamp};
use knm_api::db;
use knm_api::progress::End;
use knm_shared::status::{ItemStatus, TaskStatus};

#[tokio::test]
async fn tasks_that_ended_long_ago_go_with_their_items_and_others_stay() {
    let bench = Bench::start().await;
    let (ended, running) = (bench.task(2).await, bench.task(1).await);
    for ordinal in 0..2 {
        done(&bench, ended, ordinal, ItemStatus::Succeeded).await;
    }
    let end = End::Finished { status: TaskStatus::Completed, error: None };
    bench.progress.end(ended, end).durable().await.expect("stored");
    done(&bench, running, 0, ItemStatus::Running).await;

    let sql = bench.database.connect().await.expect("connects");
    let client: &tokio_postgres::Client = &sql;
    let hour = SignedDuration::from_hours(1);
    let before = db::retention::tasks(client, Timestamp::now() - hour).await.expect("runs");
    assert_eq!(before, 0, "an hour ago nothing had ended");
    let removed = db::retention::tasks(client, Timestamp::now() + hour).await.expect("runs");
    assert_eq!(removed, 1);
    let items: i64 =
        bench.database.value("SELECT count(*) FROM progress_items", &[]).await.expect("counts");
    assert_eq!(items, 1, "only those of the task that still runs");
    bench.stop().await;
}

/// While one replica removes, another has nothing to do; and a large task goes by itself.
#[tokio::test]
async fn one_replica_at_a_time_removes_and_no_more_than_a_batch() {
    let bench = Bench::start().await;
    let sql = bench.database.connect().await.expect("connects");
    let mut other = bench.database.connect().await.expect("connects");
    for total in [9_000, 9_000, 500] {
        let task = bench.task(1).await;
        let end = "UPDATE progress_tasks SET total = $2, pending = 0, succeeded = $2,
                   status = 'completed', completed_at = now(),
                   lease_owner = NULL, lease_expires_at = NULL WHERE id = $1";
        sql.execute(end, &[&task.0, &total]).await.expect("ends");
    }
    let later = Timestamp::now() + SignedDuration::from_hours(1);
    let busy = other.transaction().await.expect("begins");
    assert_eq!(db::retention::tasks(&busy, later).await.expect("runs"), 1);
    let client: &tokio_postgres::Client = &sql;
    assert_eq!(db::retention::tasks(client, later).await.expect("runs"), 0);
    assert_eq!(db::retention::sessions(client).await.expect("runs"), 0);
    busy.commit().await.expect("commits");
    assert_eq!(db::retention::tasks(client, later).await.expect("runs"), 2);
    bench.stop().await;
}
