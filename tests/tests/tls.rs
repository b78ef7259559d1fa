//! Both programs on `ssl_mode: verify-full`: the right certificate, and every wrong one.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use knm_shared::phrases;
use knm_tests::pod::{Program, program};
use knm_tests::postgres::{Certificates, Cluster, ClusterOptions, Database};
use knm_tests::process::{Log, Spec};
use knm_tests::scenario::World;
use knm_tests::scratch;
use knm_tests::stage::Stage;
use rustix::process::Signal;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);

fn verify_full(host: &str, root: &Path) -> Value {
    json!({"database": {"host": host, "ssl_mode": "verify-full", "ssl_root_cert": root}})
}

/// The sessions of the two programs, and whether they are encrypted.
const SESSIONS: &str = "
    SELECT split_part(a.application_name, ' ', 1), s.ssl, coalesce(s.version, '')
    FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid)
    WHERE a.datname = current_database() AND starts_with(a.application_name, 'knm-')
      AND a.application_name <> 'knm-tests'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_verify_full_a_task_runs_and_every_session_is_encrypted() -> anyhow::Result<()> {
    let authority = Certificates::new()?;
    let options = authority.server("localhost", false)?.options();
    let config = verify_full("localhost", &authority.root());
    let world = World::new("tls").nodes(20).config(config).own_cluster(options).start().await?;
    world.pods[0].relay.says(phrases::NOTIFIER_VERIFIED, SOON).await?;
    let api = world.sign_in(0).await?;
    let mut watcher = world.watcher(0).await?;
    let task = api.label(&world.nodes(0..20), "example.com/a", "b").await?;
    watcher.subscribe(task).await?;
    watcher.until_all_complete(SOON).await?;
    world.check_final(&watcher, task).await?;
    // Whatever else connects has to be encrypted as well; these must be among them.
    let all = ["knm-api", "knm-api-leases", "knm-api-writer", "knm-relay", "knm-relay-listener"];
    let sql = world.database.connect().await?;
    let mut missing = BTreeSet::from(all.map(str::to_owned));
    let seen = async {
        while !missing.is_empty() {
            for row in sql.query(SESSIONS, &[]).await? {
                let (name, encrypted, version): (String, bool, String) =
                    (row.get(0), row.get(1), row.get(2));
                ensure!(encrypted && version.starts_with("TLSv1."), "{name} {version}");
                missing.remove(&name);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    };
    let seen = tokio::time::timeout(SOON, seen).await;
    seen.with_context(|| format!("never seen: {missing:?}"))??;
    world.stop().await
}

/// Whether `check` is content, and what it says.
async fn check(kind: Program, database: &Database, more: &Value) -> anyhow::Result<(bool, String)> {
    let server = database.server();
    let mut config = json!({"database": {"port": server.port(), "database": database.name(),
                                         "username": server.user(), "password": "${DB_PASSWORD}"}});
    json_patch::merge(&mut config, more);
    let folder = scratch::dir("tls-check")?;
    let path = folder.join("config.yaml");
    std::fs::write(&path, config.to_string())?;
    let log = Log::create(folder.join("check.log"))?;
    let process = Spec::new("check", &program(kind)?)
        .args(["check", "--config"])
        .arg(&path)
        .env("DB_PASSWORD", server.password())
        .spawn(&log)?;
    let sound = process.wait(SOON).await?.success();
    Ok((sound, log.tail(50)))
}

/// One line that says what is wrong and what to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cannot_be_trusted_is_refused_with_the_reason() -> anyhow::Result<()> {
    let (authority, other) = (Certificates::new()?, Certificates::new()?);
    let good = Cluster::start(authority.server("localhost", false)?.options()).await?;
    let late = Cluster::start(authority.server("localhost", true)?.options()).await?;
    let plain = Cluster::start(ClusterOptions::default()).await?;
    let cases = [
        (&good, "localhost", authority.root(), None),
        (&good, "localhost", other.root(), Some("set database.ssl_root_cert")),
        (&good, "127.0.0.1", authority.root(), Some("names another host")),
        (&late, "localhost", authority.root(), Some("renew the server's certificate")),
        (&plain, "localhost", authority.root(), Some("turn ssl on in the server")),
    ];
    for (cluster, host, root, advice) in cases {
        let database = cluster.server().database("tls").await?;
        for program in [Program::Api, Program::Relay] {
            let (sound, said) = check(program, &database, &verify_full(host, &root)).await?;
            let case = format!("{program:?} {host}: {said}");
            assert_eq!(sound, advice.is_none(), "{case}");
            assert!(said.contains(advice.unwrap_or("connected to PostgreSQL")), "{case}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_waits_until_an_expired_certificate_is_renewed() -> anyhow::Result<()> {
    let authority = Certificates::new()?;
    let expired = authority.server("localhost", true)?;
    let cluster = Cluster::start(expired.options()).await?;
    let database = cluster.server().database("renewed").await?;
    let config = verify_full("localhost", &authority.root());
    let renewal = async {
        // The client hangs up on what it does not trust.
        cluster.log().wait_for("could not accept SSL connection", SOON).await?;
        expired.replace_with(&authority.server("localhost", false)?)?;
        cluster.signal(Signal::HUP).await
    };
    let (stage, renewed) = tokio::join!(Stage::on(database, 1, &config), renewal);
    renewed?;
    let stage = stage?;
    stage.until_state(0, "live", "live").await?;
    stage.relay(0).says("certificate has expired", SOON).await?;
    stage.stop().await
}
