//! Sets of fields, in the notation of `managedFields[].fieldsV1`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::schema::Schema;

/// A set of field paths as a tree. Elements are spelled `f:name`, `k:{"type":"Ready"}`, `v:"x"`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct FieldSet {
    here: bool,
    children: BTreeMap<String, FieldSet>,
}

impl FieldSet {
    fn leaf() -> Self {
        Self { here: true, children: BTreeMap::new() }
    }

    /// Reads `fieldsV1`.
    pub(crate) fn from_json(json: &Value) -> Self {
        let Some(members) = json.as_object() else {
            return Self::default();
        };
        let mut set = Self::default();
        for (element, below) in members {
            if element == "." {
                set.here = true;
                continue;
            }
            let mut child = Self::from_json(below);
            child.here |= child.children.is_empty();
            set.children.insert(element.clone(), child);
        }
        set
    }

    /// Writes `fieldsV1`.
    pub(crate) fn to_json(&self) -> Value {
        let mut members = Map::new();
        if self.here && !self.children.is_empty() {
            members.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for (element, child) in &self.children {
            members.insert(element.clone(), child.to_json());
        }
        Value::Object(members)
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.here && self.children.is_empty()
    }

    fn insert(&mut self, element: String, child: FieldSet) {
        if !child.is_empty() {
            self.children.insert(element, child);
        }
    }

    /// Adds a set under a top-level field.
    pub(crate) fn insert_field(&mut self, name: &str, child: FieldSet) {
        self.insert(format!("f:{name}"), child);
    }

    /// Takes a path out, whatever is below it.
    pub(crate) fn remove_path(&mut self, path: &[&str]) {
        let [first, rest @ ..] = path else { return };
        let element = format!("f:{first}");
        if rest.is_empty() {
            self.children.remove(&element);
        } else if let Some(child) = self.children.get_mut(&element) {
            child.remove_path(rest);
            if child.is_empty() {
                self.children.remove(&element);
            }
        }
    }

    pub(crate) fn union(&mut self, other: &FieldSet) {
        self.here |= other.here;
        for (element, child) in &other.children {
            self.children.entry(element.clone()).or_default().union(child);
        }
    }

    pub(crate) fn subtract(&mut self, other: &FieldSet) {
        self.here &= !other.here;
        for (element, child) in &other.children {
            if let Some(mine) = self.children.get_mut(element) {
                mine.subtract(child);
                if mine.is_empty() {
                    self.children.remove(element);
                }
            }
        }
    }

    pub(crate) fn intersection(&self, other: &FieldSet) -> FieldSet {
        let mut common = FieldSet { here: self.here && other.here, children: BTreeMap::new() };
        for (element, child) in &self.children {
            if let Some(theirs) = other.children.get(element) {
                common.insert(element.clone(), child.intersection(theirs));
            }
        }
        common
    }

    /// The paths as error messages spell them, such as `.metadata.labels.team`.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect_paths("", &mut paths);
        paths
    }

    fn collect_paths(&self, prefix: &str, paths: &mut Vec<String>) {
        if self.here {
            paths.push(prefix.to_owned());
        }
        for (element, child) in &self.children {
            let step = match element.split_once(':') {
                Some(("f", name)) => format!(".{name}"),
                Some(("k", key)) => {
                    let key: Map<String, Value> = serde_json::from_str(key).unwrap_or_default();
                    let terms: Vec<String> =
                        key.iter().map(|(name, value)| format!("{name}={value}")).collect();
                    format!("[{}]", terms.join(","))
                }
                Some((_, value)) => format!("[={value}]"),
                None => element.clone(),
            };
            child.collect_paths(&format!("{prefix}{step}"), paths);
        }
    }

    /// Removes every field of the set from a value.
    pub(crate) fn remove_from(&self, schema: &Schema, value: &mut Value) {
        for (element, child) in &self.children {
            let below_only = !child.here;
            match element.split_once(':') {
                Some(("f", name)) => {
                    let Some(members) = value.as_object_mut() else {
                        continue;
                    };
                    let Some(member) = members.get_mut(name) else {
                        continue;
                    };
                    child.remove_from(schema.member(name).unwrap_or(&Schema::Any), member);
                    let empty = match member {
                        Value::Object(members) => members.is_empty(),
                        Value::Array(items) => items.is_empty(),
                        _ => true,
                    };
                    if !below_only && (empty || child.children.is_empty()) {
                        members.remove(name);
                    }
                }
                Some(("k", key)) => {
                    let (Schema::Keyed(field, item) | Schema::KeptKeyed(field, item)) = schema
                    else {
                        continue;
                    };
                    let key: Value = serde_json::from_str(key).unwrap_or_default();
                    let Some(items) = value.as_array_mut() else {
                        continue;
                    };
                    items.retain_mut(|candidate| {
                        if candidate.get(field) != key.get(field) {
                            return true;
                        }
                        child.remove_from(item, candidate);
                        below_only
                    });
                }
                Some((_, text)) => {
                    let text: Value = serde_json::from_str(text).unwrap_or_default();
                    if let Some(items) = value.as_array_mut() {
                        items.retain(|item| *item != text);
                    }
                }
                None => {}
            }
        }
    }
}

/// What an update did to the fields of a value.
#[derive(Debug, Default)]
pub(crate) struct FieldDiff {
    /// New fields and fields with another value.
    pub(crate) changed: FieldSet,
    /// Fields that are gone.
    pub(crate) removed: FieldSet,
}

/// Compares two values field by field.
pub(crate) fn diff(schema: &Schema, old: Option<&Value>, new: Option<&Value>) -> FieldDiff {
    let mut result = FieldDiff::default();
    if old == new {
        return result;
    }
    let mut descend = |element: String,
                       schema: &Schema,
                       old: Option<&Value>,
                       new: Option<&Value>,
                       is_item: bool| {
        let mut below = diff(schema, old, new);
        // An item of a list is a field of its own; so is everything but an embedded structure.
        if is_item {
            below.changed.here |= old.is_none();
            below.removed.here |= new.is_none();
        }
        result.changed.insert(element.clone(), below.changed);
        result.removed.insert(element, below.removed);
    };
    match schema {
        Schema::Struct(_)
        | Schema::Optional(_)
        | Schema::Filled(_)
        | Schema::Map(_)
        | Schema::Open(_) => {
            let names: BTreeSet<&String> = [old, new]
                .into_iter()
                .flatten()
                .filter_map(Value::as_object)
                .flat_map(Map::keys)
                .collect();
            for name in names {
                let below = schema.member(name).unwrap_or(&Schema::Any);
                descend(format!("f:{name}"), below, member(old, name), member(new, name), false);
            }
            if !matches!(schema, Schema::Struct(_)) {
                result.changed.here = old.is_none();
                result.removed.here = new.is_none();
            }
        }
        Schema::Keyed(key, below) | Schema::KeptKeyed(key, below) => {
            let mut keys: Vec<&Value> = Vec::new();
            for items in [old, new].into_iter().flatten().filter_map(Value::as_array) {
                for wanted in items.iter().filter_map(|item| item.get(key)) {
                    if !keys.contains(&wanted) {
                        keys.push(wanted);
                    }
                }
            }
            for wanted in keys {
                let mut name = Map::new();
                name.insert((*key).to_owned(), wanted.clone());
                let element = format!("k:{}", Value::Object(name));
                descend(element, below, item(old, key, wanted), item(new, key, wanted), true);
            }
            result.changed.here = old.is_none();
            result.removed.here = new.is_none();
        }
        Schema::Set => {
            let items = |value: Option<&Value>| -> Vec<Value> {
                value.and_then(Value::as_array).cloned().unwrap_or_default()
            };
            let (before, after) = (items(old), items(new));
            for item in after.iter().filter(|item| !before.contains(item)) {
                result.changed.insert(format!("v:{item}"), FieldSet::leaf());
            }
            for item in before.iter().filter(|item| !after.contains(item)) {
                result.removed.insert(format!("v:{item}"), FieldSet::leaf());
            }
            result.changed.here = old.is_none();
            result.removed.here = new.is_none();
        }
        _ if new.is_none() => result.removed.here = true,
        _ => result.changed.here = true,
    }
    result
}

fn member<'a>(value: Option<&'a Value>, name: &str) -> Option<&'a Value> {
    value?.get(name)
}

fn item<'a>(value: Option<&'a Value>, key: &str, wanted: &Value) -> Option<&'a Value> {
    value?.as_array()?.iter().find(|item| item.get(key) == Some(wanted))
}

/// The fields that an applied configuration names: leaves only, no structures around them.
pub(crate) fn leaves(schema: &Schema, value: &Value) -> FieldSet {
    let mut set = FieldSet::default();
    match (schema, value) {
        (
            Schema::Struct(_)
            | Schema::Optional(_)
            | Schema::Filled(_)
            | Schema::Map(_)
            | Schema::Open(_),
            Value::Object(members),
        ) => {
            for (name, member) in members {
                let below = leaves(schema.member(name).unwrap_or(&Schema::Any), member);
                set.insert(format!("f:{name}"), below);
            }
            set.here = members.is_empty();
        }
        (Schema::Keyed(key, item) | Schema::KeptKeyed(key, item), Value::Array(items)) => {
            for value in items {
                let mut name = Map::new();
                name.insert((*key).to_owned(), value.get(key).cloned().unwrap_or_default());
                let mut below = leaves(item, value);
                below.here = true;
                set.insert(format!("k:{}", Value::Object(name)), below);
            }
        }
        (Schema::Set, Value::Array(items)) => {
            for item in items {
                set.insert(format!("v:{item}"), FieldSet::leaf());
            }
        }
        _ => set.here = true,
    }
    set
}
