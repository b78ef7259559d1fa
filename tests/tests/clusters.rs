//! Several clusters side by side, added and removed while tasks run.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use http::Method;
use knm_tests::api::{Answer, Api, label_task};
use knm_tests::kube_sim::{self, KubeSim, SimOptions};
use knm_tests::ports;
use knm_tests::proxy::{Fault, Proxy, Select};
use knm_tests::scenario::World;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);
const CLUSTERS: &str = "/api/v1/clusters";

async fn sim(nodes: usize) -> anyhow::Result<KubeSim> {
    Ok(KubeSim::start(SimOptions { nodes, ..SimOptions::default() }).await?)
}

async fn send(api: &Api, method: Method, path: &str, body: Value) -> anyhow::Result<Answer> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    api.send(method, path, &[("content-type", "application/json")], body).await
}

async fn add(api: &Api, name: &str, kubeconfig: &str) -> anyhow::Result<Answer> {
    send(api, Method::POST, CLUSTERS, json!({"name": name, "kubeconfig": kubeconfig})).await
}

async fn remove(api: &Api, name: &str) -> anyhow::Result<Answer> {
    send(api, Method::DELETE, &format!("{CLUSTERS}/{name}"), Value::Null).await
}

/// Waits until a pod shows a cluster as wanted; `Null` when it does not know it.
async fn until(api: &Api, name: &str, wanted: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
    let waiting = async {
        loop {
            let answer = api.get(&format!("{CLUSTERS}/{name}")).await?;
            let shown = if answer.status == 404 { Value::Null } else { answer.ok()? };
            if wanted(&shown) {
                return anyhow::Ok(shown);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, waiting).await.with_context(|| format!("{name}: not in time"))?
}

async fn until_live(api: &Api, name: &str) -> anyhow::Result<Value> {
    until(api, name, |c| c["state"] == "live" && c["reachable"] == true).await
}

/// A label task on some cluster; waits for its end.
async fn label(api: &Api, cluster: &str, nodes: &[String], key: &str) -> anyhow::Result<Value> {
    let mut body = label_task(nodes, key, "b");
    body["cluster"] = cluster.into();
    let task = api.submit(&body).await?;
    let ended = async {
        loop {
            let shown = api.task(task).await?;
            if !shown["completed_at"].is_null() {
                return anyhow::Ok(shown);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, ended).await.context("the task does not end")?
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_used_by_every_replica_until_it_is_removed() -> anyhow::Result<()> {
    let world = World::new("clusters").pods(2).nodes(2).start().await?;
    let [one, two] = [world.sign_in(0).await?, world.sign_in(1).await?];
    let east = sim(3).await?;
    let token = "only-for-this-cluster";
    let added = add(&one, "east", &east.kubeconfig_with_token(token)).await?;
    assert_eq!(added.status, 201);
    let text = added.text();
    assert!(text.contains(&east.url()) && !text.contains(token), "{text}");
    for api in [&one, &two] {
        let shown = until_live(api, "east").await?;
        assert_eq!((&shown["nodes"], &shown["source"]), (&json!(3), &json!("database")));
        assert!(shown["version"].as_str().is_some_and(|v| v.starts_with('v')), "{shown}");
        let nodes = api.get(&format!("{CLUSTERS}/east/nodes")).await?.ok()?;
        assert_eq!(nodes["matched"], 3);
        let done = label(api, "east", &east.node_names(), "example.com/a").await?;
        assert_eq!(
            (&done["status"], &done["counts"]["succeeded"]),
            (&json!("completed"), &json!(3))
        );
    }
    // What is stored is of no use without the key.
    let stored: Vec<u8> =
        world.database.value("SELECT kubeconfig FROM clusters WHERE name = 'east'", &[]).await?;
    assert!(!stored.windows(token.len()).any(|w| w == token.as_bytes()));

    // Moved to another API server, it is that one's nodes that are seen and changed.
    let west = sim(5).await?;
    let body = json!({"kubeconfig": west.kubeconfig()});
    send(&two, Method::PUT, &format!("{CLUSTERS}/east"), body).await?.ok()?;
    for api in [&one, &two] {
        until(api, "east", |c| c["nodes"] == 5 && c["state"] == "live").await?;
    }
    assert_eq!(
        label(&one, "east", &west.node_names(), "example.com/b").await?["status"],
        "completed"
    );

    let watched = || east.open_watches() + west.open_watches();
    assert_eq!(remove(&one, "east").await?.status, 204);
    for api in [&one, &two] {
        until(api, "east", Value::is_null).await?;
        assert_eq!(api.get(&format!("{CLUSTERS}/east/nodes")).await?.status, 404);
    }
    let closed = async {
        while watched() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, closed).await.context("watches are left open")?;
    let mut body = label_task(&["node-0001".into()], "example.com/c", "d");
    body["cluster"] = "east".into();
    let problem = one.post("/api/v1/tasks", &body).await?.problem()?;
    assert_eq!((problem.status, problem.errors[0].field.as_str()), (422, "cluster"));
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_tasks_move_with_their_cluster_and_keep_it_from_being_removed() -> anyhow::Result<()>
{
    let world = World::new("clusters_moved").pods(2).nodes(1).start().await?;
    let api = world.sign_in(0).await?;
    let east = sim(40).await?;
    east.add_fault(kube_sim::Fault::latency(Duration::from_millis(100)));
    let proxy = Proxy::start(east.addr().to_string()).await?;
    add(&api, "east", &east.kubeconfig_through(proxy.address(), "old")).await?.ok()?;
    until_live(&api, "east").await?;
    let mut body = label_task(&east.node_names(), "example.com/a", "b");
    body["cluster"] = "east".into();
    body["options"] = json!({"concurrency": 2});
    let task = api.submit(&body).await?;
    world.until_lease(task, SOON, |row| row.done >= 3).await?;
    let problem = remove(&api, "east").await?.problem()?;
    assert_eq!(problem.status, 409);
    assert!(problem.detail.contains("1 tasks on east have not ended"), "{}", problem.detail);
    // Reached otherwise from now on; the old way ends.
    let body = json!({"kubeconfig": east.kubeconfig_with_token("new")});
    send(&api, Method::PUT, &format!("{CLUSTERS}/east"), body).await?.ok()?;
    let (row, _) = world.until_lease(task, SOON, |row| row.status == "completed").await?;
    assert_eq!(row.done, 40);
    for (node, writes) in east.request_summary().effective_writes {
        assert_eq!(writes, 1, "{node}");
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_clusters_of_which_three_are_away_come_and_go_without_a_trace() -> anyhow::Result<()> {
    let world = World::new("clusters_many").pods(2).nodes(2).start().await?;
    let [one, two] = [world.sign_in(0).await?, world.sign_in(1).await?];
    let sims = futures_util::future::try_join_all((0..6).map(|_| sim(5))).await?;
    let mut kubeconfigs: Vec<_> = sims.iter().map(KubeSim::kubeconfig).collect();
    // Nobody there; a black hole; one that hangs up.
    let target = sims[0].addr();
    let mut proxies = Vec::new();
    for refuses in [true, false] {
        let proxy = Proxy::start(target.to_string()).await?;
        if refuses {
            proxy.refuse_new().await;
        } else {
            proxy.set(Select::All, Fault::BlackHole);
        }
        kubeconfigs.push(sims[0].kubeconfig_through(proxy.address(), ""));
        proxies.push(proxy);
    }
    let nobody = ports::free();
    kubeconfigs.push(sims[0].kubeconfig_through(([127, 0, 0, 1], nobody).into(), ""));
    for (i, kubeconfig) in kubeconfigs.iter().enumerate() {
        add(&one, &format!("c{i}"), kubeconfig).await?.ok()?;
    }
    for api in [&one, &two] {
        for i in 0..6 {
            until_live(api, &format!("c{i}")).await?;
        }
        for i in 6..9 {
            let shown = until(api, &format!("c{i}"), |c| c["reachable"] == false).await?;
            assert!(shown["error"].is_string() && shown["state"] == "never_synced", "{shown}");
        }
    }
    let before = [rss(&world, 0)?, rss(&world, 1)?];
    // Tasks run all the while, on a cluster that stays.
    let nodes = sims[5].node_names();
    for round in 0..100 {
        let name = format!("c{}", round % 5);
        remove(&one, &name).await?.ok().or_else(|_| Ok::<_, anyhow::Error>(Value::Null))?;
        if round % 10 == 0 {
            until(&two, &name, Value::is_null).await?;
            let done = label(&two, "c5", &nodes, &format!("example.com/r{round}")).await?;
            assert_eq!(done["status"], "completed");
        }
        add(&one, &name, &kubeconfigs[round % 5]).await?.ok()?;
    }
    for api in [&one, &two] {
        for i in 0..6 {
            until_live(api, &format!("c{i}")).await?;
        }
    }
    // One watch a pod, as before.
    for (i, sim) in sims.iter().enumerate() {
        let settled = async {
            while sim.open_watches() != 2 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let open = tokio::time::timeout(SOON, settled).await;
        ensure!(open.is_ok(), "cluster c{i}: {} watches", sim.open_watches());
    }
    for (pod, before) in before.into_iter().enumerate() {
        let now = rss(&world, pod)?;
        println!("api {pod}: {before} KiB before, {now} KiB after 100 changes");
        ensure!(now < before + 20 * 1024, "memory: {before} → {now} KiB");
    }
    drop(proxies);
    world.stop().await
}

fn rss(world: &World, pod: usize) -> anyhow::Result<u64> {
    let pid = world.pods[pod].api.process()?.pid();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).context("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).context("no figure")?.parse()?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_cluster_is_named_and_nothing_changes() -> anyhow::Result<()> {
    let world = World::new("clusters_bad").nodes(1).start().await?;
    let api = world.sign_in(0).await?;
    let east = sim(1).await?;
    let good = east.kubeconfig();
    let user = |user: &str| good.replace("{}", user);
    for (name, kubeconfig, status, field) in [
        ("Upper", good.clone(), 422, "name"),
        ("", good.clone(), 422, "name"),
        ("*", good.clone(), 422, "name"),
        ("default", good.clone(), 409, ""),
        ("east", "{".to_owned(), 422, "kubeconfig"),
        ("east", user("{exec: {command: sh}}"), 422, "kubeconfig.user.exec"),
        ("east", user("{tokenFile: /etc/passwd}"), 422, "kubeconfig.user.tokenFile"),
        ("east", user("{client-certificate-data: bm90IG9uZQ==}"), 422, "kubeconfig"),
    ] {
        let problem = add(&api, name, &kubeconfig).await?.problem()?;
        let named = problem.errors.first().map_or("", |e| e.field.as_str());
        assert_eq!((problem.status, named), (status, field), "{name} {kubeconfig}: {problem:?}");
    }
    for (method, path, body, status) in [
        (Method::DELETE, "nowhere", Value::Null, 404),
        (Method::PUT, "nowhere", json!({"kubeconfig": good}), 404),
        (Method::DELETE, "default", Value::Null, 409),
        (Method::PUT, "default", json!({"kubeconfig": good}), 409),
        (Method::GET, "nowhere", Value::Null, 404),
    ] {
        let problem =
            send(&api, method.clone(), &format!("{CLUSTERS}/{path}"), body).await?.problem()?;
        assert_eq!(problem.status, status, "{method} {path}: {problem:?}");
    }
    let stored: i64 = world.database.value("SELECT count(*) FROM clusters", &[]).await?;
    assert_eq!(stored, 0);
    // One whose key is not here any more says so, and disturbs nobody.
    add(&api, "east", &good).await?.ok()?;
    until_live(&api, "east").await?;
    let sql = "UPDATE clusters SET kubeconfig = kubeconfig || '\\x00', version = version + 1";
    world.database.connect().await?.execute(sql, &[]).await?;
    let shown = until(&api, "east", |c| c["error"].is_string()).await?;
    assert!(shown["error"].to_string().contains("KNM_ENCRYPTION_KEY"), "{shown}");
    assert_eq!(api.get(&format!("{CLUSTERS}/default/nodes")).await?.status, 200);
    world.stop().await
}
