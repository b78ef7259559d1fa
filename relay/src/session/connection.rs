//! The socket's two directions in one loop.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{self, Poll, ready};
use std::time::Duration;

use futures_util::{Sink, Stream};
use knm_shared::ids::TaskId;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::error::{CapacityError, Error, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::inbound::{Inbound, Reaction};
use super::{Context, PING_INTERVAL, Socket, Visitor};
use crate::complaint::Cause;
use crate::hub::{ConnId, Frame, HubHandle, Next, encode};
use crate::protocol::{CloseReason, ErrorCode, ServerMessage};
use crate::refusals::{Refusal, Wanted};

/// A client that takes nothing for so long is gone.
const PATIENCE: Duration = Duration::from_secs(60);
/// So is one that says nothing for so long: it has left a ping without an answer for [`PATIENCE`].
/// Whoever reads nothing answers nothing either, and a minute of that is forgiven.
const SILENCE: Duration = PATIENCE.saturating_add(PING_INTERVAL);
/// Frames gather up to here before the socket gets them.
const BATCH: usize = 64 * 1024;
/// Answers that may wait for the socket; until it takes them, the client is not listened to.
const MAX_ANSWERS: usize = 32;
/// For the last frames and the client's own close.
const FAREWELL: Duration = Duration::from_secs(2);
/// Clients of a relay that stops come back within this time, spread evenly: a rolling restart leaves none
/// of them without progress for 3 s.
const RECONNECT_MIN_MS: u64 = 250;
const RECONNECT_MAX_MS: u64 = 2_000;

type Result<T> = std::result::Result<T, Error>;

/// What the socket did.
enum Event {
    Flushed,
    Message(Message),
    Ended,
    Failed(Error),
}

/// A socket and what is on its way in it.
pub(super) struct Connection {
    socket: Socket,
    visitor: Visitor,
    context: Context,
    inbound: Inbound,
    /// Something is not yet with the system; since when nothing of it was taken, and how much was
    /// taken by then.
    unflushed: Option<Stall>,
    answers: usize,
    /// When the changes in the batch were written; told to the metrics once it is flushed.
    published: Vec<i64>,
}

#[derive(Debug, Clone, Copy)]
struct Stall {
    since: Instant,
    written: u64,
}

impl Connection {
    pub(super) fn new(socket: Socket, visitor: Visitor, context: Context) -> Self {
        Self {
            socket,
            visitor,
            context,
            inbound: Inbound::new(),
            unflushed: None,
            answers: 0,
            published: Vec::new(),
        }
    }

    pub(super) fn hub(&self) -> &HubHandle {
        &self.context.hub
    }

    /// Serves until there is a reason to close, or until the client is gone (`None`).
    pub(super) async fn run(
        &mut self,
        id: ConnId,
        wake: &Notify,
        hello: Bytes,
    ) -> Option<CloseReason> {
        match self.serve(id, wake, hello).await {
            Ok(reason) => reason,
            Err(error) => {
                tracing::debug!(%error, "connection failed");
                fault(&error)
            }
        }
    }

    async fn serve(
        &mut self,
        id: ConnId,
        wake: &Notify,
        hello: Bytes,
    ) -> Result<Option<CloseReason>> {
        self.send(hello);
        let mut ping = Instant::now() + PING_INTERVAL;
        let mut heard = Instant::now();
        loop {
            if self.unflushed.is_none()
                && let Some(reason) = self.fill(id)
            {
                return Ok(Some(reason));
            }
            let wait = ping.min(self.deadline(heard));
            tokio::select! {
                event = self.event() => match event {
                    Event::Flushed => self.flushed(),
                    Event::Message(Message::Close(_)) => return Ok(None),
                    Event::Message(message) => {
                        heard = Instant::now();
                        match self.message(id, message) {
                            Reaction::Nothing => {}
                            Reaction::Say(answer, _) => {
                                self.answers += 1;
                                self.send(answer);
                            }
                            Reaction::Close(reason) => return Ok(Some(reason)),
                        }
                    }
                    Event::Ended => return Ok(None),
                    Event::Failed(error) => return Err(error),
                },
                // Only an end cannot wait until the client has taken what is on its way.
                () = wake.notified() => {
                    if self.unflushed.is_some()
                        && let Some(reason) = self.context.hub.with(|hub| hub.closing(id))
                    {
                        return Ok(Some(reason));
                    }
                }
                () = sleep_until(wait) => {
                    let now = Instant::now();
                    if now >= self.deadline(heard) {
                        return Ok(Some(CloseReason::TooSlow));
                    }
                    if now >= ping {
                        ping = now + PING_INTERVAL;
                        self.begun_writing();
                        Pin::new(&mut self.socket).start_send(Message::Ping(Bytes::new()))?;
                    }
                }
            }
        }
    }

    /// When patience ends, as things stand. A stall that has moved starts over.
    fn deadline(&mut self, heard: Instant) -> Instant {
        let written = self.socket.get_ref().written();
        if let Some(stall) = &mut self.unflushed
            && stall.written != written
        {
            *stall = Stall { since: Instant::now(), written };
        }
        let silent = heard + SILENCE;
        self.unflushed.map_or(silent, |stall| silent.min(stall.since + PATIENCE))
    }

    /// Gathers what the hub has, up to a batch.
    fn fill(&mut self, id: ConnId) -> Option<CloseReason> {
        let (mut bytes, mut second) = (0, None);
        while second.is_some() || bytes < BATCH {
            let next = second.take().unwrap_or_else(|| {
                let (first, then) = self.context.hub.with(|hub| hub.next_two(id));
                second = then;
                first
            });
            match next {
                Next::Frame(frame) => {
                    let encoded = frame.encode();
                    bytes += encoded.len();
                    match &frame {
                        Frame::Step { step, live: true } => self.published.push(step.published_us),
                        Frame::Refused { task, code } => self.refused(*task, *code),
                        _ => {}
                    }
                    self.context.metrics.frames.inc();
                    self.send(encoded);
                }
                Next::Close(reason) => return Some(reason),
                Next::Idle => break,
                Next::Gone => return Some(CloseReason::Restart),
            }
        }
        None
    }

    /// Tells of a subscription that is refused.
    fn refused(&self, task: TaskId, code: ErrorCode) {
        let Visitor { owner, address } = self.visitor;
        if let Some(cause) = refusal(code) {
            self.context.complaints.about(cause, &owner.user);
        }
        if code == ErrorCode::Forbidden {
            self.context.refusals.tell(Refusal {
                owner: Some(owner),
                address,
                wanted: Wanted::Task(task),
                status: 403,
                detail: "a task on a cluster that this user may not read".into(),
            });
        }
    }

    /// Lines a frame up; the next [`Connection::event`] writes it, with all others in one go.
    fn send(&mut self, frame: Bytes) {
        self.begun_writing();
        self.socket.get_mut().queue(frame);
    }

    fn begun_writing(&mut self) {
        let written = self.socket.get_ref().written();
        self.unflushed.get_or_insert_with(|| Stall { since: Instant::now(), written });
    }

    /// The library flushes only for as long as the client has not said goodbye.
    fn poll_flush(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<()>> {
        ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
        self.socket.get_mut().poll_drain(cx).map_err(Error::Io)
    }

    fn flushed(&mut self) {
        self.unflushed = None;
        self.answers = 0;
        for published_us in self.published.drain(..) {
            let delay = self.context.clock.since(published_us);
            self.context.metrics.latency.observe(delay.as_secs_f64());
        }
    }

    async fn event(&mut self) -> Event {
        poll_fn(|cx| {
            if self.unflushed.is_some() {
                match self.poll_flush(cx) {
                    Poll::Ready(Ok(())) => return Poll::Ready(Event::Flushed),
                    Poll::Ready(Err(error)) => return Poll::Ready(Event::Failed(error)),
                    Poll::Pending => {}
                }
            }
            if self.answers >= MAX_ANSWERS {
                return Poll::Pending;
            }
            Pin::new(&mut self.socket).poll_next(cx).map(|message| match message {
                Some(Ok(message)) => Event::Message(message),
                Some(Err(error)) => Event::Failed(error),
                None => Event::Ended,
            })
        })
        .await
    }

    fn message(&mut self, id: ConnId, message: Message) -> Reaction {
        if !self.inbound.admit() {
            return Reaction::Close(CloseReason::Flood);
        }
        match message {
            Message::Text(text) => {
                let reaction = self.inbound.text(id, &text, &self.context.hub);
                if let Reaction::Say(_, cause) = &reaction {
                    self.context.complaints.about(*cause, &self.visitor.owner.user);
                }
                reaction
            }
            Message::Binary(_) => Reaction::Close(CloseReason::Binary),
            // The library answers it; the answer leaves with the next flush.
            Message::Ping(_) => {
                self.answers += 1;
                self.begun_writing();
                Reaction::Nothing
            }
            Message::Pong(_) | Message::Close(_) | Message::Frame(_) => Reaction::Nothing,
        }
    }

    /// The client has said goodbye or has gone: it gets its answer if it takes it soon.
    pub(super) async fn leave(&mut self) {
        let flushed = timeout(FAREWELL, poll_fn(|cx| self.poll_flush(cx))).await;
        if let Ok(Err(error)) = flushed {
            tracing::debug!(%error, "gone already");
        }
    }

    /// Says why, and waits a moment for the client to say so too.
    pub(super) async fn close(&mut self, reason: CloseReason) {
        self.context.metrics.closed(reason);
        if let Some(cause) = complaint(reason) {
            self.context.complaints.about(cause, &self.visitor.owner.user);
        }
        let farewell = async {
            if reason == CloseReason::Restart {
                let goodbye = encode(&ServerMessage::Goodbye {
                    reason: reason.text(),
                    reconnect_after_ms: rand::random_range(RECONNECT_MIN_MS..RECONNECT_MAX_MS),
                });
                self.send(goodbye);
            }
            let frame = CloseFrame { code: reason.code().into(), reason: reason.text().into() };
            self.socket.close(Some(frame)).await?;
            loop {
                match self.event().await {
                    Event::Ended | Event::Failed(_) => break,
                    Event::Flushed => self.unflushed = None,
                    // Whatever the client still says, it has been told.
                    Event::Message(_) => {}
                }
            }
            // A socket that is closed with bytes unread is reset, and the reset may overtake the
            // reason: of a message that was too large, the rest is still coming.
            drain(self.socket.get_mut()).await;
            Ok(())
        };
        let farewell: std::result::Result<Result<()>, _> = timeout(FAREWELL, farewell).await;
        if let Ok(Err(error)) = farewell {
            tracing::debug!(%error, "not everything could be said");
        }
    }
}

/// Why the client's own fault ends the connection; `None` when it has simply gone.
fn fault(error: &Error) -> Option<CloseReason> {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => Some(CloseReason::TooLarge),
        Error::Utf8(_) => Some(CloseReason::InvalidUtf8),
        // It hung up in the middle of it all.
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        Error::Protocol(_) => Some(CloseReason::BadFrame),
        _ => None,
    }
}

/// What a refused subscription says of the client; nothing when it is our own fault.
const fn refusal(code: ErrorCode) -> Option<Cause> {
    match code {
        ErrorCode::UnknownTask => Some(Cause::UnknownTask),
        ErrorCode::Forbidden => Some(Cause::Forbidden),
        _ => None,
    }
}

/// What a reason to close says of the client; nothing when it is ours.
const fn complaint(reason: CloseReason) -> Option<Cause> {
    Some(match reason {
        CloseReason::BadMessages => Cause::BadMessage,
        CloseReason::Flood => Cause::Flood,
        CloseReason::Binary => Cause::Binary,
        CloseReason::TooLarge => Cause::TooLarge,
        CloseReason::BadFrame => Cause::BadFrame,
        CloseReason::InvalidUtf8 => Cause::InvalidUtf8,
        CloseReason::TooSlow => Cause::TooSlow,
        CloseReason::TooManyConnections => Cause::TooManyConnections,
        CloseReason::TooManyOfUser => Cause::TooManyOfUser,
        CloseReason::Restart | CloseReason::Revoked => return None,
    })
}

/// Reads to the end and keeps nothing.
async fn drain(stream: &mut (impl AsyncRead + Unpin)) {
    let mut nothing = [0; 2048];
    while matches!(stream.read(&mut nothing).await, Ok(n) if n > 0) {}
}
