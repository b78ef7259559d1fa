//! Connections and the pool against a real server.

mod support;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use knm_shared::config::Database;
use knm_shared::pg::{
    App, ConnectError, ConnectErrorKind, Connector, Pool, PoolError, Reporter, Target,
};
use knm_shared::{phrases, telemetry};
use support::{Server, free_port};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

fn database(server: &Server, more: &str) -> Database {
    server.config(more).config.database
}

async fn try_connect(
    db: &Database,
    limit: Duration,
) -> Result<tokio_postgres::Client, ConnectError> {
    let connector = Connector::new(db, App::RelayListener, Target::Direct)?.with_timeout(limit);
    let (client, connection) = connector.connect().await?;
    tokio::spawn(connection);
    Ok(client)
}

const LONG: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_connection_names_itself_and_takes_writes() {
    let server = Server::start().await;
    let client = try_connect(&database(&server, ""), LONG).await.expect("connects");
    let row = client.query_one("SELECT current_setting('application_name')", &[]).await;
    let name: String = row.expect("answered").get(0);
    assert!(name.starts_with("knm-relay-listener ") && name.len() <= 63, "{name}");
}

#[tokio::test]
async fn the_direct_server_is_used_where_one_is_named() {
    let server = Server::start().await;
    let nobody = free_port();
    let more = format!("port: {nobody}\ndirect_host: localhost\ndirect_port: {}", server.port);
    let db = database(&server, &more);
    try_connect(&db, LONG).await.expect("the direct one answers");
    let pooled = Connector::new(&db, App::Relay, Target::Pooled).expect("no TLS");
    let error = pooled.connect().await.err().expect("nobody is there");
    assert_eq!(error.kind, ConnectErrorKind::Refused);
    let cause = format!("dial tcp 127.0.0.1:{nobody}: connect: connection refused");
    assert_eq!(error.guide_cause(), cause);
    assert_eq!(error.listener_message(), format!("PostgreSQL listener problem: {cause}"));
}

#[tokio::test]
async fn of_a_list_the_server_that_takes_writes_is_found() {
    let server = Server::start().await;
    // 127.0.0.2 is this host too, and the server does not listen there.
    let db = database(&server, "host: 127.0.0.2, no-such-host.invalid, 127.0.0.1");
    try_connect(&db, LONG).await.expect("the third answers");
    let db = database(&server, "host: 127.0.0.1,127.0.0.2\npassword: wrong");
    let error = try_connect(&db, LONG).await.expect_err("wrong password");
    assert_eq!(error.kind, ConnectErrorKind::Authentication, "and not the refusal after it");
    assert_eq!(
        error.listener_message(),
        "PostgreSQL listener problem: FATAL: password authentication failed for user \"postgres\""
    );
}

#[tokio::test]
async fn silence_ends_in_time_and_does_not_use_up_the_time_of_the_next() {
    let server = Server::start().await;
    // The kernel accepts, and nobody answers.
    let silent = TcpListener::bind(("127.0.0.2", server.port)).await.expect("a free address");
    let limit = Duration::from_millis(400);
    let started = Instant::now();
    let db = database(&server, "host: 127.0.0.2");
    let error = try_connect(&db, limit).await.expect_err("silent");
    assert!((limit..limit * 4).contains(&started.elapsed()), "{:?}", started.elapsed());
    assert_eq!(error.kind, ConnectErrorKind::Timeout);
    assert_eq!(error.listener_message(), phrases::LISTENER_TIMEOUT);
    assert!(error.guide_cause().ends_with("i/o timeout"), "{error}");
    let db = database(&server, "host: 127.0.0.2,127.0.0.1");
    try_connect(&db, LONG).await.expect("the second answers");
    drop(silent);
}

#[tokio::test]
async fn a_standby_is_read_only() {
    let server = Server::start().await;
    let sql = "ALTER DATABASE postgres SET default_transaction_read_only = on";
    server.client().await.batch_execute(sql).await.expect("set up");
    let error = try_connect(&database(&server, ""), LONG).await.expect_err("takes no writes");
    assert_eq!(error.kind, ConnectErrorKind::ReadOnly);
}

#[tokio::test]
async fn a_unix_socket_is_a_host_too() {
    let server = Server::start().await;
    let more = format!("host: {}\nssl_mode: require", server.folder.display());
    try_connect(&database(&server, &more), LONG).await.expect("as with libpq, without TLS");
}

#[tokio::test]
async fn the_pool_lends_replaces_and_closes() {
    let server = Server::start().await;
    let pool = Pool::new(&database(&server, ""), App::Api, 1).expect("no TLS");
    let client = pool.get().await.expect("connects");
    let pid = async |client: &tokio_postgres::Client| -> i32 {
        client.query_one("SELECT pg_backend_pid()", &[]).await.expect("answered").get(0)
    };
    let first = pid(&client).await;
    assert_eq!((pool.state().size, pool.state().max), (1, 1));

    let busy = pool.get().await.expect_err("the only one is on loan");
    assert!(matches!(busy, PoolError::Busy { max: 1 }), "{busy}");

    drop(client);
    assert_eq!(pid(&pool.get().await.expect("the same")).await, first);

    let watcher = server.client().await;
    watcher.execute("SELECT pg_terminate_backend($1, 5000)", &[&first]).await.expect("ended");
    let client = loop {
        let client = pool.get().await.expect("a new one");
        if client.simple_query("SELECT 1").await.is_ok() {
            break client;
        }
    };
    assert_ne!(pid(&client).await, first);

    let closing = {
        let pool = pool.clone();
        tokio::spawn(async move { pool.close().await })
    };
    drop(client);
    closing.await.expect("closes once everything is back");
    assert!(matches!(pool.get().await, Err(PoolError::Closed)));
    let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'knm-api %'";
    while watcher.query_one(left, &[]).await.expect("answered").get::<_, i64>(0) > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn maintenance_closes_idle_connections_above_the_limit() {
    let server = Server::start().await;
    let pool = Pool::new(&database(&server, "max_idle_conns: 1"), App::Api, 3).expect("no TLS");
    let (a, b, c) = tokio::join!(pool.get(), pool.get(), pool.get());
    let clients = [a, b, c].map(|client| client.expect("connects"));
    assert_eq!(pool.state().size, 3);
    drop(clients);
    let shutdown = CancellationToken::new();
    let maintenance = {
        let (p, s) = (pool.clone(), shutdown.clone());
        tokio::spawn(async move { p.maintain(s).await })
    };
    while pool.state().size != 1 {
        tokio::task::yield_now().await;
    }
    shutdown.cancel();
    maintenance.await.expect("ends with the process");
}

#[tokio::test]
async fn a_failure_is_reported_once_for_each_state() {
    let server = Server::start().await;
    let nobody = format!("port: {}", free_port());
    let refused = try_connect(&database(&server, &nobody), LONG).await.expect_err("nobody");
    let wrong = database(&server, "password: wrong");
    let wrong = try_connect(&wrong, LONG).await.expect_err("wrong password");
    let reporter = Arc::new(Reporter::new(App::RelayListener));
    assert!(!reporter.connected(), "nothing had failed");
    assert!(reporter.failed(&refused));
    assert!(!reporter.failed(&refused));
    assert!(reporter.failed(&wrong), "another cause");
    assert_eq!(reporter.failure().map(|e| e.kind), Some(ConnectErrorKind::Authentication));
    assert!(reporter.connected());
    assert!(!reporter.connected());
    assert!(reporter.failed(&wrong), "a new failure");
}

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_has_the_guides_line_and_the_next_thing_to_try() {
    let server = Server::start().await;
    let (nobody, silent) = (free_port(), TcpListener::bind("127.0.0.1:0").await);
    let silent = silent.expect("a free port");
    let hung = silent.local_addr().expect("bound").port();
    let limit = Duration::from_millis(200);
    let captured = Captured::default();
    let writer = captured.clone();
    let log = knm_shared::config::Log::default();
    let subscriber: Arc<dyn tracing::Subscriber + Send + Sync> =
        telemetry::subscriber(&log, move || writer.clone()).expect("a filter").into();
    let reporter = Reporter::new(App::RelayListener);
    for more in [format!("port: {nobody}"), format!("port: {hung}"), "password: wrong".to_owned()] {
        let limit = if more.contains("wrong") { LONG } else { limit };
        let error = try_connect(&database(&server, &more), limit).await.expect_err(&more);
        tracing::subscriber::with_default(subscriber.clone(), || reporter.failed(&error));
    }
    tracing::subscriber::with_default(subscriber.clone(), || reporter.connected());
    let bytes = captured.0.lock().expect("not poisoned").clone();
    let log = String::from_utf8(bytes).expect("text");
    let lines: Vec<&str> =
        log.lines().map(|line| line.split_once(' ').expect("a time").1).collect();
    let starts = [
        format!(
            "ERROR: PostgreSQL listener problem: dial tcp 127.0.0.1:{nobody}: connect: connection \
             refused app=knm-relay-listener reason=refused host=127.0.0.1 port={nobody} \
             dbname=postgres next=\""
        ),
        format!("ERROR: {} app=knm-relay-listener reason=timeout", phrases::LISTENER_TIMEOUT),
        "ERROR: PostgreSQL listener problem: FATAL: password authentication failed for user \
         \"postgres\" app="
            .to_owned(),
        "INFO: PostgreSQL connection restored app=knm-relay-listener".to_owned(),
    ];
    assert_eq!(lines.len(), starts.len(), "{log}");
    for (line, start) in lines.iter().zip(starts) {
        assert!(line.starts_with(&start), "{line}\nis not\n{start}");
        assert!(!line.contains(support::PASSWORD));
    }
}
