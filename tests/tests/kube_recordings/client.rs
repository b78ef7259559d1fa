//! An HTTP client that says nothing of itself: no user agent, no `Accept`.

use std::time::Duration;

use anyhow::Context;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::{
    client::legacy::{Client as HyperClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;

/// How long any single answer may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Content type of the patch that most tests send.
pub(crate) const MERGE: &str = "application/merge-patch+json";

/// A client of one simulator.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    base: String,
    token: Option<String>,
    hyper: HyperClient<HttpConnector, Full<Bytes>>,
}

/// A complete answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    /// JSON, or a string if the answer was none.
    pub(crate) body: Value,
}

impl Answer {
    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Client {
    pub(crate) fn new(base: String) -> Self {
        let hyper = HyperClient::builder(TokioExecutor::new())
            // A cut connection is a result here, not something to paper over.
            .retry_canceled_requests(false)
            .build_http();
        Self { base, token: None, hyper }
    }

    /// The same client with other credentials.
    pub(crate) fn with_token(&self, token: Option<&str>) -> Self {
        Self { token: token.map(str::to_owned), ..self.clone() }
    }

    /// Sends a request and returns as soon as the head of the answer is there.
    pub(crate) async fn open(
        &self,
        method: &str,
        path: &str,
        content_type: Option<&str>,
        body: Option<&Value>,
    ) -> anyhow::Result<Response<Incoming>> {
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes())?)
            .uri(format!("{}{path}", self.base));
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = request.body(Full::new(bytes))?;
        let response = tokio::time::timeout(PATIENCE, self.hyper.request(request));
        response
            .await
            .with_context(|| format!("{method} {path} got no answer"))?
            .map_err(Into::into)
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        content_type: Option<&str>,
        body: Option<&Value>,
    ) -> anyhow::Result<Answer> {
        let response = self.open(method, path, content_type, body).await?;
        let (parts, body) = response.into_parts();
        let body = tokio::time::timeout(PATIENCE, body.collect()).await??.to_bytes();
        let body = serde_json::from_slice(&body)
            .unwrap_or_else(|_| String::from_utf8_lossy(&body).into_owned().into());
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
    }

    /// GET.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.send("GET", path, None, None).await
    }

    /// A merge patch of a node; `name` may carry a query.
    pub(crate) async fn patch(&self, name: &str, patch: Value) -> anyhow::Result<Answer> {
        self.send("PATCH", &format!("/api/v1/nodes/{name}"), Some(MERGE), Some(&patch)).await
    }
}

/// The events of a watch, one JSON document a line.
#[derive(Debug)]
pub(crate) struct Events {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Events {
    pub(crate) fn new(response: Response<Incoming>) -> Self {
        Self { body: response.into_body(), buffer: Vec::new() }
    }

    /// The next event; `None` at the regular end, an error if the stream was cut.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Value>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            match tokio::time::timeout(PATIENCE, self.body.frame()).await? {
                Some(frame) => {
                    let frame = frame?;
                    self.buffer.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
                }
                None => {
                    anyhow::ensure!(self.buffer.is_empty(), "the last event is cut off");
                    return Ok(None);
                }
            }
        }
    }

    /// Everything until the regular end.
    pub(crate) async fn rest(&mut self) -> anyhow::Result<Vec<Value>> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await? {
            events.push(event);
        }
        Ok(events)
    }
}
