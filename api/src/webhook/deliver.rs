//! Sends what is due.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::Context as _;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_tls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jiff::Timestamp;
use knm_shared::config::Secret;
use knm_shared::pg::Pool;
use prometheus::IntCounterVec;
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{debug, warn};

use super::address::Allowed;
use super::sign::sign;
use crate::db;
use crate::db::webhooks::Delivery;
use crate::tasks::view::TaskView;

/// How often it is looked for tasks that have ended.
const PERIOD: Duration = Duration::from_secs(1);
/// For one answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Deliveries at a time.
const BATCH: i64 = 8;
/// Pauses double from the first to the longest; all together they are more than a day.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(3 * 3600);
const MAX_TRIES: i32 = 22;

/// What is sent.
#[derive(Serialize)]
struct Event<'a> {
    event: &'static str,
    task: &'a TaskView,
}

/// See the module's description.
pub struct Deliverer {
    pool: Pool,
    allowed: Allowed,
    secret: Secret,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    results: IntCounterVec,
}

impl Deliverer {
    /// One per process; they share the work by the rows' locks.
    #[must_use]
    pub fn new(pool: Pool, allowed: Allowed, secret: Secret, results: IntCounterVec) -> Self {
        let client = Client::builder(TokioExecutor::new()).build(HttpsConnector::new());
        Self { pool, allowed, secret, client, results }
    }

    /// Delivers for ever.
    pub async fn run(self) -> Infallible {
        let mut rounds = interval(PERIOD);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            // What could not be noted is sent again.
            if let Err(error) = self.round().await {
                debug!(%error, "no webhooks now");
            }
        }
    }

    async fn round(&self) -> anyhow::Result<()> {
        let client = self.pool.get().await?;
        let due = db::webhooks::claim(&**client, BATCH, TIMEOUT * 3).await?;
        drop(client);
        let sent = due.iter().map(|delivery| self.deliver(delivery));
        for outcome in futures_util::future::join_all(sent).await {
            outcome?;
        }
        Ok(())
    }

    async fn deliver(&self, delivery: &Delivery) -> anyhow::Result<()> {
        let client = self.pool.get().await?;
        let Some(task) = db::tasks::get(&**client, delivery.task).await? else { return Ok(()) };
        drop(client);
        let sent = self.send(delivery, &task).await;
        let client = self.pool.get().await?;
        let Err(error) = sent else {
            self.results.with_label_values(&["delivered"]).inc();
            return Ok(db::webhooks::delivered(&**client, delivery.task).await?);
        };
        let again = (delivery.tries < MAX_TRIES).then(|| pause_after(delivery.tries));
        let result = if again.is_some() { "failed" } else { "given_up" };
        self.results.with_label_values(&[result]).inc();
        warn!(task = %delivery.task, tries = delivery.tries, %error, "webhook not delivered ({result})");
        let why = error.to_string();
        Ok(db::webhooks::failed(&**client, delivery.task, &why, again).await?)
    }

    async fn send(&self, delivery: &Delivery, task: &TaskView) -> anyhow::Result<()> {
        // The configuration may have changed since the task was submitted.
        let address = self.allowed.check(&delivery.url)?;
        let body = serde_json::to_vec(&Event { event: "task.ended", task })?;
        let now = Timestamp::now().as_second();
        let signature = sign(self.secret.expose(), now, &body);
        let request = Request::post(address.uri())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("kube-node-manager/", env!("CARGO_PKG_VERSION")))
            .header("x-knm-delivery", delivery.task.to_string())
            .header("x-knm-timestamp", now)
            .header("x-knm-signature", format!("sha256={signature}"))
            .body(Full::from(body))?;
        // Redirects are not followed: they could lead anywhere.
        let answer = timeout(TIMEOUT, self.client.request(request)).await;
        let answer = answer.with_context(|| format!("no answer within {TIMEOUT:?}"))?;
        let status = answer.map_err(|e| anyhow::anyhow!(crate::causes::text(&e)))?.status();
        anyhow::ensure!(status.is_success(), "{}", text(status));
        Ok(())
    }
}

fn text(status: StatusCode) -> String {
    format!("it answered {status}")
}

fn pause_after(tries: i32) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << (tries - 1).clamp(0, 20));
    doubled.min(LONGEST_PAUSE).mul_f64(rand::random_range(0.75..1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_bound_and_last_more_than_a_day() {
        assert!(pause_after(1) <= FIRST_PAUSE && pause_after(2) > FIRST_PAUSE);
        assert!(pause_after(i32::MAX) <= LONGEST_PAUSE);
        let all: Duration = (1..MAX_TRIES).map(pause_after).sum();
        assert!(all > Duration::from_secs(24 * 3600), "{all:?}");
    }
}
