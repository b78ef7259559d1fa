//! From the tree to the structs, by their own `Deserialize`: the structs say which keys exist and
//! of which type, and nothing is written down twice. What differs from a plain deserializer is that
//! errors know their key, that a key without a value counts as left out, and that text which came
//! from a variable may stand for a number or a boolean.

use serde::de::value::{MapDeserializer, StrDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess,
    SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::error::{ConfigError, Place};
use super::nearest::nearest;
use super::tree::{Node, Value};

/// Decodes as much as it can: a value at fault is reported, taken out, and its default stands in for
/// it, so that every fault is found in one go.
///
/// `None` when not even that is possible.
pub(super) fn decode<T: DeserializeOwned>(
    root: &mut Node,
    file: &str,
    faults: &mut Vec<ConfigError>,
) -> Option<T> {
    loop {
        match T::deserialize(At { node: root, path: Vec::new() }) {
            Ok(value) => return Some(value),
            Err(Fault { path, message }) => {
                let removed = root.remove(&path);
                let found = removed.is_some();
                let place = removed.map_or(Place::Unknown, |node| node.place);
                faults.push(ConfigError::new(file, place, &path.join("."), message));
                if !found {
                    return None;
                }
            }
        }
    }
}

#[derive(Debug)]
struct Fault {
    path: Vec<String>,
    message: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl serde::de::Error for Fault {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self { path: Vec::new(), message: message.to_string() }
    }
}

impl Fault {
    /// A fault that does not know its place yet is the value's at `path`.
    fn at(mut self, path: &[String]) -> Self {
        if self.path.is_empty() {
            self.path = path.to_vec();
        }
        self
    }
}

/// A value at its place in the tree.
struct At<'a> {
    node: &'a Node,
    path: Vec<String>,
}

impl At<'_> {
    fn wrong(&self, expected: &str) -> Fault {
        let found = self.node.value.kind();
        let hint = match self.node.value {
            Value::Int(_) | Value::Float(_) | Value::Bool(_) if expected == "text" => {
                "; put it in double quotes"
            }
            _ => "",
        };
        Fault::custom(format!("must be {expected}, found {found}{hint}")).at(&self.path)
    }

    fn integer(&self, min: i128, max: i128) -> Result<i128, Fault> {
        let expected = || match max > i128::from(u32::MAX) {
            true if min == 0 => "a whole number, 0 or more".to_owned(),
            true => "a whole number".to_owned(),
            false => format!("a whole number from {min} to {max}"),
        };
        let value = match &self.node.value {
            Value::Int(value) => *value,
            Value::Str { text, from_env: true } => text.trim().parse().map_err(|_| {
                let message = format!("must be {}; the variable holds something else", expected());
                Fault::custom(message).at(&self.path)
            })?,
            Value::Str { text, .. } if text.trim().parse::<i128>().is_ok() => {
                let message = format!("must be {}, without quotes", expected());
                return Err(Fault::custom(message).at(&self.path));
            }
            _ => return Err(self.wrong(&expected())),
        };
        if (min..=max).contains(&value) {
            Ok(value)
        } else {
            Err(Fault::custom(format!("must be {}", expected())).at(&self.path))
        }
    }

    fn text(&self) -> Result<&str, Fault> {
        match &self.node.value {
            Value::Str { text, .. } => Ok(text),
            _ => Err(self.wrong("text")),
        }
    }
}

macro_rules! integers {
    ($($method:ident $visit:ident $type:ty,)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            let value = self.integer(<$type>::MIN.into(), <$type>::MAX.into())?;
            let value = <$type>::try_from(value).map_err(Fault::custom)?;
            visitor.$visit(value).map_err(|fault: Fault| fault.at(&self.path))
        }
    )+};
}

impl<'de> Deserializer<'de> for At<'_> {
    type Error = Fault;

    integers! {
        deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16, deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64, deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32, deserialize_u64 visit_u64 u64,
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let value = match &self.node.value {
            Value::Bool(value) => Some(*value),
            Value::Str { text, from_env: true } => text.trim().parse().ok(),
            _ => None,
        };
        visitor.visit_bool(value.ok_or_else(|| self.wrong("true or false (without quotes)"))?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_str(self.text()?).map_err(|fault: Fault| fault.at(&self.path))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let Value::Str { text, from_env } = &self.node.value else {
            return Err(self.wrong(&format!("one of {}", variants.join(", "))));
        };
        let word: StrDeserializer<'_, Fault> = text.as_str().into_deserializer();
        visitor.visit_enum(word).map_err(|_| {
            let found = if *from_env { String::new() } else { format!(", found {text:?}") };
            let meant = nearest(text, variants)
                .map(|word| format!("; did you mean \"{word}\"?"))
                .unwrap_or_default();
            let message = format!("must be one of {}{found}{meant}", variants.join(", "));
            Fault::custom(message).at(&self.path)
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let entries = match &self.node.value {
            Value::Map(entries) => entries.as_slice(),
            // A section whose keys are all commented out.
            Value::Null => &[],
            _ => return Err(self.wrong("a group of keys")),
        };
        if let Some((unknown, _)) = entries.iter().find(|(key, _)| !fields.contains(&key.as_str()))
        {
            let advice = nearest(unknown, fields).map_or_else(
                || format!("known keys here: {}", fields.join(", ")),
                |key| format!("did you mean \"{key}\"?"),
            );
            let mut path = self.path;
            path.push(unknown.clone());
            return Err(Fault { path, message: format!("unknown key; {advice}") });
        }
        visitor.visit_map(Entries { entries: entries.iter(), path: self.path, value: None })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Seq(items) => visitor.visit_seq(Items { items: items.iter(), path: self.path }),
            Value::Null => visitor.visit_seq(Items { items: [].iter(), path: self.path }),
            _ => Err(self.wrong("a list")),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let path = self.path.clone();
        let result = match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(value) => visitor.visit_i128(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Str { text, .. } => visitor.visit_str(text),
            Value::Seq(_) => return self.deserialize_seq(visitor),
            Value::Map(entries) => visitor.visit_map(MapDeserializer::new(
                entries.iter().map(|(key, node)| (key.as_str(), Child { node, path: &path })),
            )),
        };
        result.map_err(|fault: Fault| fault.at(&path))
    }

    forward_to_deserialize_any! {
        i128 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct map identifier
        ignored_any
    }
}

struct Child<'a> {
    node: &'a Node,
    path: &'a [String],
}

impl<'de, 'a> IntoDeserializer<'de, Fault> for Child<'a> {
    type Deserializer = At<'a>;

    fn into_deserializer(self) -> At<'a> {
        At { node: self.node, path: self.path.to_vec() }
    }
}

struct Entries<'a> {
    entries: std::slice::Iter<'a, (String, Node)>,
    path: Vec<String>,
    value: Option<At<'a>>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let has_value = |node: &Node| !matches!(node.value, Value::Null);
        let Some((key, node)) = self.entries.by_ref().find(|(_, node)| has_value(node)) else {
            return Ok(None);
        };
        let mut path = self.path.clone();
        path.push(key.clone());
        self.value = Some(At { node, path });
        let key: StrDeserializer<'_, Fault> = key.as_str().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let at = self.value.take().expect("serde asks for a key before its value");
        let path = at.path.clone();
        seed.deserialize(at).map_err(|fault| fault.at(&path))
    }
}

struct Items<'a> {
    items: std::slice::Iter<'a, Node>,
    path: Vec<String>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Fault> {
        let Some(node) = self.items.next() else {
            return Ok(None);
        };
        seed.deserialize(At { node, path: self.path.clone() }).map(Some)
    }
}
