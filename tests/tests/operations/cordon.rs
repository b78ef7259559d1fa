//! cordon and uncordon.

use knm_tests::scenario::{ADMIN, World};
use serde_json::{Value, json};

use crate::support::{calls, is_cordoned, patch, run, task};

const BY: &str = "kube-node-manager.io/cordoned-by";
const AT: &str = "kube-node-manager.io/cordoned-at";
const REASON: &str = "kube-node-manager.io/cordon-reason";

fn annotations(world: &World, node: &str) -> Value {
    world.sim.node(node).expect("a node")["metadata"]["annotations"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_when_and_why_stand_on_the_node_until_the_uncordon() -> anyhow::Result<()> {
    let world = World::new("cordon").nodes(2).start().await?;
    // The second has been cordoned by somebody else, and stays as it is.
    world.sim.change_node("node-0002", patch(json!({"spec": {"unschedulable": true}})))?;
    let nodes = ["node-0001", "node-0002"];
    let mut body = task("cordon", &nodes, json!({}));
    body["reason"] = json!("disk swap, INC-7");
    let ended = run(&world, &body).await?;
    assert_eq!(ended.outcome(), "completed", "{:?}", ended.items);
    assert!(is_cordoned(&world, "node-0001"));
    let noted = annotations(&world, "node-0001");
    assert_eq!((&noted[BY], &noted[REASON]), (&json!(ADMIN), &json!("disk swap, INC-7")));
    assert!(noted[AT].as_str().is_some_and(|at| at.ends_with('Z')), "{noted}");
    let item = ended.item("node-0001");
    assert_eq!(item["before"]["unschedulable"], false);
    assert_eq!(item["after"]["unschedulable"], true);
    assert_eq!(item["after"][AT], noted[AT]);
    assert_eq!(ended.message("node-0002"), "unchanged");
    assert_eq!(annotations(&world, "node-0002").get(BY), None);
    assert_eq!(calls(&world, "patch").len(), 1);

    let ended = run(&world, &task("uncordon", &nodes, json!({}))).await?;
    assert_eq!(ended.outcome(), "completed", "{:?}", ended.items);
    for node in nodes {
        assert!(!is_cordoned(&world, node), "{node}");
        let left = annotations(&world, node);
        assert!([BY, AT, REASON].iter().all(|key| left.get(key).is_none()), "{left}");
    }
    assert_eq!(ended.item("node-0001")["before"][REASON], "disk swap, INC-7");
    let again = run(&world, &task("uncordon", &nodes, json!({}))).await?;
    assert_eq!(again.message("node-0001"), "unchanged");
    world.stop().await
}
