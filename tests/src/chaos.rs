//! Random faults: two pods under load, everything that can break breaks, and nothing may be lost.
//!
//! ```text
//! plan (seed) ─▶ inflict ─▶ stage: PostgreSQL, a simulated cluster, pods, a proxy on every connection
//!                             ▲ slots: a task under way in each, checked closely when it has ended
//!                             ▲ clients: every frame checked, reconnecting, changing their minds
//!                             ▲ rowdies: slow, stuck, flooding and storming clients beside them
//! ```
//!
//! What holds for any single fault at a time is what the product promises; the plan therefore keeps a
//! gap between faults, unless `overlap` asks for more than was promised. The same seed is the same
//! plan and the same clients; how they interleave is up to the machine.
//!
//! What must hold:
//! - every task completes, no node fails, the counters are those of the items;
//! - every node is written exactly once for every task, and every item knows what was there before;
//! - every frame that any client gets keeps the invariants, and its last pictures are the rows;
//! - no deadlock, no panic, no process that ends by itself or fails to end when told to;
//! - commits that carry NOTIFY are at most a tenth of the item changes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

mod client;
mod fault;
mod forge;
mod inflict;
mod load;
mod plan;
mod report;
mod rowdy;
mod stage;
mod tally;
mod verdict;

pub use fault::Fault;
pub use plan::{Plan, Step};
pub use report::Report;

use client::Client;
use load::{Board, Slot};
use rowdy::Rowdy;
use stage::Stage;
use tally::Tally;
use verdict::Verdict;

/// How a run goes.
#[derive(Debug, Clone)]
pub struct Options {
    /// Decides the plan, the tasks and what the clients do.
    pub seed: u64,
    /// How long faults come. The run itself takes until everything has ended.
    pub duration: Duration,
    /// Tasks under way at every moment.
    pub tasks: usize,
    /// Nodes in each of them.
    pub nodes: usize,
    /// Pods.
    pub pods: usize,
    /// Clients at every moment.
    pub clients: usize,
    /// Slow, stuck, flooding and storming clients at every moment.
    pub rowdies: usize,
    /// Faults of different kinds at the same time.
    pub overlap: bool,
    /// Keeps the folder of logs of a good run too.
    pub keep: bool,
    /// Says every fault and some progress on standard output.
    pub verbose: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 0,
            duration: Duration::from_secs(60),
            tasks: 50,
            nodes: 200,
            pods: 2,
            clients: 6,
            rowdies: 2,
            overlap: false,
            keep: false,
            verbose: false,
        }
    }
}

/// How long the tasks that are under way at the last fault may take: a lease, and their work.
const DRAIN: Duration = Duration::from_secs(240);
const SCRAPE: Duration = Duration::from_secs(1);
const PROGRESS: Duration = Duration::from_secs(10);

/// Everything that the parts of a run share.
struct Run {
    options: Options,
    stage: Arc<Stage>,
    tally: Arc<Tally>,
    verdict: Arc<Verdict>,
    board: Arc<Board>,
    token: String,
    begun: Instant,
    /// No new tasks.
    enough: CancellationToken,
    /// No faults and no tasks any more.
    calm: CancellationToken,
}

/// Plays a seed.
///
/// # Errors
/// When something does not hold, with all that was seen and the folder of logs; and when the stage
/// cannot be set up.
pub async fn run(options: Options) -> anyhow::Result<Report> {
    let plan = Plan::of(&options);
    let stage = Arc::new(Stage::start(&options).await?);
    let folder = stage.folder.clone();
    let run = Arc::new(Run {
        token: stage.sign_in().await?,
        tally: Arc::default(),
        verdict: Arc::default(),
        board: Arc::default(),
        begun: Instant::now(),
        enough: CancellationToken::new(),
        calm: CancellationToken::new(),
        stage,
        options,
    });
    Arc::clone(&run).play(plan).await;
    let report = run.end().await?;
    let violations = run.verdict.violations();
    if !violations.is_empty() {
        run.stage.keep_logs()?;
        std::fs::write(folder.join("violations.txt"), violations.join("\n\n"))?;
        bail!(
            "{} violations with seed {}; logs are in {}\n\n{}\n\n{report}",
            violations.len(),
            run.options.seed,
            folder.display(),
            violations.join("\n\n")
        );
    }
    if run.options.keep {
        run.stage.keep_logs()?;
    } else {
        std::fs::remove_dir_all(&folder).context("cannot remove the logs")?;
    }
    Ok(report)
}

impl Run {
    fn say(&self, what: &str) {
        if self.options.verbose {
            println!("{:8.1} s  {what}", self.begun.elapsed().as_secs_f64());
        }
    }

    /// Faults, work and clients, until all of it has come to its end or something is wrong.
    async fn play(self: Arc<Self>, plan: Plan) {
        let mut figures = JoinSet::new();
        figures.spawn(Arc::clone(&self).watch_figures());
        let mut slots = self.slots();
        let mut clients = self.clients();
        let mut rowdies = self.rowdies();
        let mut lanes = JoinSet::new();
        for lane in plan.lanes {
            lanes.spawn(Arc::clone(&self).suffer(lane));
        }
        tokio::select! {
            () = self.verdict.guilty() => {}
            () = async {
                while lanes.join_next().await.is_some() {}
                self.say("no more faults");
                self.enough.cancel();
                let done = async { while slots.join_next().await.is_some() {} };
                if tokio::time::timeout(DRAIN, done).await.is_err() {
                    self.verdict.violated(format!("tasks were still under way after {DRAIN:?}"));
                }
                self.say("all tasks have ended");
                self.calm.cancel();
                while clients.join_next().await.is_some() {}
                while rowdies.join_next().await.is_some() {}
            } => {}
        }
        lanes.shutdown().await;
        slots.shutdown().await;
        clients.shutdown().await;
        rowdies.shutdown().await;
        figures.shutdown().await;
    }

    async fn suffer(self: Arc<Self>, steps: Vec<Step>) {
        for Step { gap, fault } in steps {
            sleep(gap).await;
            self.say(&format!("→ {fault}"));
            self.tally.fault(fault.kind());
            let since = Instant::now();
            let inflicted = self.stage.inflict(&fault, &self.tally).await;
            let took = since.elapsed().as_secs_f64();
            self.verdict.check(&format!("{fault}, {took:.1} s"), inflicted);
            self.verdict.check("afterwards", self.stage.check_alive());
        }
    }

    fn slots(self: &Arc<Self>) -> JoinSet<()> {
        let mut slots = JoinSet::new();
        for number in 0..self.options.tasks {
            let slot = Slot {
                number,
                seed: self.options.seed,
                nodes: self.options.nodes,
                stage: Arc::clone(&self.stage),
                token: self.token.clone(),
                board: Arc::clone(&self.board),
                tally: Arc::clone(&self.tally),
                enough: self.enough.clone(),
            };
            let verdict = Arc::clone(&self.verdict);
            slots.spawn(async move { verdict.check("task", slot.run().await) });
        }
        slots
    }

    /// One client after the other in each seat of the audience.
    fn clients(self: &Arc<Self>) -> JoinSet<()> {
        let mut clients = JoinSet::new();
        for seat in 0..self.options.clients {
            let run = Arc::clone(self);
            clients.spawn(async move {
                let mut number = seat as u64;
                while !run.calm.is_cancelled() {
                    let Self { stage, token, board, tally, calm, .. } = &*run;
                    let client =
                        Client::new(number, run.options.seed, stage, token, board, tally, calm);
                    run.verdict.check("client", client.run().await);
                    number += run.options.clients as u64;
                }
            });
        }
        clients
    }

    /// Those that the clients must not notice.
    fn rowdies(self: &Arc<Self>) -> JoinSet<()> {
        let mut rowdies = JoinSet::new();
        for number in 0..self.options.rowdies {
            let rowdy = Rowdy {
                seed: self.options.seed ^ (0x0BAD_0000 + number as u64),
                stage: Arc::clone(&self.stage),
                token: self.token.clone(),
                board: Arc::clone(&self.board),
                tally: Arc::clone(&self.tally),
                calm: self.calm.clone(),
            };
            let verdict = Arc::clone(&self.verdict);
            rowdies.spawn(async move { verdict.check("rowdy", rowdy.run().await) });
        }
        rowdies
    }

    async fn watch_figures(self: Arc<Self>) {
        let mut said = Instant::now();
        loop {
            sleep(SCRAPE).await;
            self.tally.scrape_all(&self.stage).await;
            if said.elapsed() >= PROGRESS {
                said = Instant::now();
                self.say(&report::progress(&self.tally));
            }
        }
    }

    /// Stops the pods and says what it came to.
    async fn end(&self) -> anyhow::Result<Report> {
        self.tally.scrape_all(&self.stage).await;
        let seconds = self.begun.elapsed();
        if !self.verdict.is_guilty() {
            self.verdict.check("deadlocks", self.no_deadlocks().await);
            for seat in &self.stage.seats {
                self.verdict.check("at the end", seat.pod.lock().await.stop().await);
            }
        }
        for line in self.stage.bad_log_lines()? {
            self.verdict.violated(line);
        }
        let summary = self.stage.sim.request_summary();
        let report = Report::new(&self.options, seconds, &self.tally, &summary);
        if !self.verdict.is_guilty() {
            report.check(&self.verdict);
        }
        Ok(report)
    }

    async fn no_deadlocks(&self) -> anyhow::Result<()> {
        let sql = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
        let deadlocks: i64 = self.stage.database.value(sql, &[]).await?;
        if deadlocks > 0 {
            bail!("PostgreSQL has counted {deadlocks}");
        }
        Ok(())
    }
}
