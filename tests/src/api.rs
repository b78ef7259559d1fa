//! A REST client, for tests and the demo.

use std::time::Duration;

use anyhow::{Context as _, bail};
use http::header::{AUTHORIZATION, CONTENT_TYPE, SET_COOKIE};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use knm_shared::ids::TaskId;
use serde::Deserialize;
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_secs(30);

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

/// RFC 9457 problem document.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Problem {
    /// What kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// In a few words.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// In a sentence.
    #[serde(default)]
    pub detail: String,
    /// Where to look in the log.
    pub request_id: String,
    /// Which fields of the request are wrong.
    #[serde(default)]
    pub errors: Vec<FieldError>,
}

/// A wrong field.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FieldError {
    /// Its path in the request.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl Answer {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON of some type.
    ///
    /// # Errors
    /// When it is not.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> anyhow::Result<T> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("unexpected body: {}", self.text()))
    }

    /// The body as JSON, if the status says success.
    ///
    /// # Errors
    /// When it does not; with the body.
    pub fn ok(&self) -> anyhow::Result<Value> {
        if !self.status.is_success() {
            bail!("{}: {}", self.status, self.text());
        }
        if self.body.is_empty() { Ok(Value::Null) } else { self.json() }
    }

    /// The problem document in it.
    ///
    /// # Errors
    /// When it is none, or its media type or status does not say so.
    pub fn problem(&self) -> anyhow::Result<Problem> {
        let kind = self.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("application/problem+json") {
            bail!("{} with {kind:?} is no problem document: {}", self.status, self.text());
        }
        let problem: Problem = self.json()?;
        if problem.status != self.status.as_u16() {
            bail!("a problem of status {} in an answer of status {}", problem.status, self.status);
        }
        Ok(problem)
    }
}

/// A client of one base URL, signed in or not. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Api {
    base: String,
    token: Option<String>,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Api {
    /// Of `http://HOST:PORT`, not signed in.
    #[must_use]
    pub fn new(base: impl Into<String>) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { base: base.into(), token: None, client }
    }

    /// The same with a token.
    #[must_use]
    pub fn with_token(&self, token: impl Into<String>) -> Self {
        Self { token: Some(token.into()), ..self.clone() }
    }

    /// The base URL.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The token, once signed in.
    ///
    /// # Errors
    /// When not signed in.
    pub fn token(&self) -> anyhow::Result<&str> {
        self.token.as_deref().context("not signed in")
    }

    /// Any request.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> anyhow::Result<Answer> {
        let url = format!("{}{path}", self.base);
        let mut request = Request::builder().method(method.clone()).uri(&url);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).context("not a request")?;
        let exchange = async {
            let (head, body) = self.client.request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            anyhow::Ok(Answer { status: head.status, headers: head.headers, body })
        };
        let answer = tokio::time::timeout(TIMEOUT, exchange).await;
        answer.context("no answer in time").flatten().with_context(|| format!("{method} {url}"))
    }

    /// GET
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.send(Method::GET, path, &[], Bytes::new()).await
    }

    /// POST with a JSON body.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        let json = [("content-type", "application/json")];
        self.send(Method::POST, path, &json, body.to_string()).await
    }

    /// Signs in; the session's token is used from then on.
    ///
    /// # Errors
    /// When that is refused or sets no cookie.
    pub async fn login(&self, username: &str, password: &str) -> anyhow::Result<Self> {
        let body = json!({"username": username, "password": password});
        let answer = self.post("/api/v1/auth/login", &body).await?;
        answer.ok().context("cannot sign in")?;
        let prefix = format!("{}=", knm_shared::session::COOKIE);
        let cookies = answer.headers.get_all(SET_COOKIE).iter().filter_map(|v| v.to_str().ok());
        let token = cookies
            .filter_map(|c| c.split(';').next()?.strip_prefix(&prefix))
            .next()
            .context("signing in set no session cookie")?;
        Ok(self.with_token(token))
    }

    /// Submits a task.
    ///
    /// # Errors
    /// When it is not accepted.
    pub async fn submit(&self, task: &Value) -> anyhow::Result<TaskId> {
        let answer = self.post("/api/v1/tasks", task).await?;
        let accepted = answer.ok().context("the task was not accepted")?;
        let id = accepted["id"].as_str().context("the answer has no id")?;
        if answer.status != StatusCode::ACCEPTED {
            bail!("{} instead of 202", answer.status);
        }
        Ok(id.parse()?)
    }

    /// Submits a task that sets `key=value` on nodes by name.
    ///
    /// # Errors
    /// When it is not accepted.
    pub async fn label(&self, nodes: &[String], key: &str, value: &str) -> anyhow::Result<TaskId> {
        self.submit(&label_task(nodes, key, value)).await
    }

    /// A task's row.
    ///
    /// # Errors
    /// When there is none.
    pub async fn task(&self, task: TaskId) -> anyhow::Result<Value> {
        self.get(&format!("/api/v1/tasks/{task}")).await?.ok()
    }

    /// The names of the default cluster's nodes.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn nodes(&self) -> anyhow::Result<Vec<String>> {
        let mut names = Vec::new();
        let mut next = Some(String::new());
        while let Some(token) = next {
            let more = if token.is_empty() { token } else { format!("&continue={token}") };
            let path = format!("/api/v1/clusters/default/nodes?limit=500{more}");
            let page = self.get(&path).await?.ok()?;
            let nodes = page["nodes"].as_array().context("the answer has no nodes")?;
            names.extend(nodes.iter().filter_map(|n| n["name"].as_str().map(str::to_owned)));
            next = page["continue"].as_str().filter(|t| !t.is_empty()).map(str::to_owned);
        }
        Ok(names)
    }
}

/// The body that submits a task that sets `key=value` on nodes by name.
#[must_use]
pub fn label_task(nodes: &[String], key: &str, value: &str) -> Value {
    json!({"action": "label", "nodes": {"names": nodes}, "params": {"set": {key: value}}})
}
