//! A real Prometheus scrapes both programs and finds every metric that is promised, each with its help.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use knm_tests::prometheus::{Prometheus, PrometheusOptions, Target, installed};
use knm_tests::scenario::World;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::support::SOON;

/// Of both, of the relay, of the api.
const PROMISED: [&str; 40] = [
    "knm_build_info",
    "knm_config_info",
    "knm_pg_connect_failures_total",
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
    "knm_api_item_failures_total",
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_scrapes_both_programs_and_finds_all_that_is_promised() -> anyhow::Result<()> {
    if !installed() {
        println!("SKIPPED: there is no prometheus (Debian: prometheus); nothing has been scraped");
        return Ok(());
    }
    let world = World::new("prometheus").nodes(3).start().await?;
    let api = world.sign_in(0).await?;
    let task = api.label(&world.nodes(0..3), "example.com/a", "b").await?;
    let mut watcher = world.watcher(0).await?;
    watcher.subscribe(task).await?;
    watcher.until_all_complete(SOON).await?;
    let options = PrometheusOptions {
        targets: Target::of(&world.pods[0]).into(),
        rules: Vec::new(),
        interval: Duration::from_secs(1),
    };
    let prometheus = Prometheus::start(&options).await?;
    prometheus.until_scraped().await?;
    let metadata = prometheus.ask("/api/v1/metadata?limit=1000").await?;
    let names = prometheus.ask("/api/v1/label/__name__/values").await?;
    let names: Vec<&str> =
        names.as_array().context("names")?.iter().filter_map(Value::as_str).collect();
    let has = |name: &str| names.iter().any(|n| n.strip_suffix("_bucket").unwrap_or(n) == name);
    let missing: Vec<_> = PROMISED.iter().filter(|name| !has(name)).collect();
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
        let values = prometheus.ask(&format!("/api/v1/label/{label}/values")).await?;
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
