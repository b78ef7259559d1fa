//! The web UI as it is served.

use http::Method;
use serde_json::json;

use super::support::{Options, TestApp, refusal};

const HTML: (&str, &str) = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");

async fn with_ui() -> TestApp {
    let dir = knm_tests::scratch::dir("ui").expect("a folder");
    std::fs::create_dir(dir.join("assets")).expect("a folder");
    for (name, text) in [
        ("index.html", "<!doctype html>page"),
        ("assets/app-1.js", "js"),
        ("assets/app-1.js.br", "br"),
    ] {
        std::fs::write(dir.join(name), text).expect("a file");
    }
    let config = json!({ "api": { "web_dir": dir } });
    TestApp::start_with(Options { config, ..Options::default() }).await
}

#[tokio::test]
async fn navigations_get_the_page_and_nothing_else_does() {
    let app = with_ui().await;
    for path in [
        "/",
        "/nodes",
        "/nodes?q=a",
        "/tasks",
        "/tasks/019ac000-0000-7000-8000-000000000000",
        "/account",
        "/clusters",
        "/users",
        "/audit",
    ] {
        let answer = app.api.send(Method::GET, path, &[HTML], "").await.expect("answers");
        assert_eq!(
            (answer.status.as_u16(), answer.text().as_str()),
            (200, "<!doctype html>page"),
            "{path}"
        );
        assert_eq!(answer.headers["cache-control"], "no-cache");
        let policy = answer.headers["content-security-policy"].to_str().expect("text");
        assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
    }
    for (path, headers) in [
        ("/nodes", &[("accept", "application/json")][..]),
        ("/somewhere", &[HTML]),
        ("/assets/app-0.js", &[HTML]),
        ("/assets/../index.html", &[HTML]),
        ("/assets/%2e%2e/index.html", &[HTML]),
        ("/assets/app-1.js/", &[HTML]),
    ] {
        let answer = app.api.send(Method::GET, path, headers, "").await.expect("answers");
        assert_eq!(refusal(&answer).0, 404, "{path}");
    }
}

#[tokio::test]
async fn assets_are_kept_and_compressed() {
    let app = with_ui().await;
    for (accept, body, coding) in [("br, gzip", "br", Some("br")), ("gzip", "js", None)] {
        let headers = [("accept-encoding", accept)];
        let answer =
            app.api.send(Method::GET, "/assets/app-1.js", &headers, "").await.expect("answers");
        assert_eq!(answer.text(), body);
        let got = answer.headers.get("content-encoding").map(|v| v.to_str().expect("text"));
        assert_eq!(got, coding);
        assert_eq!(answer.headers["content-type"], "text/javascript; charset=utf-8");
        assert!(answer.headers["cache-control"].to_str().expect("text").contains("immutable"));
    }
}
