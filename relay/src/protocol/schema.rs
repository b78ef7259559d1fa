//! The protocol as JSON Schema, for the authors of clients: `relay/protocol/*.schema.json`, generated from
//! the types and compared with them by a test. `INSTA_UPDATE=always` writes them anew.

use std::borrow::Cow;
use std::path::Path;

use schemars::generate::{Contract, SchemaSettings};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::server::WireProgress;
use super::{ClientMessage, CursorText, Progress, ServerMessage};

impl JsonSchema for Progress {
    fn schema_name() -> Cow<'static, str> {
        "Progress".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        WireProgress::json_schema(generator)
    }
}

impl JsonSchema for CursorText<'_> {
    fn schema_name() -> Cow<'static, str> {
        "Cursor".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

fn schema<T: JsonSchema>(contract: Contract) -> String {
    let settings = SchemaSettings::draft2020_12().with(|s| s.contract = contract);
    let schema = settings.into_generator().into_root_schema_for::<T>();
    serde_json::to_string_pretty(&schema).expect("a schema is JSON") + "\n"
}

/// Compares with the file in the repository.
fn compare(file: &str, schema: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("protocol").join(file);
    if std::env::var("INSTA_UPDATE").is_ok_and(|v| v == "always") {
        std::fs::write(&path, schema).expect("the repository can be written to");
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stored == schema,
        "{file} is not what the types say: INSTA_UPDATE=always, then read it"
    );
}

#[test]
fn the_schemas_are_those_of_the_types() {
    compare("server.schema.json", &schema::<ServerMessage<'_>>(Contract::Serialize));
    compare("client.schema.json", &schema::<ClientMessage>(Contract::Deserialize));
}
