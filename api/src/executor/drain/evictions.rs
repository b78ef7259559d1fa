//! The pods of one node on their way out: which are to be asked, which are leaving, which are gone.
//! Pure: answers and lists come in, calls to make go out.
//!
//! ```text
//! Due ──call──▶ Calling ─ accepted ──────────────▶ Leaving ─ not listed ─▶ Gone
//!  ▲ ▲             │
//!  │ └─ later ─────┼─ 429, 403 of an ending namespace
//!  └─ still there ─┴─ 404, 409, 5xx, no answer ─▶ Doubtful ─ listed as terminating ─▶ Leaving
//!                                                          └─ not listed ──────────▶ Gone
//! ```
//!
//! Only a list says that a pod is gone: a 404 may be a proxy's.
//!
//! A pod is known by its UID; a new one of the same name is another pod. One that may have been
//! evicted is not evicted again before a list that began later has shown it without an end in sight.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use tokio::time::Instant;

use super::uid;
use crate::executor::backoff::{Tries, Trouble};
use crate::k8s::CallError;
use crate::tasks::pods::{full_name, is_leaving};

/// Pauses after a budget's refusal that names none, growing from the first to the longest; kubectl
/// waits for 5 s.
const BUDGET_FIRST: Duration = Duration::from_secs(1);
const BUDGET_LONGEST: Duration = Duration::from_secs(5);
/// Before a pod of a namespace that is being deleted is tried again.
const NAMESPACE_PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
enum State {
    Due { at: Instant },
    Calling,
    Doubtful { since: Instant },
    Leaving,
    Gone,
}

#[derive(Debug)]
struct Tracked {
    name: String,
    state: State,
    tries: Tries,
    /// The budget that has refused it last, and how often in a row.
    budget: Option<(String, u32)>,
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Evictions {
    pods: HashMap<String, Tracked>,
    retry_timeout: Duration,
    /// Seconds that pods are given to end in, where it is not theirs to say.
    grace: Option<i64>,
}

impl Evictions {
    pub(super) fn new(retry_timeout: Duration, grace: Option<i64>) -> Self {
        Self { pods: HashMap::new(), retry_timeout, grace }
    }

    /// Takes a pod up: to be evicted, or only to be waited for.
    pub(super) fn add(&mut self, pod: &Pod, is_leaving: bool, now: Instant) {
        let state = if is_leaving { State::Leaving } else { State::Due { at: now } };
        let tries = Tries::new(self.retry_timeout);
        let tracked = Tracked { name: full_name(pod), state, tries, budget: None };
        self.pods.insert(uid(pod), tracked);
    }

    /// A pod that has been terminating for too long is waited for no more.
    pub(super) fn forget(&mut self, pod: &Pod) {
        self.pods.remove(&uid(pod));
    }

    /// Whether this very pod has been taken up.
    pub(super) fn knows(&self, pod: &Pod) -> bool {
        self.pods.contains_key(&uid(pod))
    }

    /// UIDs of up to `most` pods to be asked now; they count as being asked.
    pub(super) fn due(&mut self, now: Instant, most: usize) -> Vec<String> {
        let mut due: Vec<_> = self
            .pods
            .iter_mut()
            .filter(|(_, pod)| matches!(pod.state, State::Due { at } if at <= now))
            .collect();
        due.sort_by(|a, b| a.1.name.cmp(&b.1.name));
        due.truncate(most);
        for (_, pod) in &mut due {
            pod.state = State::Calling;
            pod.tries.begin();
        }
        due.into_iter().map(|(uid, _)| uid.clone()).collect()
    }

    /// When the next pod is due, if one is.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let due = |pod: &Tracked| match pod.state {
            State::Due { at } => Some(at),
            _ => None,
        };
        self.pods.values().filter_map(due).min()
    }

    /// What the cluster said to an eviction, which took `cost`. Returns why the node's drain has failed,
    /// if it has.
    pub(super) fn answered(
        &mut self,
        uid: &str,
        answer: Result<(), CallError>,
        cost: Duration,
        now: Instant,
    ) -> Option<String> {
        let pod = self.pods.get_mut(uid)?;
        if !matches!(answer, Err(CallError::Budget { .. })) {
            pod.budget = None;
        }
        pod.state = match answer {
            Ok(()) => State::Leaving,
            Err(CallError::Fenced) => State::Due { at: now },
            Err(CallError::NamespaceTerminating(_)) => {
                pod.tries.renew(self.retry_timeout);
                State::Due { at: now + NAMESPACE_PAUSE }
            }
            Err(CallError::Budget { budget, retry_after, .. }) => {
                pod.tries.renew(self.retry_timeout);
                let namespace = pod.name.split('/').next().unwrap_or_default();
                let times = pod.budget.as_ref().map_or(0, |(_, times)| times + 1);
                pod.budget = Some((format!("{namespace}/{budget}"), times));
                State::Due { at: now + budget_pause(times, retry_after) }
            }
            Err(CallError::Refused(refusal)) => {
                return Some(format!("cannot evict {}: {}", pod.name, refusal.message));
            }
            // Whoever says so (flow control, a webhook), it means later: the drain's own deadline decides.
            Err(CallError::Busy { code: 429, retry_after, .. }) => {
                pod.tries.renew(self.retry_timeout);
                State::Due { at: now + budget_pause(pod.tries.count(), retry_after) }
            }
            Err(
                error @ (CallError::Conflict(_)
                | CallError::NotFound(_)
                | CallError::Busy { .. }
                | CallError::NoAnswer(_)),
            ) => {
                let why = error.to_string();
                let trouble = match error {
                    CallError::Busy { retry_after: asked, .. } => {
                        Trouble::Busy { why: why.clone(), asked }
                    }
                    CallError::NoAnswer(_) => Trouble::Busy { why: why.clone(), asked: None },
                    _ => Trouble::Changed(why.clone()),
                };
                pod.tries.add_call(cost);
                let Some(pause) = pod.tries.next(&trouble) else {
                    let tries = pod.tries.count();
                    return Some(format!("cannot evict {} in {tries} tries: {why}", pod.name));
                };
                State::Doubtful { since: now + pause }
            }
        };
        None
    }

    /// What a list that began at `began` showed of the node.
    pub(super) fn listed(&mut self, pods: &[Pod], began: Instant) {
        let listed: HashMap<String, &Pod> = pods.iter().map(|p| (uid(p), p)).collect();
        for (uid, pod) in &mut self.pods {
            match (listed.get(uid), &pod.state) {
                (_, State::Gone | State::Calling) => {}
                (None, _) => pod.state = State::Gone,
                (Some(now), State::Due { .. } | State::Doubtful { .. })
                    if is_leaving(now, self.grace) =>
                {
                    pod.state = State::Leaving;
                }
                (Some(_), State::Doubtful { since }) if began > *since => {
                    pod.state = State::Due { at: began };
                }
                (Some(_), _) => {}
            }
        }
    }

    /// All pods that were taken up.
    pub(super) fn total(&self) -> usize {
        self.pods.len()
    }

    /// Those that are gone.
    pub(super) fn gone(&self) -> usize {
        self.pods.values().filter(|p| matches!(p.state, State::Gone)).count()
    }

    /// The budgets that forbid an eviction, `namespace/name`.
    pub(super) fn blocked_by(&self) -> BTreeSet<&str> {
        let waits = |p: &&Tracked| matches!(p.state, State::Due { .. } | State::Calling);
        let budget = |p: &'_ Tracked| p.budget.is_some();
        let blocked = self.pods.values().filter(|p| waits(p) && budget(p));
        blocked.filter_map(|p| p.budget.as_ref().map(|(name, _)| name.as_str())).collect()
    }

    /// How far it is, in words.
    pub(super) fn summary(&self) -> String {
        let mut text = format!("{} of {} pods gone", self.gone(), self.total());
        let budgets: Vec<_> = self.blocked_by().into_iter().collect();
        if !budgets.is_empty() {
            let word = if budgets.len() == 1 { "budget" } else { "budgets" };
            text.push_str(&format!(", waiting for {word} {}", budgets.join(", ")));
        }
        text
    }

    /// The names of those that are not gone, sorted.
    pub(super) fn remaining(&self) -> Vec<&str> {
        let left = self.pods.values().filter(|p| !matches!(p.state, State::Gone));
        let mut names: Vec<_> = left.map(|p| p.name.as_str()).collect();
        names.sort_unstable();
        names
    }
}

fn budget_pause(times: u32, asked: Option<Duration>) -> Duration {
    let base = BUDGET_FIRST.saturating_mul(1 << times.min(4)).min(BUDGET_LONGEST);
    let jitter = rand::random_range(0.75..1.25);
    asked.map_or_else(|| base.mul_f64(jitter), |asked| asked + base.mul_f64(jitter).min(asked / 4))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::k8s::Refusal;

    fn pod(name: &str, uid: &str, terminating: bool) -> Pod {
        let mut pod = json!({"metadata": {"namespace": "shop", "name": name, "uid": uid}});
        if terminating {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        serde_json::from_value(pod).expect("a pod")
    }

    fn one() -> (Evictions, Instant) {
        let now = Instant::now();
        let mut evictions = Evictions::new(Duration::from_secs(60), None);
        evictions.add(&pod("web-0", "u0", false), false, now);
        assert_eq!(evictions.due(now, 10), ["u0"]);
        assert!(evictions.due(now, 10).is_empty(), "it is being asked");
        (evictions, now)
    }

    fn answer(
        evictions: &mut Evictions,
        answer: Result<(), CallError>,
        now: Instant,
    ) -> Option<String> {
        evictions.answered("u0", answer, Duration::ZERO, now)
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn accepted_then_terminating_then_gone_and_never_asked_again() {
        let (mut evictions, now) = one();
        assert_eq!(answer(&mut evictions, Ok(()), now), None);
        // A list from before the answer still shows it as if nothing was asked.
        evictions.listed(&[pod("web-0", "u0", false)], now);
        assert!(evictions.due(now + SECOND * 60, 10).is_empty());
        evictions.listed(&[pod("web-0", "u0", true)], now + SECOND);
        assert_eq!(evictions.summary(), "0 of 1 pods gone");
        evictions.listed(&[pod("web-0", "another", false)], now + SECOND);
        assert_eq!(evictions.summary(), "1 of 1 pods gone");
        assert!(evictions.remaining().is_empty());
        assert!(!evictions.knows(&pod("web-0", "another", false)));
    }

    #[tokio::test]
    async fn a_budget_is_named_and_waited_for() {
        let (mut evictions, now) = one();
        let blocked = |asked| CallError::Budget {
            budget: "web".into(),
            message: String::new(),
            retry_after: asked,
        };
        assert_eq!(answer(&mut evictions, Err(blocked(Some(SECOND * 10))), now), None);
        assert_eq!(evictions.summary(), "0 of 1 pods gone, waiting for budget shop/web");
        assert!(evictions.next_due().expect("due") >= now + SECOND * 10);
        assert!(evictions.due(now + SECOND * 9, 10).is_empty());
        let later = now + SECOND * 13;
        assert_eq!(evictions.due(later, 10), ["u0"]);
        assert!(!evictions.blocked_by().is_empty(), "asking does not make it free");
        for _ in 0..1000 {
            answer(&mut evictions, Err(blocked(None)), later);
            let due = evictions.next_due().expect("due");
            assert!(due > later && due < later + SECOND * 7, "patience has no end");
            evictions.due(due, 10);
        }
        assert_eq!(answer(&mut evictions, Ok(()), later), None);
        assert!(evictions.blocked_by().is_empty());
    }

    #[tokio::test]
    async fn without_an_answer_only_a_later_list_makes_it_due_again() {
        for error in [CallError::NoAnswer("cut".into()), CallError::Conflict("uid".into())] {
            let (mut evictions, now) = one();
            assert_eq!(answer(&mut evictions, Err(error), now), None);
            evictions.listed(&[pod("web-0", "u0", false)], now);
            assert!(evictions.due(now + SECOND * 60, 10).is_empty(), "the list began too early");
            let later = now + SECOND * 60;
            evictions.listed(&[pod("web-0", "u0", false)], later);
            assert_eq!(evictions.due(later, 10), ["u0"]);
        }
        let (mut evictions, now) = one();
        answer(&mut evictions, Err(CallError::NoAnswer("cut".into())), now);
        evictions.listed(&[pod("web-0", "u0", true)], now);
        assert!(evictions.due(now + SECOND * 60, 10).is_empty(), "it took effect");
    }

    #[tokio::test]
    async fn what_somebody_else_ends_more_slowly_is_asked_to_end_sooner() {
        let now = Instant::now();
        let mut evictions = Evictions::new(Duration::from_secs(60), Some(0));
        let ending_in = |seconds| {
            let mut pod = pod("web-0", "u0", true);
            pod.metadata.deletion_grace_period_seconds = Some(seconds);
            pod
        };
        evictions.add(&ending_in(30), false, now);
        evictions.listed(&[ending_in(30)], now);
        assert_eq!(evictions.due(now, 10), ["u0"]);
        answer(&mut evictions, Err(CallError::NoAnswer("cut".into())), now);
        evictions.listed(&[ending_in(30)], now + SECOND * 10);
        assert_eq!(evictions.due(now + SECOND * 10, 10), ["u0"], "it had no effect");
        answer(&mut evictions, Err(CallError::NoAnswer("cut".into())), now + SECOND * 10);
        evictions.listed(&[ending_in(0)], now + SECOND * 20);
        assert!(evictions.due(now + SECOND * 60, 10).is_empty(), "it had");
    }

    #[tokio::test]
    async fn not_found_is_gone_once_it_is_not_listed_and_a_refusal_fails_the_node() {
        let not_found = || Err(CallError::NotFound("not found".into()));
        let (mut evictions, now) = one();
        assert_eq!(answer(&mut evictions, not_found(), now), None);
        assert_eq!(evictions.gone(), 0);
        evictions.listed(&[], now);
        assert_eq!(evictions.gone(), 1);
        // Of a pod that goes on being listed it is no answer, and not one to be put up with for ever.
        let (mut evictions, mut now) = one();
        let why = loop {
            if let Some(why) = answer(&mut evictions, not_found(), now) {
                break why;
            }
            now += SECOND;
            evictions.listed(&[pod("web-0", "u0", false)], now + SECOND);
            now += SECOND;
            assert_eq!(evictions.due(now, 10), ["u0"]);
        };
        assert!(why.starts_with("cannot evict shop/web-0 in "), "{why}");
        let (mut evictions, now) = one();
        let refusal = CallError::Refused(Refusal { code: 500, message: "two budgets".into() });
        let why = answer(&mut evictions, Err(refusal), now).expect("failed");
        assert_eq!(why, "cannot evict shop/web-0: two budgets");
    }

    #[tokio::test]
    async fn an_answer_of_a_busy_server_is_retried_for_a_while() {
        let busy = |code| Err(CallError::Busy { code, message: "busy".into(), retry_after: None });
        let (mut evictions, mut now) = one();
        let mut tries = 0;
        let why = loop {
            if let Some(why) = answer(&mut evictions, busy(503), now) {
                break why;
            }
            tries += 1;
            now += SECOND * 11;
            evictions.listed(&[pod("web-0", "u0", false)], now);
            assert_eq!(evictions.due(now, 10).len(), 1);
        };
        assert!(tries > 5 && why.contains("busy"), "{tries}: {why}");
        // Troubles that the budget's clear answers lie between do not add up.
        let (mut evictions, mut now) = one();
        for _ in 0..1000 {
            assert_eq!(answer(&mut evictions, busy(503), now), None);
            now += SECOND * 11;
            evictions.listed(&[pod("web-0", "u0", false)], now);
            evictions.due(now, 10);
            let budget = || "web".to_owned();
            let blocked =
                CallError::Budget { budget: budget(), message: String::new(), retry_after: None };
            assert_eq!(answer(&mut evictions, Err(blocked), now), None);
            now += SECOND * 7;
            evictions.due(now, 10);
        }
        // "Not now" is waited for as a budget is.
        let (mut evictions, mut now) = one();
        for _ in 0..1000 {
            assert_eq!(answer(&mut evictions, busy(429), now), None);
            let due = evictions.next_due().expect("due");
            assert!(due > now && due < now + SECOND * 7);
            now = due;
            assert_eq!(evictions.due(now, 10).len(), 1);
        }
    }
}
