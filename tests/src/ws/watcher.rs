//! A client that follows tasks to their end, whatever happens to its connection.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use knm_shared::ids::TaskId;
use tokio::time::{Instant, timeout_at};

use super::connection::{Connection, Message, RefusedUpgrade};
use super::frame::{ClientFrame, Delta, Hello, ServerFrame};
use super::latency::Latencies;
use crate::invariants::Checker;

/// What [`Watcher::next`] tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A frame, checked.
    Frame(Box<ServerFrame>),
    /// The connection ended, with the server's code and reason if it gave any.
    Closed(Option<(u16, String)>),
}

/// Subscribes to tasks on one address and checks every frame. The order of calls of a careless
/// client (subscribe before connect, reconnect at any moment) is allowed.
#[derive(Debug)]
pub struct Watcher {
    address: String,
    token: String,
    connection: Option<Connection>,
    checker: Checker,
    tasks: BTreeSet<TaskId>,
    latencies: Latencies,
    hello: Option<Hello>,
    frames: u64,
    connects: u64,
}

impl Watcher {
    /// Of `host:port`; connects on first use.
    #[must_use]
    pub fn new(address: impl Into<String>, token: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            token: token.into(),
            connection: None,
            checker: Checker::default(),
            tasks: BTreeSet::new(),
            latencies: Latencies::default(),
            hello: None,
            frames: 0,
            connects: 0,
        }
    }

    /// From now on another address, as a load balancer would have it. Takes effect with the next
    /// connection.
    pub fn move_to(&mut self, address: impl Into<String>) {
        self.address = address.into();
    }

    /// Follows a task. On a reconnect it is resumed by cursor.
    ///
    /// # Errors
    /// When the relay cannot be reached or refuses.
    pub async fn subscribe(&mut self, task: TaskId) -> anyhow::Result<()> {
        self.tasks.insert(task);
        if self.connection.is_none() {
            return self.connect().await;
        }
        self.ask_for(task).await
    }

    async fn ask_for(&mut self, task: TaskId) -> anyhow::Result<()> {
        let cursor = self.checker.subscribe(task);
        let connection = self.connection.as_mut().context("not connected")?;
        connection.send(&ClientFrame::Subscribe { task_id: task, cursor }).await
    }

    /// Connects and subscribes to every task that has not been seen to its end.
    ///
    /// # Errors
    /// When the relay cannot be reached or refuses.
    pub async fn connect(&mut self) -> anyhow::Result<()> {
        self.drop_connection();
        self.connection = Some(Connection::open(&self.address, Some(&self.token)).await?);
        self.connects += 1;
        self.checker.connected();
        let open: Vec<TaskId> =
            self.tasks.iter().copied().filter(|t| !self.checker.completed(*t)).collect();
        for task in open {
            self.ask_for(task).await?;
        }
        Ok(())
    }

    /// Closes the connection without a word, as a client that loses its network does.
    pub fn drop_connection(&mut self) {
        self.connection = None;
        self.hello = None;
    }

    /// The next frame, checked, or the end of the connection. May be cancelled.
    ///
    /// # Errors
    /// When a frame breaks the protocol or an invariant, or there is no connection.
    pub async fn next(&mut self) -> anyhow::Result<Event> {
        let connection = self.connection.as_mut().context("not connected")?;
        match connection.next().await? {
            Message::Closed(close) => {
                self.drop_connection();
                Ok(Event::Closed(close))
            }
            Message::Frame(frame, text) => {
                self.frames += 1;
                self.measure(&frame);
                if let ServerFrame::Hello(hello) = &*frame {
                    self.hello = Some(hello.clone());
                }
                self.checker.apply(&frame).with_context(|| {
                    format!("frame {} of {}: {text}", self.frames, self.address)
                })?;
                Ok(Event::Frame(frame))
            }
        }
    }

    fn measure(&mut self, frame: &ServerFrame) {
        // A frame with prev = seq repeats the end and was not published just now.
        if let ServerFrame::Progress(delta) | ServerFrame::Complete(delta) = frame
            && let Delta { published_us: Some(published), prev, seq, .. } = delta
            && seq > prev
        {
            self.latencies.record(*published);
        }
    }

    /// Waits for a frame that `wanted` says yes to; passes over others. Does not reconnect.
    ///
    /// # Errors
    /// After `timeout`, or when the connection ends.
    pub async fn until(
        &mut self,
        timeout: Duration,
        mut wanted: impl FnMut(&ServerFrame) -> bool,
    ) -> anyhow::Result<ServerFrame> {
        let deadline = Instant::now() + timeout;
        loop {
            match timeout_at(deadline, self.next()).await {
                Ok(Ok(Event::Frame(frame))) if wanted(&frame) => return Ok(*frame),
                Ok(Ok(Event::Frame(_))) => {}
                Ok(Ok(Event::Closed(close))) => bail!("the connection ended: {close:?}"),
                Ok(Err(error)) => return Err(error),
                Err(_) => bail!("the awaited frame did not come within {timeout:?}"),
            }
        }
    }

    /// Follows every task to its end, reconnecting as often as it takes.
    ///
    /// # Errors
    /// When that takes longer than `timeout`, an invariant is broken, or the relay refuses.
    pub async fn until_all_complete(&mut self, timeout: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + timeout;
        while let Some(open) = self.tasks.iter().copied().find(|t| !self.checker.completed(*t)) {
            let step = async {
                if self.connection.is_none() && !self.reconnect().await? {
                    return Ok(());
                }
                self.next().await.map(drop)
            };
            match timeout_at(deadline, step).await {
                Ok(done) => done?,
                Err(_) => {
                    let state = self.checker.describe(open);
                    return Err(anyhow!("task {open} has not ended within {timeout:?}: {state}"));
                }
            }
        }
        Ok(())
    }

    /// False: not now, try again. The pause is what a browser's client would keep at least.
    async fn reconnect(&mut self) -> anyhow::Result<bool> {
        match self.connect().await {
            Ok(()) => Ok(true),
            Err(error)
                if error.downcast_ref::<RefusedUpgrade>().is_some_and(|r| r.status < 500) =>
            {
                Err(error)
            }
            Err(_) => {
                self.drop_connection();
                tokio::time::sleep(Duration::from_millis(50)).await;
                Ok(false)
            }
        }
    }

    /// What is known of the tasks.
    #[must_use]
    pub fn checker(&self) -> &Checker {
        &self.checker
    }

    /// The greeting on the present connection, once it has come.
    #[must_use]
    pub fn hello(&self) -> Option<&Hello> {
        self.hello.as_ref()
    }

    /// Times from publish to receipt.
    #[must_use]
    pub fn latencies(&self) -> &Latencies {
        &self.latencies
    }

    /// Frames received.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Connections made.
    #[must_use]
    pub fn connects(&self) -> u64 {
        self.connects
    }

    /// Says something on the open connection that need not be a frame of the protocol.
    ///
    /// # Errors
    /// When there is no connection.
    pub async fn say(&mut self, text: &str) -> anyhow::Result<()> {
        self.connection.as_mut().context("not connected")?.send_text(text).await
    }
}
