//! A whole relay against a real PostgreSQL: rows and notifications in, frames out.

use std::time::Duration;

use knm_shared::notification::{CHANNEL, REVOKED_CHANNEL, Revocation};
use knm_shared::status::{ItemStatus, TaskStatus};
use serde_json::json;
use uuid::Uuid;

mod support;

use support::client::Client;
use support::postgres::Postgres;
use support::relay::{Running, get};
use support::writer::{Task, Tell, User};

use ItemStatus::{Failed, Running as Working, Succeeded};
use TaskStatus::{Failed as TaskFailed, Running as TaskRunning};

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_followed_from_snapshot_to_completion() {
    let postgres = Postgres::with_schema().await;
    let mut db = postgres.client().await;
    let user = User::sign_in(&db).await;
    let mut task = Task::create(&db, &user, 3).await;
    let relay = Running::live(postgres.port).await;

    let mut client = Client::connect(relay.addresses.server, &user.token).await;
    assert_eq!(client.mode, "live");
    client.subscribe(task.id, None).await;
    let snapshot = client.frame().await;
    assert_eq!(snapshot["type"], "snapshot");
    assert_eq!(snapshot["task"]["reason"], "why not");
    assert_eq!(snapshot["items"][2]["node"], "node-2");
    assert_eq!((&snapshot["page"], &snapshot["last"]), (&json!(0), &json!(true)));

    task.flush(&mut db, TaskRunning, &[(0, Working, None), (1, Working, None)], Tell::Whole).await;
    let progress = client.frame().await;
    assert_eq!(progress["type"], "progress");
    assert_eq!((&progress["prev"], &progress["seq"]), (&json!(1), &json!(2)));
    assert_eq!(progress["items"].as_array().map(Vec::len), Some(2));
    assert_eq!(progress["percent"], 0.0);

    // Items that did not fit are read.
    let note = "node not found";
    task.flush(&mut db, TaskRunning, &[(0, Failed, Some(note))], Tell::Head).await;
    let progress = client.frame().await;
    assert_eq!(progress["items"], json!([{"ordinal": 0, "status": "failed", "message": note}]));
    assert_eq!((&progress["current"], &progress["percent"]), (&json!(1), &json!(33.3)));

    // A notification that is lost is a gap for the next.
    task.flush(&mut db, TaskRunning, &[(1, Succeeded, None)], Tell::Nothing).await;
    task.flush(&mut db, TaskRunning, &[(2, Working, None)], Tell::Whole).await;
    let progress = client.frame().await;
    assert_eq!((&progress["prev"], &progress["seq"]), (&json!(3), &json!(5)));

    task.flush(&mut db, TaskFailed, &[(2, Succeeded, None)], Tell::Whole).await;
    let complete = client.frame().await;
    assert_eq!(complete["type"], "complete");
    assert_eq!(complete["counts"]["failed"], 1);
    assert_eq!(complete["percent"], 100.0);
    let view = client.view(task.id).clone();
    assert_eq!((view.items.len(), view.ends), (3, 1));

    let sessions = "SELECT count(*) FILTER (WHERE application_name LIKE 'knm-relay-listener%'), \
                    count(*) FILTER (WHERE state LIKE 'idle in transaction%'), \
                    count(*) FILTER (WHERE application_name LIKE 'knm-relay%') \
                    FROM pg_stat_activity";
    let row = db.query_one(sessions, &[]).await.expect("counts");
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (1, 0));
    assert!(row.get::<_, i64>(2) <= 5, "at most 4 and the LISTEN");

    // Resuming at the end brings the end alone; a snapshot of an ended task is followed by it.
    let mut late = Client::connect(relay.addresses.server, &user.token).await;
    late.views.insert(task.id.to_string(), support::client::View { ends: 0, ..view.clone() });
    late.subscribe(task.id, Some(&view.cursor)).await;
    let complete = late.frame().await;
    assert_eq!((&complete["type"], &complete["items"]), (&json!("complete"), &json!([])));
    late.say(json!({"type": "unsubscribe", "task_id": task.id})).await;
    late.subscribe(task.id, None).await;
    assert_eq!(late.frame().await["type"], "snapshot");
    assert_eq!(late.frame().await["type"], "complete");
    assert_eq!(late.view(task.id).items, view.items);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_resumes_with_only_what_it_lacks() {
    let postgres = Postgres::with_schema().await;
    let mut db = postgres.client().await;
    let user = User::sign_in(&db).await;
    let mut task = Task::create(&db, &user, 2_500).await;
    let relay = Running::live(postgres.port).await;

    let mut first = Client::connect(relay.addresses.server, &user.token).await;
    first.subscribe(task.id, None).await;
    for page in 0..3 {
        assert_eq!(first.frame().await["page"], page);
    }
    let view = first.view(task.id).clone();
    assert_eq!(view.items.len(), 2_500);
    drop(first);

    for item in 0..5 {
        task.flush(&mut db, TaskRunning, &[(item, Working, None)], Tell::Whole).await;
    }
    let mut second = Client::connect(relay.addresses.server, &user.token).await;
    second.views.insert(task.id.to_string(), view.clone());
    second.subscribe(task.id, Some(&view.cursor)).await;
    let frame = second.frame().await;
    assert_eq!(
        (&frame["type"], &frame["prev"], &frame["seq"]),
        (&json!("progress"), &json!(1), &json!(6))
    );
    assert_eq!(frame["items"].as_array().map(Vec::len), Some(5));

    // A cursor of another history, and one ahead of the row, get everything.
    for cursor in ["abc-1-2-3:4".to_owned(), view.cursor.replace(":1", ":99")] {
        let mut client = Client::connect(relay.addresses.server, &user.token).await;
        client.subscribe(task.id, Some(&cursor)).await;
        assert_eq!(client.frame().await["type"], "snapshot", "{cursor}");
    }
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn polling_mode_needs_no_listen() {
    let postgres = Postgres::with_schema().await;
    let mut db = postgres.client().await;
    let user = User::sign_in(&db).await;
    let mut task = Task::create(&db, &user, 2).await;
    let relay = Running::start(postgres.port, "notify_type: polling\npoll_interval: 100").await;
    relay.until_state("disabled", "polling").await;
    until_ready(&relay).await;

    let mut client = Client::connect(relay.addresses.server, &user.token).await;
    let mode = client.frame().await;
    assert_eq!((&mode["mode"], &mode["poll_interval_ms"]), (&json!("polling"), &json!(100)));
    client.subscribe(task.id, None).await;
    client.until("snapshot").await;
    task.flush(&mut db, TaskRunning, &[(0, Working, None)], Tell::Nothing).await;
    assert_eq!(client.until("progress").await["seq"], 2);
    task.flush(&mut db, TaskFailed, &[(0, Failed, None), (1, Failed, None)], Tell::Nothing).await;
    assert_eq!(client.until("complete").await["seq"], 3);

    let listening = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE \
                     'knm-relay-listener%'";
    assert_eq!(db.query_one(listening, &[]).await.expect("a count").get::<_, i64>(0), 0);
    relay.stop().await;
}

async fn until_ready(relay: &Running) {
    while get(relay.addresses.admin, "/readyz").await.0 != 200 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_waits_for_the_schema_and_tells_its_start_in_order() {
    let postgres = Postgres::start();
    let relay = Running::start(postgres.port, "notify_type: postgres").await;
    assert_eq!(get(relay.addresses.admin, "/livez").await.0, 200);
    assert_eq!(get(relay.addresses.admin, "/readyz").await.0, 503);
    postgres.migrate().await;
    relay.until_state("live", "live").await;
    until_ready(&relay).await;
    let state = relay.state().await;
    let said: Vec<_> = state["events"].as_array().expect("events").iter().collect();
    let said: Vec<&str> = said.iter().filter_map(|e| e["message"].as_str()).collect();
    let port = postgres.port;
    assert_eq!(
        said,
        [
            "Initializing postgres database",
            "Successfully initialized postgres database",
            "Progress service enabled database mode for multi-replica support with postgres \
             notification",
            &format!(
                "Initializing PostgreSQL listener with host=127.0.0.1 port={port} dbname=postgres"
            ),
            "PostgreSQL listener connected successfully",
            "PostgreSQL LISTEN/NOTIFY notifier initialized successfully",
            "✅ PostgreSQL notifier verified successfully - multi-replica progress updates ready",
        ]
    );
    let (status, metrics) = get(relay.addresses.admin, "/metrics").await;
    assert_eq!(status, 200);
    assert!(metrics.contains("knm_relay_listener_state{state=\"live\"} 1"), "{metrics}");
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_while_the_database_is_away() {
    let postgres = Postgres::with_schema().await;
    let mut db = postgres.client().await;
    let user = User::sign_in(&db).await;
    let mut task = Task::create(&db, &user, 2).await;
    let relay = Running::live(postgres.port).await;
    let mut client = Client::connect(relay.addresses.server, &user.token).await;
    client.subscribe(task.id, None).await;
    client.until("snapshot").await;

    postgres.down();
    let mode = client.until("mode").await;
    assert_eq!(mode["mode"], "polling");
    assert!(mode["reason"].as_str().is_some_and(|r| r.contains("PostgreSQL listener problem")));
    let refused = Client::try_connect(relay.addresses.server, &user.token, &[]).await;
    assert_eq!(refused.err(), Some(503));
    assert_eq!(get(relay.addresses.admin, "/readyz").await.0, 200);

    postgres.up();
    let mut db2 = postgres.client().await;
    db = {
        drop(db);
        postgres.client().await
    };
    task.flush(&mut db2, TaskRunning, &[(0, Working, None)], Tell::Nothing).await;
    assert_eq!(client.until("progress").await["seq"], 2);
    relay.until_state("live", "live").await;
    task.flush(&mut db, TaskRunning, &[(0, Succeeded, None)], Tell::Whole).await;
    assert_eq!(client.until("progress").await["seq"], 3);
    let state = relay.state().await;
    assert_eq!(state["connect_failures"], 0);
    relay.stop().await;
}

/// What this release does not understand it will not understand the next time either: the client is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_a_newer_release_ends_the_subscription() {
    let postgres = Postgres::with_schema().await;
    let db = postgres.client().await;
    let user = User::sign_in(&db).await;
    let task = Task::create(&db, &user, 2).await;
    let unknown = "ALTER TABLE progress_items DROP CONSTRAINT progress_items_status_check; \
                   UPDATE progress_items SET status = 'of a newer release'";
    db.batch_execute(unknown).await.expect("a status that nobody knows");
    let relay = Running::live(postgres.port).await;
    let mut client = Client::connect(relay.addresses.server, &user.token).await;
    client.subscribe(task.id, None).await;
    let told = client.until("error").await;
    assert_eq!(told["code"], "internal", "{told}");
    assert_eq!(told["task_id"], task.id.to_string(), "{told}");
    relay.stop().await;
}

/// A task that cannot be read is a matter of its own: the others' clients are told `live`, and comparisons
/// begin.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_cannot_be_read_does_not_keep_the_relay_catching_up() {
    let postgres = Postgres::with_schema().await;
    let db = postgres.client().await;
    let user = User::sign_in(&db).await;
    let task = Task::create(&db, &user, 2).await;
    let refused = "ALTER TABLE progress_items RENAME COLUMN message TO said";
    db.batch_execute(refused).await.expect("a column that no read finds");
    let relay = Running::live(postgres.port).await;
    let mut client = Client::connect(relay.addresses.server, &user.token).await;
    client.subscribe(task.id, None).await;
    let failures = "knm_relay_read_failures_total 0";
    while get(relay.addresses.admin, "/metrics").await.1.contains(failures) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE application_name LIKE 'knm-relay-listener%'";
    db.execute(end, &[]).await.expect("ended");
    for mode in ["polling", "catching_up", "live"] {
        while client.until("mode").await["mode"] != mode {}
    }
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_signed_in_get_in_and_only_for_as_long() {
    let postgres = Postgres::with_schema().await;
    let db = postgres.client().await;
    let user = User::sign_in(&db).await;
    let relay = Running::live(postgres.port).await;
    let server = relay.addresses.server;
    let refused = |token: String, headers: Vec<(&'static str, &'static str)>| async move {
        Client::try_connect(server, &token, &headers).await.err()
    };
    assert_eq!(refused(String::new(), vec![]).await, Some(401));
    assert_eq!(refused("wrong".to_owned(), vec![]).await, Some(401));
    let foreign = vec![("origin", "https://evil.example")];
    assert_eq!(refused(user.token.clone(), foreign).await, Some(403));
    assert_eq!(get(server, "/api/v1/progress/ws").await.0, 426);
    assert_eq!(get(server, "/").await.0, 404);

    let mut client = Client::connect(server, &user.token).await;
    let other = User::sign_in(&db).await;
    let mut bystander = Client::connect(server, &other.token).await;
    let revocation = serde_json::to_string(&Revocation::Session(user.session)).expect("JSON");
    db.execute("SELECT pg_notify($1, $2)", &[&REVOKED_CHANNEL, &revocation]).await.expect("notify");
    assert_eq!(client.closed().await, 4401);
    bystander.subscribe(Uuid::new_v4(), None).await;
    assert_eq!(bystander.until("error").await["code"], "unknown_task");
    relay.stop().await;
}

/// Neither a revocation nor the relay's own end waits until a client has taken what it was sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_is_closed_at_once_all_the_same() {
    let postgres = Postgres::with_schema().await;
    let db = postgres.client().await;
    let user = User::sign_in(&db).await;
    let relay = Running::live(postgres.port).await;
    let mut deaf = Client::connect_slow(relay.addresses.server, &user.token).await;
    for _ in 0..6 {
        let large = Task::create(&db, &user, 5_000).await;
        deaf.subscribe(large.id, None).await;
    }
    let metric = async |name: &str| -> u64 {
        let (_, metrics) = get(relay.addresses.admin, "/metrics").await;
        let value = metrics.lines().find_map(|l| l.strip_prefix(name)?.trim().parse().ok());
        value.expect("a whole number")
    };
    // Pages go out until nothing more fits.
    let mut frames = 0;
    while frames < 2 || frames < metric("knm_relay_frames_total").await {
        frames = metric("knm_relay_frames_total").await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let revocation = serde_json::to_string(&Revocation::Session(user.session)).expect("JSON");
    db.execute("SELECT pg_notify($1, $2)", &[&REVOKED_CHANNEL, &revocation]).await.expect("notify");
    let closed = async {
        while metric("knm_relay_closed_total{code=\"4401\"}").await == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(3), closed).await.expect("revoked");
    assert_eq!(metric("knm_relay_websocket_connections").await, 0, "its place is free");
    relay.stop().await;
}

/// What a role that may only connect says of sessions leads to a look at the rows, and no further.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_of_a_strangers_counts_as_far_as_the_rows_confirm_it() {
    let postgres = Postgres::with_schema().await;
    let db = postgres.client().await;
    db.batch_execute("CREATE ROLE stranger LOGIN").await.expect("a role");
    let stranger = postgres.client_as("stranger").await;
    let (user, other) = (User::sign_in(&db).await, User::sign_in(&db).await);
    let relay = Running::live(postgres.port).await;
    let mut client = Client::connect(relay.addresses.server, &user.token).await;
    let mut ended = Client::connect(relay.addresses.server, &other.token).await;
    // Its end was not told.
    db.execute("DELETE FROM sessions WHERE id = $1", &[&other.session]).await.expect("deleted");
    for forged in [Revocation::Session(user.session), Revocation::User(user.id)] {
        let forged = serde_json::to_string(&forged).expect("JSON");
        let notify = "SELECT pg_notify($1, $2)";
        stranger.execute(notify, &[&REVOKED_CHANNEL, &forged]).await.expect("notify");
    }
    assert_eq!(ended.closed().await, 4401, "the rows have been looked at");
    client.subscribe(Uuid::new_v4(), None).await;
    assert_eq!(client.until("error").await["code"], "unknown_task");
    relay.stop().await;
}

/// The first comes half a minute after the relay has gone live.
const BEFORE_AN_AUDIT: Duration = Duration::from_secs(12);

/// Each of these commits would otherwise stay unknown until the next audit, half a minute later.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_leads_to_the_rows() {
    let postgres = Postgres::with_schema().await;
    let mut db = postgres.client().await;
    db.batch_execute("CREATE ROLE stranger LOGIN").await.expect("a role");
    let stranger = postgres.client_as("stranger").await;
    let user = User::sign_in(&db).await;
    let mut task = Task::create(&db, &user, 2).await;
    let relay = Running::live(postgres.port).await;
    let mut client = Client::connect(relay.addresses.server, &user.token).await;
    client.subscribe(task.id, None).await;
    client.until("snapshot").await;
    let notify = "SELECT pg_notify($1, $2)";
    let another_version = format!("{{\"v\":9,\"task\":\"{}\"}}", task.id);
    for useless in ["not even JSON", another_version.as_str()] {
        task.flush(&mut db, TaskRunning, &[(0, Working, None)], Tell::Nothing).await;
        db.execute(notify, &[&CHANNEL, &useless]).await.expect("notify");
        let told = tokio::time::timeout(BEFORE_AN_AUDIT, client.until("progress")).await;
        assert_eq!(told.expect("at once")["seq"], task.seq, "{useless}");
    }
    // In form, but of a sender who is not known to be one of us.
    task.flush(&mut db, TaskRunning, &[(1, Working, None)], Tell::Nothing).await;
    let lie = task.lie(Failed).encode();
    stranger.execute(notify, &[&CHANNEL, &lie]).await.expect("notify");
    let told = tokio::time::timeout(BEFORE_AN_AUDIT, client.until("progress")).await;
    assert_eq!(told.expect("at once")["items"], json!([{"ordinal": 1, "status": "running"}]));
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_answered_and_then_ends() {
    use futures_util::SinkExt;
    use tokio_tungstenite::tungstenite::Message;

    let postgres = Postgres::with_schema().await;
    let db = postgres.client().await;
    let user = User::sign_in(&db).await;
    let relay = Running::live(postgres.port).await;
    let connect = || Client::connect(relay.addresses.server, &user.token);

    let mut client = connect().await;
    client.say(json!({"type": "subscribe"})).await;
    assert_eq!(client.until("error").await["code"], "bad_message");
    client.say(json!({"type": "nonsense"})).await;
    assert_eq!(client.closed().await, 1008);

    let mut client = connect().await;
    client.socket.send(Message::binary(vec![1, 2, 3])).await.expect("sent");
    assert_eq!(client.closed().await, 1003);

    let mut client = connect().await;
    client.socket.send(Message::text("x".repeat(70_000))).await.expect("sent");
    assert_eq!(client.closed().await, 1009);

    let mut client = connect().await;
    for _ in 0..=100 {
        client.subscribe(Uuid::new_v4(), None).await;
    }
    // The first hundred may have failed and made room before the last arrives: either is right.
    let code = client.until("error").await["code"].clone();
    assert!(code == "too_many_subscriptions" || code == "unknown_task", "{code}");

    let mut client = connect().await;
    for _ in 0..1_000 {
        if client.socket.send(Message::text("{\"type\":\"unwatch_tasks\"}")).await.is_err() {
            break;
        }
    }
    assert_eq!(client.closed().await, 1008);

    // Whatever is shouted on the channel: the rows are what counts.
    let mut task_client = connect().await;
    let mut db = db;
    let mut task = Task::create(&db, &user, 1).await;
    task_client.subscribe(task.id, None).await;
    task_client.until("snapshot").await;
    for noise in ["hello", "{}", "{\"v\":9,\"task\":\"00000000-0000-0000-0000-000000000001\"}"] {
        db.execute("SELECT pg_notify($1, $2)", &[&CHANNEL, &noise]).await.expect("notify");
    }
    task.flush(&mut db, TaskRunning, &[(0, Working, None)], Tell::Whole).await;
    assert_eq!(task_client.until("progress").await["seq"], 2);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_are_not_there_or_not_to_be_read_are_counted() {
    let postgres = Postgres::with_schema().await;
    let db = postgres.client().await;
    let user = User::sign_in(&db).await;
    let task = Task::create(&db, &user, 1).await;
    db.execute("UPDATE users SET every_cluster = false", &[]).await.expect("updated");
    let relay = Running::live(postgres.port).await;
    let mut client = Client::connect(relay.addresses.server, &user.token).await;
    for (id, code) in [(task.id.0, "forbidden"), (Uuid::new_v4(), "unknown_task")] {
        client.subscribe(id, None).await;
        assert_eq!(client.until("error").await["code"], code);
        let (_, metrics) = get(relay.addresses.admin, "/metrics").await;
        let counted = format!("knm_relay_bad_input_total{{cause=\"{code}\"}} 1");
        assert!(metrics.lines().any(|l| l == counted), "{code}");
    }
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_list_follows_their_tasks() {
    let postgres = Postgres::with_schema().await;
    let mut db = postgres.client().await;
    let user = User::sign_in(&db).await;
    let old = Task::create(&db, &user, 1).await;
    let mut ended = Vec::new();
    for _ in 0..102 {
        ended.push(Task::create(&db, &user, 1).await.id);
    }
    let end = "UPDATE progress_tasks SET status = 'completed', completed_at = now() WHERE id <> $1";
    db.execute(end, &[&old.id.0]).await.expect("ends");
    let stranger = User::sign_in(&db).await;
    Task::create(&db, &stranger, 1).await;
    let relay = Running::live(postgres.port).await;
    let mut client = Client::connect(relay.addresses.server, &user.token).await;
    client.say(json!({"type": "watch_tasks"})).await;
    let list = client.until("tasks").await;
    // The unfinished one, however old, and the newest hundred.
    let listed: Vec<_> =
        list["tasks"].as_array().expect("tasks").iter().map(|t| &t["id"]).collect();
    let wanted: Vec<_> = [old.id].iter().chain(&ended[2..]).map(|id| json!(id)).collect();
    assert_eq!((&list["full"], listed), (&json!(true), wanted.iter().collect()));

    let mut task = Task::create(&db, &user, 2).await;
    task.flush(&mut db, TaskRunning, &[(0, Working, None)], Tell::Whole).await;
    let changed = client.until("tasks").await;
    assert_eq!(changed["full"], false);
    assert_eq!(changed["tasks"].as_array().map(Vec::len), Some(1));
    assert_eq!(changed["tasks"][0]["id"], json!(task.id));
    task.flush(&mut db, TaskRunning, &[(0, Succeeded, None)], Tell::Whole).await;
    assert_eq!(client.until("tasks").await["tasks"][0]["current"], 1);
    relay.stop().await;
}

/// The api's words about a new task often come over a connection that is as new, and during an upgrade
/// they may be another version's.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_task_is_in_its_users_list_at_once_whoever_tells_of_it() {
    let postgres = Postgres::with_schema().await;
    let db = postgres.client().await;
    db.batch_execute("CREATE ROLE stranger LOGIN").await.expect("a role");
    let unknown = postgres.client_as("stranger").await;
    let user = User::sign_in(&db).await;
    let relay = Running::live(postgres.port).await;
    let mut client = Client::connect(relay.addresses.server, &user.token).await;
    client.say(json!({"type": "watch_tasks"})).await;
    assert_eq!(client.until("tasks").await["tasks"], json!([]));
    for version in [1, 9] {
        let task = Task::create(&db, &user, 2).await;
        let created = task.lie(ItemStatus::Pending).encode();
        let created = created.replace("\"v\":1", &format!("\"v\":{version}"));
        let notify = "SELECT pg_notify($1, $2)";
        unknown.execute(notify, &[&CHANNEL, &created]).await.expect("notify");
        let told = tokio::time::timeout(BEFORE_AN_AUDIT, client.until("tasks")).await;
        let told = told.expect("at once");
        assert_eq!((&told["full"], &told["tasks"][0]["id"]), (&json!(false), &json!(task.id)));
    }
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_relay_says_goodbye() {
    let postgres = Postgres::with_schema().await;
    let db = postgres.client().await;
    let user = User::sign_in(&db).await;
    let relay = Running::live(postgres.port).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(Client::connect(relay.addresses.server, &user.token).await);
    }
    relay.begin_stop();
    let mut hints = std::collections::BTreeSet::new();
    for client in &mut clients {
        let goodbye = client.until("goodbye").await;
        let hint = goodbye["reconnect_after_ms"].as_u64().expect("a time");
        assert!((250..2_000).contains(&hint), "{hint}");
        hints.insert(hint);
        // Nobody who is sent away is sent back here.
        assert_eq!(get(relay.addresses.admin, "/readyz").await.0, 503);
    }
    assert!(hints.len() > 1, "all of them are to come back at once: {hints:?}");
    for client in &mut clients {
        assert_eq!(client.closed().await, 1012);
    }
    relay.stop().await;
}
