//! GraphQL over HTTP (<https://graphql.github.io/graphql-over-http/>): JSON posted, alone or as a
//! list, or a query in the target.
use std::borrow::Cow;

use memchr::{memchr, memmem};
use schema::value::{Json, Label, Texts, text};

use super::http::json::{elements, masked, member, members, string};
use super::http::message::{Read, Sent, Target};
use crate::exchange::Summary;
use crate::tables::Also;

/// GraphQL operations; the request that carries one is a row of `http`, too. `verb` is the
/// operation's type, `target` its name or else its first field, `status` the HTTP status. An
/// answer with errors counts as failed, whatever its HTTP status.
#[derive(schema::Record)]
pub(super) struct Graphql<'a> {
    /// `query`, `mutation` or `subscription` (OpenTelemetry `graphql.operation.type`).
    operation_type: Label<'a>,
    /// The operation's name, if it has one (OpenTelemetry `graphql.operation.name`).
    operation_name: Option<Label<'a>>,
    /// The fields asked for at the top, in order.
    fields: Option<Texts<'a>>,
    /// The query as sent (OpenTelemetry `graphql.document`).
    document: Cow<'a, str>,
    /// The variables as sent; values that look like secrets by name are `***`.
    variables: Option<Json<'a>>,
    /// Its position, from 0, if several operations were sent as one list.
    position: Option<u64>,
    /// How many errors the answer has; null without an answer that can be read.
    errors: Option<u64>,
    /// What the first error says.
    error_message: Option<Cow<'a, str>>,
    /// Where the first error arose, such as `user.name`.
    error_path: Option<Cow<'a, str>>,
}

/// Whether a request may carry GraphQL: cheap, and wrong at times.
pub(super) fn asks(sent: &Sent) -> bool {
    let body = sent.payload.bytes();
    if matches!(body.trim_ascii_start(), [b'{' | b'[', ..]) {
        return memmem::find(body, b"\"query\"").is_some();
    }
    let end = memchr(b'\n', &sent.head).unwrap_or(sent.head.len());
    sent.head.get(..end).is_some_and(|it| memmem::find(it, b"query=").is_some())
}

/// A row for each operation.
pub(super) fn also(request: Option<&Sent>, response: Option<&Sent>, also: &mut Also<'_>) {
    let Some(request) = request else { return };
    let asked = Read::of(request, b"");
    let answered = response.map(|it| Read::of(it, b"")).unwrap_or_default();
    let status = answered.status().1;
    let answer = answered.body.as_deref().unwrap_or_default().trim_ascii_start();
    let body = asked.body.as_deref().unwrap_or_default().trim_ascii_start();
    if body.starts_with(b"[") {
        let mut answers = elements(answer);
        for (position, one) in (0..).zip(elements(body).take(MOST_OPERATIONS)) {
            let answer = if answer.starts_with(b"[") { answers.next() } else { Some(answer) };
            row(&Asked::of_json(one), Some(position), answer, status, also);
        }
    } else if body.starts_with(b"{") {
        row(&Asked::of_json(body), None, Some(answer), status, also);
    } else {
        let (method, target, _) = asked.request();
        let query = Target::of(method, target).query.unwrap_or_default();
        row(&Asked::of_query(query), None, Some(answer), status, also);
    }
}

/// What was sent.
#[derive(Default)]
struct Asked<'a> {
    document: Cow<'a, str>,
    name: Option<Cow<'a, str>>,
    variables: Option<Cow<'a, [u8]>>,
}

impl<'a> Asked<'a> {
    fn of_json(object: &'a [u8]) -> Self {
        let mut it = Self::default();
        for (name, value) in members(object) {
            match name.as_ref() {
                "query" => it.document = string(value).unwrap_or_default(),
                "operationName" => it.name = string(value).filter(|it| !it.is_empty()),
                "variables" if value.starts_with(b"{") => it.variables = Some(Cow::Borrowed(value)),
                _ => {}
            }
        }
        it
    }

    fn of_query(query: &'a [u8]) -> Self {
        let mut it = Self::default();
        for pair in query.split(|it| *it == b'&') {
            let at = memchr(b'=', pair).unwrap_or(pair.len());
            let Some((name, value)) = pair.split_at_checked(at) else { continue };
            let value = value.get(1..).unwrap_or_default();
            let decoded = || Cow::Owned(text(&url_decoded(value)).into_owned());
            match name {
                b"query" => it.document = decoded(),
                b"operationName" => it.name = Some(decoded()).filter(|it| !it.is_empty()),
                b"variables" => it.variables = Some(Cow::Owned(url_decoded(value))),
                _ => {}
            }
        }
        it
    }
}

fn row(
    asked: &Asked<'_>,
    position: Option<u64>,
    answer: Option<&[u8]>,
    status: Option<i32>,
    also: &mut Also<'_>,
) {
    let document = asked.document.as_ref();
    let Some(operation) = Operation::of(document, asked.name.as_deref()) else { return };
    let name = asked.name.as_deref().or(operation.name);
    let answer = answer.filter(|it| it.starts_with(b"{"));
    let errors = answer.map(|it| member(it, "errors").unwrap_or_default());
    let first = errors.and_then(|it| elements(it).next());
    let count = errors.map(|it| elements(it).count() as u64);
    let message = first.and_then(|it| string(member(it, "message")?));
    let path = first.and_then(|it| member(it, "path")).map(path_text);
    let error = match (&message, status) {
        (Some(message), _) => Some(message.clone()),
        (None, None) => Some("no response".into()),
        (None, Some(status @ 400..)) => Some(format!("HTTP status {status}").into()),
        (None, Some(_)) if count.is_some_and(|it| it > 0) => Some("error".into()),
        (None, Some(_)) => None,
    };
    let target = name.or_else(|| operation.fields.first().copied()).unwrap_or_default();
    let summary = Summary {
        verb: Cow::Borrowed(operation.kind),
        target: Cow::Borrowed(target),
        status,
        failed: error.is_some(),
        error,
    };
    let row = Graphql {
        operation_type: Label(Cow::Borrowed(operation.kind)),
        operation_name: name.map(Label::from),
        fields: (!operation.fields.is_empty())
            .then(|| Texts(operation.fields.iter().copied().map(Cow::Borrowed).collect())),
        document: Cow::Borrowed(document),
        variables: asked.variables.as_deref().map(|it| Json(Cow::Owned(masked(it)))),
        position,
        errors: count,
        error_message: message,
        error_path: path.map(Cow::Owned),
    };
    also.row::<GraphqlColumns>("graphql", summary, row);
}

/// `["user", 0, "name"]` as `user.0.name`.
fn path_text(path: &[u8]) -> String {
    let parts = elements(path).map(|it| string(it).unwrap_or_else(|| text(it)).into_owned());
    parts.take(MOST_FIELDS).collect::<Vec<_>>().join(".")
}

fn url_decoded(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let digits = after.get(..2).and_then(|it| std::str::from_utf8(it).ok());
        match (byte, digits.and_then(|it| u8::from_str_radix(it, 16).ok())) {
            (b'%', Some(decoded)) => {
                out.push(decoded);
                rest = after.get(2..).unwrap_or_default();
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(*byte),
        }
    }
    out
}

/// One operation of a document.
#[derive(Debug, PartialEq, Eq)]
struct Operation<'a> {
    kind: &'static str,
    name: Option<&'a str>,
    fields: Vec<&'a str>,
}

impl<'a> Operation<'a> {
    /// The one that is named, or else the first; nothing if this is no document.
    fn of(document: &'a str, named: Option<&str>) -> Option<Self> {
        let mut tokens = Tokens(document);
        let mut first = None;
        loop {
            let kind = match tokens.next() {
                Some("query") => "query",
                Some("mutation") => "mutation",
                Some("subscription") => "subscription",
                Some("fragment") => {
                    tokens.selection(&mut Vec::new());
                    continue;
                }
                Some("{") => {
                    let mut it = Self { kind: "query", name: None, fields: Vec::new() };
                    tokens.fields(&mut it.fields);
                    return first.or(Some(it));
                }
                _ => return first,
            };
            let mut ahead = tokens.clone();
            let name = ahead.next().filter(|it| is_name(it));
            if name.is_some() {
                tokens = ahead;
            }
            let mut it = Self { kind, name, fields: Vec::new() };
            tokens.selection(&mut it.fields);
            if named.is_none() || name == named {
                return Some(it);
            }
            first = first.or(Some(it));
        }
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_')
}

/// Words, strings and marks, without comments, commas and space.
#[derive(Clone)]
struct Tokens<'a>(&'a str);

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        loop {
            self.0 = self
                .0
                .trim_start_matches(|it: char| it.is_whitespace() || it == ',' || it == '\u{feff}');
            match self.0.strip_prefix('#') {
                Some(comment) => self.0 = comment.split_once('\n')?.1,
                None => break,
            }
        }
        let rest = self.0;
        let first = rest.chars().next()?;
        let length = if let Some(block) = rest.strip_prefix("\"\"\"") {
            block.find("\"\"\"").map_or(rest.len(), |it| it + 6)
        } else if first == '"' {
            string_length(rest)
        } else if first.is_ascii_alphanumeric() || first == '_' {
            let other = |it: char| !(it.is_ascii_alphanumeric() || it == '_');
            rest.find(other).unwrap_or(rest.len())
        } else if rest.starts_with("...") {
            3
        } else {
            first.len_utf8()
        };
        let (token, after) = rest.split_at_checked(length)?;
        self.0 = after;
        Some(token)
    }
}

impl<'a> Tokens<'a> {
    /// Uses up all to the end of the next selection, past arguments and directives.
    fn selection(&mut self, fields: &mut Vec<&'a str>) {
        let mut round = 0_usize;
        while let Some(token) = self.next() {
            match token {
                "(" => round += 1,
                ")" => round = round.saturating_sub(1),
                "{" if round == 0 => return self.fields(fields),
                _ => {}
            }
        }
    }

    /// Uses up a selection whose brace was read: the names at its top.
    fn fields(&mut self, fields: &mut Vec<&'a str>) {
        let (mut depth, mut round) = (1_usize, 0_usize);
        let mut last = "";
        for token in self.by_ref() {
            match token {
                "{" => depth += 1,
                "}" => depth -= 1,
                "(" => round += 1,
                ")" => round = round.saturating_sub(1),
                _ if depth != 1 || round > 0 || !is_name(token) => {}
                // Fragments and directives have names of their own.
                _ if matches!(last, "..." | "@") || (last == "on" && token != "on") => {}
                _ => {
                    // A name before a colon is only what the answer calls the field.
                    let alias = last == ":" && !fields.is_empty();
                    if alias {
                        fields.pop();
                    }
                    if fields.len() < MOST_FIELDS {
                        fields.push(token);
                    }
                }
            }
            if depth == 0 {
                return;
            }
            last = if last == "..." && token == "on" {
                "on"
            } else if token == "on" {
                ""
            } else {
                token
            };
        }
    }
}

/// How long a string is, with its quotes.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, char) in text.char_indices().skip(1) {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Operations in one request.
const MOST_OPERATIONS: usize = 100;

/// Fields of one operation.
const MOST_FIELDS: usize = 100;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn operation<'a>(
        document: &'a str,
        named: Option<&str>,
    ) -> Option<(&'static str, Option<&'a str>, Vec<&'a str>)> {
        Operation::of(document, named).map(|it| (it.kind, it.name, it.fields))
    }

    #[test]
    fn operations_are_found() {
        assert_eq!(operation("{ a b { c } }", None), Some(("query", None, vec!["a", "b"])));
        assert_eq!(
            operation(
                "# what\nquery Q($x: [Int!] = [1], $y: In = {a: \"}\"}) @live { n: user(id: $x, f: {a: 1}) { id } ...F ... on T { z } on \"\"\"x\"\"\" count @skip(if: $y) }",
                None
            ),
            Some(("query", Some("Q"), vec!["user", "on", "count"]))
        );
        let several = "fragment F on User { id } mutation A { a } mutation B { b }";
        assert_eq!(operation(several, None), Some(("mutation", Some("A"), vec!["a"])));
        assert_eq!(operation(several, Some("B")), Some(("mutation", Some("B"), vec!["b"])));
        assert_eq!(operation("subscription { s }", None), Some(("subscription", None, vec!["s"])));
        for other in ["", "select 1", "SELECT * FROM t", "hello { }", "\"{\"", "#"] {
            assert_eq!(operation(other, None), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn noise_is_only_noise(noise in "[{}(),:@.\"#a-z \\n\\\\é]{0,60}") {
            Operation::of(&noise, None);
            Operation::of(&format!("query {noise}"), Some("a"));
        }
    }
}
