//! The endpoints for pods, workloads, budgets and evictions.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{decode, unreadable};
use crate::kube_sim::{
    handler::Shared,
    side::pods,
    sim_pod::SimPod,
    status::ApiError,
    workload::{Allow, Amount, Workload},
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MakeBudget {
    namespace: String,
    name: String,
    labels: BTreeMap<String, String>,
    min_available: Option<Amount>,
    max_unavailable: Option<Amount>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hold {
    hold: bool,
}

/// Answers a request; `segments` is what follows `/sim/`.
pub(super) fn answer(
    shared: &Shared,
    method: &str,
    segments: &[&str],
    body: &[u8],
) -> Result<Value, ApiError> {
    let store = &shared.store;
    match (method, segments) {
        ("POST", ["pods"]) => pods::add_pod(store, &decode::<SimPod>(body)?),
        ("POST", ["workloads"]) => {
            let mut members: Map<String, Value> = decode(body)?;
            let nodes: Option<Vec<String>> = match members.remove("nodes") {
                Some(nodes) => serde_json::from_value(nodes).map_err(unreadable)?,
                None => None,
            };
            let workload: Workload =
                serde_json::from_value(Value::Object(members)).map_err(unreadable)?;
            let names = pods::add_workload(store, &workload, nodes.as_deref(), shared.seed)?;
            Ok(json!({ "names": names }))
        }
        ("POST", ["budgets"]) => {
            let MakeBudget { namespace, name, labels, min_available, max_unavailable } =
                decode(body)?;
            let allow = match (min_available, max_unavailable) {
                (Some(amount), None) => Allow::MinAvailable(amount),
                (None, Some(amount)) => Allow::MaxUnavailable(amount),
                _ => {
                    let what = "a budget has either min_available or max_unavailable";
                    return Err(ApiError::bad_request(what));
                }
            };
            pods::add_budget(store, &namespace, &name, &labels, allow)
        }
        ("POST", ["budgets", "hold"]) => {
            let Hold { hold } = decode(body)?;
            pods::hold_budgets(store, hold);
            Ok(json!({}))
        }
        ("GET", ["budgets", "violations"]) => {
            Ok(json!(store.disruption(|disruption| disruption.violations())))
        }
        ("DELETE", ["budgets", namespace, name]) => {
            pods::remove_budget(store, namespace, name).map(|()| json!({}))
        }
        ("GET", ["evictions"]) => Ok(json!(shared.evictions.entries())),
        _ => Err(ApiError::unknown_path()),
    }
}
