//! `knm-api support-bundle`: what somebody who was not there needs to know about this pod, in one archive.
//!
//! Nothing here may fail as a whole: when the database is away or the configuration is broken, the bundle
//! says so, and that is when it is wanted. No secret goes in: configurations print their secrets as "…".

mod ask;

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use knm_shared::check::{self, Component};
use knm_shared::config::{self, Config, ConfigErrors, Loaded, env};
use knm_shared::pg::{App, Connector, Target};
use tokio::time::timeout;

use crate::causes;
use crate::db::support::QUESTIONS;
use crate::relay_link::local;

/// For each connection and each answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Files by name, in the order of the archive.
type Files = Vec<(String, Vec<u8>)>;

/// Writes the archive (tar, <https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html>).
///
/// # Errors
/// Only when `out` cannot be written to.
pub async fn write(config: Option<&Path>, out: impl Write) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let loaded = config::load(config);
    let mut files = vec![("about.txt".to_owned(), about(now, &loaded).into_bytes())];
    let mut report = Vec::new();
    check::run_with(config, Component::Api, &env::process, &mut report).await;
    files.push(("check.txt".to_owned(), report));
    if let Ok(loaded) = &loaded {
        files.push(("config.txt".to_owned(), redacted(&loaded.config).into_bytes()));
        files.extend(programs(loaded).await);
        files.extend(database(loaded).await);
    }
    pack(files, now, out).context("the archive cannot be written")
}

fn about(now: Timestamp, loaded: &Result<Loaded, ConfigErrors>) -> String {
    let (version, pod) = (crate::VERSION, env::pod_name());
    let node = env::node_name().unwrap_or_else(|| "unknown".to_owned());
    let config = match loaded {
        Ok(Loaded { source, sha, warnings, .. }) => {
            let warnings: String = warnings.iter().map(|w| format!("warning: {w}\n")).collect();
            format!("configuration: {source}\nsha256: {sha}\n{warnings}")
        }
        Err(errors) => format!("the configuration cannot be used:\n{errors}\n"),
    };
    format!("time: {now}\nknm-api: {version}\npod: {pod}\nnode: {node}\n{config}")
}

/// Secrets show themselves as "…"; of a webhook, the address itself often is one.
fn redacted(config: &Config) -> String {
    let mut config = config.clone();
    let urls = config.webhook.allowed.iter_mut().chain([&mut config.webhook.url]);
    urls.filter(|url| !url.is_empty()).for_each(|url| "…".clone_into(url));
    format!("{config:#?}\n")
}

/// What no line that goes into a bundle may have in it, wherever it came from.
#[must_use]
pub fn secrets(config: &Config, env: &impl Fn(&str) -> Option<String>) -> Vec<String> {
    let keys = env(env::ENCRYPTION_KEY).unwrap_or_default();
    let keys = keys.split(',').map(|key| key.trim().to_owned());
    let webhooks = config.webhook.allowed.iter().chain([&config.webhook.url]).cloned();
    [config.database.password.expose(), config.webhook.secret.expose()]
        .map(str::to_owned)
        .into_iter()
        .chain(env(env::ADMIN_PASSWORD))
        .chain(keys)
        .chain(webhooks)
        .collect()
}

/// What both programs of this pod say on their admin ports.
async fn programs(loaded: &Loaded) -> Files {
    let (api, relay) = (loaded.config.api.admin_listen, loaded.config.relay.admin_listen);
    let pages = [
        ("api/readyz.txt", api, "/readyz?verbose"),
        ("api/metrics.txt", api, "/metrics"),
        // The last lines of its log that say something is wrong.
        ("api/state.json", api, "/state"),
        ("relay/readyz.txt", relay, "/readyz?verbose"),
        ("relay/metrics.txt", relay, "/metrics"),
        // Its last log lines are in here, errors among them.
        ("relay/state.json", relay, "/state"),
    ];
    let mut files = Vec::new();
    for (name, listen, path) in pages {
        let answer = timeout(PATIENCE, ask::get(local(listen), path)).await;
        files.push(file(name, answer.context("no answer in time").flatten()));
    }
    files
}

async fn database(loaded: &Loaded) -> Files {
    let opened = async {
        let connector = Connector::new(&loaded.config.database, App::Check, Target::Pooled)?;
        anyhow::Ok(connector.connect().await?)
    };
    let (client, connection) = match opened.await {
        Ok(opened) => opened,
        Err(error) => return vec![file("database/error.txt", Err(error))],
    };
    let driver = tokio::spawn(connection);
    let mut files = Vec::new();
    for (name, sql) in QUESTIONS {
        let answer = timeout(PATIENCE, crate::db::support::ask(&client, sql)).await;
        let answer = answer.context("no answer in time").and_then(|a| a.context("refused"));
        files.push(file(&format!("database/{name}.json"), answer.map(String::into_bytes)));
    }
    driver.abort();
    files
}

fn file(name: &str, content: anyhow::Result<Vec<u8>>) -> (String, Vec<u8>) {
    let content = content.unwrap_or_else(|error| {
        format!("could not be had: {}\n", causes::text(error.as_ref())).into_bytes()
    });
    (name.to_owned(), content)
}

fn pack(files: Files, now: Timestamp, out: impl Write) -> std::io::Result<()> {
    let mut archive = tar::Builder::new(out);
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(now.as_second()).unwrap_or_default());
        archive.append_data(&mut header, format!("support-bundle/{name}"), content.as_slice())?;
    }
    archive.into_inner()?.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_secret_that_the_process_knows_is_hidden() {
        let text = "database: {host: db, password: database-password}\n\
                    webhook: {url: 'https://hooks.example.com/key', secret: webhook-secret-of-16,\n\
                    \x20         allowed: ['https://hooks.example.com/', 'https://chat.example.com/other']}\n";
        let env = |name: &str| match name {
            env::ADMIN_PASSWORD => Some("admin-password".to_owned()),
            env::ENCRYPTION_KEY => Some("new-key, old-key".to_owned()),
            _ => None,
        };
        let loaded = config::load_text(text, &env).expect("a configuration");
        let mut found = secrets(&loaded.config, &env);
        found.sort();
        let mut expected = [
            "database-password",
            "webhook-secret-of-16",
            "admin-password",
            "new-key",
            "old-key",
            "https://chat.example.com/other",
            "https://hooks.example.com/",
            "https://hooks.example.com/key",
        ];
        expected.sort_unstable();
        assert_eq!(found, expected);
    }
}
