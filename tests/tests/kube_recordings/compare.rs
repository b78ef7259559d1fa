//! When a simulated answer is the recorded one.
//!
//! Times, UIDs and resource versions are free, but not arbitrary: the same recorded UID or version
//! must always stand for the same simulated one, and different ones for different ones. So a patch
//! that changes nothing has to leave the version alone here because it did there.

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

/// Which simulated UID, version or token stands for which recorded one.
#[derive(Debug, Default)]
pub(crate) struct Correspondence {
    to_simulated: HashMap<String, String>,
    to_recorded: HashMap<String, String>,
}

impl Correspondence {
    /// Declares two values to be the same.
    pub(crate) fn declare(&mut self, recorded: &str, simulated: &str) {
        self.to_simulated.insert(recorded.to_owned(), simulated.to_owned());
        self.to_recorded.insert(simulated.to_owned(), recorded.to_owned());
    }

    /// The simulated value for a recorded one, where one is known.
    pub(crate) fn simulated<'a>(&'a self, recorded: &'a str) -> &'a str {
        self.to_simulated.get(recorded).map_or(recorded, String::as_str)
    }

    fn agree(&mut self, recorded: &str, simulated: &str) -> Result<(), String> {
        match (self.to_simulated.get(recorded), self.to_recorded.get(simulated)) {
            (None, None) => {
                self.declare(recorded, simulated);
                Ok(())
            }
            (Some(known), Some(_)) if known == simulated => Ok(()),
            (known, other) => Err(format!(
                "{recorded} was {known:?} before and is {simulated} now, which was {other:?}"
            )),
        }
    }

    /// A continue token with the simulated version in it.
    pub(crate) fn simulated_token(&self, recorded: &str) -> String {
        let mut token = decode_token(recorded);
        let version = token["rv"].to_string();
        if let Ok(version) = self.simulated(&version).parse::<i64>() {
            token["rv"] = version.into();
        }
        URL_SAFE_NO_PAD.encode(token.to_string())
    }

    /// Compares two answers; an error says where they differ.
    pub(crate) fn compare(&mut self, recorded: &Value, simulated: &Value) -> Result<(), String> {
        self.compare_at("", recorded, simulated)
    }

    fn compare_at(&mut self, at: &str, recorded: &Value, simulated: &Value) -> Result<(), String> {
        let differs = || Err(format!("{at}: recorded {recorded}, simulated {simulated}"));
        let field = at.rsplit('.').next().unwrap_or_default();
        match (recorded, simulated) {
            (Value::Object(a), Value::Object(b)) => {
                for name in a.keys().chain(b.keys()) {
                    match (a.get(name), b.get(name)) {
                        (Some(a), Some(b)) => self.compare_at(&format!("{at}.{name}"), a, b)?,
                        (a, b) => {
                            return Err(format!("{at}.{name}: recorded {a:?}, simulated {b:?}"));
                        }
                    }
                }
                Ok(())
            }
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
                let (mut a, mut b) = (a.clone(), b.clone());
                if field == "managedFields" {
                    for list in [&mut a, &mut b] {
                        list.sort_by_key(|entry| {
                            format!("{}{}", entry["operation"], entry["manager"])
                        });
                    }
                }
                for (index, (a, b)) in a.iter().zip(&b).enumerate() {
                    self.compare_at(&format!("{at}[{index}]"), a, b)?;
                }
                Ok(())
            }
            (Value::String(a), Value::String(b)) => match field {
                "resourceVersion" | "uid" => {
                    self.agree(a, b).map_err(|error| format!("{at}: {error}"))
                }
                "creationTimestamp" | "time" if is_time(a) && is_time(b) => Ok(()),
                // Some of these a client has set: then they are what it has set.
                "deletionTimestamp" | "lastTransitionTime" if is_time(a) && is_time(b) => Ok(()),
                "continue" => {
                    let (a, b) = (decode_token(a), decode_token(b));
                    let versions = (a["rv"].to_string(), b["rv"].to_string());
                    // -1 is not a version.
                    if versions.0 != "-1" || versions.1 != "-1" {
                        self.agree(&versions.0, &versions.1)?;
                    }
                    if a["v"] == b["v"] && a["start"] == b["start"] { Ok(()) } else { differs() }
                }
                "message" => self.compare_messages(at, a, b),
                _ if a == b => Ok(()),
                _ => differs(),
            },
            (a, b) if a == b => Ok(()),
            _ => differs(),
        }
    }

    /// A text in which known UIDs are replaced by those that stand for them.
    fn with_simulated_uids(&self, text: &str) -> String {
        let is_uid = |text: &&String| text.len() == 36 && text.split('-').count() == 5;
        let mut text = text.to_owned();
        for recorded in self.to_simulated.keys().filter(is_uid) {
            text = text.replace(recorded, self.simulated(recorded));
        }
        text
    }

    /// Messages are equal word for word, but for an object that is quoted in them, which is compared
    /// as an object, the UIDs, and the version that an expired one is told to be older than.
    fn compare_messages(&mut self, at: &str, a: &str, b: &str) -> Result<(), String> {
        let (a_text, a_object) = split_object(a);
        let a_text = self.with_simulated_uids(&a_text);
        let (b_text, b_object) = split_object(b);
        if let (Some(a), Some(b)) = (&a_object, &b_object) {
            self.compare_at(&format!("{at}<quoted>"), a, b)?;
        }
        let same = a_object.is_some() == b_object.is_some() && oldest(&a_text) == oldest(&b_text);
        if same { Ok(()) } else { Err(format!("{at}: recorded {a:?}, simulated {b:?}")) }
    }
}

/// Takes the first object that is quoted in a text out of it.
fn split_object(text: &str) -> (String, Option<Value>) {
    let Some(start) = text.find("\"{") else {
        return (text.to_owned(), None);
    };
    let mut stream = serde_json::Deserializer::from_str(&text[start..]).into_iter::<String>();
    let Some(Ok(quoted)) = stream.next() else {
        return (text.to_owned(), None);
    };
    let end = start + stream.byte_offset();
    let object = serde_json::from_str(&quoted).ok();
    (format!("{}<object>{}", &text[..start], &text[end..]), object)
}

fn oldest(text: &str) -> &str {
    match text.starts_with("too old resource version: ") {
        true => text.split(" (").next().unwrap_or(text),
        false => text,
    }
}

fn is_time(text: &str) -> bool {
    text.parse::<jiff::Timestamp>().is_ok() && text.ends_with('Z')
}

fn decode_token(token: &str) -> Value {
    let bytes = URL_SAFE_NO_PAD.decode(token).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}
