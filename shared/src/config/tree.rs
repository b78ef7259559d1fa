//! The file as a tree of values, each with the place where it was read: between YAML and the
//! [`Config`](super::Config) struct. It may hold secrets, and has no `Debug` for that reason.

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Error, Spanned};

use super::env::Lookup;
use super::error::{ConfigError, Place};
use super::expand;

/// A value and where it came from.
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

pub(super) enum Value {
    /// A key without a value: as if it were left out.
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str {
        text: String,
        /// Whether any part of it came from a variable: it is not shown then, and may stand for a
        /// number or a boolean.
        from_env: bool,
    },
    Seq(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Value {
    /// What kind of value it is, for messages.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Str { .. } => "text",
            Self::Seq(_) => "a list",
            Self::Map(_) => "a group of keys",
        }
    }
}

/// Larger is not a configuration file.
pub(super) const MAX_FILE: u64 = 1 << 20;

/// Reads YAML. Syntax errors never quote the text.
pub(super) fn parse(file: &str, text: &str) -> Result<Node, ConfigError> {
    let nothing = || Node { place: Place::Unknown, value: Value::Map(Vec::new()) };
    let options = serde_saphyr::options! { with_snippet: false };
    let value = match serde_saphyr::from_str_with_options::<Value>(text, options) {
        Ok(value) => value,
        Err(Error::Eof { .. }) => return Ok(nothing()),
        Err(error) => return Err(syntax_error(file, text, &error)),
    };
    match value {
        Value::Null => Ok(nothing()),
        Value::Map(_) => Ok(Node { place: Place::Unknown, value }),
        other => {
            let message = format!("the file must be a group of keys, found {}", other.kind());
            Err(ConfigError::new(file, Place::Line(1), "", message))
        }
    }
}

/// The parser's message may contain a piece of the text (an anchor's or a tag's name, which is what
/// an unquoted password can look like), so it is shown only for lines that hold no secret.
fn syntax_error(file: &str, text: &str, error: &Error) -> ConfigError {
    let line = error.location().map_or(0, |l| l.line());
    let place = if line == 0 { Place::Unknown } else { Place::Line(line) };
    let number = usize::try_from(line).unwrap_or(usize::MAX);
    let source = number.checked_sub(1).and_then(|n| text.lines().nth(n)).unwrap_or_default();
    let message = if source.to_lowercase().contains("password") {
        "not valid YAML; put the value in double quotes".to_owned()
    } else if let Error::DuplicateMappingKey { key, .. } = error.without_snippet() {
        format!("key {:?} is given twice", key.as_deref().unwrap_or_default())
    } else {
        let shown = error.without_snippet().to_string();
        let first = shown.lines().next().unwrap_or_default();
        let reason = first.split(" at line ").next().unwrap_or_default();
        format!("not valid YAML: {reason}")
    };
    ConfigError::new(file, place, "", message)
}

/// Replaces `${VAR}` in every string value. A value that cannot be expanded is taken out of the
/// tree, so that the rest can still be checked.
pub(super) fn expand_all(root: &mut Node, file: &str, env: Lookup<'_>) -> Vec<ConfigError> {
    let mut faults = Vec::new();
    walk(root, "", &mut |key, node| {
        let Value::Str { text, from_env } = &mut node.value else {
            return;
        };
        match expand::expand(text, env) {
            Ok(expanded) => {
                *text = expanded.text;
                *from_env = expanded.from_env;
            }
            Err(error) => {
                faults.push(ConfigError::new(file, node.place.clone(), key, error.to_string()));
                node.value = Value::Null;
            }
        }
    });
    faults
}

fn walk(node: &mut Node, key: &str, visit: &mut impl FnMut(&str, &mut Node)) {
    match &mut node.value {
        Value::Map(entries) => {
            for (name, child) in entries {
                walk(child, &join(key, name), visit);
            }
        }
        Value::Seq(items) => {
            for (i, child) in items.iter_mut().enumerate() {
                walk(child, &format!("{key}[{i}]"), visit);
            }
        }
        _ => visit(key, node),
    }
}

/// `parent.name`.
pub(super) fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

impl Node {
    fn entries(&mut self) -> Option<&mut Vec<(String, Self)>> {
        match &mut self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The node at a path.
    pub(super) fn find(&self, path: &[String]) -> Option<&Self> {
        let Some((name, rest)) = path.split_first() else {
            return Some(self);
        };
        let Value::Map(entries) = &self.value else {
            return None;
        };
        entries.iter().find(|(key, _)| key == name)?.1.find(rest)
    }

    /// Takes the node at a path out.
    pub(super) fn remove(&mut self, path: &[String]) -> Option<Self> {
        let (name, rest) = path.split_first()?;
        let entries = self.entries()?;
        let at = entries.iter().position(|(key, _)| key == name)?;
        if rest.is_empty() { Some(entries.remove(at).1) } else { entries[at].1.remove(rest) }
    }

    /// Puts `section.key` in unless it has a value already. A missing section is made.
    pub(super) fn fill_in(&mut self, section: &str, key: &str, node: Self) {
        let Some(sections) = self.entries() else {
            return;
        };
        let at = sections.iter().position(|(name, _)| name == section).unwrap_or_else(|| {
            let empty = Self { place: Place::Unknown, value: Value::Map(Vec::new()) };
            sections.push((section.to_owned(), empty));
            sections.len() - 1
        });
        let group = &mut sections[at].1;
        if matches!(group.value, Value::Null) {
            group.value = Value::Map(Vec::new());
        }
        // A section that is no group of keys at all is reported when it is decoded.
        let Some(entries) = group.entries() else {
            return;
        };
        entries.retain(|(name, value)| name != key || !matches!(value.value, Value::Null));
        if !entries.iter().any(|(name, _)| name == key) {
            entries.push((key.to_owned(), node));
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Int(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(Value::Int(i128::try_from(value).unwrap_or(i128::MAX)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.visit_string(value.to_owned())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Str { text, from_env: false })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Spanned<Value>>()? {
            let place = Place::Line(item.referenced.line());
            items.push(Node { place, value: item.value });
        }
        Ok(Value::Seq(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let place = Place::Line(key.referenced.line());
            entries.push((key.value, Node { place, value: map.next_value()? }));
        }
        Ok(Value::Map(entries))
    }
}
