//! Users during a rolling restart: programs behind a Service, and browsers that follow a task.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::{Method, StatusCode};
use knm_shared::ids::TaskId;
use knm_tests::api::{Answer, Api, label_task};
use knm_tests::ws::frame::ServerFrame;
use knm_tests::ws::{Event, Watcher};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::support::SOON;

/// A request that got nowhere is tried at the next pod, as a proxy does, this often at most.
const TRIES: usize = 5;
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Where a pod can be reached.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) pod: String,
    pub(crate) api: Api,
    pub(crate) relay: String,
}

/// The pods that are ready, as a Service knows them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Service(Arc<Mutex<(Vec<Endpoint>, usize)>>);

impl Service {
    /// A pod is ready.
    pub(crate) fn add(&self, endpoint: Endpoint) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.push(endpoint);
    }

    /// It is not.
    pub(crate) fn remove(&self, pod: &str) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.0.retain(|endpoint| endpoint.pod != pod);
    }

    /// One of them, each in turn.
    pub(crate) fn any(&self) -> Option<Endpoint> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.1 += 1;
        let at = inner.1;
        inner.0.get(at % inner.0.len().max(1)).cloned()
    }

    /// A request, retried only where nothing answered or the answer says "not here, not now".
    async fn send(
        &self,
        method: Method,
        path: &str,
        key: &str,
        body: &str,
    ) -> anyhow::Result<Answer> {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        let headers = if key.is_empty() { &headers[..1] } else { &headers[..] };
        let mut last = String::new();
        for _ in 0..TRIES {
            let endpoint = self.any().context("no pod is ready")?;
            let sent = endpoint.api.send(method.clone(), path, headers, body.to_owned()).await;
            match sent {
                Ok(answer) if answer.status == StatusCode::SERVICE_UNAVAILABLE => {
                    last = answer.text()
                }
                Ok(answer) if answer.status.is_success() => return Ok(answer),
                Ok(answer) => bail!("{method} {path}: {} {}", answer.status, answer.text()),
                Err(error) => last = format!("{}: {error:#}", endpoint.pod),
            }
            sleep(RETRY_PAUSE).await;
        }
        bail!("{method} {path} failed {TRIES} times, at last: {last}")
    }
}

/// What the programs have done.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) requests: usize,
    pub(crate) tasks: Vec<TaskId>,
}

/// Lists, looks and submits until told to stop. The first request that fails for good ends it.
pub(crate) async fn programs(
    service: Service,
    nodes: Vec<String>,
    stop: CancellationToken,
) -> anyhow::Result<Done> {
    let mut done = Done::default();
    while !stop.is_cancelled() {
        let n = done.tasks.len();
        let body = label_task(&nodes, &format!("example.com/small-{n}"), "1").to_string();
        let sent =
            service.send(Method::POST, "/api/v1/tasks", &format!("small-{n}"), &body).await?;
        let id = sent.json::<serde_json::Value>()?["id"].as_str().context("an id")?.parse()?;
        done.tasks.push(id);
        for path in ["/api/v1/tasks?limit=5", &format!("/api/v1/tasks/{id}"), "/api/v1/auth/me"] {
            service.send(Method::GET, path, "", "").await?;
            done.requests += 1;
        }
        done.requests += 1;
        let pause = sleep(Duration::from_millis(100));
        tokio::select! { () = pause => {}, () = stop.cancelled() => {} }
    }
    Ok(done)
}

/// What a browser has seen.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) task: TaskId,
    pub(crate) watcher: Watcher,
    pub(crate) longest: Duration,
    pub(crate) goodbyes: u32,
}

/// Follows a task to its end, and goes to another pod when its own sends it away.
pub(crate) async fn browser(service: Service, token: String, task: TaskId) -> anyhow::Result<Seen> {
    let first = service.any().context("no pod is ready")?;
    let mut watcher = Watcher::new(first.relay, token);
    watcher.subscribe(task).await?;
    let (mut longest, mut last) = (Duration::ZERO, Instant::now());
    let (mut goodbyes, mut pause) = (0, Duration::ZERO);
    while !watcher.checker().completed(task) {
        match timeout(SOON, watcher.next()).await.context("nothing is heard")?? {
            Event::Frame(frame) => match *frame {
                ServerFrame::Goodbye(goodbye) => {
                    goodbyes += 1;
                    pause = Duration::from_millis(goodbye.reconnect_after_ms);
                }
                // What tells the user something new. A greeting or a mode does not.
                ServerFrame::Snapshot(_) | ServerFrame::Progress(_) | ServerFrame::Complete(_) => {
                    longest = longest.max(last.elapsed());
                    last = Instant::now();
                }
                _ => {}
            },
            Event::Closed(_) => {
                sleep(pause).await;
                pause = RETRY_PAUSE;
                reconnect(&service, &mut watcher).await?;
            }
        }
    }
    Ok(Seen { task, watcher, longest, goodbyes })
}

async fn reconnect(service: &Service, watcher: &mut Watcher) -> anyhow::Result<()> {
    let connected = async {
        loop {
            if let Some(endpoint) = service.any() {
                watcher.move_to(endpoint.relay);
                if watcher.connect().await.is_ok() {
                    return;
                }
            }
            sleep(RETRY_PAUSE).await;
        }
    };
    timeout(SOON, connected).await.context("no relay takes the browser")
}

/// Submits at this very pod, once it knows the nodes.
pub(crate) async fn submit(api: &Api, body: &serde_json::Value) -> anyhow::Result<TaskId> {
    let accepted = async {
        loop {
            let answer = api.post("/api/v1/tasks", body).await?;
            if answer.status != StatusCode::SERVICE_UNAVAILABLE {
                let id = answer.ok()?["id"].as_str().context("an id")?.parse()?;
                return anyhow::Ok(id);
            }
            sleep(RETRY_PAUSE).await;
        }
    };
    timeout(SOON, accepted).await.context("the pod takes no task")?
}

/// The body of a task that takes its time.
pub(crate) fn long_task(nodes: &[String], n: usize) -> serde_json::Value {
    let mut body = label_task(nodes, &format!("example.com/long-{n}"), "1");
    body["options"] = json!({"concurrency": 2});
    body
}
