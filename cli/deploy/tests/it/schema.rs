//! `values.schema.json` is made of `values.yaml`; UPDATE=1 writes it.

use serde_json::{Map, Value, json};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../helm/kubeshark");

#[test]
#[expect(clippy::disallowed_methods, reason = "tests have no command line")]
fn the_schema_says_what_the_values_say() {
    let text = std::fs::read_to_string(format!("{FOLDER}/values.yaml")).unwrap();
    let values: Value = serde_saphyr::from_str(&text).unwrap();
    let mut lines = Lines { lines: text.lines().collect(), at: 0 };
    let mut schema = lines.map(&values, 0);
    let head = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Values of the Kubeshark chart",
    });
    let map = schema.as_object_mut().unwrap();
    map.extend(head.as_object().unwrap().clone());
    // Helm gives a chart that is part of another one these.
    map["properties"]["global"] = json!({"type": "object"});
    let made = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
    let path = format!("{FOLDER}/values.schema.json");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == made, "values.schema.json is not of values.yaml: UPDATE=1 makes it anew");
}

struct Lines<'a> {
    lines: Vec<&'a str>,
    at: usize,
}

impl Lines<'_> {
    /// The keys at that depth, with the comments above them.
    fn map(&mut self, values: &Value, depth: usize) -> Value {
        let pad = " ".repeat(depth);
        let mut properties = Map::new();
        let mut comment = Vec::new();
        while let Some(line) = self.lines.get(self.at).copied() {
            let indent = line.len() - line.trim_start().len();
            if line.trim().is_empty() {
                // What stands above an empty line is not about a key.
                comment.clear();
                self.at += 1;
                continue;
            }
            if indent < depth {
                break;
            }
            self.at += 1;
            let Some(line) = line.strip_prefix(&pad) else { continue };
            if let Some(text) = line.strip_prefix("# ") {
                comment.push(text);
                continue;
            }
            let Some((key, _)) = line.split_once(':').filter(|_| indent == depth) else { continue };
            let value = &values[key];
            assert!(!comment.is_empty(), "line {}: {key} says nothing of itself", self.at);
            let rule = comment.last().and_then(|it| it.strip_prefix('(')?.strip_suffix(')'));
            if rule.is_some() {
                comment.pop();
            }
            let mut schema = match (rule, value) {
                (Some(rule), value) => ruled(rule, value),
                (None, Value::Object(_)) => self.map(value, depth + 2),
                (None, value) => json!({"type": kind(value)}),
            };
            schema["description"] = comment.join(" ").into();
            properties.insert(key.to_owned(), schema);
            comment.clear();
        }
        json!({"type": "object", "additionalProperties": false, "properties": properties})
    }
}

fn ruled(rule: &str, value: &Value) -> Value {
    if let Some(of) = rule.strip_prefix("one of:") {
        let of: Vec<_> = of.split('|').map(str::trim).collect();
        return json!({"type": "string", "enum": of});
    }
    if let Some(of) = rule.strip_prefix("list of: ") {
        return json!({"type": "array", "items": {"type": of}});
    }
    if let Some(of) = rule.strip_prefix("map of: ") {
        return json!({"type": "object", "additionalProperties": {"type": of}});
    }
    if let Some((from, to)) =
        rule.strip_prefix("integer from ").and_then(|it| it.split_once(" to "))
    {
        let number = |it: &str| it.parse::<i64>().unwrap();
        return json!({"type": "integer", "minimum": number(from), "maximum": number(to)});
    }
    match (rule, value) {
        ("size", _) => json!({"type": "string", "pattern": "^[0-9]+(Ki|Mi|Gi|Ti)$"}),
        ("object", Value::Object(_)) => json!({"type": "object"}),
        ("list", Value::Array(_)) => json!({"type": "array", "items": {"type": "object"}}),
        ("number or percentage", _) => json!({"type": ["integer", "string"]}),
        _ => panic!("({rule}) is no rule"),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        other => panic!("{other} needs a rule in parentheses"),
    }
}
