//! Who may do what, where: the one table, used by every route of the api and by the relay.
//!
//! [`Action::rule`] is the table. A user has a role: everywhere, or only on the clusters that are named,
//! each with a role of its own ([`Reach`]). A personal token lowers all of them to its own role.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::session::Role;

/// What can be done. A new one does not compile without its line in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Look at oneself, and end or make one's own sessions and tokens.
    OwnAccount,
    /// Look at accounts, make, change and close them.
    ManageUsers,
    /// Read what everybody has done.
    ReadAudit,
    /// Add, change and remove clusters.
    ManageClusters,
    /// Freeze a cluster, so that nothing is done there, and lift that. All of them, as `*`, is for whoever
    /// administers every cluster.
    FreezeCluster,
    /// Look at a cluster, its nodes, and the tasks of everybody on it.
    ReadCluster,
    /// Labels, annotations, taints that evict nobody, cordon, uncordon; retry and revert of these.
    ChangeNodes,
    /// Pause, resume, cancel a task of one's own.
    SteerOwnTask,
    /// The same with a task of somebody else.
    SteerAnyTask,
    /// Keys of Kubernetes itself (`allow_protected`).
    ChangeProtectedKeys,
    /// Taints with the effect `NoExecute`.
    EvictByTaint,
    /// Drain.
    Drain,
    /// Drain with `force` or `disable_eviction`.
    DrainByForce,
}

/// Where an action takes place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// In the installation as a whole: the user's own role counts.
    Installation,
    /// On one cluster: the role that the user has there counts.
    Cluster,
}

/// A line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Where.
    pub scope: Scope,
    /// The least role.
    pub role: Role,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 13] = [
        Self::OwnAccount,
        Self::ManageUsers,
        Self::ReadAudit,
        Self::ManageClusters,
        Self::FreezeCluster,
        Self::ReadCluster,
        Self::ChangeNodes,
        Self::SteerOwnTask,
        Self::SteerAnyTask,
        Self::ChangeProtectedKeys,
        Self::EvictByTaint,
        Self::Drain,
        Self::DrainByForce,
    ];

    /// The table.
    #[must_use]
    pub const fn rule(self) -> Rule {
        use Role::{Admin, Operator, Viewer};
        use Scope::{Cluster, Installation};
        let (scope, role) = match self {
            Self::OwnAccount => (Installation, Viewer),
            Self::ManageUsers => (Installation, Admin),
            Self::ReadAudit => (Installation, Admin),
            Self::ManageClusters => (Installation, Admin),
            Self::FreezeCluster => (Cluster, Admin),
            Self::ReadCluster => (Cluster, Viewer),
            Self::ChangeNodes => (Cluster, Operator),
            Self::SteerOwnTask => (Cluster, Operator),
            Self::SteerAnyTask => (Cluster, Admin),
            Self::ChangeProtectedKeys => (Cluster, Admin),
            Self::EvictByTaint => (Cluster, Admin),
            Self::Drain => (Cluster, Admin),
            Self::DrainByForce => (Cluster, Admin),
        };
        Rule { scope, role }
    }

    /// In words, as the subject of "… needs the role admin".
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::OwnAccount => "using one's own account",
            Self::ManageUsers => "managing users",
            Self::ReadAudit => "reading the audit log",
            Self::ManageClusters => "managing clusters",
            Self::FreezeCluster => "freezing a cluster",
            Self::ReadCluster => "reading a cluster",
            Self::ChangeNodes => "changing nodes",
            Self::SteerOwnTask => "steering tasks",
            Self::SteerAnyTask => "steering somebody else's task",
            Self::ChangeProtectedKeys => "changing protected keys",
            Self::EvictByTaint => "a NoExecute taint",
            Self::Drain => "drain",
            Self::DrainByForce => "drain by force",
        }
    }
}

/// On which clusters a user is known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Reach {
    /// On every cluster, with the user's own role.
    #[default]
    Everywhere,
    /// On these, each with its role; no other exists for the user.
    Only(Arc<BTreeMap<String, Role>>),
}

/// What somebody may do. Asked by action, never by role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// In the installation as a whole.
    pub role: Role,
    /// On clusters.
    pub reach: Reach,
}

impl Access {
    /// The same role everywhere.
    #[must_use]
    pub const fn everywhere(role: Role) -> Self {
        Self { role, reach: Reach::Everywhere }
    }

    /// No more than `most` anywhere.
    #[must_use]
    pub fn capped(self, most: Role) -> Self {
        let reach = match self.reach {
            Reach::Everywhere => Reach::Everywhere,
            Reach::Only(clusters) => {
                let capped = clusters.iter().map(|(name, role)| (name.clone(), (*role).min(most)));
                Reach::Only(Arc::new(capped.collect()))
            }
        };
        Self { role: self.role.min(most), reach }
    }

    /// The greatest role that it has anywhere: what a token of it may be given.
    #[must_use]
    pub fn greatest(&self) -> Role {
        match &self.reach {
            Reach::Everywhere => self.role,
            Reach::Only(clusters) => clusters.values().copied().fold(self.role, Role::max),
        }
    }

    /// The role on a cluster; `None`: the cluster does not exist for this user.
    #[must_use]
    pub fn role_on(&self, cluster: &str) -> Option<Role> {
        match &self.reach {
            Reach::Everywhere => Some(self.role),
            Reach::Only(clusters) => clusters.get(cluster).copied(),
        }
    }

    /// Whether an action of the installation is allowed. One that takes place on a cluster is not:
    /// whoever asks has to say on which.
    #[must_use]
    pub fn may(&self, action: Action) -> bool {
        let Rule { scope, role } = action.rule();
        scope == Scope::Installation && self.role >= role
    }

    /// Whether an action is allowed on a cluster.
    #[must_use]
    pub fn may_on(&self, cluster: &str, action: Action) -> bool {
        let Rule { scope, role } = action.rule();
        scope == Scope::Cluster && self.role_on(cluster).is_some_and(|has| has >= role)
    }

    /// Whether an action is allowed anywhere at all: what is asked before the cluster is known. It
    /// never replaces [`Access::may_on`].
    #[must_use]
    pub fn may_somewhere(&self, action: Action) -> bool {
        let Rule { scope, role } = action.rule();
        match (scope, &self.reach) {
            (Scope::Installation, _) | (Scope::Cluster, Reach::Everywhere) => self.role >= role,
            (Scope::Cluster, Reach::Only(clusters)) => clusters.values().any(|has| *has >= role),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(clusters: &[(&str, Role)]) -> Access {
        let clusters = clusters.iter().map(|(name, role)| ((*name).to_owned(), *role)).collect();
        Access { role: Role::Viewer, reach: Reach::Only(Arc::new(clusters)) }
    }

    /// The table as the documentation has it: who may do what.
    #[test]
    fn the_table_is_pinned() {
        use Action::*;
        for (role, may) in [
            (Role::Viewer, &[OwnAccount, ReadCluster][..]),
            (Role::Operator, &[OwnAccount, ReadCluster, ChangeNodes, SteerOwnTask]),
            (Role::Admin, &Action::ALL),
        ] {
            let access = Access::everywhere(role);
            for action in Action::ALL {
                assert_eq!(
                    access.may_somewhere(action),
                    may.contains(&action),
                    "{role:?} {action:?}"
                );
            }
        }
    }

    #[test]
    fn every_action_is_listed_once() {
        let mut all = Action::ALL.to_vec();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), Action::ALL.len());
    }

    #[test]
    fn a_scope_is_never_mistaken_for_the_other() {
        let admin = Access::everywhere(Role::Admin);
        for action in Action::ALL {
            let on_cluster = action.rule().scope == Scope::Cluster;
            assert_eq!(admin.may_on("a", action), on_cluster, "{action:?}");
            assert_eq!(admin.may(action), !on_cluster, "{action:?}");
        }
    }

    #[test]
    fn a_cluster_that_is_not_named_does_not_exist() {
        let access = only(&[("a", Role::Viewer), ("b", Role::Admin)]);
        assert!(
            access.may_on("a", Action::ReadCluster) && !access.may_on("a", Action::ChangeNodes)
        );
        assert!(access.may_on("b", Action::Drain));
        for action in Action::ALL {
            assert!(!access.may_on("c", action), "{action:?}");
        }
        assert!(access.may_somewhere(Action::Drain));
        assert!(
            !access.may(Action::ManageUsers),
            "an admin of a cluster is none of the installation"
        );
        assert!(!only(&[]).may_somewhere(Action::ReadCluster));
    }

    #[test]
    fn a_token_lowers_every_role_and_raises_none() {
        let capped = only(&[("a", Role::Viewer), ("b", Role::Admin)]).capped(Role::Operator);
        assert_eq!(capped.role, Role::Viewer);
        assert_eq!(capped.role_on("a"), Some(Role::Viewer));
        assert_eq!(capped.role_on("b"), Some(Role::Operator));
        assert_eq!(capped.greatest(), Role::Operator);
        assert_eq!(
            Access::everywhere(Role::Admin).capped(Role::Viewer).role_on("x"),
            Some(Role::Viewer)
        );
    }
}
