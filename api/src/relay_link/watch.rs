//! Asks the relay every second how it is, and repeats its log's entries: `kubectl logs POD` shows the
//! api container, and that is where operators look for the listener's words.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use knm_shared::admin::Note;
use knm_shared::phrases;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{debug, error, info, warn};

use super::metrics::Metrics;
use super::state::{Event, News, Relay, RelayState};
use crate::causes;

const PERIOD: Duration = Duration::from_secs(1);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Questions without an answer in a row before it is worth a line: a sidecar may start later.
const PATIENCE: u32 = 5;
const MAX_ANSWER: usize = 256 * 1024;

/// Watches the relay for ever. `admin` is its admin port.
pub async fn run(admin: SocketAddr, note: Note, metrics: Metrics) -> Infallible {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let uri: http::Uri = format!("http://{admin}/state").parse().expect("an address makes a URL");
    let mut watcher = Watcher::default();
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let relay = match ask(&client, &uri).await {
            Ok(state) => Relay::There(state),
            Err(error) => Relay::Away { error: causes::text(error.as_ref()) },
        };
        metrics.set(&relay);
        note.set(relay.describe());
        watcher.saw(&relay, admin);
    }
}

async fn ask(
    client: &Client<HttpConnector, Empty<Bytes>>,
    uri: &http::Uri,
) -> anyhow::Result<RelayState> {
    let answer = async {
        let response = client.get(uri.clone()).await?;
        anyhow::ensure!(response.status().is_success(), "status {}", response.status());
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let bytes = body.map_err(|e| anyhow::anyhow!(e))?.to_bytes();
        Ok(serde_json::from_slice(&bytes)?)
    };
    timeout(ANSWER_TIMEOUT, answer).await.map_err(|_| anyhow::anyhow!("no answer in time"))?
}

#[derive(Default)]
struct Watcher {
    news: News,
    unanswered: u32,
}

impl Watcher {
    fn saw(&mut self, relay: &Relay, admin: SocketAddr) {
        match relay {
            Relay::Unknown => {}
            Relay::Away { error } => {
                self.unanswered = self.unanswered.saturating_add(1);
                if self.unanswered == PATIENCE {
                    warn!(%admin, error, "the relay in this pod does not answer");
                }
            }
            Relay::There(state) => {
                if std::mem::take(&mut self.unanswered) >= PATIENCE {
                    info!(%admin, "the relay in this pod answers again");
                }
                let news = self.news.of(&state.events).iter();
                news.filter(|event| !is_own(event)).for_each(repeat);
            }
        }
    }
}

/// What both containers say of themselves: repeated, it would stand in the log twice.
fn is_own(event: &Event) -> bool {
    [phrases::DATABASE_INITIALIZING, phrases::DATABASE_INITIALIZED, phrases::PROGRESS_ENABLED]
        .into_iter()
        .any(|phrase| event.message.starts_with(phrase))
}

/// As the relay wrote it: people search for these lines.
fn repeat(event: &Event) {
    let message = &event.message;
    match event.level.to_ascii_lowercase().as_str() {
        "error" => error!("{message}"),
        "warn" | "warning" => warn!("{message}"),
        "debug" | "trace" => debug!("{message}"),
        _ => info!("{message}"),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn serve_once(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a caller");
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.expect("a request");
            assert!(request[..read].starts_with(b"GET /state HTTP/1.1\r\n"));
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", answer.len());
            stream.write_all((head + answer).as_bytes()).await.expect("sent");
            let _ = stream.read(&mut request).await;
        });
        address
    }

    async fn ask_at(address: SocketAddr) -> anyhow::Result<RelayState> {
        let client = Client::builder(TokioExecutor::new()).build_http();
        ask(&client, &format!("http://{address}/state").parse().expect("a URL")).await
    }

    #[test]
    fn the_listeners_words_are_repeated_and_the_databases_are_not() {
        let event = |message: &str| Event {
            id: 1,
            at: String::new(),
            level: "info".into(),
            message: message.into(),
        };
        assert!(is_own(&event(phrases::DATABASE_INITIALIZED)));
        assert!(!is_own(&event(phrases::NOTIFIER_VERIFIED)));
        assert!(!is_own(&event("PostgreSQL listener problem: FATAL: …")));
    }

    #[tokio::test]
    async fn an_answer_is_read() {
        let address = serve_once(
            r#"{"listener":"lost","mode":"polling","since":"2026-01-01T00:00:00Z",
                "connect_failures":3,"last_error":"refused",
                "events":[{"id":1,"at":"t","level":"ERROR","message":"m"}]}"#,
        )
        .await;
        let state = ask_at(address).await.expect("an answer");
        assert_eq!((state.connect_failures, state.events.len()), (3, 1));
        let text = Relay::There(state).describe();
        assert_eq!(text, "listener lost, mode polling, 3 failed connections, last error: refused");
    }

    #[tokio::test]
    async fn what_is_no_answer_is_an_error() {
        assert!(ask_at(serve_once("[]").await).await.is_err());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let nobody = listener.local_addr().expect("bound");
        drop(listener);
        assert!(ask_at(nobody).await.is_err());
    }
}
