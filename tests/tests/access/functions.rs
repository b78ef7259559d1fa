//! API5 and API9: every operation that the API describes, tried by everybody who may not use it; and
//! nothing beside them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use http::Method;
use knm_tests::api::Api;
use knm_tests::scenario::World;
use serde_json::{Value, json};

use crate::support::{JSON, refused, user};

/// What the description has, with ids filled in that do not exist.
async fn operations(api: &Api) -> anyhow::Result<Vec<(Method, String, bool)>> {
    let document = api.get("/api/v1/openapi.json").await?.ok()?;
    let paths = document["paths"].as_object().context("paths")?;
    let mut found = Vec::new();
    for (path, operations) in paths {
        let filled = path
            .replace("{id}", "01890a5d-ac96-774b-bcce-b302099a8057")
            .replace("{cluster}", "default")
            .replace("{node}", "node-0001");
        for (method, operation) in operations.as_object().context("operations")? {
            let open = operation["security"] == json!([{}]);
            found.push((method.to_uppercase().parse()?, filled.clone(), open));
        }
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_asks_who_it_is_and_what_they_may() -> anyhow::Result<()> {
    let world = World::new("functions").nodes(1).start().await?;
    let nobody = world.pods[0].client();
    let viewer = user(&world, "vera", "viewer").await?;
    let operator = user(&world, "olga", "operator").await?;
    let all = operations(&nobody).await?;
    assert!(all.len() > 25, "{all:?}");
    let mut forbidden: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (method, path, open) in &all {
        if *open {
            continue;
        }
        let what = format!("{method} {path}");
        let answer = nobody.send(method.clone(), path, &[JSON], "{}").await;
        assert_eq!(refused(answer).await?, 401, "{what}");
        for (who, api) in [("viewer", &viewer), ("operator", &operator)] {
            // An event stream does not end by itself; a session is not to be ended in between.
            if path.ends_with("/events") || path.ends_with("/logout") {
                continue;
            }
            let answer = api.send(method.clone(), path, &[JSON], "{}").await?;
            assert!(
                !answer.status.is_server_error() || answer.status == 502,
                "{what}: {}",
                answer.text()
            );
            if answer.status == 403 {
                forbidden.entry(who).or_default().push(what.clone());
            }
        }
    }
    let of = |who: &str| forbidden.get(who).cloned().unwrap_or_default();
    let for_admins = |method: &Method, path: &str| {
        let changes = *method != Method::GET;
        path.starts_with("/api/v1/users")
            || path.starts_with("/api/v1/audit")
            || (changes && path.starts_with("/api/v1/clusters"))
            || (changes && path.starts_with("/api/v1/freezes"))
    };
    let admins: Vec<String> = all
        .iter()
        .filter(|(method, path, _)| for_admins(method, path))
        .map(|(method, path, _)| format!("{method} {path}"))
        .collect();
    assert_eq!(admins.len(), 12, "{admins:?}");
    assert_eq!(of("operator"), admins);
    for path in ["", "/{}/cancel", "/{}/pause", "/{}/resume", "/{}/retry", "/{}/revert"] {
        let path = path.replace("{}", "01890a5d-ac96-774b-bcce-b302099a8057");
        assert!(of("viewer").contains(&format!("POST /api/v1/tasks{path}")), "{:?}", of("viewer"));
    }
    assert_eq!(world.stored_tasks().await?, 0);
    assert_eq!(world.database.value::<i64>("SELECT count(*) FROM users", &[]).await?, 3);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_described_is_not_there() -> anyhow::Result<()> {
    let world = World::new("inventory").nodes(1).start().await?;
    let (nobody, admin) = (world.pods[0].client(), world.sign_in(0).await?);
    for path in [
        "/api/v1/debug",
        "/api/v1/admin",
        "/api/v2/tasks",
        "/api/v1/users/../users",
        "/metrics",
        "/livez",
        "/readyz",
        "/api/v1/",
        "/api//v1/users",
        "/api/v1/users/",
        "/.env",
        "/api/v1/config",
        "/debug/pprof",
    ] {
        let status = nobody.get(path).await?.status.as_u16();
        assert!(status == 401 || status == 404, "{path}: {status}");
        assert_eq!(admin.get(path).await?.status, 404, "{path}");
    }
    for (method, path, _) in operations(&admin).await? {
        for other in [Method::TRACE, Method::CONNECT, Method::PUT] {
            let status = admin.send(other.clone(), &path, &[JSON], "{}").await;
            // Not every client sends every method; whatever arrives is refused.
            let Ok(answer) = status else { continue };
            assert!(
                answer.status.is_client_error(),
                "{other} {path} ({method}): {}",
                answer.status
            );
        }
    }
    world.stop().await
}

/// What needs an administrator needs one in every disguise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_dangerous_is_for_administrators() -> anyhow::Result<()> {
    let world = World::new("dangerous").nodes(2).start().await?;
    let operator = user(&world, "olga", "operator").await?;
    let chief =
        crate::support::user_on(&world, "carl", "viewer", &json!({"default": "admin"})).await?;
    let task = |action: &str, params: Value| {
        json!({"action": action, "nodes": {"names": ["node-0001"]}, "params": params,
               "options": {"dry_run": true}})
    };
    let taint = |effect: &str| json!({"set": [{"key": "example.com/a", "effect": effect}]});
    for (body, allowed) in [
        (task("drain", json!({})), false),
        (task("drain", json!({"force": true})), false),
        (task("drain", json!({"disable_eviction": true})), false),
        (task("taint", taint("NoExecute")), false),
        (task("taint", taint("NoSchedule")), true),
        (task("label", json!({"set": {"kubernetes.io/x": "y"}, "allow_protected": true})), false),
        (task("annotate", json!({"remove": ["k8s.io/x"], "allow_protected": true})), false),
        (task("label", json!({"set": {"example.com/x": "y"}})), true),
        (task("cordon", Value::Null), true),
    ] {
        let preview = operator.post("/api/v1/tasks/preview", &body).await?.ok()?;
        assert_eq!(preview["permitted"], allowed, "{body}");
        let answer = operator.post("/api/v1/tasks", &body).await?;
        assert_eq!(answer.status == 202, allowed, "{body}: {}", answer.text());
        assert!(allowed || answer.status == 403, "{body}: {}", answer.text());
        // On the cluster that they administer, a viewer of the installation may.
        let answer = chief.post("/api/v1/tasks", &body).await?;
        assert_eq!(answer.status, 202, "{body}: {}", answer.text());
    }
    let token = operator.post("/api/v1/auth/tokens", &json!({"name": "x", "role": "admin"})).await;
    assert_eq!(refused(token).await?, 422);
    world.stop().await
}

/// Submits, waits for the end, and tells where the task is.
async fn done(api: &Api, body: &Value) -> anyhow::Result<String> {
    let id = api.submit(body).await?;
    ended(api, &id.to_string()).await
}

async fn ended(api: &Api, id: &str) -> anyhow::Result<String> {
    let path = format!("/api/v1/tasks/{id}");
    let ended = async {
        while api.get(&path).await?.ok()?["completed_at"].is_null() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(path)
    };
    tokio::time::timeout(Duration::from_secs(60), ended).await?
}

/// What evicts is not to be had by taking it away first, or by going back and forth.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revert_takes_the_right_to_what_it_brings_back() -> anyhow::Result<()> {
    let world = World::new("back_door").nodes(2).start().await?;
    let (admin, operator) = (world.sign_in(0).await?, user(&world, "olga", "operator").await?);
    let taint = |params: Value| json!({"action": "taint", "nodes": {"names": ["node-0001"]}, "params": params});
    let quarantine = json!({"set": [{"key": "example.com/a", "effect": "NoExecute"}]});
    let set = done(&admin, &taint(quarantine)).await?;
    let removed = done(&operator, &taint(json!({"remove": [{"key": "example.com/a"}]}))).await?;
    let revert = |path: &str| format!("{path}/revert");
    let none = json!({});
    assert_eq!(operator.post(&revert(&removed), &none).await?.status, 403);
    let back = admin.post(&revert(&removed), &none).await?.ok()?;
    ended(&admin, back["id"].as_str().expect("an id")).await?;

    let mut task = set;
    for _ in 0..2 {
        let next = admin.post(&revert(&task), &none).await?.ok()?;
        task = ended(&admin, next["id"].as_str().expect("an id")).await?;
        for what in ["revert", "retry"] {
            let answer = operator.post(&format!("{task}/{what}"), &none).await?;
            assert_eq!(answer.status, 403, "{what}: {}", answer.text());
        }
    }
    world.stop().await
}
