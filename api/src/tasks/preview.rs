//! What a task would do: `POST /api/v1/tasks/preview`. Nodes come from memory, pods and budgets from
//! the cluster; what cannot be looked up is said and keeps nothing else from being shown.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use k8s_openapi::api::core::v1::{Node, Pod};
use knm_shared::access::Access;
use knm_shared::session::Role;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::action::Action;
use super::error::TaskError;
use super::options::Options;
use super::plan::{Author, Plan};
use super::pods::{full_name, tolerates};
use crate::clusters::{Cluster, Sync};
use crate::k8s::{CallError, Pods, Right, Terms};

mod drain;
mod look;

use look::{Places, placed};
pub use look::{Unseen, turn_at_nodes};

/// Up to so many nodes every pod is listed, beyond it only those that stand in the way.
const LISTED_IN_FULL: usize = 50;

/// What a task would do.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PreviewView {
    /// Cluster that it would act on.
    pub cluster: String,
    /// What it would do.
    pub action: String,
    /// With which parameters, defaults filled in.
    #[schema(value_type = Object)]
    pub params: Value,
    /// How it would go about its nodes, defaults filled in.
    #[schema(value_type = Object)]
    pub options: Value,
    /// How many nodes it would have.
    pub total: usize,
    /// How many of them would be changed.
    pub changes: usize,
    /// How many are as wanted already.
    pub unchanged: usize,
    /// How many would be refused.
    pub refused: usize,
    /// The role that may submit it.
    #[schema(example = "operator")]
    pub required_role: String,
    /// Whether the caller may.
    pub permitted: bool,
    /// What this system may not do in the cluster but would have to, like `patch nodes`.
    pub missing_rights: Vec<String>,
    /// What could not be looked up, and other things to know before the start.
    pub warnings: Vec<String>,
    /// Whether the pods could be looked at, where the task is about pods; if not, how many there are is
    /// not known.
    pub pods_known: bool,
    /// The nodes, in the order of the task.
    pub nodes: Vec<NodePreview>,
    /// `drain`: the disruption budgets of the pods that would go, those that allow nothing first.
    pub budgets: Vec<BudgetPreview>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct NodePreview {
    /// Its name.
    pub node: String,
    /// `change`, `unchanged` or `refused`.
    #[schema(example = "change")]
    pub result: String,
    /// Why it would be refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The changed keys as they are; absent ones are null.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub before: Option<Value>,
    /// The changed keys as they would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub after: Option<Value>,
    /// `drain` and NoExecute taints: how many pods there are by what would become of them: `evict`,
    /// `blocked` (by a budget, at the moment), `wait` (terminating already), `stay`, `refuse`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub pod_counts: BTreeMap<String, usize>,
    /// These pods; of more than 50 nodes only those that are blocked or would be refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<PodPreview>,
}

/// One pod.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PodPreview {
    /// `namespace/name`
    pub pod: String,
    /// `evict`, `blocked`, `wait`, `stay` or `refuse`.
    #[schema(example = "evict")]
    pub fate: String,
    /// Why, where it is not simply evicted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// After how many seconds it would be evicted, if it tolerates the taint for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_seconds: Option<i64>,
}

/// A disruption budget of pods that would go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct BudgetPreview {
    /// `namespace/name`
    pub budget: String,
    /// Evictions that it would allow now; a drain waits where it allows none.
    pub disruptions_allowed: i32,
    /// Healthy pods that it has.
    pub healthy: i32,
    /// Healthy pods that it asks for.
    pub desired: i32,
    /// Pods of this task that it covers.
    pub pods: usize,
}

/// What a preview is made with.
pub(super) struct Preview<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) action: &'a Action,
    pub(super) author: &'a Author,
    pub(super) pods: Pods,
    pub(super) terms: Terms,
}

impl Preview<'_> {
    /// # Errors
    /// [`TaskError::Unavailable`] when it does not get its turn at the pods.
    pub(super) async fn view(
        &self,
        options: &Options,
        nodes: &[Arc<Node>],
        access: &Access,
    ) -> Result<PreviewView, TaskError> {
        let mut warnings = Vec::new();
        if let Sync::Stale { since, error } = self.cluster.nodes.state() {
            warnings.push(format!("the nodes are shown as of {since}: {error}"));
        }
        let mut views: Vec<_> = nodes.iter().map(|node| self.node(node)).collect();
        let missing_rights = self.missing_rights().await.unwrap_or_else(|error| {
            warnings.push(format!("the rights in the cluster could not be checked: {error}"));
            Vec::new()
        });
        let looked = match self.action {
            Action::Drain(params) => self.drain(params, &mut views, &mut warnings).await,
            Action::Taint(_) => {
                self.no_execute(&mut views, &mut warnings).await.map(|()| Vec::new())
            }
            _ => Ok(Vec::new()),
        };
        let pods_known = looked.is_ok();
        let budgets = match looked {
            Ok(budgets) => budgets,
            Err(busy @ Unseen::Busy) => return Err(TaskError::Unavailable(busy.to_string())),
            Err(Unseen::Call(error)) => {
                warnings.push(format!("the pods could not be listed: {error}"));
                // Some pages may have come: too few pods look like an answer.
                views.iter_mut().for_each(NodePreview::forget_pods);
                Vec::new()
            }
        };
        let count = |result: &str| views.iter().filter(|v| v.result == result).count();
        let needs = self.action.needs();
        let role = needs.iter().map(|action| action.rule().role).max().unwrap_or(Role::Viewer);
        Ok(PreviewView {
            cluster: self.cluster.name.to_string(),
            action: self.action.name().into(),
            params: self.action.params(),
            options: options.to_value(),
            total: views.len(),
            changes: count("change"),
            unchanged: count("unchanged"),
            refused: count("refused"),
            required_role: role.as_str().into(),
            permitted: needs.iter().all(|action| access.may_on(&self.cluster.name, *action)),
            missing_rights,
            warnings,
            pods_known,
            nodes: views,
            budgets,
        })
    }

    /// The change of the node itself.
    fn node(&self, node: &Node) -> NodePreview {
        let mut view = NodePreview {
            node: node.metadata.name.clone().unwrap_or_default(),
            result: "unchanged".into(),
            message: None,
            before: None,
            after: None,
            pod_counts: BTreeMap::new(),
            pods: Vec::new(),
        };
        match self.action.plan(node, self.author) {
            Plan::Unchanged => {}
            Plan::Refused(why) | Plan::Superseded(why) => {
                view.result = "refused".into();
                view.message = Some(why);
            }
            Plan::Change(change) => {
                view.result = "change".into();
                view.before = Some(Value::Object(change.before));
                view.after = Some(Value::Object(change.after));
            }
        }
        view
    }

    async fn missing_rights(&self) -> Result<Vec<String>, CallError> {
        let rights = needed(self.action);
        let asked = rights.iter().map(|right| self.pods.is_allowed(*right, &self.terms));
        let mut missing = Vec::new();
        for (right, allowed) in rights.iter().zip(join_all(asked).await) {
            if !allowed? {
                missing.push(right.to_string());
            }
        }
        Ok(missing)
    }

    /// Adds the pods that new NoExecute taints would end.
    ///
    /// # Errors
    /// [`Unseen`]; some of them may have been added then.
    async fn no_execute(
        &self,
        views: &mut [NodePreview],
        warnings: &mut Vec<String>,
    ) -> Result<(), Unseen> {
        let taints: Vec<_> = views.iter().map(no_execute_taints).collect();
        let tainted = (0..).zip(&*views).filter(|(i, _): &(usize, _)| !taints[*i].is_empty());
        let places: Places = tainted.map(|(i, view)| (view.node.clone(), i)).collect();
        if places.is_empty() {
            return Ok(());
        }
        let in_full = views.len() <= LISTED_IN_FULL;
        let mut look = self.look("", &places).await?;
        while let Some(pods) = look.next().await? {
            for (place, pod) in placed(&places, &pods) {
                if let Some(shown) = ended(pod, &taints[place]) {
                    views[place].add(shown, in_full);
                }
            }
        }
        warnings.push("NoExecute taints end pods without asking their disruption budgets".into());
        Ok(())
    }
}

impl NodePreview {
    fn add(&mut self, pod: PodPreview, in_full: bool) {
        *self.pod_counts.entry(pod.fate.clone()).or_default() += 1;
        if in_full || matches!(pod.fate.as_str(), "blocked" | "refuse") {
            self.pods.push(pod);
        }
    }

    fn forget_pods(&mut self) {
        self.pod_counts.clear();
        self.pods.clear();
    }
}

/// Key and value of the NoExecute taints that a node would newly have.
fn no_execute_taints(view: &NodePreview) -> Vec<(String, String)> {
    let after = view.after.as_ref().and_then(Value::as_object);
    let new = after.into_iter().flatten().filter_map(|(name, value)| {
        let key = name.strip_suffix(":NoExecute")?;
        Some((key.to_owned(), value.as_str()?.to_owned()))
    });
    new.collect()
}

/// What new NoExecute taints would do to a pod; nothing if it tolerates them all for ever.
fn ended(pod: &Pod, taints: &[(String, String)]) -> Option<PodPreview> {
    let seconds =
        taints.iter().filter_map(|(key, value)| match tolerates(pod, key, value, "NoExecute") {
            None => Some(0),
            Some(seconds) => seconds,
        });
    let after = seconds.min()?;
    Some(PodPreview {
        pod: full_name(pod),
        fate: "evict".into(),
        reason: None,
        after_seconds: Some(after).filter(|s| *s > 0),
    })
}

/// What this system must be allowed to do.
fn needed(action: &Action) -> Vec<Right> {
    let core = |verb, resource| Right { verb, group: "", resource, subresource: None };
    let mut rights = vec![core("get", "nodes"), core("patch", "nodes")];
    if let Action::Drain(params) = action {
        rights.push(core("list", "pods"));
        rights.push(if params.disable_eviction {
            core("delete", "pods")
        } else {
            Right { subresource: Some("eviction"), ..core("create", "pods") }
        });
        let daemonsets = Right { group: "apps", ..core("get", "daemonsets") };
        rights.push(daemonsets);
    }
    rights
}
