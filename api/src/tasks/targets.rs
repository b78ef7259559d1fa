//! Which nodes a task is for.

use std::collections::HashSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use knm_shared::config::Executor;

use super::error::{FieldError, TaskError};
use super::submit::NodeSelection;
use crate::clusters::{Cluster, FieldSelector, LabelSelector};

/// What is wrong with a selection by itself.
pub(super) fn faults(nodes: &NodeSelection, limits: &Executor) -> Vec<FieldError> {
    let NodeSelection { names, selector, field_selector, all } = nodes;
    let given = [names.is_some(), selector.is_some(), field_selector.is_some(), all.is_some()];
    let mut faults = Vec::new();
    if given.into_iter().filter(|g| *g).count() != 1 {
        faults.push(FieldError::new(
            "nodes",
            "exactly one of names, selector, field_selector and all must be given",
        ));
    }
    if *all == Some(false) {
        faults.push(FieldError::new("nodes.all", "must be true when given"));
    }
    if let Some(names) = names {
        let most = limits.max_nodes as usize;
        if names.is_empty() {
            faults.push(FieldError::new("nodes.names", "must name at least one node"));
        } else if names.len() > most {
            let n = names.len();
            faults.push(FieldError::new(
                "nodes.names",
                format!("{n} names are more than the {most} nodes that a task may have"),
            ));
        }
    }
    faults
}

/// Resolves the selection against the nodes in memory. Names given twice count once.
pub(super) fn targets(
    cluster: &Cluster,
    nodes: &NodeSelection,
    limits: &Executor,
) -> Result<Vec<Arc<Node>>, TaskError> {
    let invalid =
        |field: &str, message: String| TaskError::Invalid(vec![FieldError::new(field, message)]);
    let every = FieldSelector::default;
    let (field, found) = if let Some(names) = &nodes.names {
        ("nodes.names", named(cluster, names)?)
    } else if let Some(selector) = &nodes.selector {
        let parsed: LabelSelector =
            selector.parse().map_err(|e| invalid("nodes.selector", format!("{e}")))?;
        ("nodes.selector", cluster.nodes.select(&parsed, &every()))
    } else if let Some(selector) = &nodes.field_selector {
        let parsed: FieldSelector =
            selector.parse().map_err(|e| invalid("nodes.field_selector", format!("{e}")))?;
        ("nodes.field_selector", cluster.nodes.select(&LabelSelector::default(), &parsed))
    } else {
        ("nodes.all", cluster.nodes.list())
    };
    if found.is_empty() {
        return Err(invalid(field, "no node matches".into()));
    }
    let most = limits.max_nodes as usize;
    if found.len() > most {
        let n = found.len();
        return Err(invalid(field, format!("{n} nodes match, more than the {most} of one task")));
    }
    Ok(found)
}

fn named(cluster: &Cluster, names: &[String]) -> Result<Vec<Arc<Node>>, TaskError> {
    let mut seen = HashSet::new();
    let mut found = Vec::with_capacity(names.len());
    let mut faults = Vec::new();
    for (i, name) in names.iter().enumerate() {
        if !seen.insert(name) {
            continue;
        }
        match cluster.nodes.get(name) {
            Some(node) => found.push(node),
            None => faults.push(FieldError::new(
                format!("nodes.names[{i}]"),
                format!("no node {name:?} in cluster {:?}", &*cluster.name),
            )),
        }
    }
    if faults.is_empty() { Ok(found) } else { Err(TaskError::Invalid(faults)) }
}
