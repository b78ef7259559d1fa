//! The rules that are shipped, as they are or made quick enough for a test.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::scratch;

/// One rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// `alert` or `record`
    pub name: String,
    /// Whether it is an alert.
    pub is_alert: bool,
    /// Its expression.
    pub expr: String,
    /// How long the expression has to hold.
    pub wait: Option<String>,
    /// Its annotations.
    pub annotations: Value,
    /// Its severity.
    pub severity: Option<String>,
}

/// All rules of a folder.
#[derive(Debug, Clone)]
pub struct Rules {
    files: Vec<(String, Value)>,
}

impl Rules {
    /// Reads them.
    ///
    /// # Errors
    /// When there are none, or one is no YAML.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let mut files = Vec::new();
        let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "yaml") {
                let text = std::fs::read_to_string(&path)?;
                let rules: Value =
                    serde_saphyr::from_str(&text).with_context(|| path.display().to_string())?;
                let name = path.file_name().context("a file")?.to_string_lossy().into_owned();
                files.push((name, rules));
            }
        }
        ensure!(!files.is_empty(), "no rules in {}", folder.display());
        files.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Self { files })
    }

    /// Each of them.
    #[must_use]
    pub fn all(&self) -> Vec<Rule> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        self.rules()
            .map(|rule| Rule {
                is_alert: rule["alert"].is_string(),
                name: text(&rule["alert"]).or_else(|| text(&rule["record"])).unwrap_or_default(),
                expr: text(&rule["expr"]).unwrap_or_default(),
                wait: text(&rule["for"]),
                annotations: rule["annotations"].clone(),
                severity: text(&rule["labels"]["severity"]),
            })
            .collect()
    }

    fn rules(&self) -> impl Iterator<Item = &Value> {
        let groups = self.files.iter().filter_map(|(_, file)| file["groups"].as_array()).flatten();
        groups.filter_map(|group| group["rules"].as_array()).flatten()
    }

    fn rules_mut(&mut self) -> impl Iterator<Item = &mut Value> {
        let files = self.files.iter_mut();
        let groups = files.filter_map(|(_, file)| file["groups"].as_array_mut()).flatten();
        groups.filter_map(|group| group["rules"].as_array_mut()).flatten()
    }

    /// Alerts fire as soon as their expression holds.
    #[must_use]
    pub fn without_waiting(mut self) -> Self {
        for rule in self.rules_mut() {
            if let Some(rule) = rule.as_object_mut() {
                rule.remove("for");
            }
        }
        self
    }

    /// Replaces a part of a rule's expression.
    ///
    /// # Errors
    /// When there is no such rule, or no such part.
    pub fn with(mut self, name: &str, part: &str, instead: &str) -> anyhow::Result<Self> {
        let named = |rule: &&mut Value| rule["alert"] == name || rule["record"] == name;
        let rule = self.rules_mut().find(named).with_context(|| format!("no rule {name}"))?;
        let expr = rule["expr"].as_str().unwrap_or_default().to_owned();
        ensure!(expr.contains(part), "{name} has no {part:?} in {expr:?}");
        rule["expr"] = expr.replace(part, instead).into();
        Ok(self)
    }

    /// Writes them into a folder of their own, for `rule_files`.
    ///
    /// # Errors
    /// When that fails.
    pub fn write(&self) -> anyhow::Result<Vec<PathBuf>> {
        let folder = scratch::dir("rules")?;
        let write = |(name, rules): &(String, Value)| {
            let path = folder.join(name);
            // JSON is YAML too.
            std::fs::write(&path, serde_json::to_string_pretty(rules)?)?;
            anyhow::Ok(path)
        };
        self.files.iter().map(write).collect()
    }
}
