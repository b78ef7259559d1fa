//! Submitting, waiting and looking.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use knm_shared::ids::TaskId;
use knm_tests::api::Api;
use knm_tests::kube_sim::RequestRecord;
use knm_tests::scenario::World;
use serde_json::{Map, Value, json};

/// For whatever has to happen.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A task that has ended, as the REST interface shows it.
pub(crate) struct Ended {
    pub(crate) task: Value,
    pub(crate) items: Vec<Value>,
}

impl Ended {
    /// The item of a node.
    pub(crate) fn item(&self, node: &str) -> &Value {
        self.items.iter().find(|i| i["node"] == node).expect("the node is in the task")
    }

    /// The state of a node's item.
    pub(crate) fn status(&self, node: &str) -> &str {
        self.item(node)["status"].as_str().expect("a status")
    }

    /// The message of a node's item.
    pub(crate) fn message(&self, node: &str) -> &str {
        self.item(node)["message"].as_str().unwrap_or_default()
    }

    /// Items in a state.
    pub(crate) fn count(&self, status: &str) -> usize {
        self.items.iter().filter(|i| i["status"] == status).count()
    }

    /// The task's state.
    pub(crate) fn outcome(&self) -> &str {
        self.task["status"].as_str().expect("a status")
    }
}

/// A body for some nodes, without options.
pub(crate) fn task(action: &str, nodes: &[&str], params: Value) -> Value {
    json!({"action": action, "nodes": {"names": nodes}, "params": params})
}

/// The same with options.
pub(crate) fn with_options(mut task: Value, options: Value) -> Value {
    task["options"] = options;
    task
}

/// A patch for the side.
pub(crate) fn patch(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other} is no object"),
    }
}

/// Submits and waits for the end; every frame is checked, the last picture against the rows.
pub(crate) async fn run(world: &World, body: &Value) -> anyhow::Result<Ended> {
    let api = world.sign_in(0).await?;
    let id = api.submit(body).await?;
    finish(world, &api, id).await
}

/// Waits for a task's end.
pub(crate) async fn finish(world: &World, api: &Api, id: TaskId) -> anyhow::Result<Ended> {
    let mut watcher = world.watcher(0).await?;
    watcher.subscribe(id).await?;
    watcher.until_all_complete(SOON).await?;
    world.check_final(&watcher, id).await?;
    look(api, id).await
}

/// A task as it is now.
pub(crate) async fn look(api: &Api, id: TaskId) -> anyhow::Result<Ended> {
    let task = api.task(id).await?;
    let items = api.get(&format!("/api/v1/tasks/{id}/items?limit=1000")).await?.ok()?;
    let mut items = items["items"].as_array().context("no items")?.clone();
    items.sort_by_key(|i| i["ordinal"].as_u64());
    Ok(Ended { task, items })
}

/// Waits until a task looks as wanted.
pub(crate) async fn until(
    api: &Api,
    id: TaskId,
    what: &str,
    wanted: impl Fn(&Ended) -> bool,
) -> anyhow::Result<Ended> {
    let waiting = async {
        loop {
            let now = look(api, id).await?;
            if wanted(&now) {
                return anyhow::Ok(now);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(SOON, waiting).await {
        Ok(found) => found,
        Err(_) => {
            let now = look(api, id).await?;
            anyhow::bail!("{what}: not in time; {} {:?}", now.task, now.items)
        }
    }
}

/// Asks for a task to be cancelled, paused, …
pub(crate) async fn steer(api: &Api, id: TaskId, what: &str) -> anyhow::Result<()> {
    api.post(&format!("/api/v1/tasks/{id}/{what}"), &json!({})).await?.ok()?;
    Ok(())
}

/// Waits until the pod's memory of a node is as wanted. A pod that has just started has none yet.
pub(crate) async fn until_seen(
    api: &Api,
    node: &str,
    wanted: impl Fn(&Value) -> bool,
) -> anyhow::Result<()> {
    let seen = async {
        loop {
            let page = api.get("/api/v1/clusters/default/nodes?limit=500").await?;
            let page = match page.status {
                http::StatusCode::SERVICE_UNAVAILABLE => Value::Null,
                _ => page.ok()?,
            };
            let nodes = page["nodes"].as_array().cloned().unwrap_or_default();
            if nodes.iter().any(|n| n["name"] == node && wanted(n)) {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, seen).await.context("not seen in time")?
}

pub(crate) fn is_cordoned(world: &World, node: &str) -> bool {
    world.sim.node(node).is_some_and(|n| n["spec"]["unschedulable"] == true)
}

/// What pods of ours asked for with this verb.
pub(crate) fn calls(world: &World, verb: &str) -> Vec<RequestRecord> {
    // Not whether the API server answers, which is asked all the time.
    let of_tasks = |r: &RequestRecord| r.user.starts_with("pod-") && r.resource.is_some();
    let ours = |r: &RequestRecord| of_tasks(r) && r.verb.as_str() == verb;
    world.sim.requests().into_iter().filter(ours).collect()
}

/// Accepted evictions, by the evicted pod's UID.
pub(crate) fn evicted(world: &World) -> Vec<String> {
    let accepted = |e: &knm_tests::kube_sim::Eviction| e.status == 201 && !e.dry_run;
    world.sim.evictions().into_iter().filter(accepted).filter_map(|e| e.uid).collect()
}

/// No pod was evicted twice, and no budget was ever violated.
pub(crate) fn check_evictions(world: &World) -> anyhow::Result<()> {
    let mut uids = evicted(world);
    let all = uids.len();
    uids.sort();
    uids.dedup();
    ensure!(
        uids.len() == all,
        "{} of {all} evictions were of pods evicted before",
        all - uids.len()
    );
    let violations = world.sim.budget_violations();
    ensure!(violations.is_empty(), "{violations:?}");
    Ok(())
}
