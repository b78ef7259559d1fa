//! Which node of a task comes next, and when. Pure: looks at the nodes in memory and at the clock it
//! is given.
//!
//! The order is that of the task, but for the node that this pod itself runs on: a drain takes it
//! last, when all others have ended, since it may end this very process; or when it is away already, and
//! none of the others may be started because of that.
//!
//! ```text
//! next() ─▶ Start(node)
//!        ─▶ Wait(why)   a wave's nodes are not Ready, too many nodes are unavailable, …
//!        ─▶ Stop(why)   the rest is not started: too many failures, too late, a wave that stays down
//!        ─▶ Empty
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use knm_shared::ids::Ordinal;
use knm_shared::status::ItemStatus;
use tokio::time::Instant;

use crate::clusters::{NodeCache, Sync};
use crate::db::claim::Item;
use crate::tasks::{Action, Options, cordon};

/// Names in a message.
const NAMED: usize = 5;

/// What is to be done now.
#[derive(Debug)]
pub(super) enum Next {
    /// Work on this node.
    Start(Box<Item>),
    /// Nothing yet, and why, for whoever looks at this node meanwhile.
    Wait(Ordinal, String),
    /// The rest is not started, and why.
    Stop(String),
    /// All nodes have been started.
    Empty,
}

/// A node as it stands in the task.
#[derive(Debug, Clone)]
struct Place {
    name: String,
    status: ItemStatus,
    /// Being worked on by this holder.
    is_under_way: bool,
}

/// A wave whose nodes are waited for.
#[derive(Debug, Clone, Copy)]
struct Gate {
    wave: usize,
    since: Instant,
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Schedule {
    todo: VecDeque<Item>,
    options: Options,
    is_drain: bool,
    places: Vec<Place>,
    /// The place that comes last, when everything else has ended.
    own: Option<Ordinal>,
    failed: u32,
    gate: Option<Gate>,
    /// The wave that may be worked on: those before it are Ready.
    open_wave: usize,
}

impl Schedule {
    /// A claimed task's. `own_node` is where this process runs, if it knows.
    pub(super) fn new(
        items: Vec<Item>,
        action: &Action,
        options: &Options,
        own_node: Option<&str>,
    ) -> Self {
        let place =
            |i: &Item| Place { name: i.node.clone(), status: i.status, is_under_way: false };
        let places: Vec<_> = items.iter().map(place).collect();
        let is_drain = action.is_drain();
        let own = own_node.filter(|_| is_drain);
        let own = own.and_then(|own| items.iter().find(|i| i.node == own)).map(|i| i.ordinal);
        let failed = places.iter().filter(|p| p.status == ItemStatus::Failed).count();
        let mut todo: VecDeque<Item> =
            items.into_iter().filter(|i| !i.status.is_terminal()).collect();
        if let Some(at) = todo.iter().position(|i| Some(i.ordinal) == own)
            && let Some(item) = todo.remove(at)
        {
            todo.push_back(item);
        }
        Self {
            todo,
            options: options.clone(),
            is_drain,
            places,
            own,
            failed: u32::try_from(failed).unwrap_or(u32::MAX),
            gate: None,
            open_wave: 0,
        }
    }

    /// What comes next, as of `wall` and `now`.
    pub(super) fn next(&mut self, nodes: &NodeCache, wall: Timestamp, now: Instant) -> Next {
        let Some(first) = self.todo.front().map(|i| i.ordinal) else {
            return Next::Empty;
        };
        if let Some(why) = self.is_over(wall) {
            return Next::Stop(why);
        }
        if Some(first) == self.own && self.places.iter().any(|p| p.is_under_way) {
            let why = "this pod runs on this node: it comes when all others are done";
            return Next::Wait(first, why.into());
        }
        if let Some(next) = self.gate(first, nodes, now) {
            return next;
        }
        let index = match self.available(nodes) {
            Ok(index) => index,
            Err(why) => return Next::Wait(first, why),
        };
        match self.todo.remove(index) {
            Some(item) => {
                self.places[item.ordinal as usize].is_under_way = true;
                Next::Start(Box::new(item))
            }
            None => Next::Empty,
        }
    }

    /// A node has ended, or gone back to pending.
    pub(super) fn ended(&mut self, ordinal: Ordinal, status: ItemStatus) {
        let place = &mut self.places[ordinal as usize];
        place.is_under_way = false;
        place.status = status;
        self.failed += u32::from(status == ItemStatus::Failed);
    }

    /// Everything that has not been started.
    pub(super) fn into_rest(self) -> VecDeque<Item> {
        self.todo
    }

    /// Why no other node is started at all.
    pub(super) fn is_over(&self, wall: Timestamp) -> Option<String> {
        if let Some(most) = self.options.max_failures
            && self.failed > most
        {
            let n = self.failed;
            return Some(format!("{n} nodes have failed, options.max_failures is {most}"));
        }
        let at = self.options.not_after.filter(|at| *at <= wall)?;
        Some(format!("options.not_after has passed: {at}"))
    }

    /// How long nodes may still be started for, if that ends.
    pub(super) fn time_left(&self, wall: Timestamp) -> Option<Duration> {
        let left = self.options.not_after?.duration_since(wall);
        Some(Duration::try_from(left).unwrap_or(Duration::ZERO))
    }

    /// The wave of a place; the own node is in the last one.
    fn wave(&self, ordinal: Ordinal, size: usize) -> usize {
        if Some(ordinal) == self.own {
            return self.places.len().saturating_sub(1) / size;
        }
        let before_own = self.own.is_none_or(|own| ordinal < own);
        (ordinal as usize).saturating_sub(usize::from(!before_own)) / size
    }

    /// What there is to be done before the wave of `first` may begin.
    fn gate(&mut self, first: Ordinal, nodes: &NodeCache, now: Instant) -> Option<Next> {
        let waves = self.options.waves?;
        let size = waves.size.of(self.places.len());
        let wave = self.wave(first, size);
        if wave <= self.open_wave {
            return None;
        }
        if let Some(why) = unwatched(nodes) {
            return Some(Next::Wait(first, why));
        }
        let earlier: Vec<&Place> = (0..)
            .zip(&self.places)
            .filter(|(ordinal, _)| self.wave(*ordinal, size) < wave)
            .map(|(_, place)| place)
            .collect();
        let at_work = earlier.iter().filter(|p| p.is_under_way).count();
        if at_work > 0 {
            let why = format!("wave {} begins when {at_work} more nodes are done", wave + 1);
            return Some(Next::Wait(first, why));
        }
        let since = match self.gate {
            Some(gate) if gate.wave == wave => gate.since,
            _ => now,
        };
        self.gate = Some(Gate { wave, since });
        let done = earlier.iter().filter(|p| p.status == ItemStatus::Succeeded);
        let down: Vec<&str> = done
            .map(|p| p.name.as_str())
            .filter(|name| nodes.get(name).is_some_and(|node| !is_ready(&node)))
            .collect();
        if down.is_empty() {
            self.open_wave = wave;
            return None;
        }
        let timeout = Duration::from_secs(waves.ready_timeout_seconds.into());
        let names = names(&down);
        if now.duration_since(since) >= timeout {
            let seconds = waves.ready_timeout_seconds;
            return Some(Next::Stop(format!(
                "wave {} was not Ready again within {seconds} s: {names}",
                wave
            )));
        }
        let why = format!("wave {} begins when these are Ready again: {names}", wave + 1);
        Some(Next::Wait(first, why))
    }

    /// The first node that may be started without too many being unavailable.
    fn available(&self, nodes: &NodeCache) -> Result<usize, String> {
        let Some(share) = self.options.max_unavailable.filter(|_| self.is_drain) else {
            return Ok(0);
        };
        if let Some(why) = unwatched(nodes) {
            return Err(why);
        }
        let is_away = |place: &Place| {
            place.is_under_way || nodes.get(&place.name).is_some_and(|node| is_unavailable(&node))
        };
        let away: Vec<&str> =
            self.places.iter().filter(|p| is_away(p)).map(|p| p.name.as_str()).collect();
        let most = share.of(self.places.len());
        if away.len() < most {
            return Ok(0);
        }
        // One that is away already makes it no worse. The own node is the last in `todo` and comes when no
        // other can; it would hold them up for ever if it were away and still had to wait for them. It then
        // belongs to the wave that it has in the task's order.
        let is_idle = self.places.iter().all(|p| !p.is_under_way);
        let size = self.options.waves.map(|w| w.size.of(self.places.len()));
        let may_start = |item: &Item| {
            let is_own = Some(item.ordinal) == self.own;
            let in_wave = size.is_none_or(|size| {
                let wave = if is_own {
                    item.ordinal as usize / size
                } else {
                    self.wave(item.ordinal, size)
                };
                wave <= self.open_wave
            });
            in_wave && (!is_own || is_idle) && is_away(&self.places[item.ordinal as usize])
        };
        self.todo.iter().position(may_start).ok_or_else(|| {
            format!(
                "{} of the task's nodes are unschedulable or not Ready ({}), \
                 options.max_unavailable allows {most}",
                away.len(),
                names(&away)
            )
        })
    }
}

/// Decisions on the cluster's state need to know it.
fn unwatched(nodes: &NodeCache) -> Option<String> {
    match nodes.state() {
        Sync::Live => None,
        Sync::Never { .. } | Sync::Stale { .. } => {
            Some("the state of the cluster's nodes is not known at the moment".into())
        }
    }
}

/// Unschedulable or not Ready.
pub(super) fn is_unavailable(node: &Node) -> bool {
    cordon::is_unschedulable(node) || !is_ready(node)
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.is_some_and(|c| c.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

fn names(all: &[&str]) -> String {
    let more = all.len().saturating_sub(NAMED);
    let shown = all[..all.len() - more].join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
