//! What an action comes to on one node: nothing, a refusal, or a change. Pure: no clock, no network.

use jiff::Timestamp;
use serde_json::{Map, Value};

/// What has to be done on one node.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// Everything is as wanted already.
    Unchanged,
    /// Not allowed on this node, for this reason.
    Refused(String),
    /// Left alone, because somebody else has changed it since, in this way.
    Superseded(String),
    /// To be changed.
    Change(Change),
}

/// A change of some keys. What a key is, the action says: a label, `key:effect` of a taint. Absent
/// keys are `null` on either side.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change {
    /// The keys as they are.
    pub before: Map<String, Value>,
    /// The keys as they will be.
    pub after: Map<String, Value>,
    /// The JSON merge patch that makes the change.
    pub patch: Value,
}

impl Change {
    /// The merge patch, for an object that still has this resource version only.
    #[must_use]
    pub fn merge_patch(&self, resource_version: &str) -> Value {
        let mut patch = self.patch.clone();
        patch["metadata"]["resourceVersion"] = resource_version.into();
        patch
    }
}

/// Who acts, and why: what a cordon leaves on the node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Author {
    /// The user's name.
    pub username: String,
    /// The task's reason; may be empty.
    pub reason: String,
    /// When work on the node began, RFC 3339.
    pub at: String,
}

impl Author {
    /// Somebody who acts at that moment.
    #[must_use]
    pub fn new(username: String, reason: String, at: Timestamp) -> Self {
        Self { username, reason, at: at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string() }
    }
}
