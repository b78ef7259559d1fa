//! The panels of the dashboards and what they ask.

use std::path::Path;

use anyhow::{Context as _, ensure};
use serde_json::Value;

/// One panel of a dashboard.
#[derive(Debug, Clone)]
pub struct Panel {
    /// The dashboard's title, then the panel's.
    pub name: String,
    /// As the file has it.
    pub json: Value,
    /// Its expressions, variables and all.
    pub queries: Vec<String>,
}

impl Panel {
    /// Its expressions with everything selected, and a rate over `window`.
    pub fn selecting_all(&self, window: &str) -> impl Iterator<Item = String> {
        let values = [("$__rate_interval", window), ("$namespace", ".*"), ("$pod", ".*")];
        self.queries.iter().map(move |query| {
            values.iter().fold(query.clone(), |query, (name, value)| query.replace(name, value))
        })
    }
}

/// Every panel of every dashboard of a folder; rows are none.
///
/// # Errors
/// When there are no dashboards, or one is not as Grafana writes them.
pub fn panels(folder: &Path) -> anyhow::Result<Vec<Panel>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(&path)?)
            .with_context(|| path.display().to_string())?;
        let title = dashboard["title"].as_str().context("a dashboard without a title")?;
        for panel in dashboard["panels"].as_array().context("a dashboard without panels")? {
            if panel["type"] == "row" {
                continue;
            }
            let own = panel["title"].as_str().with_context(|| format!("a panel of {title}"))?;
            let targets = panel["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
            let queries = targets.iter().filter_map(|t| t["expr"].as_str().map(str::to_owned));
            found.push(Panel {
                name: format!("{title}: {own}"),
                json: panel.clone(),
                queries: queries.collect(),
            });
        }
    }
    ensure!(!found.is_empty(), "no dashboards in {}", folder.display());
    Ok(found)
}
