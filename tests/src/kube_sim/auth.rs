//! Who may do what. By default everybody is cluster-admin, as behind `kubectl proxy`.

use std::collections::HashMap;

use super::{route::Verb, status::ApiError};

/// How requests are authenticated.
#[derive(Debug, Clone, Default)]
pub enum Authentication {
    /// Everybody, with or without a token, is cluster-admin.
    #[default]
    Open,
    /// Bearer tokens. A token that is not listed is refused (401); a request without one is
    /// `system:anonymous`, who may read the version and the health checks only.
    Tokens(HashMap<String, User>),
}

/// A user behind a token.
#[derive(Debug, Clone)]
pub struct User {
    /// The name that error messages show.
    pub name: String,
    /// What the user may do.
    pub access: Access,
}

/// The rights of a user.
#[derive(Debug, Clone)]
pub enum Access {
    /// Everything.
    ClusterAdmin,
    /// Only what the rules list; an empty list is a user without any rights.
    Rules(Vec<Rule>),
}

/// Verbs that are allowed on resources; `*` stands for all.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Such as `get`, `patch`.
    pub verbs: Vec<String>,
    /// Plural names, such as `nodes`, or `pods/eviction` for a subresource, which `pods` does not
    /// cover; `*/eviction` is that of every resource.
    pub resources: Vec<String>,
    /// API groups, the core's being empty; all if none is named.
    pub groups: Vec<String>,
    /// Namespaces, as a RoleBinding has it; everything, if none is named.
    pub namespaces: Vec<String>,
}

/// What somebody wants to do, as a rule looks at it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes<'a> {
    pub(crate) verb: &'a str,
    pub(crate) group: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) subresource: Option<&'a str>,
    /// Nothing stands for all of them, or for what is in none.
    pub(crate) namespace: Option<&'a str>,
}

impl Rule {
    /// A rule from string slices.
    pub fn new(verbs: &[&str], resources: &[&str]) -> Self {
        let own = |list: &[&str]| list.iter().map(|item| (*item).to_owned()).collect();
        Self {
            verbs: own(verbs),
            resources: own(resources),
            groups: Vec::new(),
            namespaces: Vec::new(),
        }
    }

    /// The same rule for resources of one more group, and none that is not named.
    pub fn in_group(mut self, group: &str) -> Self {
        self.groups.push(group.to_owned());
        self
    }

    /// The same rule in one more namespace, and none that is not named.
    pub fn in_namespace(mut self, namespace: &str) -> Self {
        self.namespaces.push(namespace.to_owned());
        self
    }

    fn allows(&self, wanted: Attributes<'_>) -> bool {
        let covers = |list: &[String], item: &str| list.iter().any(|i| i == "*" || i == item);
        let resource = match wanted.subresource {
            Some(subresource) => {
                covers(&self.resources, &format!("{}/{subresource}", wanted.resource))
                    || self.resources.contains(&format!("*/{subresource}"))
            }
            None => covers(&self.resources, wanted.resource),
        };
        resource
            && covers(&self.verbs, wanted.verb)
            && (self.groups.is_empty() || covers(&self.groups, wanted.group))
            && (self.namespaces.is_empty()
                || wanted.namespace.is_some_and(|name| self.namespaces.iter().any(|n| n == name)))
    }
}

impl User {
    /// A user who may do everything.
    pub fn cluster_admin(name: impl Into<String>) -> Self {
        Self { name: name.into(), access: Access::ClusterAdmin }
    }

    /// A user with these rights and no others.
    pub fn with_rules(name: impl Into<String>, rules: Vec<Rule>) -> Self {
        Self { name: name.into(), access: Access::Rules(rules) }
    }

    /// Whether the user may do this.
    pub(crate) fn may(&self, wanted: Attributes<'_>) -> bool {
        match &self.access {
            Access::ClusterAdmin => true,
            Access::Rules(rules) => rules.iter().any(|rule| rule.allows(wanted)),
        }
    }

    /// Whether the user may read a path that is not a resource.
    pub(crate) fn may_get_path(&self, path: &str) -> bool {
        const PUBLIC: [&str; 4] = ["/version", "/healthz", "/livez", "/readyz"];
        // Everybody with a name may discover, as the default roles of a cluster have it.
        self.name != ANONYMOUS || PUBLIC.contains(&path.trim_end_matches('/'))
    }
}

const ANONYMOUS: &str = "system:anonymous";

impl Authentication {
    /// The user behind an `Authorization` header.
    pub(crate) fn user(&self, header: Option<&str>) -> Result<User, ApiError> {
        let Self::Tokens(tokens) = self else {
            return Ok(User::cluster_admin("kubernetes-admin"));
        };
        let Some(header) = header else {
            return Ok(User::with_rules(ANONYMOUS, Vec::new()));
        };
        let token = header.strip_prefix("Bearer ").map(str::trim).unwrap_or_default();
        tokens.get(token).cloned().ok_or_else(ApiError::unauthorized)
    }
}

/// Refuses what the user may not do.
pub(crate) fn authorize(
    user: &User,
    verb: Verb,
    path: &super::route::ResourcePath,
) -> Result<(), ApiError> {
    let info = path.resource.info();
    let wanted = Attributes {
        verb: verb.as_str(),
        group: info.group,
        resource: info.plural,
        subresource: path.subresource.as_deref(),
        namespace: path.namespace.as_deref(),
    };
    if user.may(wanted) {
        return Ok(());
    }
    Err(ApiError::forbidden(&user.name, wanted, path.resource, path.name.as_deref()))
}
