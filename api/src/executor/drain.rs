//! Drains one node.
//!
//! ```text
//! Checking ─ a pod that may not go ─▶ failed, nothing touched
//!    ▼
//! Waiting for its turn (one active drain per node)
//!    │  └─ the task stops, or starts no other node ──▶ pending: not touched
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

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Map, Value};

use super::apply::{Applied, recreated};
use super::failure::Failure;
use super::item::{DRAIN_HAD_BEGUN, Ended, Job, Stop, Work};
use super::schedule::is_unavailable;
use crate::db::drains::{Limit, Turn};
use crate::k8s::{CallError, DryRun, Leaving, Terms};
use crate::lease::Moment;
use crate::tasks::{DrainParams, cordon};

mod clear_up;
mod evict;
mod evictions;
mod rehearse;
mod sort;

/// How often a turn is asked for.
const TURN_PAUSE: Duration = Duration::from_secs(1);
/// How long the cordon is waited for to be seen in memory, which other nodes' turns go by: where they are
/// limited, for longer than it takes to find out that the watch's connection is dead.
const SEEN_TIMEOUT: Duration = Duration::from_secs(5);
const SEEN_TIMEOUT_LIMITED: Duration = Duration::from_secs(60);
const SEEN_PAUSE: Duration = Duration::from_millis(20);

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
        if !matches!(ended, Err(Stop::Lost)) {
            self.job.turns.release(self.item.ordinal).await;
        }
        ended
    }

    /// Whether the node is the one that was meant, and all of its pods may go.
    async fn check(&mut self, params: &DrainParams) -> Result<Option<Ended>, Stop> {
        let mut tries = self.tries();
        let node = loop {
            tries.begin();
            match self.read_node(&mut tries).await? {
                Ok(node) => break node,
                Err(verdict) => {
                    if let Some(ended) = self.end_or_pause(&mut tries, verdict).await? {
                        return Ok(Some(ended));
                    }
                }
            }
        };
        if node.metadata.uid.as_deref() != Some(&self.item.uid) {
            return Ok(Some(recreated()));
        }
        match self.sort(params).await? {
            Ok(sorted) => Ok(sorted.refusals().map(|why| Ended::failed(Failure::Pods, why))),
            Err(ended) => Ok(Some(ended)),
        }
    }

    /// Waits for as long as the task starts nodes at all: up to here, this one is none of them. A turn whose
    /// answer is not waited for ends with the item's state, which is not running any more.
    async fn take_turn(&mut self) -> Result<(), Stop> {
        let mut told = String::new();
        loop {
            let away = self.away();
            let limit = away.as_ref().map(|(most, nodes, away)| Limit { most: *most, nodes, away });
            let turn = self.job.turns.take(&self.item.node, self.item.ordinal, limit);
            let turn = tokio::select! {
                biased;
                stop = self.not_to_begin() => return Err(stop),
                turn = turn => turn,
            };
            let why = match turn {
                Ok(Turn::Mine) => return Ok(()),
                Ok(Turn::Other(task)) => format!("waiting: task {task} is draining this node"),
                Ok(Turn::Full(away)) => format!(
                    "waiting: {away} of the task's nodes are unavailable or being drained, and \
                     options.max_unavailable allows no more"
                ),
                // The claim is renewed or lost; the lease tells.
                Ok(Turn::Lost) | Err(_) => String::new(),
            };
            if !why.is_empty() && why != told {
                self.say(why.clone());
                told = why;
            }
            tokio::select! {
                biased;
                stop = self.not_to_begin() => return Err(stop),
                () = tokio::time::sleep(TURN_PAUSE.mul_f64(rand::random_range(0.75..1.25))) => {}
            }
        }
    }

    /// Resolves when the task stops, or starts no other node.
    async fn not_to_begin(&self) -> Stop {
        let stop = tokio::select! {
            stop = self.halted() => stop,
            () = self.job.no_new.cancelled() => Stop::HALT,
        };
        match stop {
            Stop::Halt { .. } => {
                let doubt = self.item.has_begun().then(|| DRAIN_HAD_BEGUN.to_owned());
                Stop::Halt { doubt }
            }
            stop => stop,
        }
    }

    /// How many of which nodes may be away when this one is taken, and which are; nothing where it is
    /// away already.
    fn away(&self) -> Option<(usize, &[String], Vec<&str>)> {
        let job = self.job;
        let (most, nodes) = job.limited.as_ref()?;
        let is_away = |name: &str| job.cache.get(name).is_some_and(|n| is_unavailable(&n));
        if is_away(&self.item.node) {
            return None;
        }
        Some((*most, nodes, nodes.iter().map(String::as_str).filter(|n| is_away(n)).collect()))
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
            Applied::Ended(Ended { message, failure: Some(failure), .. }) => {
                let why = message.unwrap_or_default();
                return Ok(Ended::failed(failure, format!("cannot be cordoned: {why}")));
            }
            Applied::Ended(ended) => return Ok(ended),
        }
        self.be_seen().await?;
        let sorted = match self.sort(params).await? {
            Ok(sorted) => sorted,
            Err(ended) => return Ok(ended),
        };
        if let Some(why) = sorted.refusals() {
            return Ok(Ended::failed(Failure::Pods, why));
        }
        self.evict(params, &sorted).await
    }

    /// Waits until memory shows the cordon, or a little.
    async fn be_seen(&self) -> Result<(), Stop> {
        let is_seen = || {
            let node = self.job.cache.get(&self.item.node);
            node.is_none_or(|node| cordon::is_unschedulable(&node))
        };
        let seen = async {
            while !is_seen() {
                tokio::time::sleep(SEEN_PAUSE).await;
            }
        };
        let is_limited = self.job.limited.is_some();
        let most = if is_limited { SEEN_TIMEOUT_LIMITED } else { SEEN_TIMEOUT };
        tokio::select! {
            () = seen => Ok(()),
            stop = self.halted() => Err(stop),
            () = tokio::time::sleep(most) => Ok(()),
        }
    }
}

/// An eviction, or a deletion where that was asked for expressly, and what it has cost. Not sent once
/// the task stops.
async fn ask(
    job: &Job,
    params: &DrainParams,
    pod: &Leaving,
    terms: &Terms,
) -> (Result<(), CallError>, Duration) {
    let permit = tokio::select! {
        biased;
        // The task is stopped while this waits for its turn.
        () = job.halt.cancelled() => return (Err(CallError::Fenced), Duration::ZERO),
        permit = job.call() => permit,
    };
    let sent = Moment::now();
    let answer = if params.disable_eviction {
        job.pods.delete(pod, terms).await
    } else {
        job.pods.evict(pod, terms).await
    };
    drop(permit);
    (answer, sent.elapsed().min(job.request_timeout))
}

/// The node's pods that the drain is for.
async fn list(
    job: &Job,
    node: &str,
    params: &DrainParams,
    terms: &Terms,
) -> Result<Vec<Pod>, CallError> {
    let permit = job.call().await;
    let pods = job.pods.on_node(node, &params.pod_selector, terms).await;
    drop(permit);
    pods
}

fn uid(pod: &Pod) -> String {
    pod.metadata.uid.clone().unwrap_or_default()
}

fn leaving(pod: &Pod, params: &DrainParams, dry_run: DryRun) -> Leaving {
    Leaving {
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        name: pod.metadata.name.clone().unwrap_or_default(),
        uid: uid(pod),
        grace_period_seconds: params.grace(),
        dry_run,
    }
}
