//! `check` against a real server: what it prints for each way in which a configuration can be wrong.

mod support;

use std::path::Path;

use knm_shared::check::{Component, run_with};
use support::{Server, Setup, free_port};

/// The verdict and the output, with all that differs from run to run replaced.
async fn check(server: &Server, component: Component, file: &Path) -> String {
    let mut out = Vec::new();
    let sound = run_with(Some(file), component, &|_| None, &mut out).await;
    let out = String::from_utf8(out).expect("text");
    let mut lines = String::new();
    for line in out.lines() {
        let mut line = line
            .replace(&file.display().to_string(), "config.yaml")
            .replace(&server.folder.display().to_string(), "FOLDER")
            .replace(&server.port.to_string(), "PORT");
        for (mark, stand_in) in [("sha256 ", "SHA"), ("after ", "N ms")] {
            if let Some(at) = line.find(mark) {
                line.replace_range(at + mark.len().., stand_in);
            }
        }
        lines += &format!("{line}\n");
    }
    format!("{lines}exit {}", i32::from(!sound))
}

async fn checked(server: &Server, component: Component, more: &str) -> String {
    check(server, component, &server.config_file(&server.database(more))).await
}

/// The lines that say what is wrong. There must be exactly one.
async fn failure(server: &Server, more: &str) -> String {
    let output = checked(server, Component::Api, more).await;
    assert!(output.ends_with("exit 1"), "{output}");
    let failures: Vec<&str> = output.lines().filter(|line| line.starts_with("fail")).collect();
    assert_eq!(failures.len(), 1, "{output}");
    failures[0].to_owned()
}

#[tokio::test]
async fn a_sound_configuration_passes() {
    let server = Server::start().await;
    insta::assert_snapshot!(checked(&server, Component::Api, "").await, @r"
ok    configuration from config.yaml is valid, sha256 SHA
ok    connected to PostgreSQL at host=127.0.0.1 port=PORT dbname=postgres user=postgres
ok    3 replicas need at most 75 of the server's 97 connections
exit 0
");
    insta::assert_snapshot!(checked(&server, Component::Relay, "").await, @r"
ok    configuration from config.yaml is valid, sha256 SHA
ok    connected to PostgreSQL at host=127.0.0.1 port=PORT dbname=postgres user=postgres
ok    3 replicas need at most 75 of the server's 97 connections
ok    LISTEN works: a notification from another connection came back after N ms
exit 0
");
    let polling = server.database("") + "progress:\n  notify_type: polling\n";
    let polling = check(&server, Component::Relay, &server.config_file(&polling)).await;
    assert!(polling.contains("LISTEN is not needed\nexit 0"), "{polling}");
}

#[tokio::test]
async fn each_mistake_is_one_line_that_says_what_to_do() {
    let server = Server::start().await;
    let client = server.client().await;
    for sql in [
        "CREATE DATABASE standby",
        "ALTER DATABASE standby SET default_transaction_read_only = on",
        "CREATE ROLE crowded LOGIN CONNECTION LIMIT 0 PASSWORD 'c0rrect-h0rse'",
        "CREATE ROLE stranger LOGIN PASSWORD 'c0rrect-h0rse'",
        "CREATE DATABASE private",
        "REVOKE CONNECT ON DATABASE private FROM PUBLIC",
    ] {
        client.batch_execute(sql).await.expect(sql);
    }

    let nobody = free_port();
    let refused = failure(&server, &format!("port: {nobody}")).await;
    insta::assert_snapshot!(refused.replace(&nobody.to_string(), "PORT"), @r"fail  cannot connect to PostgreSQL at host=127.0.0.1 port=PORT dbname=postgres user=postgres: dial tcp 127.0.0.1:PORT: connect: connection refused; nothing listens there: in a Pod, loopback is the Pod itself; check database.host and database.port, and that PostgreSQL runs");
    let wrong_host = failure(&server, "host: postgres-servce.invalid").await;
    assert!(wrong_host.contains("dial tcp: lookup postgres-servce.invalid: "), "{wrong_host}");
    assert!(wrong_host.contains("check the spelling of database.host"), "{wrong_host}");
    insta::assert_snapshot!(failure(&server, "password: wrong").await, @r#"fail  cannot connect to PostgreSQL at host=127.0.0.1 port=PORT dbname=postgres user=postgres: FATAL: password authentication failed for user "postgres"; check database.username (postgres) and database.password (DB_USERNAME, DB_PASSWORD) against the server"#);
    insta::assert_snapshot!(failure(&server, "password: \"\"").await, @r"fail  cannot connect to PostgreSQL at host=127.0.0.1 port=PORT dbname=postgres user=postgres: the server asks for a password, and database.password is empty; check database.username (postgres) and database.password (DB_USERNAME, DB_PASSWORD) against the server");
    insta::assert_snapshot!(failure(&server, "username: nobody").await, @r#"fail  cannot connect to PostgreSQL at host=127.0.0.1 port=PORT dbname=postgres user=nobody: FATAL: password authentication failed for user "nobody"; check database.username (nobody) and database.password (DB_USERNAME, DB_PASSWORD) against the server"#);
    insta::assert_snapshot!(failure(&server, "database: nothing").await, @r#"fail  cannot connect to PostgreSQL at host=127.0.0.1 port=PORT dbname=nothing user=postgres: FATAL: database "nothing" does not exist; create it (CREATE DATABASE nothing) or correct database.database"#);
    insta::assert_snapshot!(failure(&server, "ssl_mode: require").await, @r#"fail  cannot connect to PostgreSQL at host=127.0.0.1 port=PORT dbname=postgres user=postgres: tls: server does not support TLS; turn ssl on in the server, or set database.ssl_mode to "disable" (or "prefer") if the network may see everything"#);
    insta::assert_snapshot!(failure(&server, "database: standby").await, @r"fail  cannot connect to PostgreSQL at host=127.0.0.1 port=PORT dbname=standby user=postgres: the server takes no writes (a standby, or default_transaction_read_only is on); name the primary in database.host, or list all servers, separated by commas");
    insta::assert_snapshot!(failure(&server, "username: crowded").await, @r#"fail  cannot connect to PostgreSQL at host=127.0.0.1 port=PORT dbname=postgres user=crowded: FATAL: too many connections for role "crowded"; raise max_connections on the server, or lower database.max_open_conns"#);
    insta::assert_snapshot!(failure(&server, "username: stranger\ndatabase: private").await, @r#"fail  cannot connect to PostgreSQL at host=127.0.0.1 port=PORT dbname=private user=stranger: FATAL: permission denied for database "private"; GRANT CONNECT ON DATABASE private TO stranger"#);
    insta::assert_snapshot!(failure(&server, "password: ${DB_PASSWORD}").await, @r"fail  config.yaml:5: database.password: environment variable DB_PASSWORD is not set; set it, or write $${DB_PASSWORD} if the value is meant literally");
    insta::assert_snapshot!(failure(&server, "passwrod: x").await, @r#"fail  config.yaml:6: database.passwrod: unknown key; did you mean "password"?"#);
    insta::assert_snapshot!(failure(&server, "direct_port: 1").await, @r"fail  cannot connect to PostgreSQL at host=127.0.0.1 port=1 dbname=postgres user=postgres: dial tcp 127.0.0.1:1: connect: connection refused; nothing listens there: in a Pod, loopback is the Pod itself; check database.host and database.direct_port, and that PostgreSQL runs");
    let disabled = server.database("") + "progress:\n  enable_database: false\n";
    let disabled = check(&server, Component::Relay, &server.config_file(&disabled)).await;
    insta::assert_snapshot!(disabled, @r"
fail  config.yaml:7: progress.enable_database: false is not supported: without the database no replica would see another's progress, nor finish its tasks; remove the key or set it to true
exit 1
");
}

#[tokio::test]
async fn it_warns_of_what_will_hurt_later() {
    let setup = Setup::new().setting("max_connections=40").setting("synchronous_commit=off");
    let server = setup.start().await;
    let client = server.client().await;
    let role = "CREATE ROLE knm LOGIN PASSWORD 'c0rrect-h0rse'";
    client.batch_execute(role).await.expect("set up");
    insta::assert_snapshot!(checked(&server, Component::Api, "username: knm").await, @r"
ok    configuration from config.yaml is valid, sha256 SHA
ok    connected to PostgreSQL at host=127.0.0.1 port=PORT dbname=postgres user=knm
warn  3 replicas with database.max_open_conns 25 may open 75 connections, and the server has 37 for this role; lower it to 12 or raise max_connections (40)
warn  synchronous_commit is off: a crash of the server may lose progress that was already reported; set it to on for this database
warn  user knm may not create tables here, which migrations need: GRANT CREATE ON SCHEMA public TO knm
exit 0
");
}

#[tokio::test]
async fn what_is_no_postgresql_is_not_waited_for() {
    let server = Server::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let web_server = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    });
    let line = failure(&server, &format!("port: {port}")).await;
    web_server.await.expect("it answered");
    assert!(line.contains("check that database.port is PostgreSQL's port"), "{line}");
}
