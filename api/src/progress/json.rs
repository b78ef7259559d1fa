//! Values that are only to be stored.

use std::sync::Arc;

use serde_json::Value;

/// A value as it is to be stored: written out once, and shared by everything that holds it on the way (what
/// waits, what is in flight, and what is durable until the next claim). NUL, which PostgreSQL's `jsonb` cannot
/// hold, is left out of its keys and texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Json(Arc<str>);

impl Json {
    /// JSON's `null`, which tells a reader that there is nothing.
    #[must_use]
    pub fn null() -> Self {
        Self("null".into())
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Value> for Json {
    fn from(mut value: Value) -> Self {
        strip_nul(&mut value);
        Self(value.to_string().into())
    }
}

fn strip_nul(value: &mut Value) {
    match value {
        Value::String(s) if s.contains('\0') => *s = s.replace('\0', ""),
        Value::Array(values) => values.iter_mut().for_each(strip_nul),
        Value::Object(map) => {
            if map.keys().any(|k| k.contains('\0')) {
                *map = std::mem::take(map)
                    .into_iter()
                    .map(|(k, v)| (k.replace('\0', ""), v))
                    .collect();
            }
            map.values_mut().for_each(strip_nul);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nul_is_left_out_wherever_it_stands_and_nothing_else() {
        let value = json!({"a\0": ["\0x", {"b": "c\0"}], "d": "\\u0000"});
        assert_eq!(Json::from(value), Json::from(json!({"a": ["x", {"b": "c"}], "d": "\\u0000"})));
        assert_eq!(Json::from(Value::Null), Json::null());
    }
}
