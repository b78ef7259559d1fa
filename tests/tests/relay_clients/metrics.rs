//! A real Prometheus scrapes both programs and finds every metric that is promised, each with its help.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use knm_tests::api::Api;
use knm_tests::scenario::World;
use knm_tests::{ports, scratch};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::support::SOON;

/// Of both, of the relay, of the api.
const PROMISED: [&str; 38] = [
    "knm_build_info",
    "knm_config_info",
    "knm_relay_listener_state",
    "knm_relay_listener_connect_failures_total",
    "knm_relay_listener_reconnects_total",
    "knm_relay_listener_last_heartbeat_timestamp_seconds",
    "knm_relay_notify_round_trip_seconds",
    "knm_relay_notifications_total",
    "knm_relay_notify_latency_seconds",
    "knm_relay_delivery_latency_seconds",
    "knm_relay_websocket_connections",
    "knm_relay_queue_depth",
    "knm_relay_resyncs_total",
    "knm_relay_gaps_total",
    "knm_relay_audit_repairs_total",
    "knm_relay_closed_total",
    "knm_relay_refused_total",
    "knm_relay_bad_input_total",
    "knm_relay_pg_connections",
    "knm_relay_pg_notification_queue_usage",
    "knm_relay_read_seconds",
    "knm_relay_read_failures_total",
    "knm_relay_frames_total",
    "knm_api_tasks",
    "knm_api_oldest_queued_seconds",
    "knm_api_stalled_tasks",
    "knm_api_drains_blocked",
    "knm_api_tasks_finished_total",
    "knm_api_items_total",
    "knm_api_item_duration_seconds",
    "knm_api_flush_seconds",
    "knm_api_flush_items",
    "knm_api_notify_failures_total",
    "knm_api_lease_lost_total",
    "knm_api_takeovers_total",
    "knm_api_kube_requests_total",
    "knm_api_db_pool",
    "knm_api_http_request_duration_seconds",
];
/// Appear with the first event.
const LATER: [&str; 1] = ["knm_relay_listener_connect_failures_total"];

async fn ask(prometheus: &Api, path: &str) -> anyhow::Result<Value> {
    prometheus.get(path).await?.ok().map(|answer| answer["data"].clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_scrapes_both_programs_and_finds_all_that_is_promised() -> anyhow::Result<()> {
    if Command::new("prometheus").arg("--version").output().await.is_err() {
        println!("SKIPPED: there is no prometheus (Debian: prometheus); nothing has been scraped");
        return Ok(());
    }
    let world = World::new("prometheus").nodes(3).start().await?;
    let api = world.sign_in(0).await?;
    let task = api.label(&world.nodes(0..3), "example.com/a", "b").await?;
    let mut watcher = world.watcher(0).await?;
    watcher.subscribe(task).await?;
    watcher.until_all_complete(SOON).await?;
    // Something that is counted with its status only once it happens.
    let refused = Api::new(format!("http://{}", world.pods[0].relay.address())).get("/").await?;
    ensure!(refused.status == 404, "{refused:?}");

    let folder = scratch::dir("prometheus")?;
    let (config, port) = (folder.join("prometheus.yml"), ports::free());
    let targets = [world.pods[0].api.admin_address(), world.pods[0].relay.admin_address()];
    let text = format!(
        "{{global: {{scrape_interval: 1s}}, scrape_configs: [{{job_name: knm, static_configs: \
         [{{targets: ['{}', '{}']}}]}}]}}",
        targets[0], targets[1]
    );
    std::fs::write(&config, text)?;
    let log = std::fs::File::create(folder.join("prometheus.log"))?;
    let _prometheus = Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()?;
    let prometheus = Api::new(format!("http://127.0.0.1:{port}"));
    let scraped = async {
        loop {
            let up = ask(&prometheus, "/api/v1/query?query=sum(up)").await;
            if up.is_ok_and(|up| up["result"][0]["value"][1] == "2") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(SOON, scraped).await.context("it does not scrape both")?;
    let metadata = ask(&prometheus, "/api/v1/metadata?limit=1000").await?;
    let names = ask(&prometheus, "/api/v1/label/__name__/values").await?;
    let names: Vec<&str> =
        names.as_array().context("names")?.iter().filter_map(Value::as_str).collect();
    let has = |name: &str| names.iter().any(|n| n.strip_suffix("_bucket").unwrap_or(n) == name);
    let missing: Vec<_> =
        PROMISED.iter().filter(|name| !has(name) && !LATER.contains(name)).collect();
    assert!(missing.is_empty(), "not there: {missing:?}; there: {names:?}");
    let own =
        metadata.as_object().context("metadata")?.iter().filter(|(n, _)| n.starts_with("knm_"));
    for (name, about) in own {
        let help = about[0]["help"].as_str().unwrap_or_default();
        assert!(help.len() > 10, "{name} says nothing of itself: {help:?}");
        let counter = about[0]["type"] == "counter";
        assert_eq!(counter, name.ends_with("_total"), "{name} is a {}", about[0]["type"]);
    }
    // None of it may grow with users, tasks or nodes.
    for label in ["task", "node", "user", "cluster_node"] {
        let values = ask(&prometheus, &format!("/api/v1/label/{label}/values")).await?;
        assert_eq!(values, Value::Array(Vec::new()), "{label}");
    }
    for container in [&world.pods[0].api, &world.pods[0].relay] {
        lint(&container.admin("/metrics").await?.text()).await?;
    }
    world.stop().await
}

/// `promtool check metrics`: base units, names, help.
async fn lint(text: &str) -> anyhow::Result<()> {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = promtool.stdin.take().context("piped")?;
    stdin.write_all(text.as_bytes()).await?;
    drop(stdin);
    let output = promtool.wait_with_output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "promtool: {said}");
    Ok(())
}
