//! Gets a cordoned node's pods away: asks, waits, lists, until none is left or it is over.

use std::collections::HashMap;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use prometheus::IntGauge;
use tokio::time::Instant;

use super::evictions::Evictions;
use super::sort::Sorted;
use super::{ask, leaving, list, uid};
use crate::executor::apply::recreated;
use crate::executor::backoff::Tries;
use crate::executor::failure::Failure;
use crate::executor::item::{Ended, Job, Stop, Verdict, Work};
use crate::k8s::{CallError, DryRun, Leaving, Terms};
use crate::tasks::pods::{is_overdue, tolerates_cordon};
use crate::tasks::{DrainParams, cordon};

/// Evictions of one node at a time.
const AT_ONCE: usize = 10;
/// How often a node's pods are listed while some are leaving: at first, and when nothing changes.
const LIST_FIRST: Duration = Duration::from_millis(200);
const LIST_LONGEST: Duration = Duration::from_secs(2);

/// What a call under way came to.
enum Event {
    Answered { uid: String, answer: Result<(), CallError>, cost: Duration },
    Listed { began: Instant, pods: Result<Vec<Pod>, CallError> },
}

type Calls<'a> = FuturesUnordered<Pin<Box<dyn Future<Output = Event> + Send + 'a>>>;

/// When the node's pods are listed next.
struct Listing {
    is_under_way: bool,
    at: Instant,
    pause: Duration,
    tries: Tries,
}

impl Listing {
    /// Something changes: look soon.
    fn hasten(&mut self) {
        self.pause = LIST_FIRST;
        self.at = self.at.min(Instant::now() + LIST_FIRST);
    }

    /// A list has arrived.
    fn arrived(&mut self, shows_progress: bool, tries: Tries) {
        self.pause = if shows_progress { LIST_FIRST } else { (self.pause * 2).min(LIST_LONGEST) };
        self.at = Instant::now() + self.pause;
        self.tries = tries;
    }
}

/// A node on its way to being empty.
struct Emptying<'a> {
    job: &'a Job,
    params: &'a DrainParams,
    node: &'a str,
    evictions: Evictions,
    /// How each pod is asked, by UID.
    pods: HashMap<String, Leaving>,
    calls: Calls<'a>,
    /// Evictions under way.
    asking: usize,
    listing: Listing,
    deadline: Option<Instant>,
}

impl Emptying<'_> {
    fn take_up(&mut self, sorted: &Sorted) {
        for (pod, is_leaving) in sorted.leaving() {
            self.evictions.add(pod, is_leaving, Instant::now());
            self.pods.insert(uid(pod), leaving(pod, self.params, DryRun::No));
        }
    }

    /// Starts the calls that are due.
    fn start(&mut self, terms: &Terms) {
        let now = Instant::now();
        let (job, params, node) = (self.job, self.params, self.node);
        for uid in self.evictions.due(now, AT_ONCE.saturating_sub(self.asking)) {
            let Some(pod) = self.pods.get(&uid).cloned() else { continue };
            let terms = terms.clone();
            self.asking += 1;
            self.calls.push(Box::pin(async move {
                let (answer, cost) = ask(job, params, &pod, &terms).await;
                Event::Answered { uid, answer, cost }
            }));
        }
        if !self.listing.is_under_way && self.listing.at <= now {
            self.listing.is_under_way = true;
            let terms = terms.clone();
            self.calls.push(Box::pin(async move {
                let began = Instant::now();
                Event::Listed { began, pods: list(job, node, params, &terms).await }
            }));
        }
    }

    /// When there is something to do without an answer.
    fn wake(&self) -> Option<Instant> {
        let list = (!self.listing.is_under_way).then_some(self.listing.at);
        let ask = self.evictions.next_due().filter(|_| self.asking < AT_ONCE);
        list.into_iter().chain(ask).chain(self.deadline).min()
    }

    fn is_late(&self) -> bool {
        self.deadline.is_some_and(|at| at <= Instant::now())
    }

    fn timed_out(&self) -> Ended {
        let remaining = self.evictions.remaining();
        let (n, names) = (remaining.len(), remaining.join(", "));
        let budgets: Vec<_> = self.evictions.blocked_by().into_iter().collect();
        let blocked = if budgets.is_empty() {
            String::new()
        } else {
            format!(" (waiting for budget {})", budgets.join(", "))
        };
        let seconds = self.params.timeout_seconds;
        let why = format!("timed out after {seconds} s; {n} pods remain{blocked}: {names}");
        Ended::failed(Failure::Timeout, why)
    }
}

/// Counts a node as blocked by a budget for as long as it is.
struct Blocked(IntGauge);

impl Blocked {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Work<'_> {
    /// See the module's description.
    ///
    /// # Errors
    /// When the task stops; evictions under way have been waited for, unless it is another's.
    pub(super) async fn evict(
        &mut self,
        params: &DrainParams,
        sorted: &Sorted,
    ) -> Result<Ended, Stop> {
        let node = self.item.node.clone();
        let (begun, timeout) = (Instant::now(), Duration::from_secs(params.timeout_seconds.into()));
        let mut emptying = Emptying {
            job: self.job,
            params,
            node: &node,
            evictions: Evictions::new(self.job.retry_timeout, params.grace()),
            pods: HashMap::new(),
            calls: Calls::new(),
            asking: 0,
            listing: Listing {
                is_under_way: false,
                at: begun + LIST_FIRST,
                pause: LIST_FIRST,
                tries: self.tries(),
            },
            deadline: (!timeout.is_zero()).then(|| begun + timeout),
        };
        emptying.take_up(sorted);
        let (mut told, mut blocked) = (String::new(), None);
        // Once it is over, nothing new is started.
        let mut over: Option<Result<Ended, Stop>> = None;
        loop {
            match over {
                Some(over) if emptying.asking == 0 => return over,
                None if emptying.evictions.gone() == emptying.evictions.total() => {
                    let n = emptying.evictions.total();
                    return Ok(Ended::succeeded(Some(format!("{n} of {n} pods gone"))));
                }
                None => {
                    emptying.start(&self.terms());
                    self.tell(&emptying.evictions, &mut told);
                    let is_blocked = !emptying.evictions.blocked_by().is_empty();
                    if is_blocked != blocked.is_some() {
                        blocked =
                            is_blocked.then(|| Blocked::new(&self.job.metrics.drains_blocked));
                    }
                }
                Some(_) => {}
            }
            let (is_over, wake) = (over.is_some(), emptying.wake());
            let news = tokio::select! {
                biased;
                stop = self.halted(), if !is_over => match stop {
                    Stop::Halt { .. } => {
                        let doubt = format!("stopped with {}", emptying.evictions.summary());
                        Some(Err(Stop::Halt { doubt: Some(doubt) }))
                    }
                    stop => return Err(stop),
                },
                Some(event) = emptying.calls.next() => self.follow(event, &mut emptying).await?,
                () = until(wake), if !is_over => emptying.is_late().then(|| Ok(emptying.timed_out())),
            };
            over = over.or(news);
        }
    }

    /// Shows how far it is, when that has changed.
    fn tell(&mut self, evictions: &Evictions, told: &mut String) {
        let summary = evictions.summary();
        if summary != *told {
            self.say(summary.clone());
            *told = summary;
        }
    }

    /// Takes an answer in. Returns how the drain ends, if it does.
    async fn follow(
        &mut self,
        event: Event,
        emptying: &mut Emptying<'_>,
    ) -> Result<Option<Result<Ended, Stop>>, Stop> {
        let failed = |failure, why: String| Ok(Some(Ok(Ended::failed(failure, why))));
        match event {
            Event::Answered { uid, answer, cost } => {
                emptying.asking -= 1;
                emptying.listing.hasten();
                if matches!(answer, Err(CallError::Fenced)) && !self.job.halt.is_cancelled() {
                    // Waits until the lease is renewed or lost.
                    drop(self.verdict(CallError::Fenced).await?);
                }
                let now = Instant::now();
                match emptying.evictions.answered(&uid, answer, cost, now) {
                    Some(why) => {
                        let why = format!("{why}; {}", emptying.evictions.summary());
                        failed(Failure::Eviction, why)
                    }
                    None => Ok(None),
                }
            }
            Event::Listed { began, pods: Ok(pods) } => {
                emptying.listing.is_under_way = false;
                let gone = emptying.evictions.gone();
                emptying.evictions.listed(&pods, began);
                let now = Timestamp::now();
                for pod in pods.iter().filter(|pod| is_overdue(pod, emptying.params, now)) {
                    emptying.evictions.forget(pod);
                }
                if self.is_recreated() {
                    return Ok(Some(Ok(recreated())));
                }
                let refused = self.take_up_late(&pods, emptying).await?;
                emptying.listing.arrived(emptying.evictions.gone() > gone, self.tries());
                refused.map_or(Ok(None), |why| failed(Failure::Pods, why))
            }
            Event::Listed { pods: Err(error), .. } => {
                emptying.listing.is_under_way = false;
                emptying.listing.tries.begin();
                match self.verdict(error).await? {
                    Verdict::End(ended) => Ok(Some(Ok(ended))),
                    Verdict::Again(trouble) => match emptying.listing.tries.next(&trouble) {
                        Some(pause) => {
                            emptying.listing.at = Instant::now() + pause;
                            Ok(None)
                        }
                        None => {
                            let why = trouble.why();
                            let why = format!("the node's pods cannot be listed: {why}");
                            failed(trouble.failure(), why)
                        }
                    },
                }
            }
        }
    }

    /// Whether another node has the name by now: its pods are none of this drain's.
    fn is_recreated(&self) -> bool {
        let node = self.job.cache.get(&self.item.node);
        node.is_some_and(|node| node.metadata.uid.as_deref() != Some(&self.item.uid))
    }

    /// Takes up pods that were on their way to the node when it was cordoned. On a node that somebody
    /// has made schedulable meanwhile new ones are welcome. Returns why the drain cannot go on.
    async fn take_up_late(
        &mut self,
        listed: &[Pod],
        emptying: &mut Emptying<'_>,
    ) -> Result<Option<String>, Stop> {
        let node = self.job.cache.get(&self.item.node);
        if !node.is_some_and(|node| cordon::is_unschedulable(&node)) {
            return Ok(None);
        }
        let is_late = |pod: &&Pod| !emptying.evictions.knows(pod) && !tolerates_cordon(pod);
        let late: Vec<_> = listed.iter().filter(is_late).cloned().collect();
        if late.is_empty() {
            return Ok(None);
        }
        match self.sort_listed(emptying.params, late).await? {
            Ok(sorted) => {
                emptying.take_up(&sorted);
                Ok(sorted.refusals())
            }
            Err(Ended { message, .. }) => Ok(message),
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
