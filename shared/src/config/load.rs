//! From the file and the environment to a [`Config`] that may be used: find the file, parse, expand
//! `${VAR}`, fill in from `DB_*`, decode, validate.

use std::fmt;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::decode::decode;
use super::env::{self, Lookup};
use super::error::{ConfigError, ConfigErrors, Place};
use super::tree::{self, Node, Value};
use super::{Config, validate};

/// Where the file is when nothing says otherwise.
pub const DEFAULT_PATH: &str = "/etc/kube-node-manager/config.yaml";

/// Where a configuration came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// There is no file; `DB_*` say where the database is, and all else is at its default.
    Environment,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Environment => f.write_str("the environment"),
        }
    }
}

/// A configuration ready for use.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// Where it came from.
    pub source: Source,
    /// SHA-256 of the file, in hexadecimal; `none` without a file. Both containers of a pod, and all
    /// pods of an installation, show the same in `knm_config_info`.
    pub sha: String,
    /// What is allowed and yet probably not meant, a sentence each.
    pub warnings: Vec<String>,
}

/// Reads the file at `path`, else at `KNM_CONFIG`, else at [`DEFAULT_PATH`]; the last may be missing
/// when the environment says where the database is.
///
/// # Errors
/// Every fault that was found.
pub fn load(path: Option<&Path>) -> Result<Loaded, ConfigErrors> {
    load_with(path, &env::process)
}

/// [`load`] with an environment of one's own.
///
/// # Errors
/// Every fault that was found.
pub fn load_with(path: Option<&Path>, env: Lookup<'_>) -> Result<Loaded, ConfigErrors> {
    let (source, text) = read(path, env)?;
    understand(source, &text, env)
}

/// [`load`] of a text that stands in no file.
///
/// # Errors
/// Every fault that was found.
pub fn load_text(text: &str, env: Lookup<'_>) -> Result<Loaded, ConfigErrors> {
    understand(Source::File(PathBuf::from("a text")), text, env)
}

fn understand(source: Source, text: &str, env: Lookup<'_>) -> Result<Loaded, ConfigErrors> {
    let file = source.to_string();
    let sha = match source {
        Source::File(_) => hex(&Sha256::digest(text.as_bytes())),
        Source::Environment => "none".to_owned(),
    };

    let mut root = tree::parse(&file, text)?;
    if let Some(node) = root.find(&["database".to_owned()])
        && !matches!(node.value, Value::Map(_) | Value::Null)
    {
        let message = format!("must be a group of keys, found {}", node.value.kind());
        return Err(ConfigError::new(&file, node.place.clone(), "database", message).into());
    }
    let mut warnings = overruled(&root, env);
    let mut faults = tree::expand_all(&mut root, &file, env);
    fill_in_database(&mut root, env);
    if let Some(fault) = missing_host(&mut root, &source, &faults) {
        faults.push(fault);
    }

    // Decoding takes faulty values out; what they were called is still needed for the places of
    // those that validation objects to.
    let decoded = decode::<Config>(&mut root, &file, &mut faults);
    let Some(config) = decoded else {
        return Err(ConfigErrors::new(faults));
    };
    let mut check = validate::Validation::new(&root, &file, faults, env);
    check.run(&config);
    let (faults, found) = check.finish();
    warnings.extend(found);
    if faults.is_empty() {
        Ok(Loaded { config, source, sha, warnings })
    } else {
        Err(ConfigErrors::new(faults))
    }
}

fn read(path: Option<&Path>, env: Lookup<'_>) -> Result<(Source, String), ConfigError> {
    let (path, named_by) = match (path, env(env::CONFIG)) {
        (Some(path), _) => (path.to_owned(), "--config"),
        (None, Some(path)) if !path.is_empty() => (PathBuf::from(path), env::CONFIG),
        (None, _) => (PathBuf::from(DEFAULT_PATH), ""),
    };
    let fault = |message: String| ConfigError::file(&path.display().to_string(), message);
    let mut text = Vec::new();
    let opened = File::open(&path).and_then(|f| f.take(tree::MAX_FILE + 1).read_to_end(&mut text));
    match opened {
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && named_by.is_empty() => {
            if env(env::DB_HOST).is_some_and(|host| !host.is_empty()) {
                return Ok((Source::Environment, String::new()));
            }
            return Err(fault(format!(
                "no configuration: the file does not exist and {} is not set; mount the ConfigMap \
                 there, name another file with --config or {}, or set {0} to the database's address",
                env::DB_HOST,
                env::CONFIG,
            )));
        }
        Err(e) if named_by.is_empty() => return Err(fault(format!("cannot be read: {e}"))),
        Err(e) => {
            return Err(fault(format!("cannot be read: {e}; {named_by} names this file")));
        }
    }
    if text.len() as u64 > tree::MAX_FILE {
        return Err(fault("is larger than 1 MiB; this is not a configuration file".to_owned()));
    }
    let text = String::from_utf8(text).map_err(|_| fault("is not UTF-8 text".to_owned()))?;
    Ok((Source::File(path), text))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").expect("writing to a String cannot fail");
        out
    })
}

fn database_key(key: &str) -> [String; 2] {
    ["database".to_owned(), key.to_owned()]
}

/// A `DB_*` variable that contradicts the file: the file wins, and whoever set it should know.
fn overruled(root: &Node, env: Lookup<'_>) -> Vec<String> {
    let written = |key: &str| match &root.find(&database_key(key))?.value {
        Value::Str { text, .. } => Some(text.clone()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    };
    env::DATABASE_FALLBACKS
        .iter()
        .filter(|(key, _)| *key != "password")
        .filter_map(|(key, variable)| {
            let (in_file, in_env) = (written(key)?, env(variable)?);
            (!in_env.is_empty() && !in_file.contains("${") && in_file != in_env).then(|| {
                format!(
                    "{variable} is set to something else than database.{key} in the file; the file wins"
                )
            })
        })
        .collect()
}

fn fill_in_database(root: &mut Node, env: Lookup<'_>) {
    for (key, variable) in env::DATABASE_FALLBACKS {
        // Empty in the environment is how an optional variable is left out there.
        if let Some(text) = env(variable).filter(|text| !text.is_empty()) {
            let value = Value::Str { text, from_env: true };
            root.fill_in("database", key, Node { place: Place::Variable(variable), value });
        }
    }
}

/// There is no default host. A placeholder goes in, so that the rest can be checked too.
fn missing_host(root: &mut Node, source: &Source, faults: &[ConfigError]) -> Option<ConfigError> {
    let found = root.find(&database_key("host"));
    if found.is_some_and(|node| !matches!(node.value, Value::Null)) {
        return None;
    }
    let value = Value::Str { text: "missing".to_owned(), from_env: true };
    root.fill_in("database", "host", Node { place: Place::Unknown, value });
    if faults.iter().any(|fault| fault.key() == "database.host") {
        return None;
    }
    let message = format!(
        "is missing; set database.host in {source} or the environment variable {} to the address of \
         PostgreSQL (there is no default)",
        env::DB_HOST,
    );
    Some(ConfigError::new(&source.to_string(), Place::Unknown, "database.host", message))
}

#[cfg(test)]
mod tests;
