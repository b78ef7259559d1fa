//! A cluster that somebody works with: what `SimOptions::pods` puts on the nodes.

use std::{collections::BTreeMap, time::Duration};

use super::{
    faults,
    resource::Resource,
    side::pods,
    status::ApiError,
    store::Store,
    workload::{Allow, Amount, Workload, WorkloadKind},
};

/// Pods of ReplicaSets and StatefulSets to a node.
const PODS_PER_NODE: usize = 5;

const NAMESPACE: &str = "shop";

const SERVICES: [&str; 8] =
    ["web", "cart", "checkout", "search", "catalog", "accounts", "images", "reports"];
const STORES: [&str; 4] = ["orders-db", "cache", "queue", "index"];

/// Fills the nodes that there are. The seed decides how long pods take.
pub(crate) fn make(store: &Store, seed: u64) -> Result<(), ApiError> {
    for name in ["kube-proxy", "node-agent"] {
        let daemon = Workload {
            stops_in: Duration::from_millis(300),
            ..Workload::daemon_set("kube-system", name)
        };
        pods::add_workload(store, &daemon, None, seed)?;
    }
    let (nodes, _) = store.list(Resource::Nodes);
    let nodes: Vec<String> = nodes.iter().map(|node| node.name().to_owned()).collect();
    let wanted = nodes.len() * PODS_PER_NODE;
    let mut made = 0;
    let mut number = 0;
    // A larger cluster has larger services rather than more of them.
    let scale = (wanted / 100).max(1);
    while made < wanted {
        let (workload, allow) = workload(number, scale, wanted - made, seed);
        // Round the nodes, from where the last workload ended.
        let turn = (0..workload.replicas as usize).map(|i| nodes[(made + i) % nodes.len()].clone());
        pods::add_workload(store, &workload, Some(&turn.collect::<Vec<_>>()), seed)?;
        if let Some(allow) = allow {
            let labels = BTreeMap::from([("app".to_owned(), workload.name.clone())]);
            pods::add_budget(store, NAMESPACE, &workload.name, &labels, allow)?;
        }
        made += workload.replicas as usize;
        number += 1;
    }
    Ok(())
}

/// Every third workload keeps data; two of three have a budget.
fn workload(number: usize, scale: usize, room: usize, seed: u64) -> (Workload, Option<Allow>) {
    let chance = faults::mix(seed ^ faults::mix(number as u64));
    let between = |low: u64, high: u64, bits: u32| {
        Duration::from_millis(low + (chance >> bits) % (high - low))
    };
    let round = |names: &[&str], index: usize| match index / names.len() {
        0 => names[index].to_owned(),
        round => format!("{}-{}", names[index % names.len()], round + 1),
    };
    let [scale, room] = [scale, room].map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    let (kind, name, replicas, allow) = if number % 3 == 2 {
        let allow = Allow::MaxUnavailable(Amount::Count(1));
        (WorkloadKind::StatefulSet, round(&STORES, number / 3), 3, Some(allow))
    } else {
        let allow = Allow::MinAvailable(Amount::Percent(75));
        let index = number - number / 3;
        let replicas = scale * (2 + u32::try_from(chance % 9).unwrap_or(0));
        (
            WorkloadKind::ReplicaSet,
            round(&SERVICES, index),
            replicas,
            (number.is_multiple_of(3)).then_some(allow),
        )
    };
    let workload = Workload {
        namespace: NAMESPACE.to_owned(),
        name,
        kind,
        replicas: replicas.min(room),
        starts_in: between(500, 3000, 8),
        stops_in: between(200, 2000, 24),
        empty_dir: number % 4 == 1,
        ..Workload::default()
    };
    (workload, allow)
}
