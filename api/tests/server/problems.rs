//! Bad input: each is refused with a problem document that names the fault, and nothing is stored.

use http::header::{ALLOW, CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, Method};
use knm_shared::session::Role;
use knm_tests::api::Answer;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{TestApp, refusal};

const JSON: (&str, &str) = ("content-type", "application/json");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[tokio::test]
async fn every_kind_of_bad_request_is_a_problem() {
    let app = TestApp::start().await;
    let api = app.signed_in(Role::Admin).await;
    let send = async |method: Method, path: &str, headers: &[(&str, &str)], body: &str| -> Answer {
        api.send(method, path, headers, body.to_owned()).await.expect("answers")
    };
    let tasks = "/api/v1/tasks";
    let large = format!("\"{}\"", "x".repeat(4 * 1024 * 1024));
    for (method, path, headers, body, status, code) in [
        (Method::GET, "/api/v1/nothing", &[][..], "", 404, "not_found"),
        (Method::GET, "/nothing", &[], "", 404, "not_found"),
        (Method::GET, "/api/v1/tasks/1", &[], "", 404, "not_found"),
        (Method::PUT, tasks, &[], "", 405, "method_not_allowed"),
        (Method::POST, tasks, &[], "{}", 415, "unsupported_media_type"),
        (
            Method::POST,
            tasks,
            &[("content-type", "text/plain")],
            "{}",
            415,
            "unsupported_media_type",
        ),
        (Method::POST, tasks, &[JSON], "{\"action\":", 400, "bad_request"),
        (Method::POST, tasks, &[JSON], "", 400, "bad_request"),
        (Method::POST, tasks, &[JSON], &large, 413, "too_large"),
        (Method::GET, "/api/v1/progress/ws", &[], "", 426, "upgrade_required"),
    ] {
        let answer = send(method.clone(), path, headers, body).await;
        let (got, got_code, _) = refusal(&answer);
        assert_eq!((got, got_code.as_str()), (status, code), "{method} {path}");
        let id = answer.headers[REQUEST_ID].to_str().expect("ASCII");
        assert_eq!(answer.problem().expect("a problem").request_id, id);
        assert_eq!(answer.headers[X_CONTENT_TYPE_OPTIONS], "nosniff");
        let policy = answer.headers[CONTENT_SECURITY_POLICY].to_str().expect("ASCII");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    }
    assert_eq!(send(Method::PUT, tasks, &[], "").await.headers[ALLOW], "GET, HEAD, POST");
    let broken = send(Method::POST, tasks, &[JSON], "{\n  \"action\": x\n}").await;
    assert!(broken.text().contains("line 2 column"), "{}", broken.text());
    assert_eq!(app.count("progress_tasks").await, 0);
}

#[tokio::test]
async fn faults_in_a_submission_name_their_field() {
    let app = TestApp::start().await;
    let api = app.signed_in(Role::Admin).await;
    let node = app.sim.node_names()[0].clone();
    let names = json!({"names": [node]});
    let set = json!({"set": {"team": "a"}});
    for (body, field) in [
        (json!({"action": "label", "nodes": names, "params": set, "colour": 1}), "colour"),
        (json!({"action": "label", "nodes": {"name": [node]}, "params": set}), "nodes.name"),
        (json!({"action": "label", "nodes": {"names": []}, "params": set}), "nodes.names"),
        (
            json!({"action": "label", "nodes": {"names": [node], "all": true}, "params": set}),
            "nodes",
        ),
        (json!({"action": "paint", "nodes": names, "params": set}), "action"),
        (json!({"nodes": names, "params": set}), "action"),
        (json!({"action": "label", "params": set}), "nodes"),
        (json!({"action": "label", "nodes": names, "params": set, "cluster": "x"}), "cluster"),
        (
            json!({"action": "label", "nodes": {"selector": "a in ("}, "params": set}),
            "nodes.selector",
        ),
    ] {
        let answer = api.post("/api/v1/tasks", &body).await.expect("answers");
        let (status, _, fields) = refusal(&answer);
        assert_eq!(status, 422, "{body}: {}", answer.text());
        assert!(fields.iter().any(|f| f == field), "{body}: {}", answer.text());
    }
    assert_eq!(app.count("progress_tasks").await, 0);
}

#[tokio::test]
async fn a_callers_request_id_is_kept_when_it_is_harmless() {
    let app = TestApp::start().await;
    for (sent, kept) in [("abc-123", true), ("two words", false)] {
        let answer = app.api.send(Method::GET, "/api/v1/meta", &[("x-request-id", sent)], "").await;
        let id = answer.expect("answers").headers[REQUEST_ID].clone();
        assert_eq!(id == sent, kept, "{id:?}");
    }
}

/// No length is announced: the limit is found while reading.
#[tokio::test]
async fn a_chunked_body_is_limited_too() {
    let app = TestApp::start().await;
    let api = app.signed_in(Role::Admin).await;
    let mut stream = TcpStream::connect(app.address).await.expect("connects");
    let head = format!(
        "POST /api/v1/tasks HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nContent-Type: \
         application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        api.token().expect("signed in")
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    for _ in 0..65 {
        if stream.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.expect("answered");
    assert_eq!(&start, b"HTTP/1.1 413");
}
