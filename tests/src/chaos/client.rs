//! A browser in a hurry: watches tasks, loses its connection, comes back at another pod with its
//! cursors, changes its mind. Every frame goes through the invariant checker.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, bail};
use knm_shared::ids::TaskId;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::load::{self, Board};
use super::stage::Stage;
use super::tally::Tally;
use crate::invariants::Checker;
use crate::ws::frame::{ClientFrame, ServerFrame};
use crate::ws::{Connection, Message, RefusedUpgrade};

/// Frames and events that a violation is reported with.
const MEMORY: usize = 80;
const CUT: usize = 400;
/// When nothing is disturbed any more and all tasks have ended, the rest comes within this time:
/// a relay that polls, one that audits (30 s), a connection that is found dead (60 s).
const LAST: Duration = Duration::from_secs(90);

/// What it needs, and what it remembers.
pub(super) struct Client {
    name: String,
    rng: StdRng,
    stage: Arc<Stage>,
    token: String,
    board: Arc<Board>,
    tally: Arc<Tally>,
    /// No more faults, no more tasks: everything has to come to its end now.
    calm: CancellationToken,
    connection: Option<Connection>,
    checker: Checker,
    following: BTreeSet<TaskId>,
    /// Unsubscribed; frames may still be on their way until the answer to the task in `fence` comes.
    leaving: BTreeSet<TaskId>,
    /// Unsubscribed for certain.
    left: BTreeSet<TaskId>,
    /// A task that does not exist: the answer tells that everything before it has been dealt with.
    fence: Option<TaskId>,
    list: bool,
    quota: usize,
    trace: VecDeque<String>,
}

impl Client {
    pub(super) fn new(
        number: u64,
        seed: u64,
        stage: &Arc<Stage>,
        token: &str,
        board: &Arc<Board>,
        tally: &Arc<Tally>,
        calm: &CancellationToken,
    ) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ (0xC11E_0000 + number));
        let quota = rng.random_range(2..=14);
        Self {
            name: format!("client {number}"),
            rng,
            stage: Arc::clone(stage),
            token: token.to_owned(),
            board: Arc::clone(board),
            tally: Arc::clone(tally),
            calm: calm.clone(),
            connection: None,
            checker: Checker::default(),
            following: BTreeSet::new(),
            leaving: BTreeSet::new(),
            left: BTreeSet::new(),
            fence: None,
            list: false,
            quota,
            trace: VecDeque::new(),
        }
    }

    /// Its whole life: until everything that it wanted to see has ended and is equal to the rows.
    pub(super) async fn run(mut self) -> anyhow::Result<()> {
        let lived = self.live().await;
        let checked = match lived {
            Ok(()) => self.compare().await,
            Err(error) => Err(error),
        };
        if let Some(connection) = self.connection.take() {
            connection.close().await;
        }
        checked.map_err(|error| {
            let trace: Vec<_> = self.trace.iter().map(String::as_str).collect();
            anyhow!("{}: {error:#}\n  {}", self.name, trace.join("\n  "))
        })
    }

    async fn live(&mut self) -> anyhow::Result<()> {
        let calm = self.calm.clone();
        let mut tick = Instant::now();
        let mut deadline = None;
        loop {
            if self.is_done() {
                return Ok(());
            }
            if calm.is_cancelled() {
                let begun = Instant::now();
                if begun > *deadline.get_or_insert(begun + LAST) {
                    bail!("not everything has ended for it: {}", self.describe());
                }
            }
            if self.connection.is_none() && !self.connect().await? {
                continue;
            }
            // One that broke while it was being greeted is gone already.
            let Some(connection) = self.connection.as_mut() else { continue };
            tokio::select! {
                message = connection.next() => {
                    let message = message?;
                    self.hear(message).await?;
                }
                () = sleep_until(tick) => {
                    tick = Instant::now() + Duration::from_millis(self.rng.random_range(200..2_500));
                    if calm.is_cancelled() { self.wind_up().await } else { self.whim().await }
                }
            }
        }
    }

    fn wants_more(&self) -> bool {
        !self.calm.is_cancelled() && self.following.len() + self.left.len() < self.quota
    }

    fn is_done(&self) -> bool {
        !self.wants_more()
            && self.leaving.is_empty()
            && self.left.is_empty()
            && self.following.iter().all(|t| self.checker.completed(*t))
    }

    /// False: not now, try again.
    async fn connect(&mut self) -> anyhow::Result<bool> {
        let seats = &self.stage.seats;
        let address = seats[self.rng.random_range(0..seats.len())].relay.clone();
        match Connection::open(&address, Some(&self.token)).await {
            Ok(connection) => self.connection = Some(connection),
            Err(error) => {
                if let Some(refused) = error.downcast_ref::<RefusedUpgrade>()
                    && refused.status < 500
                {
                    return Err(error);
                }
                sleep(Duration::from_millis(self.rng.random_range(50..500))).await;
                return Ok(false);
            }
        }
        self.note(format!("connected to {address}"));
        self.tally.add("connections", 1);
        self.checker.connected();
        self.left.append(&mut self.leaving);
        self.fence = None;
        let open = self.following.iter().copied().filter(|t| !self.checker.completed(*t));
        for task in open.collect::<Vec<_>>() {
            self.subscribe(task).await;
        }
        if self.list {
            self.say(&ClientFrame::WatchTasks).await;
        }
        Ok(true)
    }

    async fn hear(&mut self, message: Message) -> anyhow::Result<()> {
        let (frame, text) = match message {
            Message::Closed(close) => {
                self.note(format!("closed: {close:?}"));
                self.connection = None;
                return Ok(());
            }
            Message::Frame(frame, text) => (frame, text),
        };
        self.tally.add("frames", 1);
        self.note(text.chars().take(CUT).collect());
        self.checker.apply(&frame)?;
        match *frame {
            ServerFrame::Error(error) if error.task_id.is_some() && error.task_id == self.fence => {
                self.fence = None;
                self.left.append(&mut self.leaving);
            }
            ServerFrame::Error(error) => bail!("the relay says {error:?}"),
            ServerFrame::Snapshot(page) if page.last => self.tally.add("snapshots", 1),
            // No fault here makes the database lose a commit.
            ServerFrame::Resync(resync) => bail!("a new epoch without reason: {resync:?}"),
            _ => {}
        }
        Ok(())
    }

    /// Something that a person might do.
    async fn whim(&mut self) {
        match self.rng.random_range(0..100) {
            0..40 => {
                if let Some(task) = self.left.pop_first() {
                    self.subscribe(task).await;
                } else if self.wants_more()
                    && let Some(task) = self.board.any(&mut self.rng)
                    && !self.following.contains(&task)
                    && !self.leaving.contains(&task)
                {
                    self.subscribe(task).await;
                }
            }
            40..52 => {
                self.note("drops its connection".into());
                self.connection = None;
            }
            52..58 => {
                self.note("closes its connection".into());
                if let Some(connection) = self.connection.take() {
                    connection.close().await;
                }
            }
            58..72 => self.unsubscribe().await,
            72..80 => {
                self.list = !self.list;
                let frame =
                    if self.list { ClientFrame::WatchTasks } else { ClientFrame::UnwatchTasks };
                self.say(&frame).await;
            }
            _ => {}
        }
    }

    async fn wind_up(&mut self) {
        while let Some(task) = self.left.pop_first() {
            self.subscribe(task).await;
        }
    }

    async fn subscribe(&mut self, task: TaskId) {
        self.left.remove(&task);
        self.following.insert(task);
        let cursor = self.checker.subscribe(task);
        if cursor.is_some() {
            self.tally.add("resumes", 1);
        }
        self.say(&ClientFrame::Subscribe { task_id: task, cursor }).await;
    }

    async fn unsubscribe(&mut self) {
        let open = self.following.iter().copied().find(|t| !self.checker.completed(*t));
        let Some(task) = open.filter(|_| self.fence.is_none()) else { return };
        self.following.remove(&task);
        self.leaving.insert(task);
        self.say(&ClientFrame::Unsubscribe { task_id: task }).await;
        let fence = TaskId(Uuid::from_u128(self.rng.random()));
        self.fence = Some(fence);
        self.say(&ClientFrame::Subscribe { task_id: fence, cursor: None }).await;
    }

    async fn say(&mut self, frame: &ClientFrame) {
        self.note(format!("says {frame:?}"));
        if let Some(connection) = &mut self.connection
            && connection.send(frame).await.is_err()
        {
            self.connection = None;
        }
    }

    fn note(&mut self, what: String) {
        if self.trace.len() >= MEMORY {
            self.trace.pop_front();
        }
        self.trace.push_back(format!("{:.3} {what}", jiff::Timestamp::now()));
    }

    /// Its last pictures are the rows.
    async fn compare(&self) -> anyhow::Result<()> {
        for task in &self.following {
            let rows = load::read(&self.stage, *task).await?;
            self.checker.check_final(*task, &rows)?;
            self.tally.add("pictures", 1);
        }
        self.tally.add("clients", 1);
        Ok(())
    }

    fn describe(&self) -> String {
        let open = self.following.iter().filter(|t| !self.checker.completed(**t));
        let open = open.map(|t| format!("{t}: {}", self.checker.describe(*t)));
        open.collect::<Vec<_>>().join("; ")
    }
}
