//! Children: their logs, signals, ends.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use knm_tests::process::{Log, Process, Spec};
use knm_tests::scratch;
use rustix::process::Signal;

const SOON: Duration = Duration::from_secs(10);

fn shell(script: &str) -> anyhow::Result<Process> {
    let log = Log::create(scratch::dir("shell")?.join("log"))?;
    Spec::new("shell", Path::new("/bin/sh")).args(["-c", script]).spawn(&log)
}

#[tokio::test]
async fn a_line_is_found_before_and_after_it_is_waited_for() -> anyhow::Result<()> {
    let shell = shell("echo early; echo other >&2; exec sleep 60")?;
    shell.log().wait_for("other", SOON).await?;
    assert_eq!(&*shell.log().wait_for("early", SOON).await?, "early");
    let late = shell.log().wait_for_after(shell.log().mark(), "early", Duration::from_millis(20));
    let error = late.await.expect_err("it came before the mark").to_string();
    assert!(error.contains("early") && error.contains("other"), "{error}");
    Ok(())
}

#[tokio::test]
async fn the_last_words_are_in_the_log_when_the_end_is_known() -> anyhow::Result<()> {
    for _ in 0..20 {
        let shell = shell("printf 'no newline'; exit 3")?;
        assert_eq!(shell.wait(SOON).await?.code(), Some(3));
        assert_eq!(&*shell.log().lines()[0], "no newline");
        assert_eq!(std::fs::read_to_string(shell.log().path())?, "no newline");
    }
    Ok(())
}

#[tokio::test]
async fn it_holds_still_and_goes_on() -> anyhow::Result<()> {
    let shell = shell("trap 'echo heard' USR1; echo ready; while :; do sleep 0.01; done")?;
    shell.log().wait_for("ready", SOON).await?;
    shell.pause()?;
    shell.signal(Signal::USR1)?;
    let stat = format!("/proc/{}/stat", shell.pid());
    while !std::fs::read_to_string(&stat)?.contains(") T ") {
        tokio::task::yield_now().await;
    }
    assert!(shell.log().wait_for("heard", Duration::from_millis(50)).await.is_err());
    shell.resume()?;
    shell.log().wait_for("heard", SOON).await?;
    Ok(())
}

#[tokio::test]
async fn one_that_ignores_sigterm_is_killed() -> anyhow::Result<()> {
    let shell = shell("trap '' TERM; echo ready; while :; do sleep 0.01; done")?;
    shell.log().wait_for("ready", SOON).await?;
    let late = shell.stop(Signal::TERM, Duration::from_millis(50)).await;
    assert!(late.expect_err("it did not listen").to_string().contains("had to be killed"));
    assert!(shell.status().is_some());
    Ok(())
}

#[tokio::test]
async fn no_signal_reaches_one_that_has_ended() -> anyhow::Result<()> {
    let shell = shell("exit 0")?;
    shell.wait(SOON).await?;
    assert!(shell.signal(Signal::TERM).is_err());
    Ok(())
}

/// The shell that is killed has started a grandchild in the same way as this process starts it.
#[tokio::test]
async fn nothing_outlives_a_parent_that_is_killed() -> anyhow::Result<()> {
    let program = env!("CARGO_BIN_EXE_knm-postgres");
    let log = Log::create(scratch::dir("outlive")?.join("log"))?;
    let parent = Spec::new("knm-postgres", Path::new(program)).spawn(&log)?;
    let url = log.wait_for("postgres://", Duration::from_secs(60)).await?;
    let server = knm_tests::postgres::Server::from_url(&url)?;
    let sql = server.connect().await?;
    let folder: String =
        sql.query_one("SELECT current_setting('data_directory')", &[]).await?.get(0);
    let postmaster = std::fs::read_to_string(format!("{folder}/postmaster.pid"))?;
    let pid = postmaster.lines().next().context("a pid")?.to_owned();
    parent.kill().await?;
    let gone = async {
        while Path::new(&format!("/proc/{pid}")).exists() || Path::new(&folder).exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, gone).await.context("PostgreSQL or its folder is still there")?;
    Ok(())
}
