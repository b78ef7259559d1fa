//! How many calls a cluster gets from this process, in which order, and when none.
//!
//! ```text
//!                                 a place is free, a token is there, no quiet
//! enter ─▶ Waiting in its task's line ─────────────────────────────────────────▶ Inside: the call ─▶ leave
//!            (lines take turns: a task of thousands of nodes waits as often as one of three)
//!
//! quiet: three troubles in a row (429, 5xx, no answer) close the cluster for all of its tasks, longer
//! with every further one; an answer opens it. Troubles also halve the places, answers give them back.
//! ```

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use knm_shared::ids::TaskId;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::outcome::CallError;

/// Troubles without an answer in between that close the cluster. One alone may be a single node's.
const CLOSES: u32 = 3;
/// The first quiet time; it doubles up to the longest.
const QUIET: Duration = Duration::from_millis(200);
const LONGEST_QUIET: Duration = Duration::from_secs(10);
/// Places are halved at most this often: calls in flight share one overload.
const HALVES_EVERY: Duration = Duration::from_secs(1);

/// See the module's description. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Gate {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Calls at a time now.
    places: usize,
    inside: usize,
    /// A line for each task that waits, the next one in front.
    lines: VecDeque<Line>,
    bucket: Option<Bucket>,
    troubles: u32,
    closed_until: Option<Instant>,
    /// When somebody looks again whether the next may come in.
    alarm: Option<Instant>,
    halved_at: Option<Instant>,
    /// Answers since places were last given back.
    answers: usize,
}

#[derive(Debug)]
struct Line {
    task: TaskId,
    waiting: VecDeque<oneshot::Sender<Pass>>,
}

/// Calls a second, with as many in store.
#[derive(Debug)]
struct Bucket {
    rate: f64,
    tokens: f64,
    filled_at: Instant,
}

impl Bucket {
    fn new(rate: u32) -> Self {
        let rate = f64::from(rate);
        Self { rate, tokens: rate, filled_at: Instant::now() }
    }

    /// Takes a token, or tells when there is one.
    fn take(&mut self, now: Instant) -> Option<Instant> {
        let gained = now.duration_since(self.filled_at).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + gained).min(self.rate);
        self.filled_at = now;
        if self.tokens < 1.0 {
            return Some(now + Duration::from_secs_f64((1.0 - self.tokens) / self.rate));
        }
        self.tokens -= 1.0;
        None
    }
}

impl State {
    /// When to look again; `None`: now is the time, and a token is taken.
    fn wait_for(&mut self, now: Instant) -> Option<Instant> {
        if let Some(closed) = self.closed_until {
            if closed > now {
                return Some(closed);
            }
            self.closed_until = None;
        }
        self.bucket.as_mut()?.take(now)
    }
}

/// A place inside, given back when dropped.
#[derive(Debug)]
pub struct Pass {
    gate: Gate,
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.state().inside -= 1;
        self.gate.admit();
    }
}

impl Gate {
    /// A gate for so many calls at a time (at least one) and a second (0: any number).
    #[must_use]
    pub fn new(most: u32, rate: u32) -> Self {
        let most = (most as usize).max(1);
        let state = State {
            places: most,
            inside: 0,
            lines: VecDeque::new(),
            bucket: (rate > 0).then(|| Bucket::new(rate)),
            troubles: 0,
            closed_until: None,
            alarm: None,
            halved_at: None,
            answers: 0,
        };
        Self { inner: Arc::new(Inner { most, state: Mutex::new(state) }) }
    }

    /// Waits until a task may make its next call.
    pub async fn enter(&self, task: TaskId) -> Pass {
        // The sender is dropped only with the gate, which `self` keeps.
        self.queue(task).await.unwrap_or_else(|_| unreachable!("lines are never thrown away"))
    }

    fn queue(&self, task: TaskId) -> oneshot::Receiver<Pass> {
        let (pass, place) = oneshot::channel();
        let mut state = self.state();
        match state.lines.iter_mut().find(|line| line.task == task) {
            Some(line) => line.waiting.push_back(pass),
            None => state.lines.push_back(Line { task, waiting: VecDeque::from([pass]) }),
        }
        drop(state);
        self.admit();
        place
    }

    /// Lets in who is next, line by line.
    fn admit(&self) {
        let mut turned_away = Vec::new();
        let mut state = self.state();
        while state.inside < state.places
            && let Some(mut line) = state.lines.pop_front()
        {
            line.waiting.retain(|next| !next.is_closed());
            if line.waiting.is_empty() {
                continue;
            }
            if let Some(later) = state.wait_for(Instant::now()) {
                state.lines.push_front(line);
                self.look_again(&mut state, later);
                break;
            }
            if let Some(next) = line.waiting.pop_front() {
                state.inside += 1;
                // Who does not wait any more gives the place back, once the lock is free.
                turned_away.extend(next.send(Pass { gate: self.clone() }).err());
            }
            if !line.waiting.is_empty() {
                state.lines.push_back(line);
            }
        }
        drop(state);
        drop(turned_away);
    }

    /// Lets in who is next then, unless somebody does so before.
    fn look_again(&self, state: &mut State, later: Instant) {
        // Without a runtime there is nobody left who waits.
        let Ok(runtime) = Handle::try_current() else { return };
        if state.alarm.is_some_and(|at| at <= later) {
            return;
        }
        state.alarm = Some(later);
        let gate = self.clone();
        runtime.spawn(async move {
            sleep_until(later).await;
            let mut state = gate.state();
            if state.alarm == Some(later) {
                state.alarm = None;
            }
            drop(state);
            gate.admit();
        });
    }

    /// Learns from an answer, or the lack of one. True when that closes the cluster.
    pub fn learn<T>(&self, answer: &Result<T, CallError>) -> bool {
        let asked = match answer {
            Err(CallError::Busy { code: 429 | 500..=599, retry_after, .. }) => *retry_after,
            Err(CallError::NoAnswer(_)) => None,
            // Not sent, or not for the cluster to answer for.
            Err(CallError::Fenced | CallError::Busy { .. }) => return false,
            Ok(_) | Err(_) => {
                self.answered();
                return false;
            }
        };
        self.troubled(asked)
    }

    fn answered(&self) {
        let mut state = self.state();
        state.troubles = 0;
        if state.places == self.inner.most {
            return;
        }
        state.answers += 1;
        if state.answers >= state.places {
            state.answers = 0;
            state.places += 1;
            drop(state);
            self.admit();
        }
    }

    fn troubled(&self, asked: Option<Duration>) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        state.troubles += 1;
        if state.troubles < CLOSES {
            return false;
        }
        if state.halved_at.is_none_or(|at| now - at >= HALVES_EVERY) {
            state.places = (state.places / 2).max(1);
            state.halved_at = Some(now);
            state.answers = 0;
        } else if state.closed_until.is_some_and(|until| until > now) {
            // A call that was on its way when it was closed tells nothing new.
            state.troubles -= 1;
            return false;
        }
        let doubled = QUIET.saturating_mul(1 << (state.troubles - CLOSES).min(10));
        let quiet = doubled.min(LONGEST_QUIET).mul_f64(rand::random_range(0.5..1.0));
        let until = now + quiet.max(asked.unwrap_or_default());
        state.closed_until = state.closed_until.max(Some(until));
        true
    }

    /// Until when the cluster is left alone, if it is.
    #[must_use]
    pub fn closed_for(&self) -> Option<Duration> {
        let until = self.state().closed_until?;
        Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::time::advance;
    use uuid::Uuid;

    use super::*;

    const BIG: TaskId = TaskId(Uuid::from_u128(1));
    const SMALL: TaskId = TaskId(Uuid::from_u128(2));

    fn busy(code: u16, retry_after: Option<u64>) -> Result<(), CallError> {
        let retry_after = retry_after.map(Duration::from_secs);
        Err(CallError::Busy { code, message: "busy".into(), retry_after })
    }

    #[tokio::test]
    async fn a_small_task_waits_for_one_turn_not_for_the_whole_line_of_a_big_one() {
        let gate = Gate::new(2, 0);
        let inside = [gate.enter(BIG).await, gate.enter(BIG).await];
        let mut line: Vec<_> = (0..1000).map(|_| gate.queue(BIG)).collect();
        let mut small: Vec<_> = (0..3).map(|_| gate.queue(SMALL)).collect();
        drop(inside);
        let mut turns = 0;
        while !small.is_empty() {
            turns += 1;
            // Everyone who is inside leaves.
            line.retain_mut(|place| place.try_recv().is_err());
            small.retain_mut(|place| place.try_recv().is_err());
        }
        assert!(turns <= 6, "{turns} turns");
        assert!(line.len() > 990, "{} of 1000 still wait", line.len());
    }

    #[tokio::test]
    async fn who_stops_waiting_leaves_no_place_taken() {
        let gate = Gate::new(1, 0);
        let first = gate.enter(BIG).await;
        assert!(gate.enter(SMALL).now_or_never().is_none(), "polled once, then dropped");
        let given = gate.queue(SMALL);
        drop(first);
        // Given a place, and gone before taking it.
        drop(given);
        gate.enter(BIG).now_or_never().expect("the place is free");
        assert_eq!(gate.state().inside, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_calls_a_second_than_there_are_tokens() {
        let gate = Gate::new(1000, 10);
        let start = Instant::now();
        for _ in 0..30 {
            drop(gate.enter(BIG).await);
        }
        let took = start.elapsed();
        let wanted = Duration::from_secs(2);
        assert!(took >= wanted && took < wanted + Duration::from_millis(300), "{took:?}");
    }

    /// Tokens go round as places do: who came with a thousand nodes has one in two.
    #[tokio::test(start_paused = true)]
    async fn tokens_are_shared_in_turns() {
        let gate = Gate::new(1000, 10);
        for _ in 0..10 {
            drop(gate.enter(BIG).await);
        }
        let start = Instant::now();
        let big: Vec<_> = (0..1000).map(|_| gate.queue(BIG)).collect();
        for _ in 0..3 {
            drop(gate.enter(SMALL).await);
        }
        let took = start.elapsed();
        assert!(took < Duration::from_millis(750), "{took:?}");
        drop(big);
    }

    #[tokio::test(start_paused = true)]
    async fn three_troubles_in_a_row_close_it_for_all_and_an_answer_opens_it() {
        let gate = Gate::new(8, 0);
        // Single ones are no overload.
        for _ in 0..50 {
            assert!(!gate.learn(&busy(500, None)) && !gate.learn(&busy(429, None)));
            assert!(!gate.learn(&Ok(())));
        }
        assert_eq!(gate.state().places, 8);
        assert!(!gate.learn(&busy(503, None)) && !gate.learn(&busy(503, None)));
        assert!(gate.learn(&busy(429, Some(5))));
        assert_eq!(gate.state().places, 4);
        assert!(gate.enter(SMALL).now_or_never().is_none());
        assert!(gate.closed_for().is_some_and(|left| left >= Duration::from_secs(5)));
        // The rest of what was in flight.
        for _ in 0..4 {
            assert!(!gate.learn(&busy(429, None)));
        }
        assert_eq!(gate.state().places, 4);
        advance(Duration::from_secs(6)).await;
        let pass = gate.enter(SMALL).now_or_never().expect("open again");
        // Still overloaded: closed again, for longer.
        assert!(gate.learn(&busy(429, None)));
        assert_eq!(gate.state().places, 2);
        drop(pass);
        advance(LONGEST_QUIET).await;
        for _ in 0..100 {
            drop(gate.enter(BIG).await);
            gate.learn(&Ok(()));
        }
        assert_eq!(gate.closed_for(), None);
        assert_eq!(gate.state().places, 8);
    }

    #[tokio::test]
    async fn what_says_nothing_of_the_cluster_changes_nothing() {
        let gate = Gate::new(8, 0);
        for _ in 0..20 {
            gate.learn(&Err::<(), _>(CallError::Fenced));
            gate.learn(&busy(0, None));
            gate.learn(&Err::<(), _>(CallError::Conflict("changed".into())));
            let budget = CallError::Budget {
                budget: "web".into(),
                message: "no".into(),
                retry_after: Some(Duration::from_secs(10)),
            };
            gate.learn(&Err::<(), _>(budget));
        }
        assert_eq!(gate.closed_for(), None);
        assert_eq!(gate.state().places, 8);
    }
}
