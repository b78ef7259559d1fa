//! The restore drill of the guides: a backup that was made in the middle of a task, restored hours later.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use http::StatusCode;
use knm_shared::ids::TaskId;
use knm_shared::status::{ItemStatus, TaskStatus};
use knm_tests::kube_sim::Fault;
use knm_tests::pod::Pod;
use knm_tests::postgres::{Cluster, ClusterOptions, Database};
use knm_tests::scenario::World;
use knm_tests::scratch;
use knm_tests::ws::frame::{ClientFrame, ServerFrame};
use knm_tests::ws::{Connection, Message};
use tokio::time::timeout;

use crate::guide::blocks;
use crate::rolling_load::long_task;
use crate::support::{SOON, finish, run};

const NODES: usize = 60;

fn postgres(program: &str, database: &Database, arguments: &[&str]) -> anyhow::Result<()> {
    let done = Command::new(program)
        .args(arguments)
        .arg(format!("--dbname={}", database.url()))
        .output()
        .with_context(|| format!("{program} of Debian's postgresql-client"))?;
    ensure!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

/// A browser with a cursor from before the restore is in a new epoch, and gets a snapshot of it.
async fn begins_anew(
    world: &World,
    token: &str,
    task_id: TaskId,
    cursor: &str,
) -> anyhow::Result<()> {
    let relay = &world.pods[1].relay;
    let mut browser = Connection::open(&relay.address(), Some(token)).await?;
    let subscribe = ClientFrame::Subscribe { task_id, cursor: Some(cursor.to_owned()) };
    browser.send(&subscribe).await?;
    let (mut epoch, mut snapshot) = (None, None);
    while snapshot.is_none() {
        let next = timeout(SOON, browser.next()).await.context("no snapshot comes")??;
        let Message::Frame(frame, text) = next else { anyhow::bail!("{next:?}") };
        match *frame {
            ServerFrame::Hello(hello) => epoch = Some(hello.epoch),
            ServerFrame::Snapshot(page) => snapshot = Some(page.epoch),
            ServerFrame::Progress(_) => anyhow::bail!("the cursor was believed: {text}"),
            _ => {}
        }
    }
    let old = cursor.split_once(':').context("EPOCH:SEQ")?.0;
    ensure!(epoch == snapshot && epoch.as_deref() != Some(old), "{epoch:?}, {snapshot:?}, {old}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restore_nothing_resumes_unasked() -> anyhow::Result<()> {
    let latency = Duration::from_millis(50);
    let mut world = World::new("restore").nodes(NODES).latency(latency).start().await?;
    let api = world.sign_in(0).await?;
    let nodes = world.nodes(0..NODES);
    // However long the backup takes, the task has not ended by then.
    world.sim.add_fault(Fault::patch_status(&nodes[NODES - 1], 503));
    let task = api.submit(&long_task(&nodes, 0)).await?;
    let mut before = world.watcher(0).await?;
    before.subscribe(task).await?;
    before.until(SOON, |frame| matches!(frame, ServerFrame::Progress(_))).await?;
    let cursor = before.checker().picture(task).context("a picture")?.cursor();
    world.until_lease(task, SOON, |row| row.done >= 10).await?;
    let dump = scratch::dir("restore")?.join("dump");
    let dump = dump.to_str().context("a path")?;
    postgres("pg_dump", &world.database, &["--format=custom", &format!("--file={dump}")])?;
    world.sim.clear_faults();
    finish(&world, &api, task).await?;
    world.pods[0].stop().await?;

    // A server of its own: another history, as after a recovery to a point in time.
    let elsewhere = Cluster::start(ClusterOptions::default()).await?;
    let restored = elsewhere.server().database("restored").await?;
    postgres("pg_restore", &restored, &["--no-owner", dump])?;
    let drill = blocks("README.md", "restore")?;
    let [pause] = &drill[..] else { anyhow::bail!("the drill's SQL") };
    restored.connect().await?.batch_execute(&pause.text).await.context("the drill's SQL")?;
    world.sim.clear_requests();
    let options = world.pod_options().await?;
    world.database = restored;
    let pod = Pod::run(&world.database, &options).await?;
    world.pods.push(pod);

    // Everybody signs in anew; what is new is carried out, what was under way is not.
    let old = world.pods[1].client().with_token(api.token()?);
    let refused = old.get("/api/v1/auth/me").await?.status;
    assert_eq!(refused, StatusCode::UNAUTHORIZED);
    let api = world.sign_in(1).await?;
    run(&world, &api, &long_task(&nodes[..3], 1)).await?;
    begins_anew(&world, api.token()?, task, &cursor).await?;
    let rows = world.rows(task).await?;
    assert_eq!(rows.status, TaskStatus::Paused);
    assert_eq!(world.lease(task).await?.owner, None);
    let writes: u64 = world.sim.request_summary().effective_writes.values().sum();
    assert_eq!(writes, 3, "only the new task has written");

    // Asked to, it goes on; the nodes had been done after the backup, and are left as they are.
    api.post(&format!("/api/v1/tasks/{task}/resume"), &serde_json::json!({})).await?.ok()?;
    let rows = finish(&world, &api, task).await?;
    assert_eq!(rows.count(ItemStatus::Succeeded), NODES);
    let writes: u64 = world.sim.request_summary().effective_writes.values().sum();
    assert_eq!(writes, 3, "every node had what the task wants");
    world.pods[1].stop().await
}
