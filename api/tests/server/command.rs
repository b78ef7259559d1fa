//! The program as operators run it.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use knm_tests::api::Api;
use knm_tests::postgres::Database;
use knm_tests::scratch;
use serde_json::json;

use super::support::{TestApp, database, migrate, section, settings};

fn knm_api(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_knm-api"))
        .args(arguments)
        .env_remove("KNM_ADMIN_PASSWORD")
        .env_remove("KNM_CONFIG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it was built");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    child.wait_with_output().expect("it ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn config(database: &Database) -> PathBuf {
    let path = scratch::dir("command").expect("a folder").join("config.yaml");
    let config = json!({ "database": section(database) });
    std::fs::write(&path, config.to_string()).expect("written");
    path
}

#[test]
fn the_openapi_document_is_printed() {
    let output = knm_api(&["openapi"], "");
    assert!(output.status.success());
    assert_eq!(text(&output.stdout), knm_api::openapi::document());
}

#[tokio::test]
async fn an_administrator_is_made_from_standard_input() {
    let app = TestApp::start().await;
    let path = config(&app.database);
    let path = path.to_str().expect("text");
    let create =
        |input: &str| knm_api(&["admin", "create", "--username", "root", "--config", path], input);
    let output = create("correct horse\n");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(!text(&output.stdout).contains("horse"));
    let api: Api = app.api.login("root", "correct horse").await.expect("signs in");
    let me = api.get("/api/v1/auth/me").await.expect("answers").ok().expect("me");
    assert_eq!(me["role"], "admin");

    let again = create("correct horse\n");
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("a user root already"), "{}", text(&again.stderr));
    for (input, part) in [("short\n", "at least 8"), ("", "could not be read")] {
        let output = create(input);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(part), "{}", text(&output.stderr));
    }
}

#[tokio::test]
async fn migrating_says_so_in_the_guides_words() {
    let database = database("command").await;
    let path = config(&database);
    let path = path.to_str().expect("text");
    let early = knm_api(&["admin", "create", "--username", "x", "--config", path], "correct horse");
    assert!(text(&early.stderr).contains("knm-api migrate"), "{}", text(&early.stderr));
    let output = knm_api(&["migrate", "--config", path], "");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let log = text(&output.stdout);
    let place = |phrase: &str| log.find(phrase).unwrap_or_else(|| panic!("{phrase}: {log}"));
    assert!(
        place("INFO: Initializing postgres database")
            < place("INFO: Successfully initialized postgres database")
    );
    migrate(&settings(&section(&database))).await;
}

#[test]
fn a_configuration_that_cannot_be_used_ends_with_one_line() {
    let missing = knm_api(&["--config", "/nonexistent/config.yaml"], "");
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).starts_with("error: "), "{}", text(&missing.stderr));
}

/// For an init container: what waiting cures is left to serving, what it does not is not.
#[tokio::test]
async fn a_database_that_is_away_is_left_to_serving_if_asked() {
    let database = database("command").await;
    let away = scratch::dir("command").expect("a folder").join("config.yaml");
    let mut section = section(&database);
    section["port"] = knm_tests::ports::free().into();
    std::fs::write(&away, json!({ "database": section }).to_string()).expect("written");
    let away = away.to_str().expect("text");
    let strict = knm_api(&["migrate", "--config", away], "");
    assert_eq!(strict.status.code(), Some(1));
    let lenient = knm_api(&["migrate", "--best-effort", "--config", away], "");
    assert!(lenient.status.success(), "{}", text(&lenient.stderr));
    let log = text(&lenient.stdout);
    assert!(log.contains("ERROR: PostgreSQL connection problem: dial tcp"), "{log}");
    assert!(log.contains("connection refused"), "{log}");

    let foreign = "CREATE TABLE progress_tasks (id serial PRIMARY KEY, name text)";
    database.connect().await.expect("connects").batch_execute(foreign).await.expect("created");
    let path = config(&database);
    let path = path.to_str().expect("text");
    let refused = knm_api(&["migrate", "--best-effort", "--config", path], "");
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused.stdout));
    assert!(text(&refused.stderr).contains("--adopt"), "{}", text(&refused.stderr));
}
