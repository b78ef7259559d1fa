//! Server-side apply: a manager declares fields, the server merges them and keeps the peace.

use serde_json::{Map, Value, json};

use super::{
    field_set::FieldSet,
    managed_fields::{self, Entry, Manager},
    object::{Draft, Object},
    resource::Resource,
    schema::Schema,
    status::ApiError,
};

/// What an apply would make of an object.
#[derive(Debug)]
pub(crate) struct Applied {
    /// All sections after the merge.
    pub(crate) draft: Draft,
    /// Who owns what afterwards.
    pub(crate) managers: Vec<Entry>,
}

/// Merges a configuration into an object, or names the managers in the way.
pub(crate) fn apply(
    old: &Object,
    config: &Draft,
    manager: Manager<'_>,
    force: bool,
) -> Result<Applied, ApiError> {
    let resource = old.resource();
    let fields = managed_fields::applied(resource, config);
    let mut managers = managed_fields::read(old);

    let mut draft = old.full_draft();
    let mut merged = Value::Object(std::mem::take(&mut draft));
    merge(resource.info().schema, &mut merged, &Value::Object(config.clone()));
    if let Value::Object(members) = merged {
        draft = members;
    }

    // A field that comes out as it was is shared, not fought over.
    let changed = managed_fields::changes(resource, Some(old), &draft).changed;
    let contested = fields.intersection(&changed);
    if !force {
        refuse_conflicts(&managers, manager, &contested)?;
    }

    // What the manager declared before and leaves out now goes, unless somebody else owns it too.
    let mut dropped =
        managers.iter().find(|entry| entry.is(manager)).map_or_else(FieldSet::default, |mine| {
            let mut dropped = mine.fields.clone();
            dropped.subtract(&fields);
            dropped
        });
    for entry in managers.iter().filter(|entry| !entry.is(manager)) {
        dropped.subtract(&entry.fields);
    }
    let mut pruned = Value::Object(std::mem::take(&mut draft));
    dropped.remove_from(resource.info().schema, &mut pruned);
    if let Value::Object(members) = pruned {
        draft = members;
    }

    managed_fields::record_apply(&mut managers, resource, manager, fields, &contested);
    Ok(Applied { draft, managers })
}

/// The entry of a manager that creates an object by applying it.
pub(crate) fn first_managers(
    resource: Resource,
    config: &Draft,
    manager: Manager<'_>,
) -> Vec<Entry> {
    let mut managers = Vec::new();
    let fields = managed_fields::applied(resource, config);
    managed_fields::record_apply(&mut managers, resource, manager, fields, &FieldSet::default());
    managers
}

fn refuse_conflicts(
    managers: &[Entry],
    manager: Manager<'_>,
    contested: &FieldSet,
) -> Result<(), ApiError> {
    let mut conflicts: Vec<(String, Vec<String>)> = managers
        .iter()
        .filter(|entry| !entry.is(manager))
        .map(|entry| (entry.describe(), entry.fields.intersection(contested).paths()))
        .filter(|(_, paths)| !paths.is_empty())
        .collect();
    conflicts.sort();
    let causes: Vec<Value> = conflicts
        .iter()
        .flat_map(|(owner, paths)| paths.iter().map(move |path| (owner, path)))
        .map(|(owner, path)| {
            json!({
                "reason": "FieldManagerConflict",
                "message": format!("conflict with {owner}"),
                "field": path,
            })
        })
        .collect();
    let message = match (causes.len(), conflicts.first()) {
        (_, None) => return Ok(()),
        (1, Some((owner, paths))) => {
            format!("Apply failed with 1 conflict: conflict with {owner}: {}", paths.concat())
        }
        (count, _) => {
            let lines: Vec<String> = conflicts
                .iter()
                .map(|(owner, paths)| format!("conflicts with {owner}:\n- {}", paths.join("\n- ")))
                .collect();
            format!("Apply failed with {count} conflicts: {}", lines.join("\n"))
        }
    };
    Err(ApiError::apply_conflict(message, causes))
}

fn merge(schema: &Schema, target: &mut Value, config: &Value) {
    match (schema, config) {
        (
            Schema::Struct(_)
            | Schema::Optional(_)
            | Schema::Filled(_)
            | Schema::Map(_)
            | Schema::Open(_),
            Value::Object(members),
        ) => {
            if !target.is_object() {
                *target = Value::Object(Map::new());
            }
            let Some(into) = target.as_object_mut() else {
                return;
            };
            for (name, member) in members {
                let below = schema.member(name).unwrap_or(&Schema::Any);
                merge(below, into.entry(name.clone()).or_insert(Value::Null), member);
            }
        }
        (Schema::Keyed(key, item) | Schema::KeptKeyed(key, item), Value::Array(items)) => {
            if !target.is_array() {
                *target = Value::Array(Vec::new());
            }
            let Some(into) = target.as_array_mut() else {
                return;
            };
            for value in items {
                match into.iter_mut().find(|mine| mine.get(key) == value.get(key)) {
                    Some(mine) => merge(item, mine, value),
                    None => into.push(value.clone()),
                }
            }
        }
        (Schema::Set, Value::Array(items)) => {
            if !target.is_array() {
                *target = Value::Array(Vec::new());
            }
            let Some(into) = target.as_array_mut() else {
                return;
            };
            for item in items {
                if !into.contains(item) {
                    into.push(item.clone());
                }
            }
        }
        _ => *target = config.clone(),
    }
}
