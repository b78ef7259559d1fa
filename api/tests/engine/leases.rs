//! Single statements about leases, and what users' requests may do to a row.

use std::time::Duration;

use knm_api::db;
use knm_api::db::claim::{Open, Seen};
use knm_api::db::tasks::Telling;
use knm_shared::ids::{LeaseToken, OwnerId, TaskId};
use knm_shared::status::Desired;
use knm_tests::postgres::Sql;
use tokio_postgres::Client;
use uuid::Uuid;

use crate::support::{Bench, new_task};

const SOON: Duration = Duration::from_secs(20);

/// Stores a task that is nobody's, or `owner`'s.
async fn stored(sql: &Client, owner: Option<OwnerId>) -> TaskId {
    let task = new_task(2);
    db::tasks::insert(sql, &task, owner, Telling::Aloud).await.expect("inserts").expect("no key");
    task.id
}

async fn set(sql: &Client, task: TaskId, columns: &str) {
    let update = format!("UPDATE progress_tasks SET {columns} WHERE id = $1");
    assert_eq!(sql.execute(&update, &[&task.0]).await.expect("updates"), 1);
}

async fn open(sql: &Client) -> Vec<Open> {
    db::claim::poll(sql, &[], &["label"], &["default".into()]).await.expect("polls")
}

async fn seen(sql: &Client, task: TaskId) -> Seen {
    open(sql).await.into_iter().find(|o| o.task == task).expect("it is open").lease
}

/// Another session that has locked the task's row.
async fn locked(bench: &Bench, task: TaskId) -> Sql {
    let session = bench.database.connect().await.expect("connects");
    session.batch_execute("BEGIN").await.expect("begins");
    let lock = "SELECT FROM progress_tasks WHERE id = $1 FOR UPDATE";
    session.query(lock, &[&task.0]).await.expect("locks");
    session
}

async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, work).await.expect("it waits for nobody")
}

#[tokio::test]
async fn a_process_sees_what_it_can_carry_out_and_no_more() {
    let bench = Bench::start().await;
    let sql = bench.database.connect().await.expect("connects");
    let wanted = stored(&sql, None).await;
    let resumed = stored(&sql, None).await;
    set(&sql, resumed, "status = 'paused', desired = 'run'").await;
    let to_be_cancelled = stored(&sql, None).await;
    set(&sql, to_be_cancelled, "status = 'paused', desired = 'cancel'").await;
    for columns in [
        "action = 'of a later release'",
        "cluster = 'elsewhere'",
        "status = 'paused', desired = 'pause'",
        "status = 'completed', completed_at = now()",
    ] {
        let other = stored(&sql, None).await;
        set(&sql, other, columns).await;
    }
    let tasks: Vec<_> = open(&sql).await.iter().map(|o| o.task).collect();
    assert_eq!(tasks, [wanted, resumed, to_be_cancelled]);
    bench.stop().await;
}

/// A lease that lies further ahead than any can: the database's clock has been set back since.
#[tokio::test]
async fn a_lease_is_over_by_the_databases_clock_or_when_that_was_set_back() {
    let bench = Bench::start().await;
    let sql = bench.database.connect().await.expect("connects");
    let owner = OwnerId(Uuid::new_v4());
    for (at, expired) in [("-1 s", true), ("10 s", false), ("1 h", true)] {
        let task = stored(&sql, Some(owner)).await;
        set(&sql, task, &format!("lease_expires_at = clock_timestamp() + interval '{at}'")).await;
        let open = open(&sql).await.into_iter().find(|o| o.task == task).expect("open");
        assert_eq!(open.expired, expired, "{at}");
    }
    bench.stop().await;
}

#[tokio::test]
async fn a_claim_raises_the_token_waits_for_nobody_and_takes_nothing_that_has_moved() {
    let bench = Bench::start().await;
    let sql = bench.database.connect().await.expect("connects");
    let [in_use, renewed, free] =
        [stored(&sql, None).await, stored(&sql, Some(OwnerId(Uuid::new_v4()))).await, {
            stored(&sql, None).await
        }];
    let mut wanted = Vec::new();
    for task in [in_use, renewed, free] {
        wanted.push((task, seen(&sql, task).await));
    }
    let session = locked(&bench, in_use).await;
    set(&sql, renewed, "lease_expires_at = lease_expires_at + interval '5 s'").await;
    let me = OwnerId(Uuid::new_v4());
    let claimed = soon(db::claim::claim(&*sql as &Client, me, &wanted, &[])).await.expect("claims");
    let claimed: Vec<_> = claimed.iter().map(|c| (c.task, c.token, c.attempt)).collect();
    assert_eq!(claimed, [(free, LeaseToken(1), 1)]);
    session.batch_execute("ROLLBACK").await.expect("unlocks");
    // What the first claim has taken is not as it was seen any more.
    let again = db::claim::claim(&*sql as &Client, OwnerId(Uuid::new_v4()), &wanted, &[])
        .await
        .expect("claims");
    assert_eq!(again.iter().map(|c| c.task).collect::<Vec<_>>(), [in_use]);
    bench.stop().await;
}

/// A claim whose items could not be read, or whose answer was lost, has not cost a holder its life.
#[tokio::test]
async fn a_claim_that_nobody_worked_on_does_not_count_against_the_task() {
    let bench = Bench::start().await;
    let sql = bench.database.connect().await.expect("connects");
    let task = stored(&sql, None).await;
    let claim = async |owner: OwnerId, unstarted: &[TaskId]| {
        let wanted = [(task, seen(&sql, task).await)];
        let claimed = db::claim::claim(&*sql as &Client, owner, &wanted, unstarted).await;
        claimed.expect("claims")[0].attempt
    };
    let (me, other) = (OwnerId(Uuid::new_v4()), OwnerId(Uuid::new_v4()));
    assert_eq!(claim(me, &[]).await, 1);
    assert_eq!(claim(me, &[task]).await, 1);
    assert_eq!(claim(me, &[]).await, 2, "one whose worker ended does");
    assert_eq!(claim(other, &[task]).await, 3, "and another's does");
    bench.stop().await;
}

#[tokio::test]
async fn a_heartbeat_renews_its_own_claims_and_waits_for_nobody() {
    let bench = Bench::start().await;
    let sql = bench.database.connect().await.expect("connects");
    let (me, other) = (OwnerId(Uuid::new_v4()), OwnerId(Uuid::new_v4()));
    let [mine, in_use, earlier, theirs] = [
        stored(&sql, Some(me)).await,
        stored(&sql, Some(me)).await,
        stored(&sql, Some(me)).await,
        stored(&sql, Some(other)).await,
    ];
    set(&sql, earlier, "lease_token = 2").await;
    let all = [mine, in_use, earlier, theirs];
    let expiry = "SELECT lease_expires_at FROM progress_tasks WHERE id = $1";
    let mut before = Vec::new();
    for task in all {
        before.push(sql.query_one(expiry, &[&task.0]).await.expect("reads").get(0));
    }
    let session = locked(&bench, in_use).await;
    let held = all.map(|task| (task, LeaseToken(1)));
    let renewed = soon(db::claim::heartbeat(&*sql as &Client, me, &held)).await.expect("renews");
    assert_eq!(renewed, [mine]);
    session.batch_execute("ROLLBACK").await.expect("unlocks");
    for (task, before) in all.into_iter().zip(before) {
        let now: jiff::Timestamp = sql.query_one(expiry, &[&task.0]).await.expect("reads").get(0);
        let before: jiff::Timestamp = before;
        assert_eq!(now > before, task == mine);
    }
    bench.stop().await;
}

/// Only its holder raises a task's number: a request is seen by the poll, not by clients.
#[tokio::test]
async fn a_request_is_noted_and_changes_nothing_else_and_cancelling_is_final() {
    let bench = Bench::start().await;
    let sql = bench.database.connect().await.expect("connects");
    let mut listener = bench.listen().await;
    let task = stored(&sql, Some(OwnerId(Uuid::new_v4()))).await;
    let rest =
        "SELECT (to_jsonb(t) - 'desired' - 'updated_at')::text FROM progress_tasks t WHERE id = $1";
    let before: String = sql.query_one(rest, &[&task.0]).await.expect("reads").get(0);
    let request = async |wanted| {
        let row = db::tasks::request(&*sql as &Client, task, wanted).await.expect("answers");
        row.expect("it is there").desired
    };
    assert_eq!(request(Desired::Pause).await, "pause");
    assert_eq!(request(Desired::Run).await, "run");
    assert_eq!(request(Desired::Cancel).await, "cancel");
    assert_eq!(request(Desired::Run).await, "cancel");
    assert_eq!(request(Desired::Pause).await, "cancel");
    let after: String = sql.query_one(rest, &[&task.0]).await.expect("reads").get(0);
    assert_eq!(after, before);
    // Nothing was said of it: the next that is heard after the creation is this.
    sql.batch_execute("NOTIFY progress_update, 'mark'").await.expect("notifies");
    assert!(listener.next().await.contains("\"seq\":1"));
    assert_eq!(listener.next().await, "mark");

    set(
        &sql,
        task,
        "desired = 'run', status = 'completed', completed_at = now(), \
                     lease_owner = NULL, lease_expires_at = NULL",
    )
    .await;
    assert_eq!(request(Desired::Cancel).await, "run", "what has ended stays as it is");
    bench.stop().await;
}
