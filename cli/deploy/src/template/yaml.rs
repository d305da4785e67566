//! Values as YAML, in blocks, and back.

use serde_json::Value;

/// As `toYaml` writes it: without a line break at its end.
pub(crate) fn write(value: &Value) -> String {
    let mut text = String::new();
    block(value, 0, &mut text);
    text.trim_end_matches('\n').to_owned()
}

/// All documents of a text; empty ones are left out.
pub(crate) fn read(text: &str) -> Result<Vec<Value>, String> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|why| why.to_string())?;
    Ok(documents.into_iter().filter(|it| !it.is_null()).collect())
}

fn block(value: &Value, indent: usize, text: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                text.push_str(&pad);
                text.push_str(&scalar(&Value::from(key.as_str())));
                text.push(':');
                nested(value, indent, text);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for value in list {
                text.push_str(&pad);
                text.push('-');
                nested(value, indent, text);
            }
        }
        value => {
            text.push_str(&pad);
            text.push_str(&scalar(value));
            text.push('\n');
        }
    }
}

fn nested(value: &Value, indent: usize, text: &mut String) {
    let empty = match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => true,
    };
    if empty {
        text.push(' ');
        text.push_str(&scalar(value));
        text.push('\n');
    } else {
        text.push('\n');
        block(value, indent + 2, text);
    }
}

/// JSON is YAML; a text in quotes is a text whatever it says.
fn scalar(value: &Value) -> String {
    value.to_string()
}
