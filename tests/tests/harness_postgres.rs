//! Throwaway PostgreSQL: databases per test, restarts, ends of sessions.

use std::time::Duration;

use anyhow::Context as _;
use knm_tests::postgres::{Cluster, ClusterOptions, Shutdown, shared_server};

#[tokio::test]
async fn a_database_lives_as_long_as_its_owner() -> anyhow::Result<()> {
    let server = shared_server().await?;
    let database = server.database("owner").await?;
    let name = database.name().to_owned();
    let held = database.connect().await?;
    held.batch_execute("CREATE TABLE t (x int); INSERT INTO t VALUES (7)").await?;
    assert_eq!(database.value::<i32>("SELECT x FROM t", &[]).await?, 7);
    drop(database);
    let left = server.connect().await?;
    let row = left.query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[&name]).await?;
    assert!(row.is_none(), "{name} is still there");
    Ok(())
}

#[tokio::test]
async fn sessions_are_seen_and_ended_by_name() -> anyhow::Result<()> {
    let database = shared_server().await?.database("ended").await?;
    let named = database.connect().await?;
    named.batch_execute("SET application_name = 'knm-relay-listener pod-a'; LISTEN x").await?;
    let sessions = database.sessions().await?;
    assert_eq!(sessions.len(), 1, "{sessions:?}");
    assert_eq!(sessions[0].application, "knm-relay-listener pod-a");
    assert_eq!(database.terminate("knm-relay-listener").await?, 1);
    assert!(named.simple_query("SELECT 1").await.is_err());
    Ok(())
}

#[tokio::test]
async fn a_restart_keeps_what_was_committed() -> anyhow::Result<()> {
    let settings = vec![("deadlock_timeout".to_owned(), "123ms".to_owned())];
    let cluster =
        Cluster::start(ClusterOptions { max_connections: 20, settings, ..Default::default() })
            .await?;
    let database = cluster.server().database("restart").await?;
    let sql = database.connect().await?;
    sql.batch_execute("CREATE TABLE t AS SELECT 1 AS x").await?;
    for how in [Shutdown::Fast, Shutdown::Immediate] {
        cluster.restart(how).await?;
        assert_eq!(database.value::<i32>("SELECT x FROM t", &[]).await?, 1);
    }
    let setting = database.value::<String>("SHOW deadlock_timeout", &[]).await?;
    assert_eq!(setting, "123ms");
    assert!(sql.simple_query("SELECT 1").await.is_err(), "old sessions are gone");
    cluster.stop(Shutdown::Smart).await?;
    let refused = tokio::time::timeout(Duration::from_secs(5), database.connect()).await;
    refused.context("refused at once")?.expect_err("nobody is there");
    Ok(())
}
