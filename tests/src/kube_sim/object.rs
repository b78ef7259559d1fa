//! Stored objects: immutable, cut into top-level sections that versions share, encoded once.
//!
//! A label patch makes a new `metadata`; `spec` and `status` are the same allocation in every
//! version, and a section is serialised when it is made and never again. Answers, lists and watch
//! events are put together from those bytes.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::resource::Resource;

/// The top-level sections of an object by name, without `kind` and `apiVersion`.
pub(crate) type Draft = Map<String, Value>;

#[derive(Debug)]
struct Section {
    value: Value,
    json: Vec<u8>,
}

impl Section {
    fn new(value: Value) -> Arc<Self> {
        let json = value.to_string().into_bytes();
        Arc::new(Self { value, json })
    }
}

/// One version of one object.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    resource: Resource,
    revision: u64,
    sections: Vec<(String, Arc<Section>)>,
}

impl Object {
    /// Makes the first version of an object.
    pub(crate) fn new(resource: Resource, revision: u64, draft: Draft) -> Self {
        let empty = Self { resource, revision, sections: Vec::new() };
        empty.with(revision, draft)
    }

    /// A version in which the sections of `draft` replace those of the same name.
    pub(crate) fn with(&self, revision: u64, mut draft: Draft) -> Self {
        let mut metadata = match draft.remove("metadata") {
            Some(value) => value,
            None => self.metadata().clone(),
        };
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("resourceVersion".to_owned(), revision.to_string().into());
        }
        let mut sections = vec![("metadata".to_owned(), Section::new(metadata))];
        for (name, section) in &self.sections {
            if name != "metadata" && !draft.contains_key(name) {
                sections.push((name.clone(), Arc::clone(section)));
            }
        }
        // Null stands for a section that is to go.
        let replaced = draft.into_iter().filter(|(_, value)| !value.is_null());
        sections.extend(replaced.map(|(name, value)| (name, Section::new(value))));
        sections[1..].sort_by(|a, b| a.0.cmp(&b.0));
        Self { resource: self.resource, revision, sections }
    }

    /// The same content under another revision: what a watch shows for an object that is gone.
    pub(crate) fn at(&self, revision: u64) -> Self {
        self.with(revision, Draft::new())
    }

    /// The kind.
    pub(crate) fn resource(&self) -> Resource {
        self.resource
    }

    /// The resource version as a number.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// A top-level member.
    pub(crate) fn section(&self, name: &str) -> Option<&Value> {
        self.sections.iter().find(|(key, _)| key == name).map(|(_, section)| &section.value)
    }

    /// The metadata.
    pub(crate) fn metadata(&self) -> &Value {
        self.section("metadata").unwrap_or(&Value::Null)
    }

    fn text(&self, field: &str) -> &str {
        self.metadata().get(field).and_then(Value::as_str).unwrap_or_default()
    }

    /// The name.
    pub(crate) fn name(&self) -> &str {
        self.text("name")
    }

    /// The namespace, empty for cluster-scoped objects.
    pub(crate) fn namespace(&self) -> &str {
        self.text("namespace")
    }

    /// The UID.
    pub(crate) fn uid(&self) -> &str {
        self.text("uid")
    }

    /// How often the specification has changed, from 1; 0 where that is not counted.
    pub(crate) fn generation(&self) -> i64 {
        self.metadata().get("generation").and_then(Value::as_i64).unwrap_or_default()
    }

    /// The value of an annotation.
    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata().get("annotations")?.get(key)?.as_str()
    }

    /// Whether somebody has deleted the object, which is still there.
    pub(crate) fn is_terminating(&self) -> bool {
        self.metadata().get("deletionTimestamp").is_some()
    }

    /// The key of the object inside its collection.
    pub(crate) fn key(&self) -> String {
        super::store::key(Some(self.namespace()), self.name())
    }

    /// A member of the specification.
    pub(crate) fn spec(&self, field: &str) -> Option<&Value> {
        self.section("spec")?.get(field)
    }

    /// A member of the status.
    pub(crate) fn status(&self, field: &str) -> Option<&Value> {
        self.section("status")?.get(field)
    }

    /// The reference to the controller that owns the object.
    pub(crate) fn controller(&self) -> Option<&Value> {
        let owners = self.metadata().get("ownerReferences")?.as_array()?;
        owners.iter().find(|owner| owner.get("controller") == Some(&Value::Bool(true)))
    }

    /// The UID of that controller.
    pub(crate) fn controller_uid(&self) -> Option<&str> {
        self.controller()?.get("uid")?.as_str()
    }

    /// The value of a label.
    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.metadata().get("labels")?.get(key)?.as_str()
    }

    /// Copies of the named sections, as far as the object has them, for a change. The managed fields
    /// are left out: they are the larger part of the metadata, and no client changes them.
    pub(crate) fn draft<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Draft {
        let copy = |name: &str| match (name, self.section(name)?) {
            ("metadata", Value::Object(metadata)) => Some(
                metadata
                    .iter()
                    .filter(|(field, _)| *field != "managedFields")
                    .map(|(field, value)| (field.clone(), value.clone()))
                    .collect(),
            ),
            (_, section) => Some(section.clone()),
        };
        names.into_iter().filter_map(|name| Some((name.to_owned(), copy(name)?))).collect()
    }

    /// Copies of all sections.
    pub(crate) fn full_draft(&self) -> Draft {
        self.sections.iter().map(|(name, section)| (name.clone(), section.value.clone())).collect()
    }

    /// The whole object as a value.
    pub(crate) fn to_value(&self) -> Value {
        let mut value = self.full_draft();
        let info = self.resource.info();
        value.insert("kind".to_owned(), info.kind.into());
        value.insert("apiVersion".to_owned(), info.api_version.into());
        Value::Object(value)
    }

    /// Appends the object as it stands in a list: without `kind` and `apiVersion`.
    pub(crate) fn write_item(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        self.write_sections(out);
        out.push(b'}');
    }

    /// Appends the object as it stands alone or in a watch event.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let info = self.resource.info();
        out.extend_from_slice(b"{\"kind\":\"");
        out.extend_from_slice(info.kind.as_bytes());
        out.extend_from_slice(b"\",\"apiVersion\":\"");
        out.extend_from_slice(info.api_version.as_bytes());
        out.extend_from_slice(b"\",");
        self.write_sections(out);
        out.push(b'}');
    }

    fn write_sections(&self, out: &mut Vec<u8>) {
        for (index, (name, section)) in self.sections.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.push(b'"');
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            out.extend_from_slice(&section.json);
        }
    }

    /// How many bytes [`Object::write`] appends, or a few more.
    pub(crate) fn encoded_len(&self) -> usize {
        let sections: usize =
            self.sections.iter().map(|(name, section)| name.len() + section.json.len() + 4).sum();
        sections + 64
    }
}
