//! The control endpoints, under a path that Kubernetes does not use. For tests that run the
//! simulator as a process; those that embed it have the same on [`KubeSim`](super::KubeSim).

mod pods;

use http::{Method, Response};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    body::SimBody,
    faults::{Fault, FaultId},
    handler::Shared,
    query::Query,
    resource::Resource,
    response,
    route::Verb,
    side,
    status::ApiError,
};

/// A fault, or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    Many(Vec<Value>),
    One(Value),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MakeNodes {
    count: usize,
}

/// Answers a request to a control endpoint; `path` is what follows `/sim/`.
pub(crate) fn handle(
    shared: &Shared,
    method: &Method,
    path: &str,
    query: &Query,
    body: &[u8],
) -> Response<SimBody> {
    match answer(shared, method, path, query, body) {
        Ok(value) => response::json(200, format!("{value}\n")),
        Err(error) => response::failure(&error),
    }
}

fn answer(
    shared: &Shared,
    method: &Method,
    path: &str,
    query: &Query,
    body: &[u8],
) -> Result<Value, ApiError> {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    match (method.as_str(), segments.as_slice()) {
        ("GET", ["faults"]) => Ok(faults(shared)),
        ("POST", ["faults"]) => {
            let given = match decode(body)? {
                OneOrMany::Many(faults) => faults,
                OneOrMany::One(fault) => vec![fault],
            };
            // All are read before the first is put in force.
            let faults: Vec<Fault> = given
                .into_iter()
                .map(|fault| serde_json::from_value(fault).map_err(unreadable))
                .collect::<Result<_, _>>()?;
            let ids: Vec<FaultId> =
                faults.into_iter().map(|fault| shared.faults.add(fault)).collect();
            Ok(json!({ "ids": ids }))
        }
        ("DELETE", ["faults"]) => {
            shared.faults.clear();
            Ok(json!({}))
        }
        ("DELETE", ["faults", id]) => {
            let id = id.parse().map_err(|_| ApiError::bad_request("a fault's id is a number"))?;
            if shared.faults.remove(FaultId(id)) {
                Ok(json!({}))
            } else {
                Err(ApiError::new(404, "NotFound", "no such fault"))
            }
        }
        ("GET", ["requests"]) => requests(shared, query),
        ("GET", ["requests", "summary"]) => Ok(json!(shared.log.summary())),
        ("DELETE", ["requests"]) => {
            shared.log.clear();
            Ok(json!({}))
        }
        ("GET", ["state"]) => Ok(json!({
            "revision": shared.store.revision(),
            "compacted": shared.store.compacted(Resource::Nodes),
            "nodes": shared.store.len(Resource::Nodes),
            "pods": shared.store.len(Resource::Pods),
            "budgets": shared.store.len(Resource::Budgets),
            "watches": shared.drops.receiver_count(),
            "faults": shared.faults.list().len(),
        })),
        ("POST", ["nodes"]) => {
            let MakeNodes { count } = decode(body)?;
            Ok(json!({ "names": side::make_nodes(&shared.store, count)? }))
        }
        ("PATCH", ["nodes", name]) => side::change_node(&shared.store, name, decode(body)?),
        ("DELETE", ["nodes", name]) => side::delete_node(&shared.store, name).map(|()| json!({})),
        ("POST", ["nodes", name, "recreate"]) => side::recreate_node(&shared.store, name),
        ("POST", ["compact"]) => {
            shared.store.compact();
            Ok(json!({ "compacted": shared.store.revision() }))
        }
        ("POST", ["watches", "drop"]) => Ok(json!({ "dropped": side::drop_watches(shared) })),
        (method, segments) => pods::answer(shared, method, segments, body),
    }
}

fn faults(shared: &Shared) -> Value {
    let faults = shared.faults.list().into_iter();
    faults.map(|(id, fault)| json!({ "id": id, "fault": fault })).collect()
}

fn requests(shared: &Shared, query: &Query) -> Result<Value, ApiError> {
    let verb = query
        .get("verb")
        .map(|verb| serde_json::from_value::<Verb>(verb.into()).map_err(unreadable))
        .transpose()?;
    let effective = query.flag("effective");
    let records = shared.log.records(query.number("after").unwrap_or(0), |record| {
        verb.is_none_or(|verb| record.verb == verb)
            && query.get("resource").is_none_or(|kind| record.resource.as_deref() == Some(kind))
            && query.get("subresource").is_none_or(|sub| record.subresource.as_deref() == Some(sub))
            && query.get("namespace").is_none_or(|name| record.namespace.as_deref() == Some(name))
            && query.get("name").is_none_or(|name| record.name.as_deref() == Some(name))
            && (!effective || record.effect.is_some())
    });
    Ok(json!(records))
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(unreadable)
}

fn unreadable(error: serde_json::Error) -> ApiError {
    ApiError::bad_request(error.to_string())
}
