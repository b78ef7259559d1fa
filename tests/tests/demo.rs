//! The demo: what it prints, how it ends, what it leaves behind.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use knm_tests::api::Api;
use knm_tests::process::{Log, Process, Spec};
use knm_tests::scratch;
use rustix::process::Signal;

const SOON: Duration = Duration::from_secs(90);

/// A demo with a temporary folder of its own, which must be empty at the end.
fn demo(arguments: &[&str]) -> anyhow::Result<(Process, std::path::PathBuf)> {
    let folder = scratch::dir("demo")?;
    let temp = folder.join("tmp");
    std::fs::create_dir(&temp)?;
    std::fs::set_permissions(&temp, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
    let log = Log::create(folder.join("log"))?;
    let demo = Spec::new("knm-demo", Path::new(env!("CARGO_BIN_EXE_knm-demo")))
        .args(arguments)
        .env("TMPDIR", &temp)
        .spawn(&log)?;
    Ok((demo, temp))
}

fn left_in(folder: &Path) -> anyhow::Result<Vec<String>> {
    let entries = std::fs::read_dir(folder)?;
    Ok(entries.flatten().map(|e| e.path().display().to_string()).collect())
}

fn text(demo: &Process) -> String {
    demo.log().lines().iter().map(|line| format!("{line}\n")).collect()
}

#[tokio::test]
async fn the_smoke_test_passes_and_leaves_nothing() -> anyhow::Result<()> {
    // Not optimised and beside other tests: how fast it is, is for `tests/run` to see.
    let (demo, temp) = demo(&["--smoke", "--nodes", "20", "--max-latency", "10000"])?;
    let status = demo.wait(SOON).await?;
    let printed = text(&demo);
    assert!(status.success(), "{printed}");
    for phrase in ["9 succeeded, 1 failed", "p99", "The main job works."] {
        assert!(printed.contains(phrase), "no {phrase:?} in\n{printed}");
    }
    assert_eq!(left_in(&temp)?, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn it_says_what_is_where_and_stops_when_told_to() -> anyhow::Result<()> {
    for signal in [Signal::INT, Signal::TERM] {
        let (demo, temp) = demo(&["--nodes", "3"])?;
        demo.log().wait_for("kube-node-manager is running", SOON).await?;
        demo.log().wait_for("folder ", SOON).await?;
        let printed = text(&demo);
        for phrase in [
            "pod-a  api    http://",
            "pod-b  api    http://",
            "ws://127.0.0.1:",
            "password ",
            "psql postgres://",
            "kubectl --server=",
        ] {
            assert!(printed.contains(phrase), "no {phrase:?} in\n{printed}");
        }
        demo.signal(signal)?;
        let status = demo.wait(SOON).await?;
        assert!(status.success(), "{}", text(&demo));
        assert_eq!(left_in(&temp)?, Vec::<String>::new());
    }
    Ok(())
}

#[tokio::test]
async fn with_prometheus_it_says_where_and_a_task_is_counted_there() -> anyhow::Result<()> {
    if !knm_tests::prometheus::installed() {
        println!("SKIPPED: there is no prometheus (Debian: prometheus); nothing has been scraped");
        return Ok(());
    }
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboards/rules");
    let rules = rules.display().to_string();
    let (demo, temp) = demo(&["--nodes", "3", "--prometheus", "--rules", &rules])?;
    let line = demo.log().wait_for("Prometheus   http://", SOON).await?;
    let (_, url) = line.split_once("Prometheus   ").context("an address")?;
    let prometheus = Api::new(url.trim_end_matches("/alerts"));
    let up = async {
        loop {
            let data = prometheus.get("/api/v1/query?query=sum(up)").await?.ok()?;
            if data["data"]["result"][0]["value"][1] == "4" {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(SOON, up).await.context("not all containers are scraped")??;
    let rules = prometheus.get("/api/v1/rules?type=alert").await?.ok()?;
    assert!(rules.to_string().contains("KnmListenerDown"), "{rules}");
    // What people do with a demo is seen there: a task through the first pod, by what has been printed.
    let printed = text(&demo);
    let after = |label: &str| {
        let line = printed.lines().find_map(|line| line.trim_start().strip_prefix(label));
        line.and_then(|line| line.split_whitespace().next())
            .with_context(|| format!("no {label:?} in\n{printed}"))
    };
    let api = Api::new(after("pod-a  api ")?).login(after("user ")?, after("password ")?).await?;
    api.label(&api.nodes().await?, "example.com/a", "b").await?;
    let finished =
        "/api/v1/query?query=sum(knm_api_tasks_finished_total%7Bstatus%3D%22completed%22%7D)";
    let counted = async {
        loop {
            let data = prometheus.get(finished).await?.ok()?;
            if data["data"]["result"][0]["value"][1] == "1" {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(SOON, counted).await.context("the task has not been counted")??;
    demo.signal(Signal::TERM)?;
    let status = demo.wait(SOON).await?;
    assert!(status.success(), "{}", text(&demo));
    assert_eq!(left_in(&temp)?, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn a_process_that_dies_is_named_and_started_again() -> anyhow::Result<()> {
    let (demo, temp) = demo(&["--nodes", "3", "--pods", "1"])?;
    demo.log().wait_for("kube-node-manager is running", SOON).await?;
    let relay = children(demo.pid())?
        .into_iter()
        .find(|pid| command(*pid).contains("knm-relay"))
        .context("the relay's process")?;
    let relay = rustix::process::Pid::from_raw(relay).context("a pid")?;
    rustix::process::kill_process(relay, Signal::KILL)?;
    demo.log().wait_for("knm-relay of pod-a ended with signal: 9", SOON).await?;
    demo.log().wait_for("starting it again", SOON).await?;
    while !children(demo.pid())?.into_iter().any(|pid| command(pid).contains("knm-relay")) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    demo.signal(Signal::TERM)?;
    let status = demo.wait(SOON).await?;
    assert!(status.success(), "{}", text(&demo));
    assert_eq!(left_in(&temp)?, Vec::<String>::new());
    Ok(())
}

fn command(pid: i32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

/// Children of all threads of a process.
fn children(pid: i32) -> anyhow::Result<Vec<i32>> {
    let mut found = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let list = std::fs::read_to_string(task?.path().join("children"))?;
        found.extend(list.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
    }
    Ok(found)
}
