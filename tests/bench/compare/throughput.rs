//! Durable item changes a second: ours, one commit and notification a change, and the pattern that this
//! project replaces. And what one change costs as tasks grow.
//!
//! All three are driven from this process over the same client library, with fsync and
//! `synchronous_commit` on, one session that listens, and the rows counted at the end.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::future::join_all;
use knm_shared::ids::TaskId;
use knm_shared::notification::CHANNEL;
use knm_shared::status::ItemStatus;
use knm_tests::by_hand::{self, Change, Flush, User};
use knm_tests::postgres::Database;
use knm_tests::stage::migrate;
use tokio_postgres::Client;

use super::Setting;
use super::figures::{Rounds, number};
use super::machine::{cpu_of_server, postmaster};
use super::ours::{Engine, begun, database, ended};
use super::plot::{Line, Plot};
use super::report::Report;
use super::rivals::{Arrivals, listen};

/// Sessions that write at a time, for those that have one commit a change.
const WRITERS: usize = 8;
const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];
/// The row of design section 9.
const WANTED: f64 = 60_000.0;
const TIMES: f64 = 15.0;

/// What a round has done.
#[derive(Debug, Clone, Default)]
struct Figures {
    rate: Rounds,
    /// Transactions that wrote, for each change.
    commits: Rounds,
    /// Of the server, for each change, in microseconds.
    cpu: Rounds,
    changes: u64,
}

/// Who writes how much at a time.
#[derive(Debug, Clone, Copy)]
enum System {
    /// Through the api's writer, so many changes of each task under way.
    Ours { in_flight: usize },
    /// One statement, one commit, one notification for each change.
    EachOne,
    /// Read the row, rewrite its lists, insert a message, notify.
    Lists,
}

impl System {
    fn title(self) -> String {
        match self {
            Self::Ours { in_flight } => {
                format!("kube-node-manager, {in_flight} nodes of a task at a time")
            }
            Self::EachOne => "one commit with NOTIFY a change".into(),
            Self::Lists => "row with JSON lists, message, NOTIFY".into(),
        }
    }
}

pub(crate) async fn run(setting: &Setting, report: &mut Report) -> anyhow::Result<()> {
    let time = setting.time(Duration::from_millis(1_500));
    report.section("Durable progress throughput");
    report.say(&format!(
        "Item changes a second, each durable and told. Ours goes through the api's own writer with what \
         the executor records of a label (`before`, `after`, attempts, times). The others are given what \
         is best for them: prepared statements and {WRITERS} sessions at a time (one for a single task, \
         whose row they all need); the JSON lists are read, rewritten and told in *one* transaction, with \
         half of a task of 200 nodes done. {} rounds of {:.1} s.",
        setting.rounds(),
        time.as_secs_f64()
    ));
    let postmaster = postmaster(database("facts").await?.server()).await?;
    let cases: [(usize, &[System]); 2] = [
        (
            1,
            &[
                System::Ours { in_flight: 20 },
                System::Ours { in_flight: 200 },
                System::Ours { in_flight: 2_000 },
                System::EachOne,
                System::Lists,
            ],
        ),
        (
            50,
            &[
                System::Ours { in_flight: 20 },
                System::Ours { in_flight: 50 },
                System::EachOne,
                System::Lists,
            ],
        ),
    ];
    for (tasks, systems) in cases {
        let mut figures = vec![Figures::default(); systems.len()];
        for _ in 0..setting.rounds() {
            for (system, figures) in systems.iter().zip(&mut figures) {
                round(*system, tasks, 200, time, postmaster, figures)
                    .await
                    .with_context(|| system.title())?;
            }
        }
        report.say(&format!("**{tasks} task{}**", if tasks == 1 { "" } else { "s" }));
        let rows: Vec<Vec<String>> = systems
            .iter()
            .zip(&figures)
            .map(|(system, f)| {
                vec![
                    system.title(),
                    f.rate.to_string(),
                    f.commits.to_string(),
                    f.cpu.to_string(),
                    number(f.changes as f64),
                ]
            })
            .collect();
        let head = ["", "changes/s", "commits a change", "server CPU µs a change", "rows checked"];
        report.table(&head, &rows);
        if tasks == 50 {
            let (ours, each) = (&figures[1].rate, &figures[2].rate);
            let times = ours.median() / each.median();
            report.target(
                "durable item changes per second, one API process, 50 or more a flush",
                "≥ 60,000, and ≥ 15 × one commit with NOTIFY per change",
                format!("{ours}; {times:.1} ×"),
                ours.median() >= WANTED && times >= TIMES,
            );
        }
    }
    growth(setting, report, postmaster).await
}

/// One task of so many nodes, half of which are done.
async fn growth(setting: &Setting, report: &mut Report, postmaster: i32) -> anyhow::Result<()> {
    let time = setting.time(Duration::from_millis(800));
    report.say(&format!(
        "**How the cost grows with the nodes of a task.** One task, half of its nodes done: the middle of \
         its way, so that `2 × nodes ÷ rate` is what the whole task takes to be written. Rounds of {:.1} s.",
        time.as_secs_f64()
    ));
    let systems = [System::Ours { in_flight: 200 }, System::EachOne, System::Lists];
    let mut lines: Vec<Line> =
        systems.iter().map(|s| Line { name: s.title(), points: Vec::new() }).collect();
    let mut rows = Vec::new();
    for nodes in SIZES {
        let mut figures = vec![Figures::default(); systems.len()];
        for _ in 0..setting.rounds() {
            for (system, figures) in systems.iter().zip(&mut figures) {
                round(*system, 1, nodes, time, postmaster, figures).await?;
            }
        }
        let mut row = vec![number(nodes as f64)];
        for (line, f) in lines.iter_mut().zip(&figures) {
            row.push(f.rate.to_string());
            row.push(number(2.0 * nodes as f64 / f.rate.median()));
            let mut each = Rounds::default();
            each.push(1e6 / f.rate.median());
            line.points.push((nodes as f64, each));
        }
        rows.push(row);
    }
    let head = ["nodes", "ours/s", "task s", "each one/s", "task s", "lists/s", "task s"];
    report.table(&head, &rows);
    report.plot(&Plot {
        name: "growth",
        title: "What one change costs in a task of so many nodes",
        x: "nodes in the task",
        y: "microseconds a change",
        lines,
    })
}

async fn round(
    system: System,
    tasks: usize,
    nodes: usize,
    time: Duration,
    postmaster: i32,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    match system {
        System::Ours { in_flight } => {
            let database = database("throughput").await?;
            migrate(&database).await?;
            User::sign_in(&*database.connect().await?).await?;
            let engine = Engine::start(&database).await?;
            let nodes = nodes.max(in_flight);
            let mut ids = Vec::new();
            for _ in 0..tasks {
                ids.push(engine.task(nodes).await?);
            }
            let (_client, _driver) = listen(&database, CHANNEL, Arrivals::default()).await?;
            let meter = Meter::start(&database, postmaster).await?;
            let changes = write_ours(&engine, &ids, nodes, in_flight, time).await?;
            meter.stop(changes, figures).await?;
            let counted = engine.flushed().0;
            ensure!(counted as u64 == changes, "the writer counts {counted}, we {changes}");
            // Each change was waited for, and every node that began has ended.
            let sql =
                "SELECT count(*) FROM progress_items WHERE status NOT IN ('pending', 'succeeded')";
            let open: i64 = database.value(sql, &[]).await?;
            ensure!(open == 0, "{open} nodes are not as they were written");
            engine.stop(&ids).await
        }
        System::EachOne => {
            let database = database("each").await?;
            migrate(&database).await?;
            let user = User::sign_in(&*database.connect().await?).await?;
            let mut slots = Vec::new();
            for _ in 0..tasks {
                let items = u32::try_from(nodes)?;
                slots.push(by_hand::Task::create(&*database.connect().await?, &user, items).await?);
            }
            let (_client, _driver) = listen(&database, CHANNEL, Arrivals::default()).await?;
            let meter = Meter::start(&database, postmaster).await?;
            let changes = write_each(&database, slots, nodes, time).await?;
            meter.stop(changes, figures).await?;
            let sql = "SELECT sum(seq - 1)::bigint FROM progress_tasks";
            let rows: i64 = database.value(sql, &[]).await?;
            ensure!(
                u64::try_from(rows)? == changes,
                "{rows} changes in the rows, {changes} written"
            );
            Ok(())
        }
        System::Lists => {
            let database = database("lists").await?;
            prepare_lists(&database, tasks, nodes).await?;
            let (_client, _driver) = listen(&database, CHANNEL, Arrivals::default()).await?;
            let meter = Meter::start(&database, postmaster).await?;
            let changes = write_lists(&database, tasks, nodes, time).await?;
            meter.stop(changes, figures).await?;
            let rows: i64 = database.value("SELECT count(*) FROM old_messages", &[]).await?;
            ensure!(u64::try_from(rows)? == changes, "{rows} messages, {changes} changes");
            Ok(())
        }
    }
}

/// What the server has done since its start.
struct Meter<'a> {
    database: &'a Database,
    postmaster: i32,
    begun: Instant,
    transactions: i64,
    cpu: Duration,
}

/// Only transactions that write have a number, this one included.
const NUMBER: &str = "SELECT pg_current_xact_id()::text::bigint";

impl<'a> Meter<'a> {
    async fn start(database: &'a Database, postmaster: i32) -> anyhow::Result<Self> {
        let transactions = database.value(NUMBER, &[]).await?;
        let cpu = cpu_of_server(postmaster)?;
        Ok(Self { database, postmaster, begun: Instant::now(), transactions, cpu })
    }

    async fn stop(self, changes: u64, figures: &mut Figures) -> anyhow::Result<()> {
        let took = self.begun.elapsed();
        let cpu = cpu_of_server(self.postmaster)?.saturating_sub(self.cpu);
        let transactions = self.database.value::<i64>(NUMBER, &[]).await? - self.transactions - 1;
        let n = changes.max(1) as f64;
        figures.rate.push(n / took.as_secs_f64());
        figures.commits.push(transactions as f64 / n);
        figures.cpu.push(cpu.as_secs_f64() * 1e6 / n);
        figures.changes += changes;
        Ok(())
    }
}

/// Every node begins, is durable, ends, is durable, and begins again, as if its task were retried.
pub(crate) async fn write_ours(
    engine: &Engine,
    tasks: &[TaskId],
    nodes: usize,
    in_flight: usize,
    time: Duration,
) -> anyhow::Result<u64> {
    let (changes, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut workers = tokio::task::JoinSet::new();
    for task in tasks {
        for worker in 0..in_flight {
            let (progress, task) = (engine.progress.clone(), *task);
            let (changes, stop) = (Arc::clone(&changes), Arc::clone(&stop));
            workers.spawn(async move {
                let mut ordinals = (worker..nodes).step_by(in_flight).cycle();
                while !stop.load(Ordering::Relaxed) {
                    let ordinal = u32::try_from(ordinals.next().context("a node")?)?;
                    for update in [begun(), ended()] {
                        super::ours::durable(progress.record(task, ordinal, update)).await?;
                        changes.fetch_add(1, Ordering::Relaxed);
                    }
                }
                anyhow::Ok(())
            });
        }
    }
    tokio::time::sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = workers.join_next().await {
        ended??;
    }
    Ok(changes.load(Ordering::Relaxed))
}

async fn write_each(
    database: &Database,
    tasks: Vec<by_hand::Task>,
    nodes: usize,
    time: Duration,
) -> anyhow::Result<u64> {
    let mut shares: Vec<Vec<by_hand::Task>> = vec![Vec::new(); WRITERS.min(tasks.len())];
    let writers = shares.len();
    for (i, task) in tasks.into_iter().enumerate() {
        shares[i % writers].push(task);
    }
    let begun = Instant::now();
    let writers = shares.into_iter().map(|mut tasks| async move {
        let db = database.connect().await?;
        let flush = Flush::prepare(&db).await?;
        let (mut n, turns) = (0_u64, tasks.len() as u64);
        while begun.elapsed() < time {
            let task = &mut tasks[usize::try_from(n % turns)?];
            let step = usize::try_from(n / turns)?;
            // One node stays open, so that the task does not end.
            let ordinal = u32::try_from(step % (nodes - 1).max(1))?;
            let status =
                if step.is_multiple_of(2) { ItemStatus::Running } else { ItemStatus::Pending };
            flush.write(&db, task, &[Change::new(ordinal, status)]).await?;
            n += 1;
        }
        anyhow::Ok(n)
    });
    join_all(writers).await.into_iter().sum()
}

/// The pattern of the program that this one replaces: a row a task, with its nodes' names in JSON lists,
/// and a table of messages for the other replicas.
async fn prepare_lists(database: &Database, tasks: usize, nodes: usize) -> anyhow::Result<()> {
    let sql = database.connect().await?;
    sql.batch_execute(
        "CREATE TABLE old_tasks (id int PRIMARY KEY, status text, current int, total int,
             processing text, succeeded text, failed text, updated_at timestamptz);
         CREATE TABLE old_messages (id bigserial PRIMARY KEY, task_id int, kind text, body text,
             created_at timestamptz DEFAULT now());
         CREATE INDEX ON old_messages (task_id)",
    )
    .await?;
    let half: Vec<String> = (0..nodes / 2).map(node).collect();
    let (half, total) = (serde_json::to_string(&half)?, i32::try_from(nodes)?);
    for id in 0..i32::try_from(tasks)? {
        sql.execute(
            "INSERT INTO old_tasks VALUES ($1, 'running', $2 / 2, $2, '[]', $3, '[]', now())",
            &[&id, &total, &half],
        )
        .await?;
    }
    Ok(())
}

fn node(n: usize) -> String {
    format!("node-{n:05}")
}

async fn write_lists(
    database: &Database,
    tasks: usize,
    nodes: usize,
    time: Duration,
) -> anyhow::Result<u64> {
    let writers = WRITERS.min(tasks);
    let begun = Instant::now();
    let writers = (0..writers).map(|writer| async move {
        let mut db = database.connect().await?;
        let statements = Lists::prepare(&db).await?;
        let own: Vec<usize> = (writer..tasks).step_by(writers).collect();
        let mut n = 0;
        while begun.elapsed() < time {
            let id = i32::try_from(own[n % own.len()])?;
            let step = n / own.len();
            statements.change(&mut db, id, step, nodes).await?;
            n += 1;
        }
        anyhow::Ok(n as u64)
    });
    join_all(writers).await.into_iter().sum()
}

struct Lists {
    read: tokio_postgres::Statement,
    write: tokio_postgres::Statement,
    insert: tokio_postgres::Statement,
    notify: tokio_postgres::Statement,
}

impl Lists {
    async fn prepare(db: &Client) -> anyhow::Result<Self> {
        let update = "UPDATE old_tasks SET current = $2, processing = $3, succeeded = $4, \
                      updated_at = now() WHERE id = $1";
        Ok(Self {
            read: db
                .prepare(
                    "SELECT processing, succeeded, failed FROM old_tasks WHERE id = $1 FOR UPDATE",
                )
                .await?,
            write: db.prepare(update).await?,
            insert: db
                .prepare(
                    "INSERT INTO old_messages (task_id, kind, body) VALUES ($1, 'progress', $2)",
                )
                .await?,
            notify: db.prepare("SELECT pg_notify('progress_update', $1)").await?,
        })
    }

    /// A node begins, or ends. The half that was done at the start stays done: the lists keep their length.
    async fn change(
        &self,
        db: &mut knm_tests::postgres::Sql,
        id: i32,
        step: usize,
        nodes: usize,
    ) -> anyhow::Result<()> {
        let transaction = db.transaction().await?;
        let row = transaction.query_one(&self.read, &[&id]).await?;
        let list = |column: usize| serde_json::from_str::<Vec<String>>(row.get(column));
        let (mut processing, mut succeeded) = (list(0)?, list(1)?);
        let name = node(nodes / 2 + (step / 2) % nodes.div_ceil(2));
        if step.is_multiple_of(2) {
            processing.push(name.clone());
        } else {
            processing.retain(|n| *n != name);
            succeeded.push(name.clone());
            if succeeded.len() > nodes / 2 + 1 {
                succeeded.remove(nodes / 2);
            }
        }
        let current = i32::try_from(succeeded.len())?;
        let (processing, succeeded) =
            (serde_json::to_string(&processing)?, serde_json::to_string(&succeeded)?);
        transaction.execute(&self.write, &[&id, &current, &processing, &succeeded]).await?;
        let mut body = String::new();
        write!(
            body,
            "{{\"task\":{id},\"current\":{current},\"total\":{nodes},\"node\":\"{name}\"}}"
        )?;
        transaction.execute(&self.insert, &[&id, &body]).await?;
        transaction.execute(&self.notify, &[&body]).await?;
        transaction.commit().await?;
        Ok(())
    }
}
