//! Whether a cluster's API server answers, asked every few seconds, whoever else asks it or not.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::causes;

const PERIOD: Duration = Duration::from_secs(15);
const TIMEOUT: Duration = Duration::from_secs(5);

/// What the last question came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Not asked yet.
    Unknown,
    /// It answers.
    Reachable {
        /// Kubernetes' version, if it may be known.
        version: Option<Arc<str>>,
    },
    /// It does not.
    Unreachable {
        /// Why.
        error: Arc<str>,
        /// Since when.
        since: Timestamp,
    },
}

/// The latest [`Answer`]. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Health {
    answer: watch::Receiver<Answer>,
}

impl Health {
    /// The latest answer.
    #[must_use]
    pub fn get(&self) -> Answer {
        self.answer.borrow().clone()
    }
}

/// The health of a cluster and the task that keeps asking.
pub(super) fn probe(client: Client) -> (Health, impl Future<Output = Infallible> + Send) {
    let (told, answer) = watch::channel(Answer::Unknown);
    (Health { answer }, run(client, told))
}

async fn run(client: Client, told: watch::Sender<Answer>) -> Infallible {
    loop {
        let news = match timeout(TIMEOUT, client.apiserver_version()).await {
            Ok(Ok(info)) => Answer::Reachable { version: Some(info.git_version.into()) },
            // It has answered, if only to say no.
            Ok(Err(kube::Error::Api(status))) if status.code < 500 => {
                Answer::Reachable { version: None }
            }
            Ok(Err(error)) => unreachable(&told, causes::text(&error)),
            Err(_) => unreachable(&told, format!("no answer within {TIMEOUT:?}")),
        };
        told.send_replace(news);
        tokio::time::sleep(PERIOD).await;
    }
}

fn unreachable(told: &watch::Sender<Answer>, error: String) -> Answer {
    let since = match &*told.borrow() {
        Answer::Unreachable { since, .. } => *since,
        _ => Timestamp::now(),
    };
    Answer::Unreachable { error: error.into(), since }
}
