//! The routes, their access rules and their description belong together.

use std::collections::BTreeSet;

use http::Method;
use knm_api::{openapi, routes};
use serde_json::Value;

use super::support::{TestApp, refusal};

/// Nothing else may be open.
const OPEN: [(Method, &str); 13] = [
    (Method::GET, "/"),
    (Method::GET, "/nodes"),
    (Method::GET, "/tasks"),
    (Method::GET, "/tasks/{id}"),
    (Method::GET, "/account"),
    (Method::GET, "/clusters"),
    (Method::GET, "/users"),
    (Method::GET, "/audit"),
    (Method::GET, "/assets/{*file}"),
    (Method::GET, "/favicon.svg"),
    (Method::GET, "/api/v1/meta"),
    (Method::GET, "/api/v1/openapi.json"),
    (Method::POST, "/api/v1/auth/login"),
];

#[tokio::test]
async fn nothing_is_open_without_a_session() {
    let app = TestApp::start().await;
    let router = routes::router();
    let mut open = Vec::new();
    for (method, pattern, role) in router.routes() {
        if role.is_none() {
            open.push((method.clone(), pattern));
            continue;
        }
        let path = pattern.replace("{cluster}", "default");
        let path = path.replace("{id}", "019ac000-0000-7000-8000-000000000000");
        for headers in [&[][..], &[("cookie", "knm_session=x")], &[("authorization", "Bearer x")]] {
            let answer = app.api.send(method.clone(), &path, headers, "").await.expect("answers");
            assert_eq!(refusal(&answer).0, 401, "{method} {path} {headers:?}");
        }
    }
    assert_eq!(open, OPEN);
    for path in ["/api", "/api/v1/nothing", "/api/v1/users", "/api//v1/tasks", "/api/v1/tasks/"] {
        let status = app.api.get(path).await.expect("answers").status.as_u16();
        assert!(matches!(status, 401 | 404), "{path}: {status}");
    }
}

#[tokio::test]
async fn the_open_routes_answer() {
    let app = TestApp::start().await;
    let page = app.api.get("/").await.expect("answers");
    assert!(page.status == 200 && page.text().contains("/api/v1/openapi.json"));
    let document = app.api.get("/api/v1/openapi.json").await.expect("answers");
    assert_eq!(document.ok().expect("JSON")["openapi"], "3.1.0");
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let document: Value = serde_json::from_str(&openapi::document()).expect("JSON");
    let described: BTreeSet<String> = document["paths"]
        .as_object()
        .expect("paths")
        .iter()
        .flat_map(|(path, operations)| {
            let operations = operations.as_object().expect("operations");
            operations.keys().map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    let router = routes::router();
    let served: BTreeSet<String> = router
        .routes()
        .filter(|(_, pattern, _)| pattern.starts_with("/api/"))
        .map(|(method, pattern, _)| format!("{method} {pattern}"))
        .collect();
    assert_eq!(described, served);
}

/// Whether a route needs a session is in the document too.
#[test]
fn the_document_says_what_is_open() {
    let document: Value = serde_json::from_str(&openapi::document()).expect("JSON");
    let router = routes::router();
    for (method, pattern, role) in router.routes().filter(|r| r.1.starts_with("/api/")) {
        let operation = &document["paths"][pattern][method.as_str().to_lowercase()];
        let open = operation["security"] == serde_json::json!([{}]);
        assert_eq!(open, role.is_none(), "{method} {pattern}");
    }
}

#[test]
fn the_document_is_pinned() {
    insta::assert_snapshot!("openapi", openapi::document());
}
