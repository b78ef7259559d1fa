//! `dashboards/README.md`, the rules and the panels say what is there.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use knm_tests::prometheus::panels;
use knm_tests::scenario::World;

use crate::support::{dashboards, rules};

/// A metric as the document or a scrape has it.
type Metrics = BTreeMap<String, (String, BTreeSet<String>)>;

/// The rows of the document's tables of metrics: name, type, labels.
fn documented(text: &str) -> Metrics {
    let mut found = Metrics::new();
    for line in text.lines().filter(|line| line.starts_with("| `knm_")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let labels =
            cells[4].split(',').map(|l| l.trim().trim_matches('`')).filter(|l| !l.is_empty());
        let about = (cells[2].to_owned(), labels.map(str::to_owned).collect());
        let is_new = found.insert(cells[1].trim_matches('`').to_owned(), about).is_none();
        assert!(is_new, "twice: {line}");
    }
    found
}

/// What a scrape has.
fn scraped(text: &str) -> Metrics {
    let mut found = Metrics::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' ')) {
            found.entry(name.to_owned()).or_insert_with(|| (kind.to_owned(), BTreeSet::new()));
        }
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_once(['{', ' ']).expect("a sample");
        let Some((_, labels)) = found.get_mut(base(name)) else { continue };
        if line.contains('{') {
            let inside = rest.split('}').next().unwrap_or_default();
            let names = inside.split(',').filter_map(|pair| Some(pair.split_once('=')?.0));
            labels.extend(names.filter(|name| *name != "le").map(str::to_owned));
        }
    }
    found
}

/// The metric that a series of a histogram belongs to.
fn base(series: &str) -> &str {
    ["_bucket", "_sum", "_count"]
        .iter()
        .find_map(|end| series.strip_suffix(end))
        .filter(|name| name.ends_with("_seconds") || name.ends_with("_items"))
        .unwrap_or(series)
}

/// The names of our own metrics in an expression; recorded ones have colons and are others.
fn named(expr: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = expr.split(|c| !word(c)).filter(|w| w.starts_with("knm_"));
    words.map(|w| base(w).to_owned()).collect()
}

/// The recorded series in an expression.
fn recorded(expr: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    expr.split(|c| !word(c)).filter(|w| w.contains(":knm_")).map(str::to_owned).collect()
}

fn readme() -> anyhow::Result<String> {
    Ok(std::fs::read_to_string(dashboards().join("README.md"))?)
}

/// Everything is there from the first scrape, but for what has a label whose values nobody knows
/// beforehand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_is_documented_and_there() -> anyhow::Result<()> {
    let world = World::new("documented").nodes(1).start().await?;
    // A first request, as its route is a label.
    world.sign_in(0).await?;
    let mut there = Metrics::new();
    for container in [&world.pods[0].api, &world.pods[0].relay] {
        there.extend(scraped(&container.admin("/metrics").await?.text()));
    }
    let text = readme()?;
    let documented = documented(&text);
    let names = |metrics: &Metrics| metrics.keys().cloned().collect::<BTreeSet<_>>();
    let missing: Vec<_> = names(&documented).difference(&names(&there)).cloned().collect();
    assert!(missing.is_empty(), "documented and not there: {missing:?}");
    let untold: Vec<_> = names(&there).difference(&names(&documented)).cloned().collect();
    assert!(untold.is_empty(), "there and not documented: {untold:?}");
    for (name, (kind, labels)) in &there {
        let (said_kind, said_labels) = &documented[name];
        assert_eq!((kind, labels), (said_kind, said_labels), "{name}");
    }

    let panels = panels(&dashboards())?;
    let all = rules()?.all();
    let queries = panels.iter().flat_map(|p| p.queries.iter().map(|q| (&p.name, q)));
    let asked: Vec<_> = queries.chain(all.iter().map(|rule| (&rule.name, &rule.expr))).collect();
    for (who, expr) in &asked {
        let strangers: Vec<_> =
            named(expr).into_iter().filter(|name| !there.contains_key(name)).collect();
        assert!(strangers.is_empty(), "{who} asks for {strangers:?}");
        let records: BTreeSet<_> = all.iter().map(|rule| rule.name.clone()).collect();
        let unrecorded: Vec<_> = recorded(expr).difference(&records).cloned().collect();
        assert!(unrecorded.is_empty(), "{who} asks for {unrecorded:?}");
    }
    // The dashboards work without the rules.
    for (who, expr) in panels.iter().flat_map(|p| p.queries.iter().map(|q| (&p.name, q))) {
        assert!(recorded(expr).is_empty(), "{who} needs the recording rules");
    }
    // And whatever the document names anywhere.
    let strangers: Vec<_> = text
        .split('`')
        .filter(|word| {
            word.starts_with("knm_") && *word != "knm_" && !there.contains_key(base(word))
        })
        .collect();
    assert!(strangers.is_empty(), "{strangers:?}");
    world.stop().await
}

/// Whoever reads the code learns there what a metric is.
#[test]
fn every_metric_is_documented_where_it_is_registered() -> anyhow::Result<()> {
    let mut comments = String::new();
    let mut folders: Vec<_> =
        ["api/src", "relay/src", "shared/src"].map(|f| dashboards().join("..").join(f)).into();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path)?;
                let lines = text.lines().filter(|line| line.trim_start().starts_with("//"));
                comments.extend(lines.flat_map(|line| [line, "\n"]));
            }
        }
    }
    let names = documented(&readme()?).into_keys();
    let missing: Vec<_> = names.filter(|name| !comments.contains(&format!("`{name}"))).collect();
    assert!(missing.is_empty(), "no comment says what these are: {missing:?}");
    Ok(())
}

/// Two installations in one Prometheus do not see each other's figures.
#[test]
fn every_panel_follows_the_chosen_namespaces() -> anyhow::Result<()> {
    for panel in panels(&dashboards())? {
        for query in &panel.queries {
            let selectors: Vec<&str> =
                query.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect();
            let chosen = |s: &&str| s.contains(r#"namespace=~"$namespace""#);
            let follows = !selectors.is_empty() && selectors.iter().all(chosen);
            assert!(follows, "{}: {query}", panel.name);
        }
    }
    Ok(())
}

#[test]
fn every_alert_says_what_it_is_and_where_its_section_is() -> anyhow::Result<()> {
    let text = readme()?;
    let anchors: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .map(|heading| heading.to_lowercase().replace(' ', "-"))
        .collect();
    let all = rules()?.all();
    let alerts: Vec<_> = all.iter().filter(|rule| rule.is_alert).collect();
    assert!(alerts.len() >= 15, "{alerts:?}");
    for alert in &alerts {
        let name = &alert.name;
        let severity = alert.severity.as_deref();
        assert!(matches!(severity, Some("critical" | "warning")), "{name}: {severity:?}");
        for annotation in ["summary", "description", "runbook"] {
            let said = alert.annotations[annotation].as_str().unwrap_or_default();
            assert!(said.len() > 10, "{name} has no {annotation}");
        }
        let runbook = alert.annotations["runbook"].as_str().context("a runbook")?;
        let anchor = runbook.strip_prefix("dashboards/README.md#").context("of this document")?;
        assert!(anchors.contains(anchor), "{name}: there is no section {anchor}");
        assert_eq!(anchor, name.to_lowercase(), "the section of another alert");
    }
    // No section is left over.
    let known: BTreeSet<_> = alerts.iter().map(|alert| alert.name.to_lowercase()).collect();
    let sections = anchors.iter().filter(|anchor| anchor.starts_with("knm"));
    let orphans: Vec<_> = sections.filter(|anchor| !known.contains(*anchor)).collect();
    assert!(orphans.is_empty(), "sections without an alert: {orphans:?}");
    // Links within the document lead somewhere.
    let headings = text.lines().filter_map(|line| line.trim_start_matches('#').strip_prefix(' '));
    let targets: BTreeSet<String> =
        headings.map(|heading| heading.to_lowercase().replace(' ', "-")).collect();
    for link in text.split("](#").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(targets.contains(link), "nothing is called {link}");
    }
    Ok(())
}

#[test]
fn every_panel_has_a_unit_thresholds_and_a_description() -> anyhow::Result<()> {
    let mut titles = BTreeSet::new();
    for panel in panels(&dashboards())? {
        let name = &panel.name;
        let defaults = &panel.json["fieldConfig"]["defaults"];
        assert!(defaults["unit"].as_str().is_some_and(|unit| !unit.is_empty()), "{name}: unit");
        let steps = defaults["thresholds"]["steps"].as_array();
        assert!(steps.is_some_and(|steps| !steps.is_empty()), "{name}: thresholds");
        let said = panel.json["description"].as_str().unwrap_or_default();
        assert!(said.len() > 20, "{name}: description");
        assert!(!panel.queries.is_empty(), "{name} asks for nothing");
        assert_eq!(panel.json["datasource"]["uid"], "${datasource}", "{name}");
        titles.insert(name.split(": ").next().unwrap_or_default().to_owned());
    }
    assert_eq!(titles.len(), 3, "{titles:?}");
    Ok(())
}
