//! The JSON schema of the config file, for editors and for the check of keys and types in `shape`.
//!
//! Owns the conversion of the types in `raw` to a schema. A test compares the result with `config/config.schema.json`.

use crate::config::raw::Raw;
use schemars::generate::SchemaSettings;
use serde_json::Value;

/// For `shape`: JSON Schema draft 7, without references.
pub fn value() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<Raw>().to_value();
    without_null(&mut schema);
    schema
}

/// The text of `config/config.schema.json`, printed by the `schema` command.
pub fn text() -> String {
    format!("{:#}\n", value())
}

/// Removes `null` from the schema: TOML has no null, an optional key is omitted.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.remove("default");
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    map.insert("type".into(), only);
                }
            }
            if let Some(Value::Array(mut either)) = map.remove("anyOf") {
                either.retain(|schema| schema.get("type") != Some(&Value::from("null")));
                for (key, value) in
                    either.into_iter().filter_map(|schema| schema.as_object().cloned()).flatten()
                {
                    map.entry(key).or_insert(value);
                }
            }
            map.values_mut().for_each(without_null);
        }
        Value::Array(items) => items.iter_mut().for_each(without_null),
        _ => {}
    }
}
