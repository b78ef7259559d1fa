//! `knm-api support-bundle`: it has what somebody who was not there needs, and no secret.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use knm_tests::kube_sim::Fault;
use knm_tests::scenario::World;
use knm_tests::scratch;
use serde_json::Value;

use crate::support::{SOON, programs};

fn bundle(config: &Path, password: &str) -> anyhow::Result<Unpacked> {
    let folder = scratch::dir("bundle")?;
    let archive = folder.join("support.tar");
    let made = Command::new(programs()?.join("knm-api"))
        .arg("support-bundle")
        .arg("--config")
        .arg(config)
        .env("DB_PASSWORD", password)
        .stdout(std::fs::File::create(&archive)?)
        .output()?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let tar = Command::new("tar").arg("-xf").arg(&archive).current_dir(&folder).output()?;
    ensure!(tar.status.success(), "{}", String::from_utf8_lossy(&tar.stderr));
    Ok(Unpacked(folder.join("support-bundle")))
}

/// A bundle's files.
struct Unpacked(PathBuf);

impl Unpacked {
    fn text(&self, name: &str) -> anyhow::Result<String> {
        std::fs::read_to_string(self.0.join(name)).with_context(|| name.to_owned())
    }

    fn everything(&self) -> anyhow::Result<String> {
        let mut all = String::new();
        for folder in ["", "api", "relay", "database"] {
            for entry in std::fs::read_dir(self.0.join(folder))? {
                let path = entry?.path();
                if path.is_file() {
                    all.push_str(&std::fs::read_to_string(path)?);
                }
            }
        }
        Ok(all)
    }
}

/// Something that the logs tell of as an error, and the way back.
async fn lose_the_listener(world: &World) -> anyhow::Result<()> {
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE \
               datname = current_database() AND application_name LIKE 'knm-relay-listener%'";
    world.database.connect().await?.batch_execute(end).await?;
    let pod = &world.pods[0];
    pod.api.log().wait_for("ERROR: PostgreSQL listener problem: ", SOON).await?;
    let live = async {
        while pod.relay.admin("/state").await?.json::<Value>()?["listener"] != "live" {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(SOON, live).await.context("the listener does not come back")?
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_support_bundle_has_everything_but_secrets() -> anyhow::Result<()> {
    let world = World::new("bundle").nodes(3).start().await?;
    world.sim.add_fault(Fault::patch_status("node-0002", 403));
    let api = world.sign_in(0).await?;
    let mut body =
        knm_tests::api::label_task(&world.nodes(0..3), "example.com/private-key-name", "v");
    body["reason"] = "a private reason".into();
    let task = api.submit(&body).await?;
    let mut watcher = world.watcher(0).await?;
    watcher.subscribe(task).await?;
    watcher.until_all_complete(SOON).await?;

    lose_the_listener(&world).await?;

    let config = world.pods[0].api.log().path().with_file_name("config.yaml");
    let password = world.database.server().password();
    let files = bundle(&config, password)?;
    let version = env!("CARGO_PKG_VERSION");
    for (name, part) in [
        ("about.txt", format!("knm-api: {version}\n")),
        ("about.txt", "sha256: ".into()),
        ("check.txt", "ok    connected to PostgreSQL".into()),
        ("config.txt", "password: Secret(…)".into()),
        ("api/readyz.txt", "readyz check passed".into()),
        (
            "api/metrics.txt",
            "knm_api_tasks_finished_total{dry_run=\"false\",status=\"failed\"} 1".into(),
        ),
        ("api/state.json", "ERROR: PostgreSQL listener problem: ".into()),
        ("relay/readyz.txt", "[i]listener: live".into()),
        ("relay/metrics.txt", "knm_relay_listener_state{state=\"live\"} 1".into()),
        ("relay/state.json", "PostgreSQL listener connected successfully".into()),
    ] {
        let text = files.text(name)?;
        ensure!(text.contains(&part), "{name} has no {part:?}\n{text}");
    }
    let json = |name: &str| anyhow::Ok(serde_json::from_str::<Value>(&files.text(name)?)?);
    assert_eq!(json("database/tasks.json")?[0]["id"], task.to_string());
    let failures = json("database/failures.json")?;
    assert_eq!(failures[0]["node"], "node-0002");
    ensure!(json("database/schema.json")?[0]["version"] == 1);
    ensure!(json("database/server.json")?[0]["settings"]["max_connections"].is_string());
    let connections = json("database/connections.json")?.to_string();
    ensure!(connections.contains("knm-relay-listener pod-a"), "{connections}");

    let all = files.everything()?;
    for (what, secret) in [
        ("the database's password", password),
        ("the administrator's password", "correct horse battery staple"),
        ("a session", api.token()?),
        ("a task's parameters", "private-key-name"),
        ("a task's reason", "a private reason"),
    ] {
        ensure!(!all.contains(secret), "{what} is in the bundle");
    }
    world.stop().await
}

#[test]
fn without_a_database_or_a_configuration_the_bundle_says_so() -> anyhow::Result<()> {
    let folder = scratch::dir("bundle_away")?;
    let (away, broken) = (folder.join("away.yaml"), folder.join("broken.yaml"));
    let port = knm_tests::ports::free();
    let [api, relay] = std::array::from_fn(|_| knm_tests::ports::free());
    let text = format!(
        "database: {{host: 127.0.0.1, port: {port}}}\napi: {{admin_listen: '127.0.0.1:{api}'}}\n\
         relay: {{admin_listen: '127.0.0.1:{relay}'}}\n"
    );
    std::fs::write(&away, text)?;
    let files = bundle(&away, "x")?;
    for name in ["check.txt", "database/error.txt"] {
        let text = files.text(name)?;
        ensure!(text.contains("connection refused"), "{name}: {text}");
    }
    ensure!(files.text("api/metrics.txt")?.starts_with("could not be had: "));

    std::fs::write(&broken, "database: {host: 127.0.0.1, hots: hunter2}\n")?;
    let files = bundle(&broken, "x")?;
    let text = files.text("about.txt").context("about.txt")?;
    ensure!(text.contains("database.hots") && !text.contains("hunter2"), "{text}");
    ensure!(files.text("check.txt")?.starts_with("fail  "));
    Ok(())
}
