//! `check` of both programs, and what they say when the database cannot be reached.

use std::time::Duration;

use anyhow::Context as _;
use knm_shared::phrases;
use knm_tests::pod::{Pod, PodOptions, Program, program};
use knm_tests::postgres::{Database, shared_server};
use knm_tests::process::{Log, Spec};
use knm_tests::proxy::{Fault, Proxy, Select};
use knm_tests::scenario::World;
use knm_tests::{ports, scratch};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);
const BOTH: [Program; 2] = [Program::Api, Program::Relay];

struct Check {
    code: Option<i32>,
    output: String,
    failures: Vec<String>,
}

async fn check(program_kind: Program, config: &Value, password: &str) -> anyhow::Result<Check> {
    let folder = scratch::dir("check")?;
    let path = folder.join("config.yaml");
    std::fs::write(&path, serde_json::to_string_pretty(config)?)?;
    let log = Log::create(folder.join("check.log"))?;
    let process = Spec::new("check", &program(program_kind)?)
        .args(["check", "--config"])
        .arg(&path)
        .env("DB_PASSWORD", password)
        .spawn(&log)?;
    let code = process.wait(SOON).await?.code();
    let lines: Vec<String> = log.lines().iter().map(|line| line.to_string()).collect();
    let failures = lines.iter().filter(|l| l.starts_with("fail")).cloned().collect();
    Ok(Check { code, output: lines.join("\n"), failures })
}

fn config(database: &Database) -> Value {
    let server = database.server();
    json!({"database": {"host": server.host(), "port": server.port(),
                        "database": database.name(), "username": server.user(),
                        "password": "${DB_PASSWORD}"}})
}

#[tokio::test]
async fn what_is_right_is_said_to_be_right() -> anyhow::Result<()> {
    let database = shared_server().await?.database("check_ok").await?;
    for program in BOTH {
        let check = check(program, &config(&database), database.server().password()).await?;
        assert_eq!(check.code, Some(0), "{}", check.output);
        assert!(check.failures.is_empty(), "{}", check.output);
        assert!(!check.output.contains(database.server().password()), "{}", check.output);
    }
    Ok(())
}

#[tokio::test]
async fn each_fault_is_one_line_that_a_person_can_act_on() -> anyhow::Result<()> {
    let database = shared_server().await?.database("check_bad").await?;
    let password = database.server().password();
    let free = ports::free();
    // What is changed, the password, and what the line must contain.
    let cases: [(Value, &str, &[&str]); 9] = [
        (
            json!({"database": {"host": "no-such-host.invalid"}}),
            password,
            &["no-such-host.invalid", "database.host"],
        ),
        (json!({"database": {"port": free}}), password, &["connection refused", "database.port"]),
        (json!({}), "wrong-secret", &["password authentication failed", "database.password"]),
        (
            json!({"database": {"database": "no_such_database"}}),
            password,
            &["no_such_database", "does not exist", "database.database"],
        ),
        (json!({"database": {"ssl_mode": "require"}}), password, &["TLS", "database.ssl_mode"]),
        (
            json!({"database": {"password": "${NO_SUCH_VARIABLE}"}}),
            password,
            &["NO_SUCH_VARIABLE", "database.password"],
        ),
        (json!({"database": {"hots": "x"}}), password, &["hots", "host"]),
        (json!({"progress": {"enable_database": false}}), password, &["progress.enable_database"]),
        (json!({"database": {"host": null}}), password, &["database.host", "DB_HOST"]),
    ];
    for (change, password, words) in cases {
        let mut config = config(&database);
        json_patch::merge(&mut config, &change);
        for program in BOTH {
            let name = program.file_name();
            let check = check(program, &config, password).await?;
            let output = &check.output;
            assert_eq!(check.code, Some(1), "{name} with {change}:\n{output}");
            assert_eq!(check.failures.len(), 1, "{name} with {change}:\n{output}");
            for word in words {
                let line = &check.failures[0];
                assert!(line.contains(word), "{name} with {change}: no {word:?} in {line:?}");
            }
            assert!(!output.contains(password), "{name} with {change}: a secret in\n{output}");
        }
    }
    Ok(())
}

/// The lines of the guide's section on the start, in its order.
fn start_phrases(host: &str, port: u16, database: &str) -> Vec<String> {
    vec![
        format!("INFO: {}", phrases::DATABASE_INITIALIZING),
        format!("INFO: {}", phrases::DATABASE_INITIALIZED),
        format!("INFO: {} postgres notification", phrases::PROGRESS_ENABLED),
        format!(
            "INFO: {} host={host} port={port} dbname={database}",
            phrases::LISTENER_INITIALIZING
        ),
        format!("INFO: {}", phrases::LISTENER_CONNECTED),
        format!("INFO: {}", phrases::NOTIFIER_INITIALIZED),
        format!("INFO: {}", phrases::NOTIFIER_VERIFIED),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_logs_have_the_phrases_of_the_guide_in_order() -> anyhow::Result<()> {
    let world = World::new("phrases").pods(2).nodes(3).start().await?;
    let server = world.database.server();
    let expected = start_phrases(server.host(), server.port(), world.database.name());
    for pod in &world.pods {
        for log in [pod.relay.log(), pod.api.log()] {
            let last = expected.last().context("phrases")?;
            log.wait_for(last, SOON).await?;
            let lines = log.lines();
            let mut rest = lines.iter();
            for phrase in &expected {
                // `TIME LEVEL: message`, nothing between the level and the phrase.
                let found = rest.any(|line| {
                    line.split_once(' ').is_some_and(|(_, text)| text.starts_with(phrase.as_str()))
                });
                assert!(found, "{phrase:?} is missing or out of order\n{}", log.tail(40));
            }
        }
    }
    let api = world.sign_in(0).await?;
    let mut watcher = world.watcher(1).await?;
    let task = api.label(&world.nodes(0..3), "example.com/a", "b").await?;
    watcher.subscribe(task).await?;
    watcher.until_all_complete(SOON).await?;
    let rows = world.check_final(&watcher, task).await?;
    let last = format!("task={task} seq={}", rows.seq);
    for (log, phrase) in [
        (world.pods[0].api.log(), phrases::PUBLISHED),
        (world.pods[1].relay.log(), phrases::FORWARDED),
    ] {
        let line = log.wait_for(&format!("{phrase} {last}"), SOON).await?;
        let micros = line.split("micros=").nth(1).and_then(|rest| rest.split(' ').next());
        let micros: u64 = micros.context("microseconds")?.parse()?;
        assert!(micros < 10_000_000, "{line}");
    }
    world.stop().await
}

/// A pod whose relay alone is started.
async fn relay_alone(database: &Database, change: Value, password: bool) -> anyhow::Result<Pod> {
    // The relay has no business with Kubernetes.
    let mut options = PodOptions::new("pod-x", std::path::Path::new(""), "x");
    options.config = change;
    if !password {
        let wrong = json!({"database": {"password": "wrong-secret"}});
        json_patch::merge(&mut options.config, &wrong);
    }
    let mut pod = Pod::prepare(database, &options)?;
    pod.relay.start()?;
    Ok(pod)
}

#[tokio::test]
async fn a_refused_connection_is_told_in_the_words_of_the_guide() -> anyhow::Result<()> {
    let database = shared_server().await?.database("refused").await?;
    let port = ports::free();
    let pod = relay_alone(&database, json!({"database": {"port": port}}), true).await?;
    let cause = format!("dial tcp 127.0.0.1:{port}: connect: connection refused");
    let phrase = format!("ERROR: {}: {cause}", phrases::LISTENER_PROBLEM);
    pod.relay.says(&phrase, SOON).await?;
    // The pod must not be restarted for a database that is away.
    pod.relay.probe("/livez", SOON).await
}

#[tokio::test]
async fn a_wrong_password_is_told_in_the_words_of_the_guide() -> anyhow::Result<()> {
    let database = shared_server().await?.database("password").await?;
    let pod = relay_alone(&database, json!({}), false).await?;
    let cause = "FATAL: password authentication failed";
    let phrase = format!("ERROR: {}: {cause}", phrases::LISTENER_PROBLEM);
    let line = pod.relay.says(&phrase, SOON).await?;
    assert!(!line.contains("wrong-secret"), "{line}");
    Ok(())
}

#[tokio::test]
async fn a_connection_that_takes_too_long_is_told_in_the_words_of_the_guide() -> anyhow::Result<()>
{
    let database = shared_server().await?.database("timeout").await?;
    let server = database.server();
    let proxy = Proxy::start(format!("{}:{}", server.host(), server.port())).await?;
    proxy.set(Select::All, Fault::BlackHole);
    let change = json!({"database": {"port": proxy.address().port()}});
    let pod = relay_alone(&database, change, true).await?;
    pod.relay.says(&format!("ERROR: {}", phrases::LISTENER_TIMEOUT), SOON).await?;
    Ok(())
}
