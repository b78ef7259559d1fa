//! A world with a Prometheus beside it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use knm_tests::prometheus::{Prometheus, PrometheusOptions, Rules, Target, installed};
use knm_tests::scenario::World;

pub(crate) const SOON: Duration = Duration::from_secs(60);
/// Between two scrapes.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

pub(crate) fn dashboards() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboards")
}

pub(crate) fn rules() -> anyhow::Result<Rules> {
    Rules::read(&dashboards().join("rules"))
}

/// Says that nothing is shown where there is no Prometheus.
pub(crate) fn skipped() -> bool {
    if installed() {
        return false;
    }
    println!("SKIPPED: there is no prometheus (Debian: prometheus); nothing has been shown");
    true
}

/// A Prometheus that scrapes all pods of a world and evaluates these rules, once a second.
pub(crate) async fn watch(world: &World, rules: &Rules) -> anyhow::Result<Prometheus> {
    let options = PrometheusOptions {
        targets: world.pods.iter().flat_map(Target::of).collect(),
        rules: rules.write()?,
        interval: INTERVAL,
    };
    let prometheus = Prometheus::start(&options).await?;
    prometheus.until_scraped().await?;
    Ok(prometheus)
}

/// Whether an alert fires whose labels have all of these.
pub(crate) async fn is_firing(
    prometheus: &Prometheus,
    alert: &str,
    labels: &[(&str, &str)],
) -> anyhow::Result<bool> {
    let fits = |found: &knm_tests::prometheus::Alert| {
        found.fires
            && found.name == alert
            && labels.iter().all(|(name, value)| found.labels[*name] == *value)
    };
    Ok(prometheus.alerts().await?.iter().any(fits))
}

/// Waits until it fires, and prints how long that took since the fault.
pub(crate) async fn fires(
    prometheus: &Prometheus,
    alert: &str,
    labels: &[(&str, &str)],
    fault: Instant,
) -> anyhow::Result<()> {
    until(prometheus, alert, labels, true).await?;
    let wait = rules()?.all().into_iter().find(|r| r.name == alert).and_then(|r| r.wait);
    let wait = wait.map_or_else(String::new, |wait| format!(" (as shipped, {wait} later)"));
    println!("{alert}: fires {:.1} s after the fault{wait}", fault.elapsed().as_secs_f64());
    Ok(())
}

/// Waits until it does not fire any more.
pub(crate) async fn resolves(
    prometheus: &Prometheus,
    alert: &str,
    labels: &[(&str, &str)],
    repair: Instant,
) -> anyhow::Result<()> {
    until(prometheus, alert, labels, false).await?;
    println!("{alert}: resolved {:.1} s after the repair", repair.elapsed().as_secs_f64());
    Ok(())
}

async fn until(
    prometheus: &Prometheus,
    alert: &str,
    labels: &[(&str, &str)],
    wanted: bool,
) -> anyhow::Result<()> {
    let waiting = async {
        while is_firing(prometheus, alert, labels).await? != wanted {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        anyhow::Ok(())
    };
    let waited = tokio::time::timeout(SOON * 2, waiting).await;
    let what = if wanted { "does not fire" } else { "goes on firing" };
    waited.with_context(|| format!("{alert} {what}"))?
}

/// The alerts that fire, by name.
pub(crate) async fn firing(prometheus: &Prometheus) -> anyhow::Result<Vec<String>> {
    let alerts = prometheus.alerts().await?;
    let mut names: Vec<_> = alerts.into_iter().filter(|a| a.fires).map(|a| a.name).collect();
    names.sort();
    names.dedup();
    Ok(names)
}
