//! `metadata.managedFields`: which manager owns which field, kept as the API server keeps it.
//!
//! <https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::{
    clock,
    field_set::{self, FieldDiff, FieldSet},
    object::{Draft, Object},
    resource::Resource,
};

/// Fields that the server sets and nobody owns.
const UNOWNED: [&str; 8] = [
    "name",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "generation",
    "managedFields",
];

/// Who writes, and how.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Manager<'a> {
    pub(crate) name: &'a str,
    pub(crate) operation: Operation,
    pub(crate) subresource: Option<&'a str>,
}

/// The two ways to own a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// By changing it.
    Update,
    /// By declaring it.
    Apply,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Update => "Update",
            Self::Apply => "Apply",
        }
    }
}

/// One entry of the list.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) manager: String,
    operation: Operation,
    api_version: String,
    time: String,
    subresource: Option<String>,
    pub(crate) fields: FieldSet,
}

impl Entry {
    fn new(manager: Manager<'_>, resource: Resource, fields: FieldSet) -> Self {
        Self {
            manager: manager.name.to_owned(),
            operation: manager.operation,
            api_version: resource.info().api_version.to_owned(),
            time: clock::now(),
            subresource: manager.subresource.map(str::to_owned),
            fields,
        }
    }

    pub(crate) fn is(&self, manager: Manager<'_>) -> bool {
        self.manager == manager.name
            && self.operation == manager.operation
            && self.subresource.as_deref() == manager.subresource
    }

    /// How conflicts name the owner.
    pub(crate) fn describe(&self) -> String {
        let mut text = format!("\"{}\"", self.manager);
        if let Some(subresource) = &self.subresource {
            text.push_str(&format!(" with subresource \"{subresource}\""));
        }
        if self.operation == Operation::Update {
            text.push_str(&format!(" using {}", self.api_version));
        }
        text
    }

    fn from_json(json: &Value) -> Option<Self> {
        let text = |field: &str| Some(json.get(field)?.as_str()?.to_owned());
        Some(Self {
            manager: text("manager")?,
            operation: match json.get("operation")?.as_str()? {
                "Apply" => Operation::Apply,
                _ => Operation::Update,
            },
            api_version: text("apiVersion").unwrap_or_default(),
            time: text("time").unwrap_or_default(),
            subresource: text("subresource"),
            fields: FieldSet::from_json(json.get("fieldsV1")?),
        })
    }

    fn to_json(&self) -> Value {
        let mut json = json!({
            "manager": self.manager,
            "operation": self.operation.as_str(),
            "apiVersion": self.api_version,
            "time": self.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": self.fields.to_json(),
        });
        if let (Some(subresource), Some(json)) = (&self.subresource, json.as_object_mut()) {
            json.insert("subresource".to_owned(), subresource.as_str().into());
        }
        json
    }
}

/// Reads the list of an object.
pub(crate) fn read(object: &Object) -> Vec<Entry> {
    let list = object.metadata().get("managedFields").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Entry::from_json).collect()
}

/// Writes the list into new metadata; applied entries first, then by time and name.
pub(crate) fn write(metadata: &mut Map<String, Value>, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.fields.is_empty());
    let applied = |entry: &Entry| entry.operation == Operation::Apply;
    entries.sort_by(|a, b| {
        applied(b).cmp(&applied(a)).then_with(|| (&a.time, &a.manager).cmp(&(&b.time, &b.manager)))
    });
    if entries.is_empty() {
        metadata.remove("managedFields");
    } else {
        let list = entries.iter().map(Entry::to_json).collect();
        metadata.insert("managedFields".to_owned(), list);
    }
}

/// Whether two lists say the same; the time of an entry does not count.
pub(crate) fn same(a: &[Entry], b: &[Entry]) -> bool {
    let matches = |entry: &Entry| {
        b.iter().any(|other| {
            other.manager == entry.manager
                && other.operation == entry.operation
                && other.subresource == entry.subresource
                && other.fields == entry.fields
        })
    };
    a.len() == b.len() && a.iter().all(matches)
}

/// What an update does to the fields of the sections in the draft.
pub(crate) fn changes(resource: Resource, old: Option<&Object>, new: &Draft) -> FieldDiff {
    let mut total = FieldDiff::default();
    for (section, value) in new {
        let Some(schema) = resource.info().schema.member(section) else {
            continue;
        };
        let before = match old {
            Some(old) => old.section(section).map(Cow::Borrowed),
            // A new object starts from empty structures, not from nothing.
            None => schema.decode(Value::Null, "", &mut Vec::new()).ok().flatten().map(Cow::Owned),
        };
        let below = field_set::diff(schema, before.as_deref(), Some(value));
        total.changed.insert_field(section, below.changed);
        total.removed.insert_field(section, below.removed);
    }
    for field in UNOWNED {
        total.changed.remove_path(&["metadata", field]);
        total.removed.remove_path(&["metadata", field]);
    }
    total
}

/// The fields of an applied configuration.
pub(crate) fn applied(resource: Resource, config: &Draft) -> FieldSet {
    let mut fields = FieldSet::default();
    for (section, value) in config {
        let Some(schema) = resource.info().schema.member(section) else {
            continue;
        };
        fields.insert_field(section, field_set::leaves(schema, value));
    }
    for field in UNOWNED {
        fields.remove_path(&["metadata", field]);
    }
    fields
}

/// Hands the changed fields to the manager and takes the removed ones from everybody.
pub(crate) fn record_update(
    entries: &mut Vec<Entry>,
    resource: Resource,
    manager: Manager<'_>,
    diff: &FieldDiff,
) {
    for entry in entries.iter_mut() {
        entry.fields.subtract(&diff.removed);
        if !entry.is(manager) {
            entry.fields.subtract(&diff.changed);
        }
    }
    match entries.iter_mut().find(|entry| entry.is(manager)) {
        Some(mine) => {
            mine.fields.union(&diff.changed);
            mine.time = clock::now();
        }
        None => entries.push(Entry::new(manager, resource, diff.changed.clone())),
    }
    entries.retain(|entry| !entry.fields.is_empty());
}

/// Makes the applied fields the manager's whole declaration; `taken` are those won by force.
pub(crate) fn record_apply(
    entries: &mut Vec<Entry>,
    resource: Resource,
    manager: Manager<'_>,
    fields: FieldSet,
    taken: &FieldSet,
) {
    for entry in entries.iter_mut().filter(|entry| !entry.is(manager)) {
        entry.fields.subtract(taken);
    }
    match entries.iter_mut().find(|entry| entry.is(manager)) {
        Some(mine) if mine.fields == fields => {}
        Some(mine) => {
            mine.fields = fields;
            mine.time = clock::now();
        }
        None => entries.push(Entry::new(manager, resource, fields)),
    }
    entries.retain(|entry| !entry.fields.is_empty());
}
