//! Bad company for the other clients: slow ones with very many tasks, stuck ones, floods, storms. What
//! they get must be right too; and nobody else may notice them, which the other clients check.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::load::Board;
use super::stage::Stage;
use super::tally::Tally;
use crate::invariants::Checker;
use crate::ws::frame::{ClientFrame, ServerFrame};
use crate::ws::{Connection, Message, RefusedUpgrade};

/// Tasks that a slow client follows at most; a connection may follow 100.
const TASKS: usize = 60;
/// Sockets that a storm opens at the same moment.
const STORM: usize = 80;
/// More messages than the relay takes at once, several times over.
const FLOOD: usize = 3_000;
/// A relay that is stopped or away ends no flood.
const PATIENCE: Duration = Duration::from_secs(20);

/// One of them.
pub(super) struct Rowdy {
    pub(super) seed: u64,
    pub(super) stage: Arc<Stage>,
    pub(super) token: String,
    pub(super) board: Arc<Board>,
    pub(super) tally: Arc<Tally>,
    pub(super) calm: CancellationToken,
}

impl Rowdy {
    /// One mischief after the other, until there is nothing left to disturb.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let mut rng = StdRng::seed_from_u64(self.seed);
        while !self.calm.is_cancelled() {
            let kind = rng.random_range(0..4);
            let mischief = async {
                match kind {
                    0 => self.slow(&mut rng).await.context("slow client"),
                    1 => self.stuck(&mut rng).await.context("stuck client"),
                    2 => self.flood(&mut rng).await.context("flooding client"),
                    _ => self.storm(&mut rng).await.context("storm"),
                }
            };
            tokio::select! {
                () = self.calm.cancelled() => return Ok(()),
                done = mischief => done?,
            }
            sleep(Duration::from_millis(rng.random_range(200..2_000))).await;
        }
        Ok(())
    }

    /// `None`: not now.
    async fn connect(&self, rng: &mut StdRng) -> anyhow::Result<Option<Connection>> {
        let seats = &self.stage.seats;
        open(&seats[rng.random_range(0..seats.len())].relay, &self.token).await
    }

    async fn subscribe(
        &self,
        rng: &mut StdRng,
        connection: &mut Connection,
        checker: &mut Checker,
    ) -> usize {
        let mut tasks = std::collections::BTreeSet::new();
        for _ in 0..TASKS {
            tasks.extend(self.board.any(rng));
        }
        for task_id in &tasks {
            let cursor = checker.subscribe(*task_id);
            let frame = ClientFrame::Subscribe { task_id: *task_id, cursor };
            if connection.send(&frame).await.is_err() {
                break;
            }
        }
        tasks.len()
    }

    /// Follows very many tasks and takes its time over every frame; each of them is checked.
    async fn slow(&self, rng: &mut StdRng) -> anyhow::Result<()> {
        let Some(mut connection) = self.connect(rng).await? else { return Ok(()) };
        let mut checker = Checker::default();
        checker.connected();
        let tasks = self.subscribe(rng, &mut connection, &mut checker).await;
        self.tally.add("subscriptions of slow clients", tasks as u64);
        let end = Instant::now() + Duration::from_secs(rng.random_range(3..15));
        while Instant::now() < end {
            let pause = Duration::from_millis(rng.random_range(0..60));
            let Ok(message) = timeout(PATIENCE, connection.next()).await else { break };
            match message? {
                Message::Closed(_) => break,
                Message::Frame(frame, text) => {
                    checker
                        .apply(&frame)
                        .with_context(|| text.chars().take(300).collect::<String>())?;
                    if let ServerFrame::Error(error) = &*frame {
                        bail!("the relay says {error:?}");
                    }
                }
            }
            sleep(pause).await;
        }
        self.tally.add("slow clients", 1);
        Ok(())
    }

    /// Follows very many tasks and reads nothing; then it reads all of it, or hangs up.
    async fn stuck(&self, rng: &mut StdRng) -> anyhow::Result<()> {
        let Some(mut connection) = self.connect(rng).await? else { return Ok(()) };
        let mut checker = Checker::default();
        checker.connected();
        self.subscribe(rng, &mut connection, &mut checker).await;
        sleep(Duration::from_secs(rng.random_range(2..25))).await;
        if rng.random_bool(0.5) {
            while let Ok(message) = timeout(Duration::from_secs(1), connection.next()).await {
                let Message::Frame(frame, text) = message? else { break };
                checker
                    .apply(&frame)
                    .with_context(|| text.chars().take(300).collect::<String>())?;
            }
        }
        self.tally.add("stuck clients", 1);
        Ok(())
    }

    /// Says far too much: closed with 1008, unless the connection ends in another way.
    async fn flood(&self, rng: &mut StdRng) -> anyhow::Result<()> {
        let Some(mut connection) = self.connect(rng).await? else { return Ok(()) };
        let flooding = async {
            for _ in 0..FLOOD {
                if connection.send(&ClientFrame::UnwatchTasks).await.is_err() {
                    break;
                }
            }
            loop {
                if let Message::Closed(close) = connection.next().await? {
                    return anyhow::Ok(close);
                }
            }
        };
        let Ok(closed) = timeout(PATIENCE, flooding).await else { return Ok(()) };
        match closed?.map(|(code, _)| code) {
            Some(1008) => self.tally.add("floods closed", 1),
            Some(1012) | None => {}
            other => bail!("a flood is closed with {other:?}"),
        }
        Ok(())
    }

    /// Many at once, who leave without a word as soon as they have heard something.
    async fn storm(&self, rng: &mut StdRng) -> anyhow::Result<()> {
        let seats = &self.stage.seats;
        let address = &seats[rng.random_range(0..seats.len())].relay;
        let mut coming = JoinSet::new();
        for _ in 0..STORM {
            let (address, token, task) = (address.clone(), self.token.clone(), self.board.any(rng));
            coming.spawn(async move {
                let Some(mut connection) = open(&address, &token).await? else { return Ok(0) };
                if let Some(task_id) = task {
                    let _ =
                        connection.send(&ClientFrame::Subscribe { task_id, cursor: None }).await;
                }
                let heard = timeout(PATIENCE, connection.next()).await;
                anyhow::Ok(u64::from(matches!(heard, Ok(Ok(Message::Frame(..))))))
            });
        }
        while let Some(come) = coming.join_next().await {
            self.tally.add("greeted in storms", come??);
        }
        Ok(())
    }
}

/// Refusals that name the client are violations; that nobody is there is what faults do.
async fn open(address: &str, token: &str) -> anyhow::Result<Option<Connection>> {
    match Connection::open(address, Some(token)).await {
        Ok(connection) => Ok(Some(connection)),
        Err(error) => match error.downcast_ref::<RefusedUpgrade>() {
            Some(refused) if refused.status < 500 && refused.status != 408 => Err(error),
            _ => {
                sleep(Duration::from_millis(100)).await;
                Ok(None)
            }
        },
    }
}
