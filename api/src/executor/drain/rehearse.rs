//! A drain as a server-side dry run.

use super::{ask, leaving};
use crate::executor::apply::Applied;
use crate::executor::failure::Failure;
use crate::executor::item::{Ended, Stop, Verdict, Work};
use crate::k8s::{CallError, DryRun};
use crate::tasks::DrainParams;
use crate::tasks::pods::full_name;

impl Work<'_> {
    /// Tries everything and changes nothing.
    pub(super) async fn rehearse(&mut self, params: &DrainParams) -> Result<Ended, Stop> {
        if let Applied::Ended(ended) = self.apply().await? {
            return Ok(ended);
        }
        let sorted = match self.sort(params).await? {
            Ok(sorted) => sorted,
            Err(ended) => return Ok(ended),
        };
        let (mut would_go, mut would_wait) = (0, Vec::new());
        for (pod, _) in sorted.leaving() {
            let asked = leaving(pod, params, DryRun::Yes);
            let mut tries = self.tries();
            loop {
                self.check_halt()?;
                tries.begin();
                let (answer, cost) = ask(self.job, params, &asked, &self.terms()).await;
                tries.add_call(cost);
                match answer {
                    // Another of the same name is there by now: this one has gone.
                    Ok(()) | Err(CallError::NotFound(_) | CallError::Conflict(_)) => would_go += 1,
                    Err(CallError::NamespaceTerminating(_)) => {
                        would_wait.push(format!("{} for the end of its namespace", full_name(pod)));
                    }
                    Err(CallError::Budget { budget, .. }) => {
                        let namespace = &asked.namespace;
                        would_wait
                            .push(format!("{} for budget {namespace}/{budget}", full_name(pod)));
                    }
                    Err(error) => match self.verdict(error).await? {
                        Verdict::End(Ended { message, failure, .. }) => {
                            let why = message.unwrap_or_default();
                            let why = format!("dry run: cannot evict {}: {why}", full_name(pod));
                            let failure = failure.unwrap_or(Failure::Eviction);
                            return Ok(Ended::failed(failure, why));
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
}
