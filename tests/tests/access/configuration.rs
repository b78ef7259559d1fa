//! API8: what the programs say of themselves, and to whom; headers; other origins.

use http::Method;
use knm_tests::scenario::World;
use serde_json::json;

const META: &str = "/api/v1/meta";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_say_how_they_are_to_be_treated() -> anyhow::Result<()> {
    let world = World::new("headers").nodes(1).start().await?;
    let (nobody, admin) = (world.pods[0].client(), world.sign_in(0).await?);
    let missing = "/api/v1/tasks/01890a5d-ac96-774b-bcce-b302099a8057";
    for answer in [
        nobody.get("/").await?,
        nobody.get(META).await?,
        nobody.get("/api/v1/tasks").await?,
        nobody.get("/nowhere").await?,
        admin.get("/api/v1/tasks").await?,
        admin.get(missing).await?,
        admin.get("/api/v1/audit/export").await?,
    ] {
        let text = |name: &str| {
            answer.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned()
        };
        assert_eq!(text("x-content-type-options"), "nosniff");
        assert_eq!(text("x-frame-options"), "DENY");
        assert!(text("content-security-policy").contains("default-src 'none'"));
        assert!(!text("content-security-policy").contains("unsafe"));
        assert!(text("content-security-policy").contains("frame-ancestors 'none'"));
        assert_eq!(text("cross-origin-opener-policy"), "same-origin");
        assert_eq!(text("cache-control"), "no-store");
        assert!(!text("x-request-id").is_empty());
        assert_eq!((text("server"), text("x-powered-by")), (String::new(), String::new()));
        assert_eq!(text("access-control-allow-origin"), "");
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outsiders_are_not_told_the_release() -> anyhow::Result<()> {
    let world = World::new("release").nodes(1).start().await?;
    let (nobody, admin) = (world.pods[0].client(), world.sign_in(0).await?);
    let release = env!("CARGO_PKG_VERSION");
    for path in ["/", META, "/api/v1/openapi.json", "/api/v1/tasks", "/nowhere"] {
        let answer = nobody.get(path).await?;
        let head = format!("{:?}", answer.headers);
        assert!(!answer.text().contains(release) && !head.contains(release), "{path}");
    }
    assert_eq!(admin.get(META).await?.ok()?["version"], release);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_origins_are_let_in_by_name_and_without_cookies() -> anyhow::Result<()> {
    let page = "https://page.example.com";
    let config = json!({"api": {"allowed_origins": [page]}});
    let world = World::new("cors").nodes(1).config(config).start().await?;
    let admin = world.sign_in(0).await?;
    let preflight = async |origin: &str| {
        let headers = [("origin", origin), ("access-control-request-method", "POST")];
        world.pods[0].client().send(Method::OPTIONS, "/api/v1/tasks", &headers, "").await
    };
    let allowed = preflight(page).await?;
    assert_eq!(allowed.status, 204);
    assert_eq!(allowed.headers["access-control-allow-origin"], page);
    assert!(!allowed.headers.contains_key("access-control-allow-credentials"));
    let other = preflight("https://evil.example").await?;
    assert!(!other.headers.contains_key("access-control-allow-origin"));
    assert_ne!(other.status, 204);

    let read = admin.send(Method::GET, "/api/v1/tasks", &[("origin", page)], "").await?;
    assert_eq!(read.headers["access-control-allow-origin"], page);
    assert_eq!(read.headers["vary"], "Origin");
    // By its token it may do what it may; by a cookie it may change nothing.
    let cookie = format!("knm_session={}", admin.token()?);
    let headers = [("origin", page), ("cookie", cookie.as_str()), crate::support::JSON];
    let by_cookie = world.pods[0].client();
    let by_cookie =
        by_cookie.send(Method::POST, "/api/v1/auth/tokens", &headers, "{\"name\":\"x\"}").await?;
    assert_eq!(by_cookie.problem()?.status, 403);
    world.stop().await
}
