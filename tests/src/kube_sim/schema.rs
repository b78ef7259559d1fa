//! The shape of the kinds: which fields there are, which of them are always written, how lists merge.
//!
//! One description serves decoding (unknown fields, types, defaults), strategic merge (keys of lists)
//! and field ownership (what is one field and what is many).

mod pod;
mod workload;

use serde_json::{Map, Value};

pub(crate) use self::{
    pod::POD,
    workload::{BUDGET, DAEMON_SET, DEPLOYMENT, JOB, REPLICA_SET, STATEFUL_SET},
};

/// The type of a field.
#[derive(Debug)]
pub(crate) enum Schema {
    /// Anything, kept as it is and owned as one field.
    Any,
    /// A string, left out when empty.
    Text,
    /// A string that is always written.
    KeptText,
    /// A quantity: a string, or a number that becomes one.
    Quantity,
    /// A boolean, left out when false.
    Flag,
    /// A number, left out when zero.
    Number,
    /// A number that is always written.
    KeptNumber,
    /// A time, null when it is not set.
    Moment,
    /// A structure that is always written and never owned itself.
    Struct(&'static [(&'static str, Schema)]),
    /// A structure that may be missing.
    Optional(&'static [(&'static str, Schema)]),
    /// A structure that is always written and owned like one that may be missing.
    Filled(&'static [(&'static str, Schema)]),
    /// A structure that is owned as a whole.
    Whole(&'static [(&'static str, Schema)]),
    /// Names to values, each owned by itself.
    Map(&'static Schema),
    /// A list that is replaced and owned as a whole.
    Atomic(&'static Schema),
    /// A list whose items are found by one of their fields.
    Keyed(&'static str, &'static Schema),
    /// The same, null when it is empty.
    KeptKeyed(&'static str, &'static Schema),
    /// A list of distinct strings.
    Set,
    /// An object with metadata whose other members are not described.
    Open(&'static [(&'static str, Schema)]),
}

use Schema::{
    Any, Atomic, Filled, Flag, KeptKeyed, KeptNumber, KeptText, Keyed, Moment, Number, Open,
    Optional, Quantity, Set, Struct, Text, Whole,
};

const METADATA: Schema = Struct(&[
    ("name", Text),
    ("generateName", Text),
    ("namespace", Text),
    ("selfLink", Text),
    ("uid", Text),
    ("resourceVersion", Text),
    ("generation", Number),
    ("creationTimestamp", Text),
    ("deletionTimestamp", Text),
    ("deletionGracePeriodSeconds", Any),
    ("labels", Schema::Map(&KeptText)),
    ("annotations", Schema::Map(&KeptText)),
    (
        "ownerReferences",
        Keyed(
            "uid",
            &Whole(&[
                ("apiVersion", KeptText),
                ("kind", KeptText),
                ("name", KeptText),
                ("uid", KeptText),
                ("controller", Any),
                ("blockOwnerDeletion", Any),
            ]),
        ),
    ),
    ("finalizers", Set),
    ("managedFields", Any),
]);

const TAINT: Schema =
    Struct(&[("key", KeptText), ("value", Text), ("effect", KeptText), ("timeAdded", Text)]);

const CONDITION: Schema = Struct(&[
    ("type", KeptText),
    ("status", KeptText),
    ("lastHeartbeatTime", Any),
    ("lastTransitionTime", Any),
    ("reason", Text),
    ("message", Text),
    ("observedGeneration", Number),
]);

/// A condition whose times are always written.
const CONDITION_TIMES: Schema = Struct(&[
    ("type", KeptText),
    ("observedGeneration", Number),
    ("status", KeptText),
    ("lastProbeTime", Moment),
    ("lastTransitionTime", Moment),
    ("reason", Text),
    ("message", Text),
]);

/// Node, after `k8s.io/api/core/v1`.
pub(crate) static NODE: Schema = Struct(&[
    ("metadata", METADATA),
    (
        "spec",
        Struct(&[
            ("podCIDR", Text),
            ("podCIDRs", Set),
            ("providerID", Text),
            ("unschedulable", Flag),
            ("taints", Atomic(&TAINT)),
            ("configSource", Any),
            ("externalID", Text),
        ]),
    ),
    (
        "status",
        Struct(&[
            ("capacity", Schema::Map(&Quantity)),
            ("allocatable", Schema::Map(&Quantity)),
            ("phase", Text),
            ("conditions", Keyed("type", &CONDITION)),
            ("addresses", Keyed("type", &Struct(&[("type", KeptText), ("address", KeptText)]))),
            ("daemonEndpoints", Struct(&[("kubeletEndpoint", Struct(&[("Port", KeptNumber)]))])),
            (
                "nodeInfo",
                Struct(&[
                    ("machineID", KeptText),
                    ("systemUUID", KeptText),
                    ("bootID", KeptText),
                    ("kernelVersion", KeptText),
                    ("osImage", KeptText),
                    ("containerRuntimeVersion", KeptText),
                    ("kubeletVersion", KeptText),
                    ("kubeProxyVersion", KeptText),
                    ("operatingSystem", KeptText),
                    ("architecture", KeptText),
                    ("swap", Any),
                ]),
            ),
            ("images", Atomic(&Optional(&[("names", Atomic(&KeptText)), ("sizeBytes", Number)]))),
            ("volumesInUse", Atomic(&KeptText)),
            ("volumesAttached", Any),
            ("config", Any),
            ("runtimeHandlers", Any),
            ("features", Any),
            ("declaredFeatures", Any),
        ]),
    ),
]);

/// An object of metadata, spec and status of which only the metadata is described.
pub(crate) static OPEN: Schema = Struct(&[("metadata", METADATA), ("spec", Any), ("status", Any)]);

/// An object with any members beside its metadata.
pub(crate) static ANY_OBJECT: Schema = Open(&[("metadata", METADATA)]);

/// SelfSubjectAccessReview, as far as a client fills it in.
pub(crate) static ACCESS_REVIEW: Schema = Struct(&[(
    "spec",
    Struct(&[
        (
            "resourceAttributes",
            Optional(&[
                ("namespace", Text),
                ("verb", Text),
                ("group", Text),
                ("version", Text),
                ("resource", Text),
                ("subresource", Text),
                ("name", Text),
                ("fieldSelector", Any),
                ("labelSelector", Any),
            ]),
        ),
        ("nonResourceAttributes", Optional(&[("path", Text), ("verb", Text)])),
    ]),
)]);

/// Why a value is not of its kind.
#[derive(Debug, thiserror::Error)]
#[error("json: cannot unmarshal {found} into Go struct field {field} of type {wanted}")]
pub(crate) struct TypeError {
    found: &'static str,
    field: String,
    wanted: &'static str,
}

impl Schema {
    /// The type of a member, if this is something with members and knows it.
    pub(crate) fn member(&self, name: &str) -> Option<&Schema> {
        match self {
            Struct(fields) | Optional(fields) | Filled(fields) | Whole(fields) => {
                fields.iter().find(|(field, _)| *field == name).map(|(_, schema)| schema)
            }
            Open(fields) => Some(
                fields.iter().find(|(field, _)| *field == name).map_or(&Any, |(_, schema)| schema),
            ),
            Schema::Map(item) => Some(item),
            _ => None,
        }
    }

    /// Brings a value into the form in which it is stored: fields of another kind are an error,
    /// unknown fields are removed and named in `unknown`, empty ones are removed, and those that
    /// are always written are filled in. `None` if nothing is left to write.
    pub(crate) fn decode(
        &self,
        value: Value,
        path: &str,
        unknown: &mut Vec<String>,
    ) -> Result<Option<Value>, TypeError> {
        let mismatch = |value: &Value, wanted| TypeError {
            found: json_type(value),
            field: path.to_owned(),
            wanted,
        };
        Ok(match (self, value) {
            (Any, Value::Null) => None,
            (Any, value) => Some(value),
            (Text, Value::Null) => None,
            (Text, Value::String(text)) if text.is_empty() => None,
            (Text | KeptText | Quantity, value @ Value::String(_)) => Some(value),
            (KeptText, Value::Null) => Some("".into()),
            (Quantity, Value::Null) => Some("0".into()),
            (Quantity, Value::Number(number)) => Some(number.to_string().into()),
            (Text | KeptText | Quantity, value) => return Err(mismatch(&value, "string")),
            (Flag, Value::Null | Value::Bool(false)) => None,
            (Flag, value @ Value::Bool(true)) => Some(value),
            (Flag, value) => return Err(mismatch(&value, "bool")),
            (Number, Value::Null) => None,
            (Number, Value::Number(number)) if number.as_i64() == Some(0) => None,
            (KeptNumber, Value::Null) => Some(0.into()),
            (Number | KeptNumber, value @ Value::Number(_)) => Some(value),
            (Number | KeptNumber, value) => return Err(mismatch(&value, "int64")),
            (Moment, value @ (Value::Null | Value::String(_))) => Some(value),
            (Moment, value) => return Err(mismatch(&value, "string")),
            (Optional(_) | Whole(_), Value::Null) => None,
            (Struct(fields) | Filled(fields), Value::Null) => {
                Some(decode_fields(fields, Map::new(), false, path, unknown)?)
            }
            (
                Struct(fields) | Optional(fields) | Filled(fields) | Whole(fields),
                Value::Object(members),
            ) => Some(decode_fields(fields, members, false, path, unknown)?),
            (Open(fields), Value::Object(members)) => {
                Some(decode_fields(fields, members, true, path, unknown)?)
            }
            (Struct(_) | Optional(_) | Filled(_) | Whole(_) | Open(_), value) => {
                return Err(mismatch(&value, "object"));
            }
            (Schema::Map(_), Value::Null) => None,
            (Schema::Map(item), Value::Object(members)) => {
                let mut decoded = Map::new();
                for (name, member) in members {
                    if let Some(member) = item.decode(member, path, unknown)? {
                        decoded.insert(name, member);
                    }
                }
                (!decoded.is_empty()).then_some(Value::Object(decoded))
            }
            (Schema::Map(_), value) => return Err(mismatch(&value, "map[string]string")),
            (Atomic(_) | Keyed(..) | Set, Value::Null) => None,
            (KeptKeyed(..), Value::Null) => Some(Value::Null),
            (Atomic(item) | Keyed(_, item), Value::Array(items)) => {
                decode_items(item, items, path, unknown)?
            }
            (KeptKeyed(_, item), Value::Array(items)) => {
                Some(decode_items(item, items, path, unknown)?.unwrap_or(Value::Null))
            }
            (Set, Value::Array(items)) => decode_items(&KeptText, items, path, unknown)?,
            (Atomic(_) | Keyed(..) | KeptKeyed(..) | Set, value) => {
                return Err(mismatch(&value, "slice"));
            }
        })
    }
}

fn decode_fields(
    fields: &[(&str, Schema)],
    mut members: Map<String, Value>,
    open: bool,
    path: &str,
    unknown: &mut Vec<String>,
) -> Result<Value, TypeError> {
    let mut decoded = Map::new();
    for (name, schema) in fields {
        let member = members.remove(*name).unwrap_or(Value::Null);
        // Most fields are missing and need no path.
        let kept = matches!(
            schema,
            Struct(_) | Filled(_) | KeptText | KeptNumber | KeptKeyed(..) | Moment
        );
        if member.is_null() && !kept {
            continue;
        }
        if let Some(member) = schema.decode(member, &join(path, name), unknown)? {
            decoded.insert((*name).to_owned(), member);
        }
    }
    for (name, member) in members {
        if open {
            decoded.insert(name, member);
        } else {
            unknown.push(join(path, &name));
        }
    }
    Ok(Value::Object(decoded))
}

fn decode_items(
    item: &Schema,
    items: Vec<Value>,
    path: &str,
    unknown: &mut Vec<String>,
) -> Result<Option<Value>, TypeError> {
    let mut decoded = Vec::with_capacity(items.len());
    for (index, value) in items.into_iter().enumerate() {
        if let Some(value) = item.decode(value, &format!("{path}[{index}]"), unknown)? {
            decoded.push(value);
        }
    }
    Ok((!decoded.is_empty()).then_some(Value::Array(decoded)))
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
