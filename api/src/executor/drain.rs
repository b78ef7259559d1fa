//! Drains one node.
//!
//! ```text
//! Checking ─ a pod that may not go ─▶ failed, nothing touched
//!    ▼
//! Waiting for its turn (one active drain per node)
//!    ▼
//! Cordoning ─ not possible ─▶ failed
//!    ▼
//! Listing ─ a pod that may not go ─▶ failed
//!    ▼
//! Emptying (see `evictions`) ─ no pod left ─▶ succeeded
//!    ├─ a pod cannot be evicted, or time is up ─▶ failed ─▶ uncordoned, if asked for
//!    ├─ cancelled ─▶ halted with what was done     ─▶ uncordoned, if asked for
//!    └─ paused, handed back ─▶ pending: whoever goes on finds the pods as they are
//! ```
//!
//! The list after the cordon decides which pods go. One that comes later and would not tolerate the
//! cordon was on its way before it, and goes, too.

use std::collections::HashMap;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use knm_shared::status::ItemStatus;
use prometheus::IntGauge;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::apply::{Applied, recreated};
use super::evictions::{Evictions, uid};
use super::item::{Ended, Job, Stop, Verdict, Work};
use crate::db::drains::Turn;
use crate::k8s::{CallError, DryRun, Leaving, Terms};
use crate::lease::Moment;
use crate::tasks::pods::{Fate, controller, fate, full_name, refusals, tolerates_cordon};
use crate::tasks::{DrainParams, Plan, cordon};

/// Evictions of one node at a time.
const AT_ONCE: usize = 10;
/// How often a node's pods are listed while some are leaving: at first, and when nothing changes.
const LIST_FIRST: Duration = Duration::from_millis(200);
const LIST_LONGEST: Duration = Duration::from_secs(2);
/// How often a turn is asked for.
const TURN_PAUSE: Duration = Duration::from_secs(1);
/// How long the cordon is waited for to be seen in memory, which other nodes' turns go by.
const SEEN_TIMEOUT: Duration = Duration::from_secs(5);
const SEEN_PAUSE: Duration = Duration::from_millis(20);

/// What a call under way came to.
enum Event {
    Answered { uid: String, answer: Result<(), CallError>, cost: Duration },
    Listed { began: Instant, pods: Result<Vec<Pod>, CallError> },
}

type Calls<'a> = FuturesUnordered<Pin<Box<dyn Future<Output = Event> + Send + 'a>>>;

/// The pods of a node by what becomes of them.
struct Sorted {
    fates: Vec<(Pod, Fate)>,
}

impl Sorted {
    fn refusals(&self) -> Option<String> {
        let named: Vec<_> = self.fates.iter().map(|(pod, fate)| (full_name(pod), *fate)).collect();
        refusals(&named)
    }

    fn leaving(&self) -> impl Iterator<Item = (&Pod, bool)> {
        self.fates.iter().filter_map(|(pod, fate)| match fate {
            Fate::Evict => Some((pod, false)),
            Fate::Wait => Some((pod, true)),
            Fate::Stay(_) | Fate::Refuse(_) => None,
        })
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
    /// When the task stops.
    pub(super) async fn drain(&mut self, params: &DrainParams) -> Result<Ended, Stop> {
        let is_dry_run = self.job.options.dry_run;
        if !self.past.may_be_written()
            && let Some(ended) = self.check(params).await?
        {
            return Ok(ended);
        }
        if !self.is_running {
            self.make_durable(None).await?;
        }
        if is_dry_run {
            return self.rehearse(params).await;
        }
        self.take_turn().await?;
        let ended = self.empty(params).await;
        let ended = self.clear_up(ended).await;
        self.job.turns.release(self.item.ordinal).await;
        ended
    }

    /// Whether the node is the one that was meant, and all of its pods may go.
    async fn check(&mut self, params: &DrainParams) -> Result<Option<Ended>, Stop> {
        let mut tries = self.tries();
        let node = loop {
            tries.begin();
            match self.read_node(&mut tries).await? {
                Ok(node) => break node,
                Err(Verdict::End(ended)) => return Ok(Some(ended)),
                Err(Verdict::Again(trouble)) => {
                    if let Some(ended) = self.pause(&mut tries, &trouble).await? {
                        return Ok(Some(ended));
                    }
                }
            }
        };
        if node.metadata.uid.as_deref() != Some(&self.item.uid) {
            return Ok(Some(recreated()));
        }
        match self.sort(params).await? {
            Ok(sorted) => Ok(sorted.refusals().map(Ended::failed)),
            Err(ended) => Ok(Some(ended)),
        }
    }

    async fn take_turn(&mut self) -> Result<(), Stop> {
        let mut told = None;
        loop {
            self.check_halt()?;
            match self.job.turns.take(&self.item.node, self.item.ordinal).await {
                Ok(Turn::Mine) => return Ok(()),
                Ok(Turn::Other(task)) if told != Some(task) => {
                    self.say(format!("waiting: task {task} is draining this node"));
                    told = Some(task);
                }
                // The claim is renewed or lost; the lease tells.
                Ok(Turn::Other(_) | Turn::Lost) | Err(_) => {}
            }
            self.sleep(TURN_PAUSE.mul_f64(rand::random_range(0.75..1.25))).await?;
        }
    }

    /// Cordons, lists, evicts, waits.
    async fn empty(&mut self, params: &DrainParams) -> Result<Ended, Stop> {
        match self.apply().await? {
            Applied::Changed => {}
            Applied::Unchanged => {
                // Nothing of the node is changed, but what follows must not be taken for not begun.
                if self.past.bind_nothing() {
                    self.make_durable(Some((Value::Object(Map::new()), None))).await?;
                }
            }
            Applied::Ended(Ended { status: ItemStatus::Failed, message }) => {
                let why = message.unwrap_or_default();
                return Ok(Ended::failed(format!("cannot be cordoned: {why}")));
            }
            Applied::Ended(ended) => return Ok(ended),
        }
        self.be_seen().await;
        let sorted = match self.sort(params).await? {
            Ok(sorted) => sorted,
            Err(ended) => return Ok(ended),
        };
        if let Some(why) = sorted.refusals() {
            return Ok(Ended::failed(why));
        }
        let mut evictions = Evictions::new(self.job.retry_timeout);
        let now = Instant::now();
        for (pod, is_leaving) in sorted.leaving() {
            evictions.add(pod, is_leaving, now);
        }
        let pods = sorted.leaving().map(|(pod, _)| (uid(pod), leaving(pod, params, DryRun::No)));
        self.evict(params, evictions, pods.collect()).await
    }

    async fn evict(
        &mut self,
        params: &DrainParams,
        mut evictions: Evictions,
        mut pods: HashMap<String, Leaving>,
    ) -> Result<Ended, Stop> {
        let job = self.job;
        let node = self.item.node.clone();
        let begun = Instant::now();
        let timeout = Duration::from_secs(params.timeout_seconds.into());
        let deadline = (params.timeout_seconds > 0).then(|| begun + timeout);
        let mut calls = Calls::new();
        let (mut asking, mut is_listing) = (0, false);
        let (mut list_pause, mut list_at) = (LIST_FIRST, begun);
        let mut list_tries = self.tries();
        let mut told = String::new();
        let mut blocked = None;
        // Why nothing new is started.
        let mut over: Option<Result<Ended, Stop>> = None;
        loop {
            let now = Instant::now();
            if over.is_none() && evictions.gone() == evictions.total() {
                let n = evictions.total();
                return Ok(Ended::succeeded(Some(format!("{n} of {n} pods gone"))));
            }
            match over.take() {
                Some(over) if asking == 0 => return over,
                still => over = still,
            }
            if over.is_none() {
                for uid in evictions.due(now, AT_ONCE.saturating_sub(asking)) {
                    let Some(pod) = pods.get(&uid) else { continue };
                    asking += 1;
                    calls.push(Box::pin(ask(job, params, uid, pod.clone(), self.terms())));
                }
                if !is_listing && list_at <= now {
                    is_listing = true;
                    calls.push(Box::pin(list(job, &node, params, self.terms())));
                }
                let summary = evictions.summary();
                if summary != told {
                    self.say(summary.clone());
                    told = summary;
                }
                let is_blocked = !evictions.blocked_by().is_empty();
                if is_blocked != blocked.is_some() {
                    blocked = is_blocked.then(|| Blocked::new(&job.metrics.drains_blocked));
                }
            }
            let list_due = (!is_listing).then_some(list_at);
            let wake = evictions.next_due().filter(|_| asking < AT_ONCE).into_iter();
            let wake = wake.chain(list_due).chain(deadline).min();
            let is_over = over.is_some();
            tokio::select! {
                biased;
                stop = self.halted(), if !is_over => match stop {
                    Stop::Halt { .. } => {
                        let doubt = Some(format!("stopped with {}", evictions.summary()));
                        over = Some(Err(Stop::Halt { doubt }));
                    }
                    stop => return Err(stop),
                },
                event = calls.next(), if !calls.is_empty() => match event {
                    Some(Event::Answered { uid, answer, cost }) => {
                        asking -= 1;
                        if matches!(answer, Err(CallError::Fenced)) && over.is_none() {
                            job.lease.valid().await?;
                        }
                        list_pause = LIST_FIRST;
                        list_at = list_at.min(Instant::now() + LIST_FIRST);
                        if let Some(why) = evictions.answered(&uid, answer, cost, Instant::now()) {
                            let so_far = evictions.summary();
                            over.get_or_insert_with(|| Ok(Ended::failed(format!("{why}; {so_far}"))));
                        }
                    }
                    Some(Event::Listed { began, pods: Ok(listed) }) => {
                        is_listing = false;
                        list_tries = self.tries();
                        let gone = evictions.gone();
                        evictions.listed(&listed, began);
                        if let Some(why) = self.take_up_late(params, &listed, &mut evictions, &mut pods).await? {
                            over.get_or_insert(Ok(Ended::failed(why)));
                        }
                        list_pause = if evictions.gone() > gone { LIST_FIRST } else { (list_pause * 2).min(LIST_LONGEST) };
                        list_at = Instant::now() + list_pause;
                    }
                    Some(Event::Listed { pods: Err(error), .. }) => {
                        is_listing = false;
                        list_tries.begin();
                        match self.verdict(error).await? {
                            Verdict::End(ended) => drop(over.get_or_insert(Ok(ended))),
                            Verdict::Again(trouble) => match list_tries.next(&trouble) {
                                Some(pause) => list_at = Instant::now() + pause,
                                None => {
                                    let why = format!("the node's pods cannot be listed: {}", trouble.why());
                                    over.get_or_insert(Ok(Ended::failed(why)));
                                }
                            },
                        }
                    }
                    None => {}
                },
                () = until(wake), if !is_over => {
                    if deadline.is_some_and(|at| at <= Instant::now()) {
                        over = Some(Ok(timed_out(params.timeout_seconds, &evictions)));
                    }
                }
            }
        }
    }

    /// Takes up pods that were on their way to the node when it was cordoned. Returns why the drain
    /// cannot go on.
    async fn take_up_late(
        &mut self,
        params: &DrainParams,
        listed: &[Pod],
        evictions: &mut Evictions,
        pods: &mut HashMap<String, Leaving>,
    ) -> Result<Option<String>, Stop> {
        let late: Vec<_> = listed
            .iter()
            .filter(|p| !evictions.knows(p) && !tolerates_cordon(p))
            .cloned()
            .collect();
        if late.is_empty() {
            return Ok(None);
        }
        let sorted = match self.sort_listed(params, late).await? {
            Ok(sorted) => sorted,
            Err(Ended { message, .. }) => return Ok(message),
        };
        for (pod, is_leaving) in sorted.leaving() {
            evictions.add(pod, is_leaving, Instant::now());
            pods.insert(uid(pod), leaving(pod, params, DryRun::No));
        }
        Ok(sorted.refusals())
    }

    /// Tries everything and changes nothing.
    async fn rehearse(&mut self, params: &DrainParams) -> Result<Ended, Stop> {
        if let Applied::Ended(ended) = self.apply().await? {
            return Ok(ended);
        }
        let sorted = match self.sort(params).await? {
            Ok(sorted) => sorted,
            Err(ended) => return Ok(ended),
        };
        let (mut would_go, mut would_wait) = (0, Vec::new());
        for (pod, _) in sorted.leaving() {
            let terms = self.terms();
            let (namespace, asked) =
                (pod.metadata.namespace.clone(), leaving(pod, params, DryRun::Yes));
            let mut tries = self.tries();
            loop {
                self.check_halt()?;
                tries.begin();
                let event = ask(self.job, params, uid(pod), asked.clone(), terms.clone()).await;
                let Event::Answered { answer, cost, .. } = event else { continue };
                tries.add_call(cost);
                match answer {
                    Ok(()) | Err(CallError::NotFound(_)) => would_go += 1,
                    Err(CallError::Budget { budget, .. }) => {
                        let namespace = namespace.as_deref().unwrap_or_default();
                        would_wait
                            .push(format!("{} for budget {namespace}/{budget}", full_name(pod)));
                    }
                    Err(error) => match self.verdict(error).await? {
                        Verdict::End(Ended { message, .. }) => {
                            let why = message.unwrap_or_default();
                            let why = format!("dry run: cannot evict {}: {why}", full_name(pod));
                            return Ok(Ended::failed(why));
                        }
                        Verdict::Again(trouble) => match self.pause(&mut tries, &trouble).await? {
                            Some(ended) => return Ok(ended),
                            None => continue,
                        },
                    },
                }
                break;
            }
        }
        let mut message = format!("dry run: {would_go} pods would go");
        if !would_wait.is_empty() {
            message.push_str(&format!(
                ", {} would wait: {}",
                would_wait.len(),
                would_wait.join(", ")
            ));
        }
        Ok(Ended::succeeded(Some(message)))
    }

    /// Lists the node's pods and decides for each.
    async fn sort(&mut self, params: &DrainParams) -> Result<Result<Sorted, Ended>, Stop> {
        let mut tries = self.tries();
        loop {
            self.check_halt()?;
            tries.begin();
            self.count_try(&tries);
            let event = list(self.job, &self.item.node, params, self.terms()).await;
            let Event::Listed { pods, .. } = event else { continue };
            match pods {
                Ok(pods) => return self.sort_listed(params, pods).await,
                Err(error) => match self.verdict(error).await? {
                    Verdict::End(ended) => return Ok(Err(ended)),
                    Verdict::Again(trouble) => {
                        if let Some(ended) = self.pause(&mut tries, &trouble).await? {
                            return Ok(Err(ended));
                        }
                    }
                },
            }
        }
    }

    async fn sort_listed(
        &mut self,
        params: &DrainParams,
        pods: Vec<Pod>,
    ) -> Result<Result<Sorted, Ended>, Stop> {
        let mut exist = HashMap::new();
        for pod in &pods {
            let Some(owner) = controller(pod).filter(|o| o.kind == "DaemonSet") else { continue };
            let namespace = pod.metadata.namespace.clone().unwrap_or_default();
            let key = (namespace, owner.name.clone());
            if exist.contains_key(&key) {
                continue;
            }
            match self.daemonset_exists(&key.0, &key.1).await? {
                Ok(exists) => exist.insert(key, exists),
                Err(ended) => return Ok(Err(ended)),
            };
        }
        let now = Timestamp::now();
        let decide = |pod: Pod| {
            let namespace = pod.metadata.namespace.clone().unwrap_or_default();
            let fate = fate(&pod, params, now, |owner| {
                exist.get(&(namespace, owner.name.clone())).copied().unwrap_or(true)
            });
            (pod, fate)
        };
        Ok(Ok(Sorted { fates: pods.into_iter().map(decide).collect() }))
    }

    async fn daemonset_exists(
        &mut self,
        namespace: &str,
        name: &str,
    ) -> Result<Result<bool, Ended>, Stop> {
        if self.job.knows_daemonset(namespace, name) {
            return Ok(Ok(true));
        }
        let mut tries = self.tries();
        loop {
            tries.begin();
            let call = self.call_permit().await?;
            let sent = Moment::now();
            let answer = self.job.pods.daemonset_exists(namespace, name, &self.terms()).await;
            drop(call);
            tries.add_call(self.cost(sent));
            match answer {
                Ok(exists) => {
                    if exists {
                        self.job.remember_daemonset(namespace, name);
                    }
                    return Ok(Ok(exists));
                }
                Err(error) => match self.verdict(error).await? {
                    Verdict::End(ended) => return Ok(Err(ended)),
                    Verdict::Again(trouble) => {
                        if let Some(ended) = self.pause(&mut tries, &trouble).await? {
                            return Ok(Err(ended));
                        }
                    }
                },
            }
        }
    }

    /// Waits until memory shows the cordon, or a little.
    async fn be_seen(&self) {
        let is_seen = || {
            let node = self.job.cache.get(&self.item.node);
            node.is_none_or(|node| cordon::is_unschedulable(&node))
        };
        let seen = async {
            while !is_seen() {
                tokio::time::sleep(SEEN_PAUSE).await;
            }
        };
        let _ = tokio::time::timeout(SEEN_TIMEOUT, seen).await;
    }

    /// Takes the cordon back where that is asked for, and says how the node was left.
    async fn clear_up(&mut self, ended: Result<Ended, Stop>) -> Result<Ended, Stop> {
        match ended {
            Ok(Ended { status: ItemStatus::Failed, message }) => {
                let mut message = message.unwrap_or_default();
                if let Some(note) = self.uncordon_if_asked().await? {
                    message.push_str("; ");
                    message.push_str(&note);
                }
                Ok(Ended::failed(message))
            }
            Err(Stop::Halt { doubt }) if self.job.is_cancelled() && self.past.may_be_written() => {
                let note = self.uncordon_if_asked().await?;
                let note = note.unwrap_or_else(|| "the node stays cordoned".into());
                let doubt = doubt.map_or_else(|| note.clone(), |doubt| format!("{doubt}; {note}"));
                Err(Stop::Halt { doubt: Some(doubt) })
            }
            other => other,
        }
    }

    /// What was done, if anything was to be done.
    async fn uncordon_if_asked(&mut self) -> Result<Option<String>, Stop> {
        let was = self.past.bound().and_then(|before| before.get("unschedulable"));
        if !self.job.options.uncordon_on_failure || was != Some(&Value::Bool(false)) {
            return Ok(None);
        }
        self.clears_up = true;
        let done = self.uncordon().await;
        self.clears_up = false;
        Ok(Some(match done? {
            None => "the node is schedulable again".into(),
            Some(why) => format!("the node stays cordoned: {why}"),
        }))
    }

    /// Returns why it was not done.
    async fn uncordon(&mut self) -> Result<Option<String>, Stop> {
        let mut tries = self.tries();
        loop {
            tries.begin();
            let trouble = match self.read_node(&mut tries).await? {
                Ok(node) => {
                    let ours = self.after.as_ref().and_then(|after| after.get(cordon::AT));
                    let now = node.metadata.annotations.as_ref().and_then(|a| a.get(cordon::AT));
                    if node.metadata.uid.as_deref() != Some(&self.item.uid)
                        || ours.and_then(Value::as_str) != now.map(String::as_str)
                    {
                        return Ok(Some("somebody else has changed that meanwhile".into()));
                    }
                    let Plan::Change(change) = cordon::uncordon(&node) else { return Ok(None) };
                    let version = node.metadata.resource_version.as_deref().unwrap_or_default();
                    let patch = change.merge_patch(version);
                    let call = self.call_permit().await?;
                    let sent = Moment::now();
                    let (name, terms) = (&self.item.node, self.terms());
                    let answer = self.job.nodes.merge_patch(name, &patch, DryRun::No, &terms).await;
                    drop(call);
                    tries.add_call(self.cost(sent));
                    match answer {
                        Ok(_) => {
                            self.after = None;
                            return Ok(None);
                        }
                        Err(error) => self.verdict(error).await?,
                    }
                }
                Err(verdict) => verdict,
            };
            match trouble {
                Verdict::End(Ended { message, .. }) => return Ok(message),
                Verdict::Again(trouble) => {
                    if let Some(ended) = self.pause(&mut tries, &trouble).await? {
                        return Ok(ended.message);
                    }
                }
            }
        }
    }
}

/// One call of a drain: an eviction, or a deletion where that was asked for expressly.
async fn ask(job: &Job, params: &DrainParams, uid: String, pod: Leaving, terms: Terms) -> Event {
    let permit = job.calls.acquire().await;
    let sent = Moment::now();
    let answer = if params.disable_eviction {
        job.pods.delete(&pod, &terms).await
    } else {
        job.pods.evict(&pod, &terms).await
    };
    drop(permit);
    Event::Answered { uid, answer, cost: sent.elapsed().min(job.request_timeout) }
}

async fn list(job: &Job, node: &str, params: &DrainParams, terms: Terms) -> Event {
    let permit = job.calls.acquire().await;
    let began = Instant::now();
    let pods = job.pods.on_node(node, &params.pod_selector, &terms).await;
    drop(permit);
    Event::Listed { began, pods }
}

fn leaving(pod: &Pod, params: &DrainParams, dry_run: DryRun) -> Leaving {
    Leaving {
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        name: pod.metadata.name.clone().unwrap_or_default(),
        uid: uid(pod),
        grace_period_seconds: params.grace_period_seconds.filter(|s| *s >= 0),
        dry_run,
    }
}

fn timed_out(seconds: u32, evictions: &Evictions) -> Ended {
    let remaining = evictions.remaining();
    let (n, names) = (remaining.len(), remaining.join(", "));
    let budgets: Vec<_> = evictions.blocked_by().into_iter().collect();
    let blocked = if budgets.is_empty() {
        String::new()
    } else {
        format!(" (waiting for budget {})", budgets.join(", "))
    };
    Ended::failed(format!("timed out after {seconds} s; {n} pods remain{blocked}: {names}"))
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
