//! A real Prometheus that scrapes pods and evaluates rules: for tests and the demo.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::api::Api;
use crate::pod::Pod;
use crate::process::{Log, Process, Spec};
use crate::{ports, scratch};

mod panels;
mod rules;

pub use panels::{Panel, panels};
pub use rules::{Rule, Rules};

/// The label `namespace` of everything that is scraped.
pub const NAMESPACE: &str = "kube-node-mgr";

/// To start, to answer, to end.
const SOON: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Who is scraped.
#[derive(Debug, Clone)]
pub struct Target {
    /// `host:port`
    pub address: String,
    /// The pod's name.
    pub pod: String,
    /// As the StatefulSet calls it: `kube-node-mgr` (the api) or `relay`.
    pub container: &'static str,
}

impl Target {
    /// Both containers of a pod.
    #[must_use]
    pub fn of(pod: &Pod) -> [Self; 2] {
        [("kube-node-mgr", &pod.api), ("relay", &pod.relay)].map(|(container, running)| Self {
            address: running.admin_address(),
            pod: pod.name().to_owned(),
            container,
        })
    }
}

/// How it is to run.
#[derive(Debug, Clone)]
pub struct PrometheusOptions {
    /// Who is scraped.
    pub targets: Vec<Target>,
    /// Files with rules.
    pub rules: Vec<PathBuf>,
    /// Between two scrapes, and two evaluations of the rules.
    pub interval: Duration,
}

/// One series of an answer: its labels, and its samples as they came (NaN included).
#[derive(Debug, Clone)]
pub struct Series {
    /// Labels.
    pub labels: Value,
    /// Values, oldest first.
    pub values: Vec<f64>,
}

/// An alert that is pending or fires.
#[derive(Debug, Clone)]
pub struct Alert {
    /// `alertname`
    pub name: String,
    /// Labels.
    pub labels: Value,
    /// Whether it fires; else it is pending.
    pub fires: bool,
}

/// A running Prometheus. Dropping it kills it.
#[derive(Debug)]
pub struct Prometheus {
    process: Process,
    address: String,
    api: Api,
    targets: usize,
}

/// Whether Debian's `prometheus` is there.
#[must_use]
pub fn installed() -> bool {
    program().is_ok()
}

fn program() -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").context("there is no PATH")?;
    let mut folders = std::env::split_paths(&path).map(|folder| folder.join("prometheus"));
    folders.find(|file| file.is_file()).context("there is no prometheus (Debian: prometheus)")
}

impl Prometheus {
    /// Starts it on a free port; returns once it answers.
    ///
    /// # Errors
    /// When it is not installed or refuses its configuration; with the end of its log.
    pub async fn start(options: &PrometheusOptions) -> anyhow::Result<Self> {
        let folder = scratch::dir("prometheus")?;
        let config = folder.join("prometheus.yml");
        // JSON is YAML too.
        std::fs::write(&config, configuration(options).to_string())?;
        let address = format!("127.0.0.1:{}", ports::free());
        let process = Spec::new("prometheus", &program()?)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn")
            .spawn(&Log::create(folder.join("prometheus.log"))?)?;
        let api = Api::new(format!("http://{address}"));
        let prometheus = Self { process, address, api, targets: options.targets.len() };
        let ending = prometheus.process.ending();
        let answers = async {
            while !prometheus.api.get("/-/ready").await.is_ok_and(|a| a.status.is_success()) {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        tokio::select! {
            ready = tokio::time::timeout(SOON, answers) => {
                ready.context("prometheus does not get ready")?;
            }
            ended = ending.wait() => return Err(ended),
        }
        Ok(prometheus)
    }

    /// `host:port` of its web interface.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Waits until every target has been scraped.
    ///
    /// # Errors
    /// When one cannot be.
    pub async fn until_scraped(&self) -> anyhow::Result<()> {
        let all = self.targets as f64;
        self.until("sum(up)", |series| series.iter().any(|s| s.values == [all])).await
    }

    /// Waits until the answer to a query is as wanted.
    ///
    /// # Errors
    /// When it does not become so; with the last answer.
    pub async fn until(
        &self,
        query: &str,
        wanted: impl Fn(&[Series]) -> bool,
    ) -> anyhow::Result<()> {
        let mut last = Vec::new();
        let waiting = async {
            loop {
                last = self.query(query).await?;
                if wanted(&last) {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        match tokio::time::timeout(SOON * 2, waiting).await {
            Ok(done) => done,
            Err(_) => bail!("{query}: not as wanted in time: {last:?}"),
        }
    }

    /// The present value of every series of an expression.
    ///
    /// # Errors
    /// When it is none.
    pub async fn query(&self, query: &str) -> anyhow::Result<Vec<Series>> {
        let data = self.ask(&format!("/api/v1/query?query={}", escape(query))).await;
        series(&data.with_context(|| query.to_owned())?)
    }

    /// Every series of an expression since so long ago, a sample a second.
    ///
    /// # Errors
    /// When it is none.
    pub async fn range(&self, query: &str, since: Duration) -> anyhow::Result<Vec<Series>> {
        let now = jiff::Timestamp::now().as_second();
        let start = now - i64::try_from(since.as_secs())?;
        let query_part = escape(query);
        let path = format!("/api/v1/query_range?query={query_part}&start={start}&end={now}&step=1");
        series(&self.ask(&path).await.with_context(|| query.to_owned())?)
    }

    /// The alerts that are pending or fire.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn alerts(&self) -> anyhow::Result<Vec<Alert>> {
        let data = self.ask("/api/v1/alerts").await?;
        let alerts = data["alerts"].as_array().context("no alerts")?;
        Ok(alerts
            .iter()
            .map(|alert| Alert {
                name: alert["labels"]["alertname"].as_str().unwrap_or_default().to_owned(),
                labels: alert["labels"].clone(),
                fires: alert["state"] == "firing",
            })
            .collect())
    }

    /// What it answers to a question of its HTTP interface: the part under `data`.
    ///
    /// # Errors
    /// When that is a failure.
    pub async fn ask(&self, path: &str) -> anyhow::Result<Value> {
        let answer: Value = self.api.get(path).await?.json()?;
        ensure!(answer["status"] == "success", "prometheus: {answer}");
        Ok(answer["data"].clone())
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// When it had to be killed.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.process.stop(Signal::TERM, SOON).await.map(|_| ())
    }
}

fn configuration(options: &PrometheusOptions) -> Value {
    let interval = format!("{}ms", options.interval.as_millis());
    let rules: Vec<_> = options.rules.iter().map(|path| absolute(path)).collect();
    let targets: Vec<_> = options
        .targets
        .iter()
        .map(|target| {
            let Target { address, pod, container } = target;
            json!({"targets": [address],
                   "labels": {"namespace": NAMESPACE, "pod": pod, "container": container}})
        })
        .collect();
    json!({
        "global": {"scrape_interval": interval, "evaluation_interval": interval,
                   "scrape_timeout": interval},
        "rule_files": rules,
        "scrape_configs": [{"job_name": "kube-node-manager", "static_configs": targets}],
    })
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// Percent-encoded for a query string.
fn escape(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes()
        .map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// Of an instant vector, a range, or a scalar's vector.
fn series(data: &Value) -> anyhow::Result<Vec<Series>> {
    let found = data["result"].as_array().with_context(|| format!("no result: {data}"))?;
    let number = |pair: &Value| pair[1].as_str().and_then(|text| text.parse().ok());
    Ok(found
        .iter()
        .map(|one| Series {
            labels: one["metric"].clone(),
            values: match one["values"].as_array() {
                Some(values) => values.iter().filter_map(number).collect(),
                None => number(&one["value"]).into_iter().collect(),
            },
        })
        .collect())
}
