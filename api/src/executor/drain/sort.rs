//! Which pods of a node go, which may stay, and which keep it from being drained.

use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::list;
use crate::executor::item::{Ended, Stop, Work};
use crate::lease::Moment;
use crate::tasks::DrainParams;
use crate::tasks::pods::{Fate, controller, fate, full_name, refusals};

/// The pods of a node by what becomes of them.
pub(super) struct Sorted {
    fates: Vec<(Pod, Fate)>,
}

impl Sorted {
    /// Why the node cannot be drained, if it cannot.
    pub(super) fn refusals(&self) -> Option<String> {
        let named: Vec<_> = self.fates.iter().map(|(pod, fate)| (full_name(pod), *fate)).collect();
        refusals(&named)
    }

    /// Those that go; true for those that are terminating already.
    pub(super) fn leaving(&self) -> impl Iterator<Item = (&Pod, bool)> {
        self.fates.iter().filter_map(|(pod, fate)| match fate {
            Fate::Evict => Some((pod, false)),
            Fate::Wait => Some((pod, true)),
            Fate::Stay(_) | Fate::Refuse(_) => None,
        })
    }
}

impl Work<'_> {
    /// Lists the node's pods and decides for each.
    pub(super) async fn sort(
        &mut self,
        params: &DrainParams,
    ) -> Result<Result<Sorted, Ended>, Stop> {
        let mut tries = self.tries();
        loop {
            self.check_halt()?;
            tries.begin();
            self.count_try(&tries);
            match list(self.job, &self.item.node, params, &self.terms()).await {
                Ok(pods) => return self.sort_listed(params, pods).await,
                Err(error) => {
                    let verdict = self.verdict(error).await?;
                    if let Some(ended) = self.end_or_pause(&mut tries, verdict).await? {
                        return Ok(Err(ended));
                    }
                }
            }
        }
    }

    /// The same for pods that were listed before.
    pub(super) async fn sort_listed(
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
                Err(error) => {
                    let verdict = self.verdict(error).await?;
                    if let Some(ended) = self.end_or_pause(&mut tries, verdict).await? {
                        return Ok(Err(ended));
                    }
                }
            }
        }
    }
}
