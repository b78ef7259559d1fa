//! Durations in JSON: milliseconds, or `"never"`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::pod::{self, NEVER};

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u64),
    Text(String),
}

pub(crate) fn serialize<S: Serializer>(delay: &Duration, out: S) -> Result<S::Ok, S::Error> {
    let text = pod::written_delay(*delay);
    match text.parse::<u64>() {
        Ok(number) => number.serialize(out),
        Err(_) => text.serialize(out),
    }
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
    match Written::deserialize(input)? {
        Written::Number(number) => Ok(Duration::from_millis(number)),
        Written::Text(text) if text == NEVER => Ok(Duration::MAX),
        Written::Text(text) => Err(D::Error::custom(format!("{text:?} is not a delay"))),
    }
}
