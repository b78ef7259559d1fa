//! Makes the change that an action plans for a node.
//!
//! ```text
//! Looking ─▶ planned ─▶ Recording `before` (durable) ─▶ Writing ─▶ Changed
//!    ▲          └─ nothing to do, or not allowed ──▶ Unchanged, Ended
//!    ├───────────── 409: look again ──────────────────────┤
//!    └── pause ◀─── 429, 5xx, no answer ◀─────────────────┘
//! ```
//!
//! The first look is at the node in memory, which costs no call: a write carries the resource version
//! that was looked at, so a stale look ends in a 409 and a fresh read. "Nothing to do" and "not
//! allowed" are never concluded from memory.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use serde_json::Value;

use super::backoff::{Tries, Trouble};
use super::failure::Failure;
use super::item::{Ended, Stop, Verdict, Work};
use crate::lease::Moment;
use crate::tasks::{Action, Change, Plan};

/// What became of the change.
#[derive(Debug)]
pub(super) enum Applied {
    /// It was made, now or by a former holder.
    Changed,
    /// There was nothing to change.
    Unchanged,
    /// It cannot be made.
    Ended(Ended),
}

/// What one try came to.
enum Step {
    Done(Applied),
    /// What memory shows is not enough to go by.
    AskCluster,
    Again(Trouble),
}

/// Where the next look goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Memory,
    Cluster,
}

impl Work<'_> {
    /// See the module's description.
    ///
    /// # Errors
    /// When the task stops.
    pub(super) async fn apply(&mut self) -> Result<Applied, Stop> {
        let mut look = if self.past.may_be_written() { Look::Cluster } else { Look::Memory };
        let mut tries = self.tries();
        loop {
            self.check_halt()?;
            tries.begin();
            self.count_try(&tries);
            match self.attempt(look, &mut tries).await? {
                Step::Done(applied) => return Ok(applied),
                Step::AskCluster => tries.take_back(),
                Step::Again(trouble) => {
                    if let Some(ended) = self.pause(&mut tries, &trouble).await? {
                        return Ok(Applied::Ended(ended));
                    }
                }
            }
            look = Look::Cluster;
        }
    }

    async fn attempt(&mut self, look: Look, tries: &mut Tries) -> Result<Step, Stop> {
        let node = match look {
            Look::Memory => match self.job.cache.get(&self.item.node) {
                Some(node) => node,
                None => return Ok(Step::AskCluster),
            },
            Look::Cluster => match self.read_node(tries).await? {
                Ok(node) => node,
                Err(verdict) => return Ok(verdict.into()),
            },
        };
        if node.metadata.uid.as_deref() != Some(&self.item.uid) {
            if look == Look::Memory {
                return Ok(Step::AskCluster);
            }
            return Ok(Step::Done(Applied::Ended(recreated())));
        }
        if let Some(verdict) = self.settle_past(&node).await? {
            return Ok(verdict.into());
        }
        match self.plan(&node) {
            Plan::Change(change) => self.write(&change, &node, tries).await,
            _ if look == Look::Memory => Ok(Step::AskCluster),
            Plan::Superseded(why) => Ok(Step::Done(Applied::Ended(Ended::skipped(why)))),
            Plan::Refused(why) => {
                Ok(Step::Done(Applied::Ended(Ended::failed(Failure::Unfit, why))))
            }
            Plan::Unchanged => {
                // As wanted, at the version that our write would have changed: by somebody else.
                self.note_after(&node);
                let ours = self.past.bound().is_some();
                Ok(Step::Done(if ours { Applied::Changed } else { Applied::Unchanged }))
            }
        }
    }

    fn plan(&self, node: &Node) -> Plan {
        match (&self.job.action, &self.item.undo) {
            (Action::Revert(params), Some(undo)) => params.keys.undo(node, undo),
            (action, _) => action.plan(node, &self.job.author),
        }
    }

    /// Asks the node's history where it is open whether a former write took effect. Returns what an
    /// error calls for.
    pub(super) async fn settle_past(&mut self, node: &Node) -> Result<Option<Verdict>, Stop> {
        let seen = node.metadata.resource_version.as_deref().unwrap_or_default();
        let Some(version) = self.past.in_question(seen) else {
            return Ok(None);
        };
        match self.job.nodes.first_change_after(&self.item.node, version).await {
            Ok(first) => {
                let ours = match first {
                    Some(first) => Some(matches!(self.plan(&first), Plan::Unchanged)),
                    None => self.shows_nothing_of_ours(node).then_some(false),
                };
                self.past.settle(ours);
                Ok(None)
            }
            Err(error) => self.verdict(error).await.map(Some),
        }
    }

    /// Whether every key that a former write was to change has still, or again, to be changed.
    fn shows_nothing_of_ours(&self, node: &Node) -> bool {
        let Plan::Change(change) = self.plan(node) else { return false };
        self.past.keys_in_doubt().all(|key| change.before.contains_key(key))
    }

    /// Reads the node from the cluster, or tells what the error calls for.
    ///
    /// # Errors
    /// When the task stops.
    pub(super) async fn read_node(
        &mut self,
        tries: &mut Tries,
    ) -> Result<Result<Arc<Node>, Verdict>, Stop> {
        let call = self.call_permit().await?;
        let sent = Moment::now();
        let answer = self.job.nodes.get(&self.item.node, &self.terms()).await;
        drop(call);
        tries.add_call(self.cost(sent));
        match answer {
            Ok(node) => Ok(Ok(Arc::new(node))),
            Err(error) => Ok(Err(self.verdict(error).await?)),
        }
    }

    async fn write(
        &mut self,
        change: &Change,
        node: &Node,
        tries: &mut Tries,
    ) -> Result<Step, Stop> {
        let version = node.metadata.resource_version.as_deref().unwrap_or_default();
        let news = self.past.record(&change.before, version);
        if news.is_some() || !self.is_running {
            let before = news.map(|(before, version)| (Value::Object(before), version));
            self.make_durable(before).await?;
        }
        let patch = change.merge_patch(version);
        let call = self.call_permit().await?;
        let sent = Moment::now();
        let dry_run = self.job.dry_run();
        let answer =
            self.job.nodes.merge_patch(&self.item.node, &patch, dry_run, &self.terms()).await;
        drop(call);
        tries.add_call(self.cost(sent));
        match answer {
            Ok(node) => {
                self.past.bind();
                self.note_after(&node);
                Ok(Step::Done(Applied::Changed))
            }
            Err(error) => {
                if error.leaves_doubt() {
                    self.past.doubt();
                } else {
                    self.past.refused();
                }
                Ok(self.verdict(error).await?.into())
            }
        }
    }

    /// Keeps what the node has of the keys that this task has changed.
    fn note_after(&mut self, node: &Node) {
        let after =
            self.past.bound().map(|before| self.job.action.keys().values(node, before.keys()));
        self.after = after.map(Value::Object);
    }
}

/// The node that was meant is gone.
pub(super) fn recreated() -> Ended {
    let message = "the node was deleted and created again since the task was submitted";
    Ended::skipped(message)
}

impl From<Verdict> for Step {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::End(ended) => Self::Done(Applied::Ended(ended)),
            Verdict::Again(trouble) => Self::Again(trouble),
        }
    }
}
