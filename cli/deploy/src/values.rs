//! The chart's values: what it brings, what files and `--set` say, and whether that can be.

use serde_json::{Map, Value};

/// Lays `over` over `under`, as Helm does: maps are merged, everything else is replaced, and null takes a key away.
pub(crate) fn merge(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                if value.is_null() {
                    under.remove(&key);
                } else if let Some(there) = under.get_mut(&key) {
                    merge(there, value);
                } else {
                    under.insert(key, value);
                }
            }
        }
        (under, over) => *under = over,
    }
}

/// Lays what a `--set` says over the values: `a.b=1,c[0].d=x,e={x,y}`, where `\` takes a character as it is.
pub(crate) fn set(values: &mut Value, text: &str) -> Result<(), String> {
    for part in split(text, ',') {
        let (path, value) = split_once(&part).ok_or_else(|| {
            format!("--set {text}: `{part}` has no `=` (it looks like worker.storage.rows=8Gi)")
        })?;
        let steps = path_of(path).map_err(|why| format!("--set {text}: {why}"))?;
        put(values, &steps, value_of(value)).map_err(|why| format!("--set {text}: {why}"))?;
    }
    Ok(())
}

/// A key or a place in a list.
#[derive(Debug, PartialEq)]
enum Step {
    Key(String),
    At(usize),
}

/// At commas outside `{…}`, leaving escapes as they are.
fn split(text: &str, at: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut braces = 0_usize;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '{' => braces += 1,
            '}' => braces = braces.saturating_sub(1),
            c if c == at && braces == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        let Some(part) = parts.last_mut() else { continue };
        part.push(c);
        if c == '\\' {
            part.extend(chars.next());
        }
    }
    parts
}

fn split_once(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '=' => {
                let (path, value) = text.split_at_checked(at)?;
                return Some((path, value.strip_prefix('=')?));
            }
            _ => {}
        }
    }
    None
}

fn path_of(text: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    for part in split(text, '.') {
        let mut part = part.as_str();
        let mut places = Vec::new();
        while let Some((head, place)) = part.strip_suffix(']').and_then(|it| it.rsplit_once('[')) {
            let place = place.parse::<usize>().ok().filter(|it| *it < LIST);
            places.push(Step::At(place.ok_or_else(|| format!("`{part}` is no place in a list"))?));
            part = head;
        }
        if part.is_empty() {
            return Err("a key is empty".to_owned());
        }
        steps.push(Step::Key(plain(part)));
        steps.extend(places.into_iter().rev());
    }
    if steps.len() > DEPTH {
        return Err("no value is that deep".to_owned());
    }
    Ok(steps)
}

fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    out
}

fn value_of(text: &str) -> Value {
    if let Some(list) = text.strip_prefix('{').and_then(|it| it.strip_suffix('}')) {
        if list.is_empty() {
            return Value::Array(Vec::new());
        }
        return split(list, ',').iter().map(|it| value_of(it)).collect();
    }
    match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        "null" => Value::Null,
        // A leading zero is part of a name, not of a number.
        _ if text == "0" || !text.starts_with('0') => {
            text.parse::<i64>().map_or_else(|_| Value::from(plain(text)), Value::from)
        }
        _ => Value::from(plain(text)),
    }
}

fn put(values: &mut Value, steps: &[Step], value: Value) -> Result<(), String> {
    let Some((step, rest)) = steps.split_first() else {
        *values = value;
        return Ok(());
    };
    match step {
        Step::Key(key) => {
            if !values.is_object() {
                *values = Value::Object(Map::new());
            }
            let Value::Object(map) = values else { return Ok(()) };
            if rest.is_empty() && value.is_null() {
                map.remove(key);
                return Ok(());
            }
            put(map.entry(key.as_str()).or_insert(Value::Null), rest, value)
        }
        Step::At(at) => {
            if !values.is_array() {
                *values = Value::Array(Vec::new());
            }
            let Value::Array(list) = values else { return Ok(()) };
            if list.len() < *at {
                return Err(format!("the list has only {} items", list.len()));
            }
            if list.len() == *at {
                list.push(Value::Null);
            }
            list.get_mut(*at).map_or(Ok(()), |it| put(it, rest, value))
        }
    }
}

/// Says of every value that can't be why not. `schema` is of the few words that ours has.
pub(crate) fn check(values: &Value, schema: &Value) -> Result<(), Vec<String>> {
    let mut wrong = Vec::new();
    fits(values, schema, "", &mut wrong);
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

fn fits(value: &Value, schema: &Value, path: &str, wrong: &mut Vec<String>) {
    let shown = if path.is_empty() { "the values" } else { path };
    let Value::Object(schema) = schema else { return };
    for (word, rule) in schema {
        match (word.as_str(), rule) {
            ("$schema" | "title" | "description", _) => {}
            ("type", Value::String(kind)) => {
                if !is(value, kind) {
                    wrong.push(format!("{shown} wants {}, not {value}", article(kind)));
                }
            }
            ("type", Value::Array(kinds)) => {
                if !kinds.iter().filter_map(Value::as_str).any(|it| is(value, it)) {
                    wrong.push(format!("{shown} is of another type than {value}"));
                }
            }
            ("enum", Value::Array(of)) => {
                if !of.contains(value) {
                    let of: Vec<_> = of.iter().map(Value::to_string).collect();
                    wrong.push(format!("{shown} is one of {}, not {value}", of.join(", ")));
                }
            }
            ("minimum", rule) => {
                if value.as_f64() < rule.as_f64() {
                    wrong.push(format!("{shown} is {rule} at least, not {value}"));
                }
            }
            ("maximum", rule) => {
                if value.as_f64() > rule.as_f64() {
                    wrong.push(format!("{shown} is {rule} at most, not {value}"));
                }
            }
            ("pattern", Value::String(pattern)) => {
                let Some(text) = value.as_str() else { continue };
                if !regex::Regex::new(pattern).is_ok_and(|it| it.is_match(text)) {
                    wrong.push(format!("{shown} looks like {pattern}, not {value}"));
                }
            }
            ("items", rule) => {
                for (at, item) in value.as_array().into_iter().flatten().enumerate() {
                    fits(item, rule, &format!("{path}[{at}]"), wrong);
                }
            }
            ("properties", Value::Object(properties)) => {
                for (key, value) in value.as_object().into_iter().flatten() {
                    if let Some(rule) = properties.get(key) {
                        fits(value, rule, &below(path, key), wrong);
                    }
                }
            }
            ("additionalProperties", rule) => {
                let known = schema.get("properties").and_then(Value::as_object);
                for (key, value) in value.as_object().into_iter().flatten() {
                    if known.is_some_and(|it| it.contains_key(key)) {
                        continue;
                    }
                    if *rule == Value::Bool(false) {
                        wrong.push(format!("there is no value {}", below(path, key)));
                    } else {
                        fits(value, rule, &below(path, key), wrong);
                    }
                }
            }
            (word, _) => {
                wrong.push(format!("the chart's schema says `{word}`, which is not known"))
            }
        }
    }
}

fn below(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.as_f64().is_some_and(|it| it.fract() == 0.0),
        _ => false,
    }
}

fn article(kind: &str) -> &str {
    match kind {
        "object" => "a map",
        "array" => "a list",
        "string" => "a text",
        "boolean" => "true or false",
        "integer" => "a whole number",
        other => other,
    }
}

/// The longest list and the deepest path that `--set` makes.
const LIST: usize = 10_000;
const DEPTH: usize = 64;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_set_is_laid_over_what_was_there() {
        let mut values = json!({"a": {"b": 1, "c": [1, 2]}, "d": "x"});
        set(&mut values, "a.b=two,a.c[1]=3,a.c[2].e=true").unwrap();
        set(&mut values, r"l={x,y\,z},r=^(cart|shop)-\.*$,n.a\.b/c=007,d=null,z=0").unwrap();
        assert_eq!(
            values,
            json!({
                "a": {"b": "two", "c": [1, 3, {"e": true}]},
                "l": ["x", "y,z"], "r": "^(cart|shop)-.*$", "n": {"a.b/c": "007"}, "z": 0
            })
        );
    }

    #[test]
    fn what_says_nothing_is_refused() {
        for text in ["", "a", "=1", "a..b=1", "a[x]=1", "a[1]=1", "a[99999999999]=1"] {
            assert!(set(&mut json!({}), text).is_err(), "{text}");
        }
    }

    #[test]
    fn null_takes_a_key_away_and_lists_are_replaced() {
        let mut values = json!({"a": {"b": 1, "c": 2}, "l": [1, 2]});
        merge(&mut values, json!({"a": {"b": null}, "l": [3]}));
        assert_eq!(values, json!({"a": {"c": 2}, "l": [3]}));
    }
}
