//! What can be called.

use std::fmt::Write as _;

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::{World, certificates, yaml};

/// Why a call failed.
#[derive(Debug)]
pub(super) struct Why {
    pub(super) what: String,
    /// The template refused the values.
    pub(super) of_values: bool,
}

fn no(what: impl Into<String>) -> Why {
    Why { what: what.into(), of_values: false }
}

/// Calls a function that only looks at its arguments.
pub(super) fn call(name: &str, arguments: Vec<Value>, world: &World<'_>) -> Result<Value, Why> {
    let arguments = arguments.as_slice();
    Ok(match (name, arguments) {
        ("not", [it]) => Value::from(!truth(it)),
        ("eq", [first, rest @ ..]) if !rest.is_empty() => {
            let mut equal = false;
            for other in rest {
                equal |= same(first, other)?;
            }
            Value::from(equal)
        }
        ("ne", [first, second]) => Value::from(!same(first, second)?),
        ("default", [usual, given]) => if truth(given) { given } else { usual }.clone(),
        ("ternary", [yes, no, which]) => if truth(which) { yes } else { no }.clone(),
        ("required", [Value::String(why), it]) => match it {
            Value::Null => return Err(refused(why)),
            Value::String(text) if text.is_empty() => return Err(refused(why)),
            it => it.clone(),
        },
        ("fail", [Value::String(why)]) => return Err(refused(why)),
        ("hasKey", [Value::Object(map), Value::String(key)]) => Value::from(map.contains_key(key)),
        ("index", [Value::Object(map), Value::String(key)]) => {
            map.get(key).cloned().unwrap_or_default()
        }
        ("index", [Value::Array(list), at]) => {
            let at = at.as_u64().and_then(|it| usize::try_from(it).ok());
            let item = at.and_then(|it| list.get(it));
            item.cloned().ok_or_else(|| no("the list is shorter"))?
        }
        ("dict", pairs) => {
            let mut map = Map::new();
            for pair in pairs.chunks(2) {
                let [Value::String(key), value] = pair else {
                    return Err(no("wants keys with values"));
                };
                map.insert(key.clone(), value.clone());
            }
            Value::Object(map)
        }
        ("list", items) => Value::from(items.to_vec()),
        ("toYaml", [it]) => Value::from(yaml::write(it)),
        ("toJson", [it]) => Value::from(json(it)),
        ("quote", items) => {
            let items = items.iter().filter(|it| !it.is_null());
            let quoted: Result<Vec<_>, _> =
                items.map(|it| text(it).map(|it| quote(&it)).map_err(no)).collect();
            Value::from(quoted?.join(" "))
        }
        ("indent", [width, Value::String(text)]) => Value::from(indent(width, text)?),
        ("nindent", [width, Value::String(text)]) => {
            Value::from(format!("\n{}", indent(width, text)?))
        }
        ("trunc", [length, Value::String(text)]) => {
            let length = length.as_u64().and_then(|it| usize::try_from(it).ok());
            let length = length.ok_or_else(|| no("wants a length"))?;
            // Go counts bytes; of names there is no other count.
            let cut = text.is_ascii().then(|| text.chars().take(length).collect::<String>());
            Value::from(cut.ok_or_else(|| no("is for ASCII"))?)
        }
        ("trimSuffix", [Value::String(end), Value::String(text)]) => {
            Value::from(text.strip_suffix(end.as_str()).unwrap_or(text))
        }
        ("contains", [Value::String(part), Value::String(text)]) => {
            Value::from(text.contains(part.as_str()))
        }
        ("printf", [Value::String(format), rest @ ..]) => Value::from(printf(format, rest)?),
        ("b64enc", [Value::String(text)]) => Value::from(base64(text.as_bytes())),
        ("sha256sum", [Value::String(text)]) => {
            let hash = Sha256::digest(text.as_bytes());
            Value::from(hash.iter().fold(String::new(), |mut hex, byte| {
                write!(hex, "{byte:02x}").ok();
                hex
            }))
        }
        ("int64", [it]) => {
            let float = it.as_f64().filter(|it| it.fract() == 0.0);
            // A float that is whole and small is one of the integers.
            #[allow(
                clippy::cast_possible_truncation,
                reason = "bounded by what floats hold exactly"
            )]
            let whole = float.filter(|it| it.abs() < 9e15).map(|it| it as i64);
            let number = it.as_i64().or(whole).ok_or_else(|| no("wants a whole number"))?;
            // The number is a text from here on: it is printed as it is.
            Value::from(number.to_string())
        }
        ("randAlphaNum", [length]) => {
            let length = length.as_u64().and_then(|it| usize::try_from(it).ok());
            let length = length.filter(|it| *it <= 1024).ok_or_else(|| no("wants a length"))?;
            Value::from((world.random)(length))
        }
        ("genCA", [Value::String(name), days]) => {
            let made = certificates::authority(name, whole(days)?, world.now);
            made.map_err(|why| no(why.to_string()))?
        }
        (
            "genSignedCert",
            [Value::String(name), Value::Null, Value::Array(names), days, Value::Object(authority)],
        ) => {
            let names = names.iter().map(Value::as_str).collect::<Option<Vec<_>>>();
            let names = names.ok_or_else(|| no("wants names"))?;
            let of = |key| authority.get(key).and_then(Value::as_str);
            let authority = of("Name").zip(of("Key")).ok_or_else(|| no("wants what genCA made"))?;
            let made = certificates::signed(name, &names, whole(days)?, world.now, authority);
            made.map_err(|why| no(why.to_string()))?
        }
        // Printed it would be another text than Helm's, which `text` refuses.
        ("now", []) => Value::from(world.now),
        ("dateModify", [Value::String(by), time]) => {
            let hours = by.strip_prefix('+').and_then(|it| it.strip_suffix('h')?.parse().ok());
            let hours: u64 = hours.ok_or_else(|| no("wants hours, such as +24h"))?;
            Value::from(whole(time)?.saturating_add(hours.saturating_mul(3600)))
        }
        ("date", [Value::String(form), time]) if form == "2006-01-02" => {
            Value::from(date(whole(time)?))
        }
        ("lt", [Value::String(first), Value::String(second)]) => Value::from(first < second),
        (
            "lookup",
            [
                Value::String(version),
                Value::String(kind),
                Value::String(namespace),
                Value::String(name),
            ],
        ) => (world.lookup)(version, kind, namespace, name)
            .unwrap_or_else(|| Value::Object(Map::new())),
        _ => {
            return Err(no(format!(
                "is not known here, or not with {} such arguments",
                arguments.len()
            )));
        }
    })
}

fn refused(why: &str) -> Why {
    Why { what: why.to_owned(), of_values: true }
}

fn whole(value: &Value) -> Result<u64, Why> {
    value.as_u64().ok_or_else(|| no("wants a whole number"))
}

/// The day of a time in seconds since 1970, in UTC.
fn date(time: u64) -> String {
    // Years of 365 or 366 days begin in March, so that the day that may be there comes last; 400 of them are an era.
    let days = time / (24 * 3600) + 719_468;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = days / 146_097 * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// What counts as true.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// As it is printed, if Helm prints the same.
pub(super) fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(flag) => Ok(flag.to_string()),
        // Helm's numbers are floats, and Go writes larger ones as 1e+06.
        Value::Number(number) => match number.as_i64() {
            Some(whole) if whole.abs() < 1_000_000 => Ok(whole.to_string()),
            _ => Err(format!("{number} is printed in different ways: use `int64`")),
        },
        Value::Null => Err("there is no such value".to_owned()),
        other => Err(format!("{other} is no text: use `toYaml` or `toJson`")),
    }
}

fn same(first: &Value, second: &Value) -> Result<bool, Why> {
    match (first, second) {
        (Value::String(a), Value::String(b)) => Ok(a == b),
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        _ => Err(no(format!("{first} and {second} are not compared here"))),
    }
}

fn indent(width: &Value, text: &str) -> Result<String, Why> {
    let width = width.as_u64().filter(|it| *it < 100).ok_or_else(|| no("wants a width"))?;
    let pad = " ".repeat(usize::try_from(width).unwrap_or_default());
    Ok(format!("{pad}{}", text.replace('\n', &format!("\n{pad}"))))
}

fn printf(format: &str, arguments: &[Value]) -> Result<String, Why> {
    let mut out = String::new();
    let mut arguments = arguments.iter();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match (chars.next(), arguments.next()) {
            (Some('s'), Some(Value::String(text))) => out.push_str(text),
            (verb, _) => return Err(no(format!("%{} is not known here", verb.unwrap_or(' ')))),
        }
    }
    match arguments.next() {
        None => Ok(out),
        Some(more) => Err(no(format!("{more} is not in the format"))),
    }
}

/// Go escapes what could end a script in a page.
fn json(value: &Value) -> String {
    let text = value.to_string();
    text.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e")
}

/// As Go's `%q`, for what needs no more than JSON's escapes.
fn quote(text: &str) -> String {
    Value::from(text).to_string()
}

/// RFC 4648, with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let six = (bits >> (18 - 6 * at)) & 63;
            let letter = ALPHABET.get(usize::try_from(six).unwrap_or_default());
            let letter = letter.copied().unwrap_or(b'=');
            out.push(char::from(if at > three.len() { b'=' } else { letter }));
        }
    }
    out
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
