//! From method and path to what is wanted.

use http::Method;
use serde::{Deserialize, Serialize};

use super::{query, resource::Resource};

/// What a request does, in the words of Kubernetes' authorization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Read one object, or a path that is not a resource.
    Get,
    /// Read many objects.
    List,
    /// Follow changes.
    Watch,
    /// POST.
    Create,
    /// PUT.
    Update,
    /// PATCH.
    Patch,
    /// Delete one object.
    Delete,
    /// Delete many objects.
    DeleteCollection,
}

impl Verb {
    /// The verb as Kubernetes spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }

    /// The verb of a request; `None` for methods that Kubernetes does not know.
    pub(crate) fn of(method: &Method, named: bool, watch: bool) -> Option<Self> {
        Some(match *method {
            Method::GET | Method::HEAD if watch => Self::Watch,
            Method::GET | Method::HEAD if named => Self::Get,
            Method::GET | Method::HEAD => Self::List,
            Method::POST => Self::Create,
            Method::PUT => Self::Update,
            Method::PATCH => Self::Patch,
            Method::DELETE if named => Self::Delete,
            Method::DELETE => Self::DeleteCollection,
            _ => return None,
        })
    }
}

/// A resource path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResourcePath {
    pub(crate) resource: Resource,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
}

impl ResourcePath {
    /// The path of the objects of a kind in a namespace.
    pub(crate) fn collection(resource: Resource, namespace: &str) -> Self {
        Self { resource, namespace: Some(namespace.to_owned()), name: None, subresource: None }
    }

    /// Whether it is where pods are evicted.
    pub(crate) fn is_eviction(&self) -> bool {
        self.resource == Resource::Pods && self.subresource.as_deref() == Some("eviction")
    }
}

/// What a path stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// Objects of a stored kind.
    Resource(ResourcePath),
    /// `SelfSubjectAccessReview`, which is answered and not stored.
    AccessReview,
    /// Something else inside a group that exists.
    UnknownResource,
    /// Discovery, version, health and everything that does not exist.
    Other,
}

/// Reads a path.
pub(crate) fn parse(path: &str) -> Target {
    let segments: Vec<String> =
        path.split('/').filter(|s| !s.is_empty()).map(query::decode).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (group, version, rest) = match segments.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
        ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
        _ => return Target::Other,
    };
    if group == "authorization.k8s.io" && rest == ["selfsubjectaccessreviews"] {
        return Target::AccessReview;
    }
    let found = |plural: &str| Resource::find(group, version, plural);
    let target = match rest {
        // The namespaces' own subresources would otherwise be read as kinds.
        ["namespaces", name, sub @ ("status" | "finalize")] => {
            found("namespaces").map(|resource| (resource, None, Some(*name), Some(*sub)))
        }
        ["namespaces", namespace, plural, more @ ..] if more.len() <= 2 => {
            found(plural).filter(|resource| resource.info().namespaced).map(|resource| {
                let (name, sub) = (more.first().copied(), more.get(1).copied());
                (resource, Some(*namespace), name, sub)
            })
        }
        [plural, more @ ..] if more.len() <= 2 => found(plural)
            .filter(|resource| !resource.info().namespaced || more.is_empty())
            .map(|resource| (resource, None, more.first().copied(), more.get(1).copied())),
        _ => None,
    };
    match target {
        Some((resource, namespace, name, subresource)) => Target::Resource(ResourcePath {
            resource,
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            subresource: subresource.map(str::to_owned),
        }),
        None if Resource::ALL.iter().any(|r| r.info().group == group) => Target::UnknownResource,
        None => Target::Other,
    }
}
