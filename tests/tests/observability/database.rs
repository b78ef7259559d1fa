//! PostgreSQL: its notification queue, its passwords.

use std::time::Instant;

use anyhow::ensure;
use knm_tests::postgres::ClusterOptions;
use knm_tests::scenario::World;

use crate::support::{SOON, fires, is_firing, resolves, rules, skipped, watch};

/// Puts a function in the place of the server's `pg_notify`, for the writer.
pub(crate) async fn replace_pg_notify(world: &World, body: &str) -> anyhow::Result<()> {
    let sql = world.database.connect().await?;
    sql.batch_execute(&format!(
        "CREATE SEQUENCE public.told;
         CREATE FUNCTION public.pg_notify(text, text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
             {body};
         END $$;
         DO $$ BEGIN
             EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog',
                            current_database());
         END $$"
    ))
    .await?;
    world.database.terminate("knm-api-writer").await?;
    Ok(())
}

/// The queue holds 8 GB; what the server answers when it is full is put in the function's place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushes_without_notification_are_told() -> anyhow::Result<()> {
    if skipped() {
        return Ok(());
    }
    let world = World::new("queue_full").start().await?;
    let prometheus = watch(&world, &rules()?.without_waiting()).await?;
    let raise =
        "RAISE EXCEPTION 'too many notifications in the NOTIFY queue' USING ERRCODE = '54000'";
    // What submits goes on over connections that know the server's own function.
    let api = world.sign_in(0).await?;
    let fault = Instant::now();
    replace_pg_notify(&world, raise).await?;
    api.label(&world.nodes(0..3), "example.com/a", "b").await?;
    fires(&prometheus, "KnmNotifyFailures", &[("container", "kube-node-mgr")], fault).await?;
    prometheus.stop().await?;
    world.stop().await
}

/// A session that listens keeps a transaction open. As the queue holds 8 GB, the threshold is lowered to
/// a thousandth.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_does_not_empty_is_told() -> anyhow::Result<()> {
    if skipped() {
        return Ok(());
    }
    let world = World::new("queue_fills").own_cluster(ClusterOptions::default()).start().await?;
    let alert = "KnmNotificationQueueFilling";
    let rules = rules()?.without_waiting().with(alert, "> 0.1", "> 0.0001")?;
    let prometheus = watch(&world, &rules).await?;
    ensure!(!is_firing(&prometheus, alert, &[]).await?, "it is empty");
    let idle = world.database.connect().await?;
    // In force only once it is committed.
    idle.batch_execute("LISTEN noise").await?;
    idle.batch_execute("BEGIN; SELECT 1").await?;
    let fault = Instant::now();
    let noise = "SELECT pg_notify('noise', i || repeat('x', 7000)) FROM generate_series(1, 1000) i";
    world.database.connect().await?.batch_execute(noise).await?;
    fires(&prometheus, alert, &[], fault).await?;
    let repair = Instant::now();
    drop(idle);
    // The queue's tail moves on with the next notification.
    world.database.connect().await?.batch_execute("SELECT pg_notify('noise', 'last')").await?;
    resolves(&prometheus, alert, &[], repair).await?;
    prometheus.stop().await?;
    world.stop().await
}

/// The role gets another password, and the connections that are open end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_is_not_right_any_more_is_told() -> anyhow::Result<()> {
    if skipped() {
        return Ok(());
    }
    let world = World::new("password").own_cluster(ClusterOptions::default()).start().await?;
    let alert = "KnmDatabaseLoginFailures";
    let rules = rules()?.without_waiting().with(alert, "[10m]", "[15s]")?;
    let prometheus = watch(&world, &rules).await?;
    ensure!(!is_firing(&prometheus, alert, &[]).await?, "nothing is wrong yet");
    let (user, password) = {
        let server = world.database.server();
        (server.user().to_owned(), server.password().to_owned())
    };
    // Opened before, and spared: later ones could not be.
    let sql = world.database.connect().await?;
    let fault = Instant::now();
    sql.batch_execute(&format!("ALTER ROLE {user} PASSWORD 'another'")).await?;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE application_name LIKE 'knm-api%' OR application_name LIKE 'knm-relay%'";
    sql.batch_execute(end).await?;
    for container in ["kube-node-mgr", "relay"] {
        let labels = [("container", container), ("reason", "authentication")];
        fires(&prometheus, alert, &labels, fault).await?;
    }
    let repair = Instant::now();
    sql.batch_execute(&format!("ALTER ROLE {user} PASSWORD '{password}'")).await?;
    resolves(&prometheus, alert, &[], repair).await?;
    world.pods[0].relay.probe("/readyz", SOON).await?;
    prometheus.stop().await?;
    world.stop().await
}
