//! Calls about pods and what guards them: lists, evictions, deletions, budgets, and whether this
//! system may make them at all.

use std::marker::PhantomData;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{Eviction, PodDisruptionBudget};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{DeleteOptions, ObjectMeta, Preconditions};
use kube::api::{GetParams, ListParams};
use kube::core::{ObjectList, Request as Resource};
use kube::{Client, Resource as _};
use serde::de::DeserializeOwned;

use super::DryRun;
use super::calls::{Caller, Ignored, Terms, post};
use super::gate::Gate;
use super::outcome::CallError;
use crate::metrics::Metrics;

/// Objects a page of a list.
const PAGE: u32 = 500;

/// Which pod, and on which terms it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaving {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The very pod: another of the same name is left alone.
    pub uid: String,
    /// Seconds to end in; its own setting when `None`.
    pub grace_period_seconds: Option<i64>,
    /// Whether it only would go.
    pub dry_run: DryRun,
}

/// A right that an operation needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Right {
    /// `get`, `list`, `patch`, …
    pub verb: &'static str,
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Plural of the resource.
    pub resource: &'static str,
    /// Subresource, if it is about one.
    pub subresource: Option<&'static str>,
}

impl std::fmt::Display for Right {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if let Some(subresource) = self.subresource {
            write!(f, "/{subresource}")?;
        }
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        Ok(())
    }
}

/// A list on its way: no more than one page of it is in memory.
pub struct Pages<'a, T> {
    caller: &'a Caller,
    terms: &'a Terms,
    resource: Resource,
    /// What the next page is asked for with; `None` after the last.
    next: Option<ListParams>,
    of: PhantomData<fn() -> T>,
}

/// Pod calls of one cluster.
#[derive(Clone)]
pub struct Pods {
    caller: Caller,
}

impl Pods {
    /// Calls through `client`; the gate learns from those that are made for tasks.
    #[must_use]
    pub fn new(client: Client, gate: Gate, metrics: Metrics) -> Self {
        Self { caller: Caller::new(client, gate, metrics) }
    }

    /// The pods of a node, as far as `selector` matches; all if it is empty.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn on_node(
        &self,
        node: &str,
        selector: &str,
        terms: &Terms,
    ) -> Result<Vec<Pod>, CallError> {
        let mut params = ListParams::default().fields(&format!("spec.nodeName={node}"));
        if !selector.is_empty() {
            params = params.labels(selector);
        }
        // Not in pages: those of one node are few, and some API servers ask etcd for a page what they would
        // have in memory; every node under way repeats this list.
        let request = Resource::new(Pod::url_path(&(), None)).list(&params);
        let list: ObjectList<Pod> = self.caller.send("list", request, terms).await?;
        Ok(list.items)
    }

    /// The pods of all nodes, as far as `selector` matches; page by page, because a cluster may have more
    /// than there is memory for.
    #[must_use]
    pub fn everywhere<'a>(&'a self, selector: &str, terms: &'a Terms) -> Pages<'a, Pod> {
        let mut params = ListParams::default();
        if !selector.is_empty() {
            params = params.labels(selector);
        }
        self.pages(&Pod::url_path(&(), None), params, terms)
    }

    /// All disruption budgets.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn budgets(&self, terms: &Terms) -> Result<Vec<PodDisruptionBudget>, CallError> {
        let path = PodDisruptionBudget::url_path(&(), None);
        let mut pages = self.pages(&path, ListParams::default(), terms);
        let mut found = Vec::new();
        while let Some(page) = pages.next().await? {
            found.extend(page);
        }
        Ok(found)
    }

    /// Whether a DaemonSet exists.
    ///
    /// # Errors
    /// [`CallError`], but not for one that does not.
    pub async fn daemonset_exists(
        &self,
        namespace: &str,
        name: &str,
        terms: &Terms,
    ) -> Result<bool, CallError> {
        let resource = Resource::new(DaemonSet::url_path(&(), Some(namespace)));
        let request = resource.get(name, &GetParams::default());
        match self.caller.send::<Ignored>("get", request, terms).await {
            Ok(Ignored {}) => Ok(true),
            Err(CallError::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Evicts a pod through the API, which asks the disruption budgets
    /// (<https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/>).
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn evict(&self, pod: &Leaving, terms: &Terms) -> Result<(), CallError> {
        let body = Eviction {
            metadata: ObjectMeta {
                name: Some(pod.name.clone()),
                namespace: Some(pod.namespace.clone()),
                ..ObjectMeta::default()
            },
            delete_options: Some(pod.delete_options()),
        };
        let path = Pod::url_path(&(), Some(&pod.namespace));
        let request = post(format!("{path}/{}/eviction", pod.name), &body);
        self.caller.send::<Ignored>("evict", request, terms).await.map(drop)
    }

    /// Deletes a pod, which asks no budget.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn delete(&self, pod: &Leaving, terms: &Terms) -> Result<(), CallError> {
        let path = Pod::url_path(&(), Some(&pod.namespace));
        let request = post(format!("{path}/{}", pod.name), &pod.delete_options()).map(|mut r| {
            *r.method_mut() = http::Method::DELETE;
            r
        });
        self.caller.send::<Ignored>("delete", request, terms).await.map(drop)
    }

    /// Whether the cluster would let this system do it, everywhere.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn is_allowed(&self, right: Right, terms: &Terms) -> Result<bool, CallError> {
        let attributes = ResourceAttributes {
            verb: Some(right.verb.into()),
            group: Some(right.group.into()),
            resource: Some(right.resource.into()),
            subresource: right.subresource.map(str::to_owned),
            ..ResourceAttributes::default()
        };
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(attributes),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let path = SelfSubjectAccessReview::url_path(&(), None);
        let answer: SelfSubjectAccessReview =
            self.caller.send("create", post(path, &review), terms).await?;
        Ok(answer.status.is_some_and(|s| s.allowed))
    }

    fn pages<'a, T>(&'a self, path: &str, params: ListParams, terms: &'a Terms) -> Pages<'a, T> {
        let next = Some(params.limit(PAGE));
        Pages { caller: &self.caller, terms, resource: Resource::new(path), next, of: PhantomData }
    }
}

impl<T: Clone + DeserializeOwned> Pages<'_, T> {
    /// The next page, which may be empty; `None` after the last.
    ///
    /// # Errors
    /// [`CallError`]; nothing follows then.
    pub async fn next(&mut self) -> Result<Option<Vec<T>>, CallError> {
        let Some(params) = self.next.take() else { return Ok(None) };
        let request = self.resource.list(&params);
        let page: ObjectList<T> = self.caller.send("list", request, self.terms).await?;
        let token = page.metadata.continue_.filter(|token| !token.is_empty());
        self.next = token.map(|token| params.continue_token(&token));
        Ok(Some(page.items))
    }
}

impl Leaving {
    fn delete_options(&self) -> DeleteOptions {
        DeleteOptions {
            grace_period_seconds: self.grace_period_seconds,
            preconditions: Some(Preconditions {
                uid: Some(self.uid.clone()),
                ..Preconditions::default()
            }),
            dry_run: (self.dry_run == DryRun::Yes).then(|| vec!["All".to_owned()]),
            ..DeleteOptions::default()
        }
    }
}
