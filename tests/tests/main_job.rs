//! The main job with real processes: executed by one pod, watched live through another.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use knm_shared::notification::CHANNEL;
use knm_shared::status::{ItemStatus, TaskStatus};
use knm_tests::api::label_task;
use knm_tests::kube_sim::{Fault, FaultAction};
use knm_tests::scenario::World;
use knm_tests::ws::frame::ServerFrame;
use knm_tests::ws::{Event, Watcher};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);

/// The value of a label of a node.
fn label(world: &World, node: &str, key: &str) -> Option<String> {
    let node = world.sim.node(node)?;
    node["metadata"]["labels"][key].as_str().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_of_one_pod_is_watched_through_the_other() -> anyhow::Result<()> {
    let latency = Duration::from_millis(20);
    let world = World::new("cross").pods(2).nodes(12).latency(latency).start().await?;
    let nodes = world.nodes(0..10);
    world.sim.add_fault(Fault::patch_status(&nodes[4], 403));
    let api = world.sign_in(1).await?;
    // The relay of the other pod, the own one, and the way through the api's own port.
    let mut watchers = vec![world.watcher(0).await?, world.watcher(1).await?];
    watchers.push(Watcher::new(world.pods[0].api.address(), api.token()?));
    for watcher in &mut watchers {
        watcher.connect().await?;
    }
    let task = api.label(&nodes, "example.com/rack", "r1").await?;
    for watcher in &mut watchers {
        watcher.subscribe(task).await?;
        watcher.until_all_complete(SOON).await?;
        let rows = world.check_final(watcher, task).await?;
        assert_eq!(rows.status, TaskStatus::Failed);
        assert_eq!(rows.count(ItemStatus::Succeeded), 9);
        let failed = &rows.items[4];
        assert_eq!((failed.status, failed.node.as_str()), (ItemStatus::Failed, nodes[4].as_str()));
        assert!(failed.message.as_deref().is_some_and(|m| m.contains("forbidden")), "{failed:?}");
    }
    for node in &nodes {
        let expected = (node != &nodes[4]).then_some("r1".to_owned());
        assert_eq!(label(&world, node, "example.com/rack"), expected, "{node}");
    }
    for node in world.nodes(10..12) {
        assert_eq!(label(&world, &node, "example.com/rack"), None, "{node} was not asked for");
    }
    // What the API says is the same.
    let row = world.sign_in(0).await?.task(task).await?;
    assert_eq!(row["counts"]["succeeded"], 9, "{row}");
    assert_eq!(row["status"], "failed", "{row}");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changed_since_a_number_is_asked_for_over_rest() -> anyhow::Result<()> {
    let world = World::new("after").nodes(30).start().await?;
    let api = world.sign_in(0).await?;
    let mut watcher = world.watcher(0).await?;
    let task = api.label(&world.nodes(0..30), "example.com/a", "b").await?;
    watcher.subscribe(task).await?;
    watcher.until_all_complete(SOON).await?;
    let end = world.rows(task).await?.seq;
    let sql = world.database.connect().await?;
    for after in 0..=end {
        let path = format!("/api/v1/tasks/{task}/items?after_seq={after}&limit=1000");
        let page = api.get(&path).await?.ok()?;
        let got: Vec<i64> = page["items"]
            .as_array()
            .context("items")?
            .iter()
            .filter_map(|item| item["ordinal"].as_i64())
            .collect();
        let rows = sql
            .query(
                "SELECT ordinal::bigint FROM progress_items WHERE task_id = $1 AND seq > $2 \
                 ORDER BY seq, ordinal",
                &[&task.0, &after],
            )
            .await?;
        let expected: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(got, expected, "after {after}");
        assert_eq!(page["seq"].as_i64(), Some(end), "after {after}");
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_resumes_by_cursor_and_gets_only_what_is_missing() -> anyhow::Result<()> {
    let latency = Duration::from_millis(30);
    let world = World::new("resume").pods(2).nodes(60).latency(latency).start().await?;
    let api = world.sign_in(1).await?;
    let mut watcher = world.watcher(0).await?;
    let mut body = label_task(&world.nodes(0..60), "example.com/a", "b");
    body["options"] = json!({"concurrency": 2});
    let task = api.submit(&body).await?;
    watcher.subscribe(task).await?;
    // Again at the same relay, then at the other pod's, as a load balancer would have it.
    for (pod, done) in [(0, 5), (1, 25)] {
        watcher
            .until(SOON, |f| matches!(f, ServerFrame::Progress(d) if d.progress.current >= done))
            .await?;
        let position = watcher.checker().picture(task).context("a picture")?.seq();
        watcher.drop_connection();
        let missed = async {
            while api.task(task).await?["current"].as_u64().context("current")? < (done + 10).into()
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(SOON, missed).await.context("the task goes on")??;
        watcher.move_to(world.pods[pod].relay.address());
        watcher.connect().await?;
        let first = watcher
            .until(SOON, |f| !matches!(f, ServerFrame::Hello(_) | ServerFrame::Mode(_)))
            .await?;
        let ServerFrame::Progress(delta) = first else {
            anyhow::bail!("a resume is answered by a step, not by {first:?}");
        };
        assert_eq!(delta.prev, position);
        assert!(!delta.items.is_empty() && delta.items.len() < 60, "{} items", delta.items.len());
    }
    watcher.until_all_complete(SOON).await?;
    let rows = world.check_final(&watcher, task).await?;
    assert_eq!(rows.status, TaskStatus::Completed);
    assert_eq!(watcher.connects(), 3);
    // At the end there is nothing left but the end.
    let mut late = world.watcher(1).await?;
    late.subscribe(task).await?;
    late.until_all_complete(SOON).await?;
    world.check_final(&late, task).await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_that_do_not_fit_into_a_notification_arrive_all_the_same() -> anyhow::Result<()> {
    let latency = Duration::from_millis(20);
    let world = World::new("large").pods(2).nodes(300).latency(latency).start().await?;
    // Fifty refusals of nearly a KiB at the same moment.
    world.sim.add_fault(Fault::patch(
        "node-*",
        FaultAction::Status {
            code: 422,
            retry_after_seconds: None,
            message: Some("ü".repeat(450)),
        },
    ));
    let mut payloads = world.database.listen(CHANNEL).await?;
    let api = world.sign_in(1).await?;
    let mut watcher = world.watcher(0).await?;
    let mut body = label_task(&world.nodes(0..300), "example.com/a", "b");
    body["options"] = json!({"concurrency": 50});
    let task = api.submit(&body).await?;
    watcher.subscribe(task).await?;
    watcher.until_all_complete(SOON).await?;
    let rows = world.check_final(&watcher, task).await?;
    assert_eq!(rows.count(ItemStatus::Failed), 300);
    let without_items = async {
        let (mut without, mut status) = (0, Value::Null);
        while status != "failed" {
            let payload = payloads.next().await?;
            ensure!(payload.len() < 8000, "PostgreSQL takes less than 8,000 bytes");
            let payload: Value = serde_json::from_str(&payload)?;
            if payload["task"] == json!(task) {
                without += usize::from(payload.get("items").is_none());
                status = payload["status"].clone();
            }
        }
        anyhow::Ok(without)
    };
    let without = tokio::time::timeout(SOON, without_items).await??;
    assert!(without > 0, "every notification had room: the test tests nothing");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn polling_needs_no_listen_connection() -> anyhow::Result<()> {
    let config = json!({"progress": {"notify_type": "polling"}});
    let world = World::new("polling").pods(2).nodes(10).config(config).start().await?;
    let api = world.sign_in(1).await?;
    let mut watcher = world.watcher(0).await?;
    watcher.connect().await?;
    let hello = watcher.until(SOON, |f| matches!(f, ServerFrame::Hello(_))).await?;
    assert!(matches!(&hello, ServerFrame::Hello(h) if h.mode == "polling"), "{hello:?}");
    let task = api.label(&world.nodes(0..10), "example.com/a", "b").await?;
    watcher.subscribe(task).await?;
    watcher.until_all_complete(SOON).await?;
    world.check_final(&watcher, task).await?;
    let sessions = world.database.sessions().await?;
    let listener = sessions.iter().find(|s| s.application.starts_with("knm-relay-listener"));
    assert_eq!(listener, None, "{sessions:?}");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_holds_one_listen_connection_and_nobody_a_transaction() -> anyhow::Result<()> {
    let world = World::new("sessions").pods(2).nodes(50).start().await?;
    let api = world.sign_in(0).await?;
    let mut watcher = world.watcher(1).await?;
    let task = api.label(&world.nodes(0..50), "example.com/a", "b").await?;
    watcher.subscribe(task).await?;
    watcher.until_all_complete(SOON).await?;
    let sessions = world.database.sessions().await?;
    let listening: Vec<_> =
        sessions.iter().filter(|s| s.application.starts_with("knm-relay-listener")).collect();
    assert_eq!(listening.len(), 2, "one for each relay: {sessions:#?}");
    let names: BTreeSet<_> = listening.iter().map(|s| &s.application).collect();
    assert_eq!(names.len(), 2, "each says which pod it is of: {names:?}");
    for session in &sessions {
        let listens = session.query.starts_with("LISTEN");
        let named = session.application.starts_with("knm-relay-listener");
        assert_eq!(listens, named, "psql shows who listens: {session:?}");
    }
    for session in &sessions {
        assert!(!session.state.starts_with("idle in transaction"), "{session:?}");
        assert!(session.application.starts_with("knm-"), "{session:?}");
    }
    // The api has left nothing to the relay: each stays within its share of max_open_conns (25).
    for pod in ["pod-a", "pod-b"] {
        let relay = |s: &&knm_tests::postgres::Activity| {
            s.application.starts_with("knm-relay") && s.application.contains(pod)
        };
        assert!(sessions.iter().filter(relay).count() <= 5, "{sessions:#?}");
    }
    world.stop().await
}

/// Twenty tasks at a time over two pods, some on the same nodes; every one is watched by a client of
/// its own, and all of them by one more client at each pod.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_twenty_tasks_of_a_hundred_nodes_are_watched_without_a_gap() -> anyhow::Result<()> {
    const TASKS: usize = 20;
    let latency = Duration::from_millis(5);
    let world = World::new("twenty").pods(2).nodes(1000).latency(latency).start().await?;
    let apis = [world.sign_in(0).await?, world.sign_in(1).await?];
    let mut all = [world.watcher(0).await?, world.watcher(1).await?];
    let mut submitted = Vec::new();
    for i in 0..TASKS {
        let first = (i * 100) % 1000;
        let nodes = world.nodes(first..first + 100);
        let (key, value) = (format!("example.com/task-{i}"), format!("v{i}"));
        let task = apis[i % 2].label(&nodes, &key, &value).await?;
        for watcher in &mut all {
            watcher.subscribe(task).await?;
        }
        // Through the pod that did not accept it.
        let mut watcher = world.watcher((i + 1) % 2).await?;
        watcher.subscribe(task).await?;
        submitted.push((task, nodes, key, value, watcher));
    }
    let (mut tasks, mut watching) = (Vec::new(), tokio::task::JoinSet::new());
    for (task, nodes, key, value, mut watcher) in submitted {
        tasks.push((task, nodes, key, value));
        watching.spawn(async move {
            watcher.until_all_complete(SOON * 2).await?;
            anyhow::Ok((Some(task), watcher))
        });
    }
    for mut watcher in all {
        watching.spawn(async move {
            watcher.until_all_complete(SOON * 2).await?;
            anyhow::Ok((None, watcher))
        });
    }
    while let Some(watched) = watching.join_next().await {
        let (task, watcher) = watched??;
        for (id, ..) in tasks.iter().filter(|(id, ..)| task.is_none_or(|t| t == *id)) {
            let rows = world.check_final(&watcher, *id).await?;
            assert_eq!(rows.status, TaskStatus::Completed, "task {id}");
            assert_eq!(rows.count(ItemStatus::Succeeded), 100, "task {id}");
        }
    }
    for (_, nodes, key, value) in &tasks {
        for node in nodes {
            assert_eq!(label(&world, node, key).as_ref(), Some(value), "{key} of {node}");
        }
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_of_tasks_follows_them() -> anyhow::Result<()> {
    let latency = Duration::from_millis(10);
    let world = World::new("list").pods(2).nodes(20).latency(latency).start().await?;
    let api = world.sign_in(1).await?;
    let mut watcher = world.watcher(0).await?;
    watcher.connect().await?;
    watcher.say(r#"{"type":"watch_tasks"}"#).await?;
    let first = watcher.until(SOON, |f| matches!(f, ServerFrame::Tasks(_))).await?;
    assert!(matches!(&first, ServerFrame::Tasks(t) if t.full && t.tasks.is_empty()), "{first:?}");
    let task = api.label(&world.nodes(0..20), "example.com/a", "b").await?;
    let mut seen = Vec::new();
    let ended = async {
        loop {
            let Event::Frame(frame) = watcher.next().await? else { anyhow::bail!("closed") };
            let ServerFrame::Tasks(tasks) = *frame else { continue };
            let Some(head) = tasks.tasks.into_iter().find(|head| head.id == task) else { continue };
            seen.push((head.seq, head.progress.status));
            if head.progress.status.is_terminal() {
                return Ok(head);
            }
        }
    };
    let head = tokio::time::timeout(SOON, ended).await.context("the end in the list")??;
    assert_eq!(head.progress.counts.succeeded, 20);
    let rows = world.rows(task).await?;
    assert_eq!((head.seq, head.progress.status), (rows.seq, rows.status), "{seen:?}");
    world.stop().await
}
