//! KFL, the filter language of the original Kubeshark, as filters of ours.
//!
//! There are two generations of it. The newer one is CEL over a list of variables:
//! `http && status_code >= 500 && path.contains("/api")`. The older one looks into the original's
//! records: `http and response.status >= 500`. [`translate`] reads either and gives a filter that
//! holds for the same rows, or one sentence on the part that can't be said and why; never a filter
//! that means something else.
//!
//! The original has a record for each exchange with all variables in it, here each protocol has a
//! table. So an expression is read once for the rows of each table, with what its variables are
//! there, and what comes out is put together again. What KFL says of missing values is kept: see
//! `condition`.
use std::ops::Range;

use crate::filter::{self, FilterError};
use crate::session;
use crate::tables::Tables;

mod condition;
mod read;
mod time;
mod translate;
mod value;
mod vocabulary;

use condition::Condition;
use read::{Is, Node, Op};
use translate::{OUTSIDE, Reading, Rows, Uses, find};
use vocabulary::{Meaning, OLDER_CALLS};

/// A filter that means what a KFL expression does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The filter.
    pub filter: String,
    /// Which KFL it was.
    pub generation: Generation,
}

/// One of the two languages that are called KFL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Generation {
    /// CEL, since 2025.
    Newer,
    /// With `and` and `or`, until then.
    Older,
}

/// The expression as a filter over those tables; an error is about a part of `text`.
pub fn translate(text: &str, tables: &Tables) -> Result<Translation, FilterError> {
    translated(text, tables).map_err(|it| FilterError {
        message: it.message,
        at: it.at,
        hint: it.hint,
        instead: None,
    })
}

/// A part that can't be translated, and why.
#[derive(Clone, Debug, PartialEq)]
struct Problem {
    at: Range<usize>,
    message: String,
    hint: Option<String>,
}

impl Problem {
    fn new(at: Range<usize>, message: impl Into<String>) -> Self {
        Self { at, message: message.into(), hint: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

fn translated(text: &str, tables: &Tables) -> Result<Translation, Problem> {
    if text.trim().is_empty() {
        return Ok(Translation { filter: String::new(), generation: Generation::Newer });
    }
    if text.len() > session::SQL_BYTES {
        let message = format!("this is longer than {} KiB", session::SQL_BYTES >> 10);
        return Err(Problem::new(0..text.len(), message));
    }
    let node = read::read(text)?;
    let generation = generation(&node)?;
    let uses = uses(generation, &node);
    unseen(&node, generation, uses, tables)?;
    let mut groups: Vec<(Condition, Vec<&str>)> = Vec::new();
    for table in tables.protocols() {
        let reading = Reading::new(tables, generation, uses, Rows::Of(table));
        let condition = reading.condition(&node);
        if let Some(problem) = condition.unsaid() {
            return Err(problem.clone());
        }
        if condition.size() > ATOMS {
            let message = format!("as a filter this would have more than {ATOMS} parts");
            return Err(Problem::new(node.at, message));
        }
        match groups.iter_mut().find(|it| it.0 == condition) {
            Some((_, tables)) => tables.push(&table.name),
            None => groups.push((condition, vec![&table.name])),
        }
    }
    let filter = together(groups, tables);
    if filter == "false" {
        return Err(Problem::new(node.at, "no row here could match this"));
    }
    // What was made must be a filter; if it isn't, saying why is better than offering it.
    match filter::compile(&filter, tables) {
        Ok(_) => Ok(Translation { filter, generation }),
        Err(error) => Err(Problem::new(node.at, format!("as a filter, {error}"))),
    }
}

/// Rows that the original has and a filter doesn't see: if the expression asks for any, it can't
/// be translated, however well the rest could.
fn unseen(node: &Node, generation: Generation, uses: Uses, tables: &Tables) -> Result<(), Problem> {
    let mut asked: Vec<(&'static str, Range<usize>, &'static str)> = Vec::new();
    node.each(&mut |it| {
        if let Is::Name(name) = &it.is
            && let Some((word, _)) = find(generation, name, "")
            && let Meaning::Outside(why) = word.is
        {
            asked.push((word.name, it.at.clone(), why));
        }
    });
    let Some((first, at, why)) = asked.first() else { return Ok(()) };
    let refused = |name: &str, at: &Range<usize>, why: &str| {
        Err(Problem::new(at.clone(), format!("`{name}` is not translated: {why}")))
    };
    let holds = |which| {
        let reading = Reading::new(tables, generation, uses, Rows::Outside(which));
        reading.condition(node) != Condition::False
    };
    for (name, at, why) in asked.iter().filter(|it| OUTSIDE.contains(&it.0)) {
        if holds(Some(*name)) {
            return refused(name, at, why);
        }
    }
    let flagged = asked.iter().any(|it| OUTSIDE.contains(&it.0));
    if !flagged && holds(None) {
        return refused(first, at, why);
    }
    Ok(())
}

/// One filter out of what is to hold for the rows of each table.
fn together(groups: Vec<(Condition, Vec<&str>)>, tables: &Tables) -> String {
    let all = groups.iter().map(|it| it.1.len()).sum::<usize>();
    let shared =
        |it: &Condition| it.columns().into_iter().all(|it| tables.envelope_field(it).is_some());
    // What holds for most tables is said of all, and the others are left out or added.
    let common = groups
        .iter()
        .filter(|it| it.0 != Condition::False && it.1.len() * 2 > all && shared(&it.0))
        .map(|it| it.0.clone())
        .next();
    let mut parts: Vec<String> = Vec::new();
    let mut without: Vec<&str> = Vec::new();
    for (condition, names) in groups {
        if Some(&condition) == common.as_ref() {
            continue;
        }
        let rest = common.as_ref().and_then(|common| {
            let (some, any) = (common.any(), condition.any());
            let rest = any.iter().filter(|it| !some.contains(it)).cloned();
            some.iter()
                .all(|it| any.contains(it))
                .then(|| rest.fold(Condition::False, Condition::or))
        });
        if rest.is_none() {
            without.extend(&names);
        }
        let condition = rest.unwrap_or(condition);
        match names.as_slice() {
            _ if condition == Condition::False => {}
            [_, _, ..] if condition == Condition::True => parts.push(names.join(" or ")),
            [_, _, ..] if shared(&condition) => {
                parts.push(format!("({}) and {}", names.join(" or "), condition.part(None)));
            }
            names => parts.extend(names.iter().map(|it| condition.sql(Some(it)))),
        }
    }
    if let Some(common) = common {
        let others = match without.as_slice() {
            [] => None,
            [one] => Some(format!("not {one}")),
            several => Some(format!("not ({})", several.join(" or "))),
        };
        let common = match (others, common) {
            (None, it) => it.sql(None),
            (Some(others), Condition::True) => others,
            (Some(others), it) => format!("{others} and {}", it.part(None)),
        };
        parts.insert(0, common);
    }
    if parts.is_empty() { "false".to_owned() } else { parts.join(" or ") }
}

/// Which KFL it is. A text that mixes the two is neither.
fn generation(node: &Node) -> Result<Generation, Problem> {
    let mut older: Option<(Range<usize>, String)> = None;
    let mut newer = older.clone();
    let mut mixed: Option<Range<usize>> = None;
    let mut regex = false;
    node.each(&mut |it| {
        let both = |name: &str| {
            let knows = |generation| find(generation, name, "").is_some();
            (knows(Generation::Older), knows(Generation::Newer))
        };
        let mut at = it.at.clone();
        if let Is::Binary(_, a, b) = &it.is {
            at = a.at.end..b.at.start;
        }
        let sign = match &it.is {
            Is::Binary(op @ (Op::AndWord | Op::OrWord), a, b) => {
                let other = if *op == Op::AndWord { Op::OrWord } else { Op::AndWord };
                let mixes = |it: &Node| matches!(&it.is, Is::Binary(op, ..) if *op == other);
                if mixes(a) || mixes(b) {
                    mixed.get_or_insert_with(|| at.clone());
                }
                Some((Generation::Older, op.text()))
            }
            Is::Binary(op, ..) if !matches!(op.text(), "==" | "!=" | "<" | "<=" | ">" | ">=") => {
                Some((Generation::Newer, op.text()))
            }
            Is::Choice(..) => Some((Generation::Newer, "?")),
            Is::List(_) => Some((Generation::Newer, "[")),
            Is::Nil => Some((Generation::Older, "nil")),
            Is::Raw(_) => {
                regex = true;
                None
            }
            Is::Call(_, name, _) if OLDER_CALLS.contains(&name.as_str()) => {
                Some((Generation::Older, name.as_str()))
            }
            Is::Call(_, name, _) if NEWER_CALLS.contains(&name.as_str()) => {
                Some((Generation::Newer, name.as_str()))
            }
            Is::Name(name) => match both(name) {
                (true, false) => Some((Generation::Older, name.as_str())),
                (false, true) => Some((Generation::Newer, name.as_str())),
                _ => None,
            },
            _ => None,
        };
        match sign {
            Some((Generation::Older, what)) => {
                older.get_or_insert_with(|| (at, what.to_owned()));
            }
            Some((Generation::Newer, what)) => {
                newer.get_or_insert_with(|| (at, what.to_owned()));
            }
            None => {}
        }
    });
    match (older, newer) {
        (Some((at, old)), Some((_, new))) => {
            let message = format!("`{old}` is of the older KFL and `{new}` of the newer");
            Err(Problem::new(at, message).hint("write all of it in one of them"))
        }
        (Some(_), None) => match mixed {
            None => Ok(Generation::Older),
            Some(at) => {
                let message = "and beside or: the original's pages and its program disagree on \
                               which comes first";
                Err(Problem::new(at, message).hint("put one of them in parentheses"))
            }
        },
        (None, Some(_)) => Ok(Generation::Newer),
        // A regular expression in a comparison; in the newer KFL that is matches().
        (None, None) if regex => Ok(Generation::Older),
        (None, None) => Ok(Generation::Newer),
    }
}

/// Whether it asks for HTTP, and for what HTTP carries.
fn uses(generation: Generation, node: &Node) -> Uses {
    let mut uses = Uses::default();
    node.each(&mut |it| {
        if let Is::Name(name) = &it.is
            && let Some((word, _)) = find(generation, name, "")
        {
            uses.http |= word.on.contains(&"http");
            uses.grpc |= word.on == ["grpc"];
            uses.graphql |= word.on == ["graphql"];
        }
    });
    uses
}

/// What only the newer KFL can call.
const NEWER_CALLS: [&str; 8] =
    ["map_get", "matches", "exists", "all", "size", "timestamp", "duration", "has"];
/// More conditions than a filter may have operators.
const ATOMS: usize = 1_000;
