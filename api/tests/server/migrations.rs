//! The schema: made once however many make it, and never at another program's cost.

use knm_api::auth::{self, FirstAdmin, FirstAdminOutcome, Passwords};
use knm_api::db::migrate::{MigrateError, Migration, Report};
use knm_api::retention::{self, Kept, Removed};
use knm_shared::config::Database as Settings;
use knm_shared::pg::{App, Pool};
use knm_tests::postgres::Database;
use tokio::task::JoinSet;

use super::support::{self, connector, database, section, settings};

async fn empty() -> (Database, Settings) {
    let database = database("migrations").await;
    let settings = settings(&section(&database));
    (database, settings)
}

async fn run(settings: &Settings, adopt: bool) -> Result<Report, MigrateError> {
    Migration::begin(&connector(settings)).await?.run(adopt).await
}

async fn sql(database: &Database, sql: &str) {
    database.connect().await.expect("connects").batch_execute(sql).await.expect("executes");
}

async fn tables(database: &Database) -> Vec<String> {
    let list = "SELECT array_agg(relname::text ORDER BY relname) FROM pg_class
                WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'";
    database.value(list, &[]).await.expect("a list")
}

/// As the program that this one replaces left it.
const FOREIGN: &str = "
    CREATE TABLE users (id serial PRIMARY KEY, username text);
    CREATE UNIQUE INDEX users_username ON users (username);
    CREATE TABLE progress_tasks (id serial PRIMARY KEY, task_id text, status text);
    CREATE TABLE label_templates (id serial PRIMARY KEY);
    INSERT INTO users (username) VALUES ('jane');
    INSERT INTO progress_tasks (task_id, status) VALUES ('1', 'completed')";

#[tokio::test]
async fn a_second_run_finds_nothing_to_do() {
    let (database, settings) = empty().await;
    let first = run(&settings, false).await.expect("migrates");
    assert_eq!(first.version, first.own_version);
    assert_eq!(first.applied.len(), usize::try_from(first.own_version).expect("positive"));
    let second = run(&settings, false).await.expect("migrates");
    assert_eq!(second, Report { applied: Vec::new(), ..first });
    let ours = [
        "audit_log",
        "clusters",
        "freezes",
        "node_drains",
        "node_tasks",
        "progress_items",
        "progress_tasks",
        "refinery_schema_history",
        "sessions",
        "user_clusters",
        "users",
        "webhook_deliveries",
    ];
    assert_eq!(tables(&database).await, ours);
}

#[tokio::test]
async fn many_at_a_time_migrate_once_and_make_one_administrator() {
    let (database, settings) = empty().await;
    let mut starts = JoinSet::new();
    for n in 0..4 {
        let settings = settings.clone();
        starts.spawn(async move {
            let mut migration = Migration::begin(&connector(&settings)).await.expect("the lock");
            let applied = migration.run(false).await.expect("migrates").applied.len();
            let first =
                FirstAdmin { username: format!("admin{n}"), password: "correct horse".into() };
            let outcome = auth::ensure(&mut migration, &Passwords::new(1), Some(first)).await;
            (applied, outcome.expect("no failure"))
        });
    }
    let outcomes = starts.join_all().await;
    assert_eq!(outcomes.iter().filter(|(applied, _)| *applied > 0).count(), 1);
    let created = outcomes.iter().filter(|(_, o)| *o == FirstAdminOutcome::Created).count();
    assert_eq!(created, 1);
    let users: i64 = database.value("SELECT count(*) FROM users", &[]).await.expect("a count");
    assert_eq!(users, 1);
}

#[tokio::test]
async fn without_a_password_there_is_no_administrator_and_a_bad_one_is_refused() {
    let (database, settings) = empty().await;
    let mut migration = Migration::begin(&connector(&settings)).await.expect("the lock");
    migration.run(false).await.expect("migrates");
    let passwords = Passwords::new(1);
    let none = auth::ensure(&mut migration, &passwords, None).await.expect("no failure");
    assert_eq!(none, FirstAdminOutcome::Missing);
    let short = FirstAdmin { username: "admin".into(), password: "short".into() };
    assert!(auth::ensure(&mut migration, &passwords, Some(short.clone())).await.is_err());
    let users: i64 = database.value("SELECT count(*) FROM users", &[]).await.expect("a count");
    assert_eq!(users, 0);
    sql(
        &database,
        "INSERT INTO users (id, username, password_hash, role)
                    VALUES (gen_random_uuid(), 'x', '', 'viewer')",
    )
    .await;
    let later = auth::ensure(&mut migration, &passwords, Some(short)).await.expect("not looked at");
    assert_eq!(later, FirstAdminOutcome::NotNeeded);
}

#[tokio::test]
async fn another_programs_tables_stop_it_and_adopting_moves_them_aside() {
    let (database, settings) = empty().await;
    sql(&database, FOREIGN).await;
    let before = tables(&database).await;
    let error = run(&settings, false).await.expect_err("stops");
    let text = error.to_string();
    assert!(matches!(error, MigrateError::Foreign(_)) && !error.is_transient(), "{text}");
    assert!(text.contains("progress_tasks, users") && text.contains("migrate --adopt"), "{text}");
    assert_eq!(tables(&database).await, before, "nothing was touched");

    let report = run(&settings, true).await.expect("adopts");
    let moved: Vec<_> = report.adopted.iter().map(|(from, to)| format!("{from} {to}")).collect();
    assert_eq!(moved, ["progress_tasks legacy_progress_tasks", "users legacy_users"]);
    let after = tables(&database).await;
    for table in ["legacy_users", "legacy_progress_tasks", "label_templates", "users", "sessions"] {
        assert!(after.iter().any(|t| t == table), "{table}: {after:?}");
    }
    let kept = database.value::<String>("SELECT username FROM legacy_users", &[]).await;
    assert_eq!(kept.expect("kept"), "jane");
    assert_eq!(run(&settings, true).await.expect("again").adopted, []);
}

#[tokio::test]
async fn what_was_adopted_before_is_not_overwritten() {
    let (database, settings) = empty().await;
    sql(&database, FOREIGN).await;
    sql(&database, "CREATE TABLE legacy_users (x int)").await;
    let before = tables(&database).await;
    let error = run(&settings, true).await.expect_err("stops");
    assert!(matches!(error, MigrateError::AdoptedBefore { .. }), "{error}");
    assert_eq!(tables(&database).await, before, "all or none");
}

#[tokio::test]
async fn a_task_table_that_cannot_be_ours_stops_it_whatever_the_history_says() {
    let (database, settings) = empty().await;
    run(&settings, false).await.expect("migrates");
    sql(&database, "ALTER TABLE progress_tasks RENAME COLUMN lease_token TO something").await;
    let error = run(&settings, false).await.expect_err("stops");
    assert!(matches!(&error, MigrateError::Foreign(t) if *t == ["progress_tasks"]), "{error}");
}

#[tokio::test]
async fn a_newer_schema_is_as_good_as_ours() {
    let (database, settings) = empty().await;
    run(&settings, false).await.expect("migrates");
    sql(
        &database,
        "INSERT INTO refinery_schema_history VALUES (99, 'later', '2030-01-01T00:00:00Z', '1')",
    )
    .await;
    let report = run(&settings, false).await.expect("goes on");
    assert_eq!((report.version, report.applied.len()), (99, 0));
}

#[tokio::test]
async fn a_history_that_contradicts_ours_stops_it() {
    let (database, settings) = empty().await;
    run(&settings, false).await.expect("migrates");
    sql(&database, "UPDATE refinery_schema_history SET checksum = '1'").await;
    let error = run(&settings, false).await.expect_err("stops");
    assert!(matches!(error, MigrateError::History(_)) && !error.is_transient(), "{error}");
}

#[tokio::test]
async fn what_waiting_may_cure_is_told_apart() {
    let (_database, settings) = empty().await;
    let nobody = Settings { port: knm_tests::ports::free(), ..settings.clone() };
    let error = run(&nobody, false).await.expect_err("nobody is there");
    assert!(matches!(error, MigrateError::Connect(_)) && error.is_transient(), "{error}");
}

/// Somebody uses a table that the migration needs: it gives up soon, and may be tried again.
#[tokio::test]
async fn a_table_in_use_is_not_waited_for_as_whoever_came_next_would_wait_too() {
    let (database, settings) = empty().await;
    run(&settings, false).await.expect("migrates");
    let user = database.connect().await.expect("connects");
    let lock = "BEGIN; LOCK TABLE refinery_schema_history";
    user.batch_execute(lock).await.expect("locks");
    let error = run(&settings, false).await.expect_err("gives up");
    assert!(matches!(error, MigrateError::TableLocked(_)) && error.is_transient(), "{error}");
    user.batch_execute("ROLLBACK").await.expect("unlocks");
    run(&settings, false).await.expect("goes on");
}

/// Updates of the hot columns stay heap-only: no index holds one of them, and pages have room.
#[tokio::test]
async fn no_index_is_in_the_way_of_a_flush() {
    let (database, settings) = empty().await;
    run(&settings, false).await.expect("migrates");
    let hot = "SELECT count(*) FROM pg_index x
               JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = ANY (x.indkey)
               WHERE x.indrelid = ANY (ARRAY['progress_tasks', 'progress_items']::regclass[])
                 AND a.attname = ANY (ARRAY['seq', 'updated_at', 'lease_expires_at', 'status',
                                            'lease_owner', 'lease_token', 'desired'])";
    assert_eq!(database.value::<i64>(hot, &[]).await.expect("counts"), 0);
    let of_items = "SELECT array_agg(indexrelid::regclass::text) FROM pg_index
                    WHERE indrelid = 'progress_items'::regclass";
    let of_items: Vec<String> = database.value(of_items, &[]).await.expect("a list");
    assert_eq!(of_items, ["progress_items_pkey"]);
    let room = "SELECT array_agg(option ORDER BY relname) FROM pg_class, unnest(reloptions) option
                WHERE relname LIKE 'progress\\_%' AND option LIKE 'fillfactor%'";
    let room: Vec<String> = database.value(room, &[]).await.expect("a list");
    assert_eq!(room, ["fillfactor=60", "fillfactor=50"]);
    let claims = "SELECT pg_get_indexdef('progress_tasks_open'::regclass)";
    let claims: String = database.value(claims, &[]).await.expect("a definition");
    assert!(claims.ends_with("(created_at) WHERE (completed_at IS NULL)"), "{claims}");
}

/// As the operator's guide has it.
#[tokio::test]
async fn the_guides_question_about_failures_is_answered() {
    let (database, settings) = empty().await;
    run(&settings, false).await.expect("migrates");
    sql(
        &database,
        "INSERT INTO users (id, username, password_hash, role)
         VALUES ('00000000-0000-0000-0000-000000000001', 'x', '', 'viewer');
         INSERT INTO progress_tasks (id, user_id, cluster, action, total, pending)
         VALUES (gen_random_uuid(), '00000000-0000-0000-0000-000000000001', 'c', 'label', 1, 1)",
    )
    .await;
    let asked = "SELECT status, COUNT(*)
                 FROM progress_tasks
                 WHERE created_at > NOW() - INTERVAL '1 hour'
                 GROUP BY status";
    let rows = database.connect().await.expect("connects").query(asked, &[]).await;
    let rows: Vec<(String, i64)> =
        rows.expect("answers").iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(rows, [("queued".to_owned(), 1)]);
}

/// As deploy/security.md has it: one role owns and migrates, another serves.
#[tokio::test]
async fn the_role_that_serves_can_add_to_the_audit_log_and_not_change_it() {
    let (database, settings) = empty().await;
    let role = format!("app_{}", uuid::Uuid::new_v4().simple());
    let create = format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'x'; REVOKE CREATE ON SCHEMA public FROM PUBLIC"
    );
    sql(&database, &create).await;
    let mut app = section(&database);
    (app["username"], app["password"]) = (role.clone().into(), "x".into());
    let app = support::settings(&app);

    let error = run(&app, false).await.expect_err("nothing is there, and it may make nothing");
    assert!(matches!(error, MigrateError::NotOwner { version: 0, .. }), "{error}");
    let mut owner = Migration::begin(&connector(&settings)).await.expect("the lock");
    owner.run(false).await.expect("migrates");
    assert!(matches!(owner.grant("nobody_at_all").await, Err(MigrateError::NoSuchRole(_))));
    let own: String = database.value("SELECT current_user::text", &[]).await.expect("a name");
    assert!(matches!(owner.grant(&own).await, Err(MigrateError::OwnRole(_))));
    owner.grant(&role).await.expect("grants");
    owner.grant(&role).await.expect("grants again");
    drop(owner);

    let found = run(&app, false).await.expect("there is nothing to do");
    assert_eq!((found.version, found.applied.len()), (found.own_version, 0));
    let mut serving = Migration::begin(&connector(&app)).await.expect("the lock");
    let first = FirstAdmin { username: "admin".into(), password: "correct horse".into() };
    let made = auth::ensure(&mut serving, &Passwords::new(1), Some(first)).await;
    assert_eq!(made.expect("no failure"), FirstAdminOutcome::Created);
    let entry =
        "SELECT username || ' ' || action || ' ' || target || ' ' || address FROM audit_log";
    let entry: String = database.value(entry, &[]).await.expect("one entry");
    assert_eq!(entry, "KNM_ADMIN_PASSWORD user.create admin local");
    for refused in [
        "UPDATE audit_log SET username = 'x'",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
        "DROP TABLE audit_log",
        "DELETE FROM refinery_schema_history",
        "CREATE TABLE x (y int)",
    ] {
        let as_app = format!("SET ROLE {role}; {refused}");
        let error = database.connect().await.expect("connects").batch_execute(&as_app).await;
        let code = error.expect_err(refused).code().cloned();
        assert_eq!(
            code,
            Some(tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE),
            "{refused}"
        );
    }
    old_entries_go_and_young_ones_stay(&database, &app).await;
    let drop = format!("DROP OWNED BY {role}; DROP ROLE {role}");
    sql(&database, &drop).await;
}

/// Whatever it asks for, the role that serves has nothing younger than 30 days removed.
async fn old_entries_go_and_young_ones_stay(database: &Database, serving: &Settings) {
    let entry = "INSERT INTO audit_log (at, address, action, result, status, request_id)
                 VALUES (now() - make_interval(days => $1), '', 'x', 'done', 200, '')";
    let mut client = database.connect().await.expect("connects");
    for age in [29, 31, 366] {
        client.execute(entry, &[&age]).await.expect("stored");
    }
    let pool = Pool::new(serving, App::Api, 1).expect("a pool");
    let ages =
        "SELECT string_agg(extract(day FROM now() - at)::text, ' ' ORDER BY at) FROM audit_log";
    for (kept, removed, left) in
        [(None, 0, "366 31 29 0"), (Some(365), 1, "31 29 0"), (Some(1), 1, "29 0")]
    {
        // A replica that is at it has its turn.
        let busy = client.transaction().await.expect("begins");
        let turn = "SELECT pg_advisory_xact_lock(hashtext('knm retention'))";
        busy.execute(turn, &[]).await.expect("its turn");
        let kept = Kept { tasks: 30, entries: kept };
        let round = retention::round(&pool, kept).await.expect("a round");
        assert_eq!(round, Removed { tasks: 0, entries: 0 });
        busy.commit().await.expect("commits");

        let round = retention::round(&pool, kept).await.expect("a round");
        assert_eq!(round, Removed { tasks: 0, entries: removed });
        assert_eq!(database.value::<String>(ages, &[]).await.expect("ages"), left);
    }
}
