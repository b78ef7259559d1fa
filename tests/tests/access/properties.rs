//! API3: nobody sets what is not theirs to set, or is shown what is not theirs to see.

use knm_tests::scenario::World;
use serde_json::json;

use crate::support::{USER_PASSWORD, id, patch, user};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_that_are_not_offered_are_refused() -> anyhow::Result<()> {
    let world = World::new("properties").nodes(1).start().await?;
    let (admin, jane) = (world.sign_in(0).await?, user(&world, "jane", "operator").await?);
    let path = format!("/api/v1/users/{}", id(&jane).await?);
    for (key, value) in [
        ("password_hash", json!("x")),
        ("id", json!("x")),
        ("username", json!("root")),
        ("every_cluster", json!(true)),
        ("created_at", json!("2000-01-01T00:00:00Z")),
        ("disabled_at", json!(null)),
        ("is_admin", json!(true)),
    ] {
        let answer = patch(&admin, &path, &json!({"role": "viewer", key: value})).await?;
        assert_eq!(answer.problem()?.errors[0].field, key);
    }
    let task = |key: &str| json!({"action": "cordon", "nodes": {"all": true}, key: "x"});
    for key in ["user_id", "status", "desired", "lease_owner", "parent_id", "id"] {
        let answer = jane.post("/api/v1/tasks", &task(key)).await?;
        assert_eq!(answer.problem()?.errors[0].field, key);
    }
    // Nobody changes their own role, however they ask.
    for api in [&jane, &jane] {
        assert_eq!(patch(api, &path, &json!({"role": "admin"})).await?.status, 403);
    }
    assert_eq!(jane.get("/api/v1/auth/me").await?.ok()?["role"], "operator", "nothing has changed");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_shown_once_or_never() -> anyhow::Result<()> {
    let world = World::new("excess").nodes(1).start().await?;
    let (admin, jane) = (world.sign_in(0).await?, user(&world, "jane", "operator").await?);
    let made = jane.post("/api/v1/auth/tokens", &json!({"name": "bot"})).await?.ok()?;
    let secret = made["token"].as_str().expect("shown once").to_owned();
    let path = format!("/api/v1/users/{}", id(&jane).await?);
    for (api, path) in [
        (&jane, "/api/v1/auth/tokens"),
        (&jane, "/api/v1/auth/sessions"),
        (&jane, "/api/v1/auth/me"),
        (&admin, "/api/v1/users"),
        (&admin, path.as_str()),
        (&admin, "/api/v1/audit"),
        (&admin, "/api/v1/audit/export"),
    ] {
        let text = api.get(path).await?.text();
        for hidden in
            [&secret, USER_PASSWORD, jane.token()?, "argon2", "token_hash", "password_hash"]
        {
            assert!(!text.contains(hidden), "{path}: {hidden}");
        }
    }
    world.stop().await
}
