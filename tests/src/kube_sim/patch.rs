//! The patch formats that change an object: JSON patch, merge patch and strategic merge patch.
//! Server-side apply, which declares instead of changing, is in `apply`.

use serde_json::{Map, Value};

use super::{
    object::{Draft, Object},
    schema::Schema,
    status::ApiError,
};

/// A decoded patch body.
#[derive(Debug)]
pub(crate) enum Patch {
    /// `application/json-patch+json`, RFC 6902.
    Json(json_patch::Patch),
    /// `application/merge-patch+json`, RFC 7396.
    Merge(Map<String, Value>),
    /// `application/strategic-merge-patch+json`.
    Strategic(Map<String, Value>),
    /// `application/apply-patch+yaml`; only its JSON subset.
    Apply(Map<String, Value>),
}

impl Patch {
    /// Decodes a request body by its content type.
    pub(crate) fn decode(content_type: &str, body: &[u8]) -> Result<Self, ApiError> {
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        match media_type {
            "application/json-patch+json" => serde_json::from_slice(body)
                .map(Self::Json)
                .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}"))),
            "application/merge-patch+json" => Ok(Self::Merge(object(body)?)),
            "application/strategic-merge-patch+json" => Ok(Self::Strategic(object(body)?)),
            "application/apply-patch+yaml" | "application/apply-patch+json" => {
                Ok(Self::Apply(object(body)?))
            }
            _ => Err(ApiError::unsupported_media_type()),
        }
    }

    /// The resource version that the patch insists on.
    pub(crate) fn precondition(&self) -> Option<String> {
        let of = |value: &Value| value.as_str().map(str::to_owned);
        match self {
            Self::Merge(patch) | Self::Strategic(patch) | Self::Apply(patch) => {
                of(patch.get("metadata")?.get("resourceVersion")?)
            }
            Self::Json(patch) => patch.0.iter().find_map(|operation| match operation {
                json_patch::PatchOperation::Test(test)
                    if test.path.as_str() == "/metadata/resourceVersion" =>
                {
                    of(&test.value)
                }
                _ => None,
            }),
        }
    }

    /// Applies the patch and returns the sections that it touched, metadata always among them.
    pub(crate) fn apply_to(&self, old: &Object) -> Result<Draft, ApiError> {
        match self {
            Self::Json(patch) => {
                let mut value = old.to_value();
                json_patch::patch(&mut value, patch).map_err(|_| ApiError::unprocessable())?;
                if !value.is_object() {
                    return Err(ApiError::unprocessable());
                }
                let everything = old.full_draft();
                Ok(into_draft(value, everything.keys()))
            }
            Self::Merge(patch) => {
                let mut draft = Value::Object(touched(old, patch));
                // Cloning the patch is cheap beside cloning what it changes.
                json_patch::merge(&mut draft, &Value::Object(patch.clone()));
                Ok(into_draft(draft, patch.keys().filter(|name| old.section(name).is_some())))
            }
            Self::Strategic(patch) => {
                let mut draft = Value::Object(touched(old, patch));
                strategic(old.resource().info().schema, &mut draft, patch);
                Ok(into_draft(draft, patch.keys().filter(|name| old.section(name).is_some())))
            }
            Self::Apply(_) => Err(ApiError::unsupported_media_type()),
        }
    }
}

fn object(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))
}

fn touched(old: &Object, patch: &Map<String, Value>) -> Draft {
    let others = patch.keys().map(String::as_str).filter(|name| *name != "metadata");
    old.draft(std::iter::once("metadata").chain(others))
}

/// `touched` sections that the patch has removed stay in the draft as null.
fn into_draft<'a>(value: Value, touched: impl Iterator<Item = &'a String>) -> Draft {
    let mut draft = match value {
        Value::Object(draft) => draft,
        _ => Draft::new(),
    };
    for name in touched {
        draft.entry(name.clone()).or_insert(Value::Null);
    }
    draft
}

/// Merges with the list rules of the schema.
/// <https://github.com/kubernetes/community/blob/main/contributors/devel/sig-api-machinery/strategic-merge-patch.md>
fn strategic(schema: &Schema, target: &mut Value, patch: &Map<String, Value>) {
    if patch.get("$patch").and_then(Value::as_str) == Some("replace") {
        let mut replacement = patch.clone();
        replacement.remove("$patch");
        *target = Value::Object(replacement);
        return;
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(members) = target.as_object_mut() else {
        return;
    };
    for (name, change) in patch {
        if let Some(list) = name.strip_prefix("$deleteFromPrimitiveList/") {
            let gone = change.as_array().cloned().unwrap_or_default();
            if let Some(items) = members.get_mut(list).and_then(Value::as_array_mut) {
                items.retain(|item| !gone.contains(item));
            }
            continue;
        }
        // The other directives order or prune lists, which no client here relies on.
        if name.starts_with('$') {
            continue;
        }
        let below = schema.member(name).unwrap_or(&Schema::Any);
        match (change, below) {
            (Value::Null, _) => {
                members.remove(name);
            }
            (Value::Object(change), _)
                if change.get("$patch").and_then(Value::as_str) == Some("delete") =>
            {
                members.remove(name);
            }
            (Value::Object(change), _) => {
                let member = members.entry(name.clone()).or_insert(Value::Null);
                strategic(below, member, change);
            }
            (Value::Array(change), Schema::Keyed(key, item) | Schema::KeptKeyed(key, item)) => {
                let member = members.entry(name.clone()).or_insert_with(|| Value::Array(vec![]));
                if let Some(items) = member.as_array_mut() {
                    merge_items(key, item, items, change);
                }
            }
            (Value::Array(change), Schema::Set) => {
                let member = members.entry(name.clone()).or_insert_with(|| Value::Array(vec![]));
                if let Some(items) = member.as_array_mut() {
                    for item in change {
                        if !items.contains(item) {
                            items.push(item.clone());
                        }
                    }
                }
            }
            (change, _) => {
                members.insert(name.clone(), change.clone());
            }
        }
    }
}

fn merge_items(key: &str, schema: &Schema, items: &mut Vec<Value>, change: &[Value]) {
    for item in change {
        let Some(fields) = item.as_object() else {
            continue;
        };
        let wanted = fields.get(key);
        match fields.get("$patch").and_then(Value::as_str) {
            Some("delete") => items.retain(|item| item.get(key) != wanted),
            Some("replace") => {
                let rest = change.iter().filter(|item| item.get("$patch").is_none());
                *items = rest.cloned().collect();
                return;
            }
            _ => match items.iter_mut().find(|item| item.get(key) == wanted) {
                Some(item) => strategic(schema, item, fields),
                None => items.push(item.clone()),
            },
        }
    }
}
