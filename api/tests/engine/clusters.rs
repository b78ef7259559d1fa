//! A cluster's removal against a task that is being stored for it.

use knm_api::db;
use knm_api::db::clusters::Removal;
use knm_api::db::tasks::NewTask;
use knm_api::db::tasks::Telling;
use tokio_postgres::Client;

use crate::support::{Bench, USER, new_task};

const EAST: &str = "east";

async fn add_east(sql: &Client) {
    db::clusters::insert(sql, EAST, "https://east:6443", b"sealed", USER)
        .await
        .expect("inserts")
        .expect("it is the first");
}

fn east_task() -> NewTask {
    NewTask { cluster: EAST.into(), cluster_stored: true, ..new_task(1) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_being_stored_keeps_its_cluster() {
    let bench = Bench::start().await;
    let mut sql = bench.database.connect().await.expect("connects");
    let mut other = bench.database.connect().await.expect("connects");
    let watcher = bench.database.connect().await.expect("connects");
    add_east(&sql).await;

    let storing = sql.transaction().await.expect("begins");
    db::tasks::insert(&storing, &east_task(), None, Telling::Aloud)
        .await
        .expect("inserts")
        .expect("stored");
    let removing = tokio::spawn(async move { db::clusters::remove(&mut other, EAST).await });
    bench.database.until_blocked().await.expect("it waits");
    storing.commit().await.expect("commits");

    assert_eq!(removing.await.expect("ends").expect("answers"), Removal::InUse(1));
    let kept = db::clusters::all(&*watcher as &Client).await.expect("reads");
    assert_eq!(kept.len(), 1);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_task_is_stored_for_a_cluster_that_is_being_removed() {
    let bench = Bench::start().await;
    let mut sql = bench.database.connect().await.expect("connects");
    let other = bench.database.connect().await.expect("connects");
    let watcher = bench.database.connect().await.expect("connects");
    add_east(&sql).await;

    let removing = sql.transaction().await.expect("begins");
    removing.execute("DELETE FROM clusters", &[]).await.expect("deletes");
    let storing = tokio::spawn(async move {
        db::tasks::insert(&*other, &east_task(), None, Telling::Aloud).await
    });
    bench.database.until_blocked().await.expect("it waits");
    removing.commit().await.expect("commits");

    assert!(storing.await.expect("ends").expect("answers").is_none());
    let tasks = watcher.query_one("SELECT count(*) FROM progress_tasks", &[]).await;
    assert_eq!(tasks.expect("reads").get::<_, i64>(0), 0);
    bench.stop().await;
}
