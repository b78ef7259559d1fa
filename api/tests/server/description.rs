//! The routes, their access rules and their description belong together.

use std::collections::BTreeSet;

use http::Method;
use knm_api::http::router::Route;
use knm_api::{openapi, routes};
use knm_shared::access::{Action, Scope};
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
    for Route { method, pattern, action, .. } in router.routes() {
        if action.is_none() {
            open.push((method.clone(), pattern));
            continue;
        }
        let path = pattern.replace("{cluster}", "default");
        let path = path.replace("{id}", "019ac000-0000-7000-8000-000000000000");
        let own_page = [("cookie", "knm_session=x"), ("sec-fetch-site", "same-origin")];
        for headers in [&[][..], &own_page, &[("authorization", "Bearer x")]] {
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
        .filter(|route| route.pattern.starts_with("/api/"))
        .map(|route| format!("{} {}", route.method, route.pattern))
        .collect();
    assert_eq!(described, served);
}

/// Whether a route needs a session is in the document too.
#[test]
fn the_document_says_what_is_open() {
    let document: Value = serde_json::from_str(&openapi::document()).expect("JSON");
    let router = routes::router();
    for Route { method, pattern, action, .. } in router.routes() {
        if !pattern.starts_with("/api/") {
            continue;
        }
        let operation = &document["paths"][pattern][method.as_str().to_lowercase()];
        let open = operation["security"] == serde_json::json!([{}]);
        assert_eq!(open, action.is_none(), "{method} {pattern}");
    }
}

/// Whatever changes something is told to the audit log, each under a word of its own.
#[test]
fn every_change_is_audited() {
    let router = routes::router();
    let mut words = BTreeSet::new();
    for route in router.routes() {
        let looks = *route.method == Method::GET || route.pattern == "/api/v1/tasks/preview";
        let told = route.word.is_some();
        assert!(looks || told, "{} {}", route.method, route.pattern);
        assert!(route.word.is_none_or(|word| words.insert(word)), "{:?}", route.word);
    }
}

/// No route is for administrators only because somebody forgot what it takes, or the other way round.
#[test]
fn what_a_route_takes_is_pinned() {
    let router = routes::router();
    let of = |action| {
        let routes = router.routes().filter(|route| route.action == Some(action));
        routes.map(|route| format!("{} {}", route.method, route.pattern)).collect::<BTreeSet<_>>()
    };
    for route in router.routes() {
        let manages = route.pattern.starts_with("/api/v1/users");
        assert_eq!(route.action == Some(Action::ManageUsers), manages, "{}", route.pattern);
        let audit = route.pattern.starts_with("/api/v1/audit");
        assert_eq!(route.action == Some(Action::ReadAudit), audit, "{}", route.pattern);
        let of_one = route.pattern.contains("{cluster}");
        let asked_there = route.action.is_some_and(|a| a.rule().scope == Scope::Cluster);
        let manages = route.action == Some(Action::ManageClusters);
        assert!(!of_one || asked_there || manages, "{}", route.pattern);
    }
    assert!(of(Action::ChangeNodes).contains("POST /api/v1/tasks"));
    assert!(of(Action::OwnAccount).iter().all(|route| route.contains(" /api/v1/auth/")));
}

#[test]
fn the_document_is_pinned() {
    insta::assert_snapshot!("openapi", openapi::document());
}
