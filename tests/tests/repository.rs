//! The shape of the repository: what it depends on and what lies at its top.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use cargo_metadata::{DependencyKind, MetadataCommand, Package};

/// The packages that the project is made of.
const CARD: [&str; 12] = [
    "tokio",
    "hyper",
    "hyper-util",
    "tokio-postgres",
    "postgres-native-tls",
    "native-tls",
    "kube",
    "k8s-openapi",
    "serde",
    "tokio-tungstenite",
    "prometheus",
    "tracing",
];

/// What must never come in, not even through another package.
const BANNED: [&str; 6] = ["axum", "warp", "actix", "actix-web", "sqlx", "rustls"];

/// The design's top level.
const DESIGN: [&str; 8] =
    ["Cargo.toml", "README.md", "api", "dashboards", "deploy", "relay", "shared", "tests"];

/// Files, and one folder for tools, that convention puts there.
const CONVENTION: [&str; 10] = [
    ".ci",
    ".gitignore",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "LICENSE",
    "SECURITY.md",
    "clippy.toml",
    "deny.toml",
    "rustfmt.toml",
];

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the crate lies in the workspace").to_owned()
}

fn rust_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    Ok(files)
}

fn uses(package: &Package, dependency: &str) -> anyhow::Result<bool> {
    let manifest = package.manifest_path.as_std_path();
    let source = manifest.parent().context("a folder")?.join("src");
    let path = format!("{}::", dependency.replace('-', "_"));
    let mentions = |file: &PathBuf| {
        std::fs::read_to_string(file).is_ok_and(|text| {
            text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(&path))
        })
    };
    Ok(rust_files(&source)?.iter().any(mentions))
}

#[test]
fn every_package_of_the_card_is_depended_on_and_used() -> anyhow::Result<()> {
    let metadata = MetadataCommand::new().manifest_path(root().join("Cargo.toml")).exec()?;
    let crates = metadata.workspace_packages();
    for name in CARD {
        let users: Vec<_> = crates
            .iter()
            .filter(|package| {
                !["knm-tests", "knm-bench"].contains(&package.name.as_str())
                    && package.dependencies.iter().any(|dependency| {
                        dependency.name == name && dependency.kind == DependencyKind::Normal
                    })
            })
            .collect();
        assert!(!users.is_empty(), "nobody depends on {name}");
        let mut used = false;
        for package in users {
            used |= uses(package, name)?;
        }
        assert!(used, "{name} is depended on and not used");
    }
    Ok(())
}

#[test]
fn what_is_banned_is_not_there_and_named_in_deny_toml() -> anyhow::Result<()> {
    let metadata = MetadataCommand::new().manifest_path(root().join("Cargo.toml")).exec()?;
    let deny = std::fs::read_to_string(root().join("deny.toml")).context("deny.toml")?;
    for name in BANNED {
        let found = metadata.packages.iter().find(|package| package.name.as_str() == name);
        assert!(found.is_none(), "{name} is in the dependency graph");
        assert!(deny.contains(&format!("name = \"{name}\"")), "deny.toml does not ban {name}");
    }
    Ok(())
}

#[test]
fn the_top_level_is_that_of_the_design() -> anyhow::Result<()> {
    let out = Command::new("git")
        .args(["ls-tree", "--name-only", "HEAD"])
        .current_dir(root())
        .output()
        .context("git")?;
    anyhow::ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let found = String::from_utf8(out.stdout)?;
    let found: BTreeSet<&str> = found.lines().collect();
    let allowed: BTreeSet<&str> = DESIGN.into_iter().chain(CONVENTION).collect();
    let strangers: Vec<_> = found.difference(&allowed).collect();
    assert!(strangers.is_empty(), "not in the design: {strangers:?}");
    let missing: Vec<_> = allowed.difference(&found).collect();
    assert!(missing.is_empty(), "in the design and not here: {missing:?}");
    Ok(())
}

/// The table of faults names tests by their functions: each of them is there.
#[test]
fn every_test_that_the_table_of_faults_names_is_there() -> anyhow::Result<()> {
    let text = std::fs::read_to_string(root().join("tests/README.md"))?;
    let (_, faults) = text.split_once("## Faults\n").context("a section on faults")?;
    let mut source = String::new();
    for folder in ["api", "relay", "shared", "tests"] {
        for file in rust_files(&root().join(folder))? {
            source.push_str(&std::fs::read_to_string(file)?);
        }
    }
    let named = |word: &&str| word.matches('_').count() > 2 && !word.contains([' ', '.', '=']);
    let names: BTreeSet<&str> = faults.split('`').filter(named).collect();
    assert!(names.len() > 100, "{names:?}");
    let missing: Vec<_> =
        names.iter().filter(|name| !source.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "{missing:?}");
    Ok(())
}
