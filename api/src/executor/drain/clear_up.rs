//! After a drain that did not end well: how the node is left, and said to be.

use k8s_openapi::api::core::v1::Node;
use serde_json::Value;

use crate::executor::item::{Ended, Stop, Work};
use crate::k8s::DryRun;
use crate::lease::Moment;
use crate::tasks::{Plan, cordon};

impl Work<'_> {
    /// Takes the cordon back where that is asked for, and says how the node was left.
    pub(super) async fn clear_up(&mut self, ended: Result<Ended, Stop>) -> Result<Ended, Stop> {
        match ended {
            Ok(Ended { message, failure: Some(failure), .. }) => {
                let mut message = message.unwrap_or_default();
                if let Some(note) = self.uncordon_if_asked().await? {
                    message.push_str("; ");
                    message.push_str(&note);
                }
                Ok(Ended::failed(failure, message))
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

    /// The same for a node that was last worked on under another claim.
    ///
    /// # Errors
    /// When the task is another's.
    pub(in crate::executor) async fn clear_up_after_others(
        &mut self,
    ) -> Result<Option<String>, Stop> {
        if !self.job.options.uncordon_on_failure {
            return Ok(None);
        }
        self.clears_up = true;
        let mut tries = self.tries();
        loop {
            tries.begin();
            let settled = match self.read_node(&mut tries).await? {
                Ok(node) => self.settle_past(&node).await?,
                Err(verdict) => Some(verdict),
            };
            let Some(verdict) = settled else { return self.uncordon_if_asked().await };
            if let Some(ended) = self.end_or_pause(&mut tries, verdict).await? {
                return Ok(ended.message);
            }
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

    /// Whether the node is as this task has cordoned it. Of a cordon under another claim only the name
    /// in it is known.
    fn is_cordon_ours(&self, node: &Node) -> bool {
        let note = |key| node.metadata.annotations.as_ref().and_then(|a| a.get(key));
        let ours = match &self.after {
            Some(after) => {
                after.get(cordon::AT).and_then(Value::as_str)
                    == note(cordon::AT).map(String::as_str)
            }
            None => note(cordon::BY) == Some(&self.job.author.username),
        };
        ours && node.metadata.uid.as_deref() == Some(&self.item.uid)
    }

    /// Returns why it was not done.
    async fn uncordon(&mut self) -> Result<Option<String>, Stop> {
        let mut tries = self.tries();
        loop {
            tries.begin();
            let verdict = match self.read_node(&mut tries).await? {
                Ok(node) => {
                    let is_the_node = node.metadata.uid.as_deref() == Some(&self.item.uid);
                    if is_the_node && matches!(cordon::uncordon(&node), Plan::Unchanged) {
                        // Done before, by a call whose answer was lost, or by somebody else.
                        self.after = None;
                        return Ok(None);
                    }
                    if !self.is_cordon_ours(&node) {
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
            if let Some(ended) = self.end_or_pause(&mut tries, verdict).await? {
                return Ok(ended.message);
            }
        }
    }
}
