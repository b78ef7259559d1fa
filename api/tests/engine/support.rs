//! A writer with a database of its own, reached through a fault proxy, and tasks claimed by hand.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use knm_api::db;
use knm_api::db::tasks::NewTask;
use knm_api::db::tasks::Telling;
use knm_api::lease::{Lease, Moment};
use knm_api::metrics::Metrics;
use knm_api::progress::writer::Writer;
use knm_api::progress::{Claim, ItemUpdate, Progress};
use knm_shared::config;
use knm_shared::ids::{LeaseToken, OwnerId, Seq, TaskId, UserId};
use knm_shared::status::{Counts, Desired, ItemStatus, TaskStatus};
use knm_tests::postgres::{Database, Sql, shared_server};
use knm_tests::proxy::Proxy;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_postgres::AsyncMessage;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const SCHEMA: &str = concat!(
    include_str!("../../migrations/V1__tasks_and_users.sql"),
    include_str!("../../migrations/V2__operations.sql"),
    include_str!("../../migrations/V3__clusters.sql"),
    include_str!("../../migrations/V4__access.sql"),
    include_str!("../../migrations/V5__audit_retention.sql"),
);
pub(crate) const USER: UserId = UserId(Uuid::from_u128(1));

pub(crate) struct Bench {
    pub(crate) database: Database,
    pub(crate) proxy: Proxy,
    pub(crate) progress: Progress,
    pub(crate) metrics: Metrics,
    owner: OwnerId,
    sql: Sql,
    leases: Mutex<HashMap<TaskId, Arc<Lease>>>,
    writer: JoinHandle<()>,
    stop: CancellationToken,
}

/// A task's row, as far as the tests look at it.
#[derive(Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) seq: i64,
    pub(crate) status: String,
    pub(crate) counts: Counts,
    pub(crate) leased: bool,
}

impl Bench {
    pub(crate) async fn start() -> Self {
        let server = shared_server().await.expect("a PostgreSQL server");
        let database = server.database("writer").await.expect("a database");
        let sql = database.connect().await.expect("connects");
        sql.batch_execute(SCHEMA).await.expect("the schema");
        sql.execute(
            "INSERT INTO users (id, username, password_hash, role) VALUES ($1, 'u', '', 'admin')",
            &[&USER.0],
        )
        .await
        .expect("a user");
        let proxy =
            Proxy::start(format!("{}:{}", server.host(), server.port())).await.expect("a proxy");
        let config = settings(&database, &proxy);
        let progress = Progress::default();
        let metrics = Metrics::register(&prometheus::Registry::new()).expect("fresh names");
        let owner = OwnerId(Uuid::new_v4());
        let writer =
            Writer::new(progress.clone(), owner, &config, metrics.clone()).expect("no TLS to read");
        let stop = CancellationToken::new();
        let writer = tokio::spawn(writer.run(stop.clone()));
        let leases = Mutex::default();
        Self { database, proxy, progress, metrics, owner, sql, leases, writer, stop }
    }

    /// A task of `n` items, stored under the writer's lease and opened.
    pub(crate) async fn task(&self, n: usize) -> TaskId {
        let task = new_task(n);
        let sent = Moment::now();
        db::tasks::insert(
            &*self.sql as &tokio_postgres::Client,
            &task,
            Some(self.owner),
            Telling::Aloud,
        )
        .await
        .expect("inserts")
        .expect("no idempotency key");
        let lease = Arc::new(Lease::claimed(sent));
        self.leases.lock().expect("not poisoned").insert(task.id, Arc::clone(&lease));
        let claim = Claim {
            task: task.id,
            user: USER,
            token: LeaseToken(1),
            seq: Seq(1),
            status: TaskStatus::Queued,
            items: vec![ItemStatus::Pending; n],
        };
        self.progress.open(claim, lease);
        task.id
    }

    pub(crate) fn lease(&self, task: TaskId) -> Arc<Lease> {
        Arc::clone(&self.leases.lock().expect("not poisoned")[&task])
    }

    pub(crate) async fn row(&self, task: TaskId) -> Row {
        let row = self
            .sql
            .query_one("SELECT * FROM progress_tasks WHERE id = $1", &[&task.0])
            .await
            .expect("reads");
        let n = |column: &str| row.get::<_, i32>(column).unsigned_abs();
        Row {
            seq: row.get("seq"),
            status: row.get("status"),
            counts: Counts {
                total: n("total"),
                pending: n("pending"),
                running: n("running"),
                succeeded: n("succeeded"),
                failed: n("failed"),
                skipped: n("skipped"),
                cancelled: n("cancelled"),
            },
            leased: row.get::<_, Option<Uuid>>("lease_owner").is_some(),
        }
    }

    pub(crate) async fn until(&self, task: TaskId, wanted: impl Fn(&Row) -> bool) {
        let arrives = async {
            while !wanted(&self.row(task).await) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), arrives).await.expect("the row gets there");
    }

    pub(crate) async fn statuses(&self, task: TaskId) -> Vec<String> {
        let sql = "SELECT status FROM progress_items WHERE task_id = $1 ORDER BY ordinal";
        let rows = self.sql.query(sql, &[&task.0]).await.expect("reads");
        rows.iter().map(|r| r.get(0)).collect()
    }

    pub(crate) async fn item<T>(&self, task: TaskId, ordinal: i32, column: &str) -> T
    where
        T: for<'a> tokio_postgres::types::FromSql<'a>,
    {
        let sql =
            format!("SELECT {column} FROM progress_items WHERE task_id = $1 AND ordinal = $2");
        self.database.value(&sql, &[&task.0, &ordinal]).await.expect("reads")
    }

    pub(crate) async fn execute(&self, sql: &str) {
        self.sql.batch_execute(sql).await.expect("executes");
    }

    /// Payloads of `progress_update` from now on.
    pub(crate) async fn listen(&self) -> Listener {
        let server = self.database.server();
        let mut config = tokio_postgres::Config::new();
        config
            .host(server.host())
            .port(server.port())
            .user(server.user())
            .password(server.password())
            .dbname(self.database.name());
        let (client, mut connection) =
            config.connect(tokio_postgres::NoTls).await.expect("connects");
        let (sender, receiver) = mpsc::channel(10_000);
        let driver = tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                if let AsyncMessage::Notification(n) = message {
                    sender.send(n.payload().to_owned()).await.expect("the test reads");
                }
            }
        });
        client.batch_execute("LISTEN progress_update").await.expect("listens");
        Listener { receiver, _client: client, _driver: driver }
    }

    /// Something that locks the same rows as the flushes do.
    pub(crate) async fn disturber(&self, kind: usize, tasks: &[TaskId]) -> Disturber {
        let sql = self.database.connect().await.expect("connects");
        Disturber { kind, sql, owner: self.owner, tasks: tasks.to_vec() }
    }

    pub(crate) async fn stop(self) {
        for task in self.leases.lock().expect("not poisoned").keys() {
            self.progress.close(*task);
        }
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(10), self.writer)
            .await
            .expect("the writer ends when nothing is left")
            .expect("and does not panic");
    }
}

/// A task of `n` items, not stored yet.
pub(crate) fn new_task(n: usize) -> NewTask {
    NewTask {
        id: TaskId(Uuid::now_v7()),
        user: USER,
        username: "tester".into(),
        cluster: "default".into(),
        cluster_stored: false,
        action: "label",
        params: serde_json::json!({}),
        options: serde_json::json!({}),
        reason: String::new(),
        nodes: (0..n).map(|i| format!("node-{i:04}")).collect(),
        uids: (0..n).map(|i| format!("uid-{i}")).collect(),
        undo: Vec::new(),
        parent: None,
        webhook: None,
        idempotency: None,
    }
}

fn settings(database: &Database, proxy: &Proxy) -> config::Database {
    let server = database.server();
    let settings = serde_json::json!({
        "host": proxy.address().ip().to_string(),
        "port": proxy.address().port(),
        "database": database.name(),
        "username": server.user(),
        "password": server.password(),
    });
    serde_json::from_value(settings).expect("a database section")
}

pub(crate) fn update(status: ItemStatus) -> ItemUpdate {
    ItemUpdate { status: Some(status), ..ItemUpdate::default() }
}

pub(crate) async fn done(bench: &Bench, task: TaskId, ordinal: u32, status: ItemStatus) {
    let receipt = bench.progress.record(task, ordinal, update(status));
    tokio::time::timeout(Duration::from_secs(20), receipt.durable())
        .await
        .expect("in time")
        .expect("stored");
}

pub(crate) struct Listener {
    receiver: mpsc::Receiver<String>,
    _client: tokio_postgres::Client,
    _driver: JoinHandle<()>,
}

impl Listener {
    pub(crate) async fn next(&mut self) -> String {
        tokio::time::timeout(Duration::from_secs(20), self.receiver.recv())
            .await
            .expect("a notification arrives")
            .expect("the connection lives")
    }

    /// The sequence numbers that are announced, up to this one, creation left out.
    pub(crate) async fn seqs_until(&mut self, last: i64) -> Vec<i64> {
        let mut seqs = Vec::new();
        while seqs.last() != Some(&last) {
            let note = knm_shared::notification::Notification::decode(&self.next().await);
            let note = note.expect("ours");
            if note.seq > Seq(1) {
                seqs.push(note.seq.0);
            }
        }
        seqs
    }
}

pub(crate) struct Disturber {
    kind: usize,
    sql: Sql,
    owner: OwnerId,
    tasks: Vec<TaskId>,
}

impl Disturber {
    pub(crate) async fn round(&self) {
        let sql: &tokio_postgres::Client = &self.sql;
        match self.kind {
            0 => {
                let held: Vec<_> = self.tasks.iter().rev().map(|t| (*t, LeaseToken(1))).collect();
                db::claim::heartbeat(sql, self.owner, &held).await.expect("heartbeat");
            }
            1 => {
                // Leases that are not as they were seen: locked, looked at, left alone.
                let open =
                    db::claim::poll(sql, &[], &["label"], &["default".into()]).await.expect("poll");
                let seen: Vec<_> = open
                    .iter()
                    .map(|o| (o.task, db::claim::Seen { expires_at: None, ..o.lease }))
                    .collect();
                let claimed = db::claim::claim(sql, self.owner, &seen, &[]).await.expect("claim");
                assert!(claimed.is_empty());
            }
            2 => {
                for task in &self.tasks {
                    for desired in [Desired::Pause, Desired::Run] {
                        db::tasks::request(sql, *task, desired).await.expect("request");
                    }
                }
            }
            _ => {
                let held: Vec<_> = self.tasks.iter().map(|t| (*t, LeaseToken(1))).collect();
                db::claim::heartbeat(sql, self.owner, &held).await.expect("heartbeat");
            }
        }
    }
}
