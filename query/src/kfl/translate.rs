//! What an expression says of the rows of one table.
use std::ops::Range;

use schema::Table;

use super::condition::{Atom, Condition, Truth, columns};
use super::read::{Is, Node, Op};
use super::value::{
    Column, Kind, Literal, Place, compare, compare_columns, fold, has_part, text, turned,
};
use super::vocabulary::{ALSO_HTTP, GRPC_AS_HTTP, Meaning, NEWER, OLDER, Word};
use super::{Generation, Problem, time};
use crate::tables::{Tables, nearest};

/// The names an expression uses, as far as they bear on which rows it is about.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Uses {
    pub(super) http: bool,
    pub(super) grpc: bool,
    pub(super) graphql: bool,
}

/// Whose rows are meant.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rows<'a> {
    /// Those of a table.
    Of(&'a Table),
    /// Those that the original calls by this name and a filter doesn't see.
    Outside(Option<&'static str>),
}

/// Reads an expression for the rows of one table.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    pub(super) tables: &'a Tables,
    pub(super) generation: Generation,
    pub(super) uses: Uses,
    pub(super) rows: Rows<'a>,
    /// Inside `exists` and `all`: the name given to one of several, and the column that it is in.
    one: Option<(&'a str, Column)>,
}

/// A column of lines of three words, of which one is meant; the first line's has a column too.
#[derive(Clone, Debug)]
struct Lines {
    first: Column,
    all: &'static str,
    word: usize,
}

/// What an expression comes to.
#[derive(Clone, Debug)]
enum Value {
    Literal(Literal),
    Column(Column),
    Truth(Truth),
    /// Texts in several columns.
    Several(Vec<Column>),
    Lines(Box<Lines>),
    /// A column of texts, and one with their number.
    Texts(Column, Column),
    /// A text for each key, or a map without any.
    Map(Option<&'static str>),
    /// The name of the table's protocol.
    Protocol,
    /// A member of a body that is JSON: the body and the path to it.
    Json(Box<Column>, Vec<String>),
    /// It is not in this kind of record.
    Absent,
    Problem(Problem),
}

impl From<Problem> for Value {
    fn from(it: Problem) -> Self {
        Self::Problem(it)
    }
}

impl<'a> Reading<'a> {
    pub(super) const fn new(
        tables: &'a Tables,
        generation: Generation,
        uses: Uses,
        rows: Rows<'a>,
    ) -> Self {
        Self { tables, generation, uses, rows, one: None }
    }

    /// When the expression is true of those rows.
    pub(super) fn condition(&self, node: &'a Node) -> Condition {
        self.truth(node).holds
    }

    fn older(&self) -> bool {
        self.generation == Generation::Older
    }

    fn truth(&self, node: &'a Node) -> Truth {
        let value = self.value(node);
        self.truth_of(value, &node.at)
    }

    fn truth_of(&self, value: Value, at: &Range<usize>) -> Truth {
        let zero = |column: &Column, op, zero: Literal| compare(op, column, &zero, at);
        match value {
            Value::Truth(it) => it,
            Value::Literal(Literal::Flag(it)) => Truth::known(it),
            Value::Problem(it) => Truth::problem(it),
            Value::Absent => Truth::UNKNOWN,
            // The older KFL takes anything for a condition: a text that isn't empty, a number above 0.
            Value::Literal(Literal::Text(it)) if self.older() => Truth::known(!it.is_empty()),
            Value::Literal(it @ (Literal::Int(_) | Literal::Float(_))) if self.older() => {
                Truth::known(fold(Op::Gt, &it, &Literal::Int(0)) == Some(true))
            }
            Value::Column(it) if self.older() && it.kind == Kind::Text => {
                zero(&it, Op::Ne, Literal::Text(String::new()))
            }
            Value::Column(it) if self.older() && it.kind == Kind::Number => {
                zero(&it, Op::Gt, Literal::Int(0))
            }
            _ => {
                let problem = Problem::new(at.clone(), "this is a value, not a condition");
                Truth::problem(problem.hint("compare it with something"))
            }
        }
    }

    fn value(&self, node: &'a Node) -> Value {
        let at = &node.at;
        match &node.is {
            Is::Text(it) => Value::Literal(Literal::Text(it.clone())),
            Is::Raw(it) if self.older() => Value::Literal(Literal::Regex(it.clone())),
            Is::Raw(it) => Value::Literal(Literal::Text(it.clone())),
            Is::Int(it) => Value::Literal(Literal::Int(*it)),
            Is::Float(it) => Value::Literal(Literal::Float(*it)),
            Is::Flag(it) => Value::Literal(Literal::Flag(*it)),
            Is::Nil => {
                let message =
                    "nil is not translated: rows don't tell what is nil from what is missing";
                Problem::new(at.clone(), message).into()
            }
            Is::Name(name) => self.name(name, at),
            Is::Member(of, name) => match self.value(of) {
                Value::Json(body, path) => json(body, path, text(name)),
                Value::Map(sql) => self.entry(sql, name, at),
                it @ (Value::Absent | Value::Problem(_)) => it,
                Value::Literal(_) if self.older() => nothing(),
                _ => {
                    Problem::new(at.clone(), format!("what stands before `.{name}` has no members"))
                        .into()
                }
            },
            Is::Index(of, key) => self.index(of, key, at),
            Is::Call(None, name, arguments) => self.call(name, arguments, at),
            Is::Call(Some(on), name, arguments) => self.method(on, name, arguments, at),
            Is::Not(it) => Value::Truth(self.truth(it).not()),
            Is::Minus(it) => match self.value(it) {
                Value::Literal(Literal::Int(it)) => Value::Literal(Literal::Int(-it)),
                Value::Literal(Literal::Float(it)) => Value::Literal(Literal::Float(-it)),
                Value::Column(it) => self.arithmetic(
                    Op::Minus,
                    Value::Literal(Literal::Int(0)),
                    Value::Column(it),
                    at,
                ),
                it @ (Value::Problem(_) | Value::Absent) => it,
                _ => Problem::new(at.clone(), "only numbers have a minus").into(),
            },
            Is::Group(it) => match self.value(it) {
                Value::Truth(it) if self.older() => Value::Truth(it.settled()),
                it => it,
            },
            Is::List(items) => self.list(items, at),
            Is::Choice(condition, yes, no) => {
                let (yes, no) = (self.truth(yes), self.truth(no));
                Value::Truth(self.truth(condition).choose(yes, no))
            }
            Is::Binary(op, a, b) => match op {
                Op::And => Value::Truth(self.truth(a).and(self.truth(b))),
                Op::Or => Value::Truth(self.truth(a).or(self.truth(b))),
                Op::AndWord => Value::Truth(self.truth(a).and_then(self.truth(b))),
                Op::OrWord => Value::Truth(self.truth(a).or_else(self.truth(b))),
                Op::In => Value::Truth(self.within(a, b, at)),
                Op::Plus | Op::Minus | Op::Times | Op::Divide | Op::Modulo => {
                    self.arithmetic(*op, self.value(a), self.value(b), at)
                }
                Op::Eq | Op::Ne | Op::Lt | Op::Le | Op::Gt | Op::Ge => {
                    Value::Truth(self.comparison(*op, self.value(a), self.value(b), at))
                }
            },
        }
    }

    fn list(&self, items: &'a [Node], at: &Range<usize>) -> Value {
        let mut list = Vec::with_capacity(items.len());
        for item in items {
            match self.value(item) {
                Value::Literal(it) => list.push(it),
                Value::Problem(it) => return it.into(),
                _ => return Problem::new(at.clone(), "only values may stand in a list").into(),
            }
        }
        Value::Literal(Literal::List(list))
    }

    fn comparison(&self, op: Op, a: Value, b: Value, at: &Range<usize>) -> Truth {
        match (a, b) {
            (Value::Problem(it), _) | (_, Value::Problem(it)) => Truth::problem(it),
            (Value::Absent, _) | (_, Value::Absent) => Truth::UNKNOWN,
            (Value::Json(body, path), other) => {
                self.comparison(op, Value::Column(member(&body, &path)), other, at)
            }
            (other, it @ Value::Json(..)) => self.comparison(turned(op), it, other, at),
            (Value::Literal(a), Value::Literal(b)) => match fold(op, &a, &b) {
                Some(it) => Truth::known(it),
                None => Truth::problem(unlike(&a, &b, at)),
            },
            (Value::Column(column), Value::Literal(value)) => {
                if self.older() {
                    return older_comparison(op, &column, value, at);
                }
                compare(op, &column, &value, at)
            }
            (value @ Value::Literal(_), column @ Value::Column(_)) => {
                self.comparison(turned(op), column, value, at)
            }
            (Value::Column(a), Value::Column(b)) => compare_columns(op, &a, &b, at),
            (Value::Protocol, Value::Literal(Literal::Text(it)))
            | (Value::Literal(Literal::Text(it)), Value::Protocol)
                if matches!(op, Op::Eq | Op::Ne) =>
            {
                let is = self.is_protocol(&it, at);
                if op == Op::Eq { is } else { is.not() }
            }
            (Value::Truth(it), Value::Literal(Literal::Flag(flag)))
            | (Value::Literal(Literal::Flag(flag)), Value::Truth(it))
                if matches!(op, Op::Eq | Op::Ne) =>
            {
                if flag == (op == Op::Eq) {
                    it
                } else {
                    it.not()
                }
            }
            (Value::Truth(a), Value::Truth(b)) if matches!(op, Op::Eq | Op::Ne) => {
                let same = a.choose(b.clone(), b.not());
                if op == Op::Eq { same } else { same.not() }
            }
            _ => Truth::problem(Problem::new(at.clone(), "these two can't be compared")),
        }
    }

    fn arithmetic(&self, op: Op, a: Value, b: Value, at: &Range<usize>) -> Value {
        let impossible = || Value::from(Problem::new(at.clone(), "this can't be calculated here"));
        match (a, b) {
            (Value::Problem(it), _) | (_, Value::Problem(it)) => it.into(),
            (Value::Absent, _) | (_, Value::Absent) => Value::Absent,
            (Value::Literal(Literal::Moment(now)), Value::Literal(Literal::Span(span))) => {
                let sign = match op {
                    Op::Plus => '+',
                    Op::Minus => '-',
                    _ => return impossible(),
                };
                if now != NOW {
                    let message = "only now() can have a duration added here; write the moment out";
                    return Problem::new(at.clone(), message).into();
                }
                let moment = format!("{now} {sign} {}", time::interval(span));
                Value::Literal(Literal::Moment(moment))
            }
            (Value::Literal(Literal::Int(a)), Value::Literal(Literal::Int(b))) => {
                let result = match op {
                    Op::Plus => a.checked_add(b),
                    Op::Minus => a.checked_sub(b),
                    Op::Times => a.checked_mul(b),
                    Op::Divide => a.checked_div(b),
                    Op::Modulo => a.checked_rem(b),
                    _ => None,
                };
                result.map_or_else(impossible, |it| Value::Literal(Literal::Int(it)))
            }
            (a, b) => {
                let divides = matches!(op, Op::Divide | Op::Modulo);
                let by_zero = !matches!(&b, Value::Literal(Literal::Int(it)) if *it != 0);
                if divides && by_zero {
                    let message = "only a number other than 0 can be divided by here";
                    return Problem::new(at.clone(), message).into();
                }
                let (Some(a), Some(b)) = (number(a), number(b)) else { return impossible() };
                let sql = format!("({} {} {})", a.plain(), op.text(), b.plain());
                Value::Column(Column {
                    name: format!("{} {} {}", a.name, op.text(), b.name),
                    sql,
                    kind: Kind::Number,
                    nullable: [&a, &b].iter().any(|it| it.nullable && it.default.is_none()),
                    default: None,
                    guard: None,
                })
            }
        }
    }

    fn index(&self, of: &'a Node, key: &'a Node, at: &Range<usize>) -> Value {
        match (self.value(of), self.value(key)) {
            (Value::Problem(it), _) | (_, Value::Problem(it)) => it.into(),
            (Value::Absent, _) => Value::Absent,
            (Value::Literal(_), _) if self.older() => nothing(),
            (Value::Map(sql), Value::Literal(Literal::Text(key))) => self.entry(sql, &key, at),
            (Value::Json(body, path), Value::Literal(Literal::Text(key))) => {
                json(body, path, text(&key))
            }
            (Value::Json(body, path), Value::Literal(Literal::Int(key))) => {
                json(body, path, key.to_string())
            }
            _ => {
                let message = "only headers, cookies and the like are looked up by a key here";
                Problem::new(at.clone(), message).into()
            }
        }
    }

    /// The entry of a map; nothing if it has none of that key, or if there is no map.
    fn entry(&self, sql: Option<&str>, key: &str, at: &Range<usize>) -> Value {
        let Some(sql) = sql else { return Value::Absent };
        let sql = sql.replace("{}", &text(key));
        if let Some(problem) = self.lacks(&sql, at) {
            return problem.into();
        }
        Value::Column(Column {
            name: key.to_owned(),
            sql,
            kind: Kind::Text,
            nullable: true,
            default: None,
            guard: None,
        })
    }

    fn within(&self, a: &'a Node, b: &'a Node, at: &Range<usize>) -> Truth {
        match (self.value(a), self.value(b)) {
            (Value::Problem(it), _) | (_, Value::Problem(it)) => Truth::problem(it),
            (Value::Absent, _) | (_, Value::Absent) => Truth::UNKNOWN,
            (Value::Literal(Literal::Text(key)), Value::Map(sql)) => {
                match self.entry(sql, &key, at) {
                    Value::Column(it) => Truth::atom(Atom::null(&it.sql)).not(),
                    Value::Problem(it) => Truth::problem(it),
                    _ => Truth::known(false),
                }
            }
            (Value::Literal(it), Value::Literal(Literal::List(list))) => {
                Truth::known(list.iter().any(|item| fold(Op::Eq, &it, item) == Some(true)))
            }
            (it @ (Value::Column(_) | Value::Protocol), Value::Literal(Literal::List(list))) => {
                any_of(
                    list.into_iter()
                        .map(|item| self.comparison(Op::Eq, it.clone(), Value::Literal(item), at)),
                )
            }
            (Value::Literal(it @ Literal::Text(_)), Value::Several(columns)) => {
                any_of(columns.iter().map(|column| compare(Op::Eq, column, &it, at)))
            }
            (Value::Literal(Literal::Text(it)), Value::Lines(lines)) => {
                lines.some(&Wanted::Whole(&it))
            }
            (Value::Literal(Literal::Text(it)), Value::Texts(list, _)) => array_has(&list, &it),
            _ => {
                let message = "`in` looks for a text in a list or map that is kept here";
                Truth::problem(Problem::new(at.clone(), message))
            }
        }
    }

    fn call(&self, name: &str, arguments: &'a [Node], at: &Range<usize>) -> Value {
        let problem = |message: &str| Value::from(Problem::new(at.clone(), message));
        match (name, arguments) {
            ("size", [it]) => self.size(it, at),
            ("now", []) => Value::Literal(Literal::Moment(NOW.to_owned())),
            ("timestamp", [Node { is: Is::Text(it) | Is::Raw(it), .. }]) => {
                if !time::is_rfc3339(it) {
                    return problem("this is no time such as 2026-01-31T12:00:00Z");
                }
                Value::Literal(Literal::Moment(text(it)))
            }
            ("duration", [Node { is: Is::Text(it) | Is::Raw(it), .. }]) => {
                match time::duration(it) {
                    Some(it) => Value::Literal(Literal::Span(it)),
                    None => problem("this is no duration such as 5m or 1h30m"),
                }
            }
            ("map_get", [map, key, default]) => {
                let found = match self.value(map) {
                    Value::Map(None) => return self.value(default),
                    _ => self.index(map, key, at),
                };
                match (found, self.value(default)) {
                    (Value::Column(it), Value::Literal(default)) => {
                        Value::Column(Column { default: Some(default), ..it })
                    }
                    (Value::Absent, _) => Value::Absent,
                    (Value::Problem(it), _) | (_, Value::Problem(it)) => it.into(),
                    _ => problem("map_get() takes a map, a key and a default"),
                }
            }
            ("has", [it]) => match self.value(it) {
                Value::Column(it) if it.default.is_none() => {
                    Value::Truth(Truth::atom(Atom::null(&it.sql)).not())
                }
                Value::Problem(it) => it.into(),
                Value::Absent => Value::Truth(Truth::known(false)),
                _ => problem("has() asks for an entry of a map"),
            },
            ("datetime", [Node { is: Is::Text(it), .. }]) => match time::datetime(it) {
                Some(it) => Value::Literal(Literal::Moment(text(&it))),
                None => problem("this is no time such as 10/19/2021, 6:29:02 PM"),
            },
            ("seconds" | "minutes" | "hours" | "days" | "weeks" | "months" | "years", [it]) => {
                match self.value(it) {
                    Value::Literal(Literal::Int(n)) => {
                        let sign = if n < 0 { '-' } else { '+' };
                        let n = n.unsigned_abs();
                        let moment = format!("{NOW} {sign} interval '{n} {name}'");
                        Value::Literal(Literal::Moment(moment))
                    }
                    _ => problem("this takes a whole number"),
                }
            }
            ("limit" | "rlimit" | "leftOff", _) => {
                let message = format!("{name}() is no condition but how many rows are wanted");
                Problem::new(at.clone(), message)
                    .hint("leave it out, and say it with --limit")
                    .into()
            }
            ("redact", _) => problem("redact() is no condition: a filter doesn't change rows"),
            _ => {
                let message = format!("KFL has no function {name}() that takes this");
                Problem::new(at.clone(), message).into()
            }
        }
    }

    fn size(&self, node: &'a Node, at: &Range<usize>) -> Value {
        match self.value(node) {
            Value::Literal(Literal::Text(it)) => {
                Value::Literal(Literal::Int(it.chars().count().try_into().unwrap_or(i64::MAX)))
            }
            Value::Column(it) => {
                let it = it.scalar();
                if it.kind != Kind::Text {
                    return Problem::new(at.clone(), "only texts and lists have a size").into();
                }
                let default = match &it.default {
                    Some(Literal::Text(it)) => it.chars().count().try_into().ok().map(Literal::Int),
                    _ => None,
                };
                let sql = format!("char_length({})", it.sql);
                Value::Column(Column { sql, kind: Kind::Number, default, ..it })
            }
            Value::Texts(_, count) => Value::Column(count),
            Value::Lines(it) => Value::Column(Column {
                sql: format!("cardinality({})", it.all),
                kind: Kind::Number,
                nullable: true,
                default: Some(Literal::Int(0)),
                ..it.first
            }),
            Value::Literal(Literal::List(it)) => {
                Value::Literal(Literal::Int(it.len().try_into().unwrap_or(i64::MAX)))
            }
            it @ (Value::Problem(_) | Value::Absent) => it,
            _ => Problem::new(at.clone(), "how many there are is not kept").into(),
        }
    }

    fn method(&self, on: &'a Node, name: &str, arguments: &'a [Node], at: &Range<usize>) -> Value {
        if let ("exists" | "all", [Node { is: Is::Name(one), .. }, condition]) = (name, arguments) {
            return Value::Truth(self.every(on, one, condition, name == "all", at));
        }
        if let ("size", []) = (name, arguments) {
            return self.size(on, at);
        }
        let value = match self.value(on) {
            Value::Json(body, path) => Value::Column(member(&body, &path)),
            // What is missing is `false` to a function of the older KFL.
            Value::Absent if self.older() => nothing(),
            Value::Column(it) if self.older() && it.default.is_none() => {
                Value::Column(Column { default: Some(Literal::Text("false".to_owned())), ..it })
            }
            it => it,
        };
        if let ("json", [], Value::Column(it)) = (name, arguments, &value) {
            return Value::Json(Box::new(it.clone()), Vec::new());
        }
        if let ("json", [], Value::Literal(_)) = (name, arguments, &value) {
            return nothing();
        }
        let place = Place::of(name);
        let problem = |message: String| Value::from(Problem::new(at.clone(), message));
        let (true, [argument]) = (place.is_some() || name == "matches", arguments) else {
            return match name {
                "xml" => problem("xml() is not translated: there is no path into XML".to_owned()),
                _ => problem(format!("KFL has no function .{name}() that takes this")),
            };
        };
        let part = match self.value(argument) {
            Value::Literal(Literal::Text(it)) => it,
            Value::Problem(it) => return it.into(),
            _ => return problem(format!("{name}() takes a text that stands here")),
        };
        let truth = match (value, place) {
            (Value::Problem(it), _) => return it.into(),
            (Value::Absent, _) => Truth::UNKNOWN,
            (Value::Literal(Literal::Text(it)), Some(place)) => {
                Truth::known(place.fold(&it, &part))
            }
            (Value::Literal(Literal::Text(_)), None) => {
                // A regular expression may match what is empty too, and here it can't be tried.
                let message = "whether rows of other protocols match this can't be said";
                let problem = Problem::new(at.clone(), message);
                Truth::problem(problem.hint("say the protocol first, as in http && url.matches(…)"))
            }
            (Value::Column(it), Some(place)) => {
                let it = it.scalar();
                if it.kind != Kind::Text {
                    return problem(format!("`{}` is no text that {name}() can look at", it.name));
                }
                has_part(&it, place, &part)
            }
            (Value::Column(it), None) => {
                let it = it.scalar();
                if it.kind != Kind::Text {
                    return problem(format!("`{}` is no text that {name}() can look at", it.name));
                }
                let (sql, regex) = (it.plain(), text(&part));
                let nullable = it.nullable && it.default.is_none();
                let it = Column { nullable, ..it };
                it.test(format!("{sql} ~ {regex}"), format!("{sql} !~ {regex}"), None)
            }
            _ => return problem(format!("{name}() looks at a text")),
        };
        Value::Truth(truth)
    }

    /// `exists` and `all`: what is said of one of several.
    fn every(
        &self,
        on: &'a Node,
        one: &'a str,
        condition: &'a Node,
        all: bool,
        at: &Range<usize>,
    ) -> Truth {
        match self.value(on) {
            Value::Problem(it) => Truth::problem(it),
            Value::Absent => Truth::UNKNOWN,
            Value::Literal(Literal::List(it)) if it.is_empty() => Truth::known(all),
            Value::Several(columns) => {
                let each = columns.into_iter().map(|column| {
                    let null = Condition::null(&column.sql);
                    let column = Column { default: None, ..column };
                    let inside = Reading {
                        one: Some((one, column)),
                        ..Self::new(self.tables, self.generation, self.uses, self.rows)
                    };
                    let Truth { mut holds, mut fails, .. } = inside.truth(condition);
                    // Where there is none, it is not one of them.
                    let vacuous = if all { &mut holds } else { &mut fails };
                    *vacuous = vacuous.clone().or(null);
                    Truth { holds, fails, total: true, known: None }
                });
                if all { each.fold(Truth::known(true), Truth::and) } else { any_of(each) }
            }
            Value::Lines(lines) if !all => {
                let some = |wanted: &Wanted<'_>| lines.some(wanted);
                some_one(one, condition, &some).unwrap_or_else(|| Truth::problem(too_much(at)))
            }
            Value::Texts(list, _) if !all => {
                let has = |wanted: &Wanted<'_>| match wanted {
                    Wanted::Whole(it) => array_has(&list, it),
                    Wanted::Part(..) => Truth::problem(too_much(at)),
                };
                some_one(one, condition, &has).unwrap_or_else(|| Truth::problem(too_much(at)))
            }
            _ => Truth::problem(too_much(at)),
        }
    }

    /// The column that a word is in the table, with the other columns it needs checked.
    fn column(&self, word: &Word, sql: &str, kind: Kind, default: Option<Literal>) -> Column {
        let table = match self.rows {
            Rows::Of(it) => Some(it),
            Rows::Outside(_) => None,
        };
        let may_be_null = |it: &str| table.and_then(|t| t.field(it)).is_none_or(|it| it.nullable);
        // A `case` without an `else`.
        let nullable =
            sql.starts_with("case ") && !sql.contains(" else ") || columns(sql).any(may_be_null);
        let name = word.name.to_owned();
        Column { name, sql: sql.to_owned(), kind, nullable, default, guard: None }
    }

    /// Why SQL can't be asked of the table: it lacks a column.
    fn lacks(&self, sql: &str, at: &Range<usize>) -> Option<Problem> {
        let Rows::Of(table) = self.rows else { return None };
        let missing = columns(sql).find(|it| table.field(it).is_none())?;
        Some(Problem::new(at.clone(), format!("there is no column {}.{missing} here", table.name)))
    }

    fn name(&self, name: &str, at: &Range<usize>) -> Value {
        if let Some((_, column)) = self.one.as_ref().filter(|it| it.0 == name) {
            return Value::Column(column.clone());
        }
        let table = match self.rows {
            Rows::Of(table) => table.name.as_ref(),
            Rows::Outside(_) => "",
        };
        let Some((word, key)) = find(self.generation, name, table) else {
            return unknown(self.generation, name, at).into();
        };
        let value = match self.rows {
            Rows::Of(table) => self.word(word, &table.name, at),
            Rows::Outside(which) => outside(word, which, at),
        };
        match (key, value) {
            (Some(key), Value::Map(sql)) => self.entry(sql, key, at),
            (_, value) => value,
        }
    }

    /// What a word is in the rows of a table.
    fn word(&self, word: &'static Word, table: &str, at: &Range<usize>) -> Value {
        let of = |it: &str| word.on.contains(&it);
        let here = word.on.is_empty() || of(table);
        if ALSO_HTTP.contains(&table) && of("http") {
            let meant = table == "graphql" && self.uses.graphql;
            if meant && !here {
                return match word.is {
                    Meaning::Table => Value::Truth(Truth::known(true)),
                    Meaning::Flag(..) => Value::Truth(Truth::known(false)),
                    _ => {
                        let message = format!(
                            "`{}` is a column of http, and a GraphQL operation has a row of its \
                             own beside the request's",
                            word.name
                        );
                        let hint = "join them with SQL, by flow_id";
                        Problem::new(at.clone(), message).hint(hint).into()
                    }
                };
            }
            if !meant {
                // The request has a row in `http`, of which this is asked.
                return Value::Absent;
            }
        }
        if table == "http" && word.on == ["grpc"] {
            return self.grpc_in_http(word, at);
        }
        if table == "http" && word.on == ["graphql"] {
            let message = "whether a request of HTTP carries GraphQL is not in its row";
            let problem = Condition::Problem(Box::new(Problem::new(at.clone(), message)));
            // The operation's own row is the one that matches.
            let truth = Truth { holds: Condition::False, fails: problem, total: true, known: None };
            return Value::Truth(truth);
        }
        if here { self.meaning(word, at) } else { self.elsewhere(word, at) }
    }

    /// What gRPC's words are in a row of `http`: a call has a row of its own in `grpc`, which is
    /// the one that matches unless the expression asks for HTTP's columns too.
    fn grpc_in_http(&self, word: &Word, at: &Range<usize>) -> Value {
        let Some(here) = GRPC_AS_HTTP.iter().find(|it| it.name == word.name) else {
            return self.elsewhere(word, at);
        };
        let value = self.meaning(here, at);
        match value {
            Value::Truth(truth) if !self.uses.http => {
                Value::Truth(Truth { holds: Condition::False, ..truth })
            }
            _ if !self.uses.http => self.elsewhere(word, at),
            it => it,
        }
    }

    /// What a word is in rows that it isn't of.
    fn elsewhere(&self, word: &Word, at: &Range<usize>) -> Value {
        let flag = matches!(word.is, Meaning::Table | Meaning::Flag(..));
        if self.older() && !flag {
            return Value::Absent;
        }
        match word.is {
            Meaning::Table | Meaning::Flag(..) => Value::Truth(Truth::known(false)),
            Meaning::Nothing(why) => kept_not(word, why, at).into(),
            _ if word.name == "grpc_status" => {
                let message = "the original's pages disagree on what grpc_status is of other rows";
                Problem::new(at.clone(), message).hint("write grpc && grpc_status …").into()
            }
            Meaning::Number(_) | Meaning::Always(_) | Meaning::Span(..) => {
                Value::Literal(Literal::Int(0))
            }
            Meaning::Columns(_) | Meaning::Words(..) | Meaning::Texts(..) => {
                Value::Literal(Literal::List(Vec::new()))
            }
            Meaning::Map(_) => Value::Map(None),
            _ => Value::Literal(Literal::Text(String::new())),
        }
    }

    /// What a word is in rows that it is of.
    fn meaning(&self, word: &Word, at: &Range<usize>) -> Value {
        let lacks = match word.is {
            Meaning::Flag(sql, _)
            | Meaning::Text(sql)
            | Meaning::Prefixed(_, sql)
            | Meaning::Loose(sql)
            | Meaning::Number(sql)
            | Meaning::Span(sql, _)
            | Meaning::Time(sql)
            | Meaning::Known(_, sql)
            | Meaning::Map(sql) => self.lacks(sql, at),
            Meaning::Either(a, b) | Meaning::Words(a, b, _) | Meaning::Texts(a, b) => {
                self.lacks(a, at).or_else(|| self.lacks(b, at))
            }
            Meaning::Columns(all) => all.iter().find_map(|it| self.lacks(it, at)),
            Meaning::Table
            | Meaning::Protocol
            | Meaning::Always(_)
            | Meaning::Outside(_)
            | Meaning::Nothing(_) => None,
        };
        if let Some(problem) = lacks {
            return problem.into();
        }
        let empty = || Some(Literal::Text(String::new()));
        let zero = || Some(Literal::Int(0));
        match word.is {
            Meaning::Table => Value::Truth(Truth::known(true)),
            Meaning::Flag(holds, fails) => {
                let column = self.column(word, holds, Kind::Text, None);
                let mut truth = Truth::atom(Atom {
                    holds: holds.to_owned(),
                    fails: fails.to_owned(),
                    nullable: Vec::new(),
                });
                if column.nullable {
                    let null = columns(holds).map(|it| Condition::null(&format!("${it}")));
                    truth.fails = null.fold(truth.fails, Condition::or);
                }
                Value::Truth(truth)
            }
            Meaning::Text(sql) => Value::Column(self.column(word, sql, Kind::Text, empty())),
            Meaning::Prefixed(before, sql) => {
                Value::Column(self.column(word, sql, Kind::Prefixed(before), empty()))
            }
            Meaning::Loose(sql) => Value::Column(self.column(word, sql, Kind::Loose, empty())),
            Meaning::Either(a, b) => Value::Column(self.column(word, a, Kind::Either(b), empty())),
            Meaning::Known(text, sql) => {
                Value::Column(self.column(word, sql, Kind::Known(text), empty()))
            }
            Meaning::Number(sql) => Value::Column(self.column(word, sql, Kind::Number, zero())),
            Meaning::Span(sql, unit) => {
                Value::Column(self.column(word, sql, Kind::Span(unit), zero()))
            }
            Meaning::Time(sql) => Value::Column(self.column(word, sql, Kind::Moment, None)),
            Meaning::Protocol => Value::Protocol,
            Meaning::Always(it) => Value::Literal(
                it.parse().map_or_else(|_| Literal::Text(it.to_owned()), Literal::Int),
            ),
            Meaning::Columns(all) => {
                let column = |sql: &&str| self.column(word, sql, Kind::Text, empty());
                Value::Several(all.iter().map(column).collect())
            }
            Meaning::Words(first, all, number) => {
                let first = self.column(word, first, Kind::Text, empty());
                Value::Lines(Box::new(Lines { first, all, word: number }))
            }
            Meaning::Texts(list, count) => Value::Texts(
                self.column(word, list, Kind::Text, None),
                self.column(word, count, Kind::Number, zero()),
            ),
            Meaning::Map(sql) => Value::Map(Some(sql)),
            Meaning::Outside(_) if OUTSIDE.contains(&word.name) => {
                Value::Truth(Truth::known(false))
            }
            Meaning::Outside(why) | Meaning::Nothing(why) => kept_not(word, why, at).into(),
        }
    }

    /// Whether the protocol of these rows is called so.
    fn is_protocol(&self, name: &str, at: &Range<usize>) -> Truth {
        let words = words(self.generation);
        let flags = words.iter().filter(|it| matches!(it.is, Meaning::Table | Meaning::Flag(..)));
        let mut known = flags.filter(|it| !it.on.is_empty()).filter(|it| {
            it.name.eq_ignore_ascii_case(name)
                || it.on.iter().any(|it| it.eq_ignore_ascii_case(name))
        });
        let Rows::Of(table) = self.rows else { return Truth::known(false) };
        match known.next() {
            // What HTTP carries is asked in the request's own row.
            Some(word) if ALSO_HTTP.contains(&&*table.name) && word.on.contains(&"http") => {
                Truth::UNKNOWN
            }
            Some(word) => Truth::known(word.on.contains(&table.name.as_ref())),
            None => {
                let message = format!("{name:?} is not the name of a protocol that is known here");
                Truth::problem(Problem::new(at.clone(), message))
            }
        }
    }
}

/// What names the original gives to rows that a filter doesn't see, each with what it is a kind of.
pub(super) const OUTSIDE: [&str; 8] =
    ["tcp", "udp", "conn", "tcp_conn", "udp_conn", "flow", "tcp_flow", "udp_flow"];

/// What a word is in rows that a filter doesn't see.
fn outside(word: &Word, which: Option<&str>, at: &Range<usize>) -> Value {
    let kind = |it: &str| it.rsplit('_').next().map(str::to_owned);
    match word.is {
        Meaning::Table => Value::Truth(Truth::known(false)),
        Meaning::Flag(..) if !word.on.is_empty() => Value::Truth(Truth::known(false)),
        Meaning::Outside(_) if OUTSIDE.contains(&word.name) => {
            let same = which == Some(word.name);
            let wider = which.is_some_and(|it| kind(it).as_deref() == Some(word.name));
            Value::Truth(Truth::known(same || wider))
        }
        Meaning::Outside(why) | Meaning::Nothing(why) => kept_not(word, why, at).into(),
        _ => Problem::new(at.clone(), format!("`{}` is asked of such rows", word.name)).into(),
    }
}

fn kept_not(word: &Word, why: &str, at: &Range<usize>) -> Problem {
    Problem::new(at.clone(), format!("`{}` is not translated: {why}", word.name))
}

/// The words of a generation.
pub(super) const fn words(generation: Generation) -> &'static [Word] {
    match generation {
        Generation::Newer => NEWER,
        Generation::Older => OLDER,
    }
}

/// The word of that name, and what follows it, if it is a map and the name goes on.
pub(super) fn find<'n>(
    generation: Generation,
    name: &'n str,
    table: &str,
) -> Option<(&'static Word, Option<&'n str>)> {
    let words = words(generation);
    let mut same = words.iter().filter(|it| it.name == name);
    let first = same.next();
    let here = |it: &Word| it.on.contains(&table);
    if let Some(word) = first.filter(|it| here(it)).or_else(|| same.find(|it| here(it))).or(first) {
        return Some((word, None));
    }
    let cuts = name.rmatch_indices('.').map(|it| it.0);
    cuts.filter_map(|cut| name.get(..cut).zip(name.get(cut + 1..))).find_map(|(map, key)| {
        let word = words.iter().find(|it| it.name == map && matches!(it.is, Meaning::Map(_)))?;
        Some((word, Some(key)))
    })
}

fn unknown(generation: Generation, name: &str, at: &Range<usize>) -> Problem {
    let problem = Problem::new(at.clone(), format!("KFL has no `{name}`"));
    match nearest(name, words(generation).iter().map(|it| it.name)) {
        Some(it) => problem.hint(format!("did you mean {it}?")),
        None => problem,
    }
}

fn too_much(at: &Range<usize>) -> Problem {
    Problem::new(at.clone(), "of one of these it can only be said what text it is or contains here")
}

fn unlike(a: &Literal, b: &Literal, at: &Range<usize>) -> Problem {
    Problem::new(at.clone(), format!("{} can't be compared with {}", a.what(), b.what()))
}

fn any_of(each: impl Iterator<Item = Truth>) -> Truth {
    each.fold(Truth::known(false), Truth::or)
}

fn array_has(list: &Column, it: &str) -> Truth {
    let call = format!("array_has({}, {})", list.sql, text(it));
    let fails = format!("not {call}");
    list.test(call, fails, Some(false))
}

/// What is looked for in one of several texts.
#[derive(Debug)]
enum Wanted<'a> {
    Whole(&'a str),
    Part(Place, &'a str),
}

/// `some` of what `condition` says of `one`, where it only looks at the text.
fn some_one(one: &str, condition: &Node, some: &dyn Fn(&Wanted<'_>) -> Truth) -> Option<Truth> {
    let is_one = |it: &Node| matches!(&it.is, Is::Name(name) if name == one);
    match &condition.is {
        Is::Group(it) => some_one(one, it, some),
        Is::Binary(Op::Or, a, b) => Some(some_one(one, a, some)?.or(some_one(one, b, some)?)),
        Is::Binary(Op::Eq, a, b) => match (&a.is, &b.is) {
            (Is::Text(it), _) if is_one(b) => Some(some(&Wanted::Whole(it))),
            (_, Is::Text(it)) if is_one(a) => Some(some(&Wanted::Whole(it))),
            _ => None,
        },
        Is::Call(Some(on), name, arguments) if is_one(on) => {
            let (place, [Node { is: Is::Text(it), .. }]) = (Place::of(name)?, arguments.as_slice())
            else {
                return None;
            };
            Some(some(&Wanted::Part(place, it)))
        }
        _ => None,
    }
}

impl Lines {
    /// Whether the word of some line is what is wanted. The first line's has a column of its own;
    /// the others are looked for in the lines, whose words no blank is in.
    fn some(&self, wanted: &Wanted<'_>) -> Truth {
        let of_first = match wanted {
            Wanted::Whole(it) => {
                compare(Op::Eq, &self.first, &Literal::Text((*it).to_owned()), &(0..0))
            }
            Wanted::Part(place, it) => has_part(&self.first, *place, it),
        };
        let escaped = |it: &str| {
            let mut out = String::new();
            for char in it.chars() {
                if char.is_ascii_punctuation() && !"_-/".contains(char) {
                    out.push('\\');
                }
                out.push(char);
            }
            out
        };
        let any = "[^ ]*";
        let word = match wanted {
            Wanted::Whole(it) => escaped(it),
            Wanted::Part(Place::Start, it) => format!("{}{any}", escaped(it)),
            Wanted::Part(Place::End, it) => format!("{any}{}", escaped(it)),
            Wanted::Part(Place::Anywhere, it) => format!("{any}{}{any}", escaped(it)),
        };
        let before = "[^ ]+ ".repeat(self.word);
        let regex = text(&format!("(^|  ){before}{word}( |$)"));
        let joined = format!("array_to_string({}, '  ')", self.all);
        let several = format!("cardinality({}) > 1", self.all);
        let not_several = format!("coalesce(cardinality({}), 0) < 2", self.all);
        let among = Truth::atom(Atom {
            holds: format!("{joined} ~ {regex}"),
            fails: format!("{joined} !~ {regex}"),
            nullable: Vec::new(),
        });
        let several =
            Truth::atom(Atom { holds: several, fails: not_several, nullable: Vec::new() });
        of_first.or(several.and(among))
    }
}

/// What a function or a path of the older KFL comes to that finds nothing.
fn nothing() -> Value {
    Value::Literal(Literal::Text("false".to_owned()))
}

/// A member of a body that is JSON.
fn json(body: Box<Column>, mut path: Vec<String>, member: String) -> Value {
    path.push(member);
    Value::Json(body, path)
}

/// The member as text; what isn't there is `false` in the older KFL.
fn member(body: &Column, path: &[String]) -> Column {
    let path: Vec<_> = std::iter::once(&body.sql).chain(path).cloned().collect();
    Column {
        name: format!("{}.json()", body.name),
        sql: format!("json_as_text({})", path.join(", ")),
        kind: Kind::Text,
        nullable: true,
        default: Some(Literal::Text("false".to_owned())),
        guard: None,
    }
}

/// A value that can be calculated with.
fn number(value: Value) -> Option<Column> {
    match value {
        Value::Column(it) => Some(it.scalar()).filter(|it| it.kind == Kind::Number),
        Value::Literal(it @ (Literal::Int(_) | Literal::Float(_))) => Some(Column {
            name: it.sql(),
            sql: it.sql(),
            kind: Kind::Number,
            nullable: false,
            default: None,
            guard: None,
        }),
        _ => None,
    }
}

/// The older KFL makes texts of what it finds equal and numbers of what it puts in order.
fn older_comparison(op: Op, column: &Column, value: Literal, at: &Range<usize>) -> Truth {
    let equality = matches!(op, Op::Eq | Op::Ne);
    let as_number = |it: &str| it.trim().parse().map_or(Literal::Int(0), Literal::Float);
    match (column.kind, value) {
        (Kind::Text, it @ (Literal::Int(_) | Literal::Float(_) | Literal::Flag(_))) if equality => {
            compare(op, column, &Literal::Text(it.sql()), at)
        }
        (Kind::Text, value @ (Literal::Text(_) | Literal::Int(_) | Literal::Float(_)))
            if !equality =>
        {
            let value = match value {
                Literal::Text(it) => as_number(&it),
                it => it,
            };
            let guard = (column.nullable && column.default.is_none()).then(|| column.sql.clone());
            let sql = format!("coalesce(try_cast({} as double), 0)", column.sql);
            let column = Column {
                sql,
                kind: Kind::Number,
                nullable: false,
                default: None,
                guard,
                ..column.clone()
            };
            compare(op, &column, &value, at)
        }
        (Kind::Number, Literal::Text(it)) if equality => match it.parse() {
            Ok(number) if it == format!("{number}") => {
                compare(op, column, &Literal::Int(number), at)
            }
            // No number is written so.
            _ => Truth::known(op == Op::Ne),
        },
        (Kind::Number | Kind::Span(_), Literal::Text(it)) => {
            compare(op, column, &as_number(&it), at)
        }
        (Kind::Moment, Literal::Int(ms)) => match time::of_milliseconds(ms) {
            Some(it) => compare(op, column, &Literal::Moment(text(&it)), at),
            None => Truth::problem(Problem::new(at.clone(), "this is no time in milliseconds")),
        },
        (_, value) => compare(op, column, &value, at),
    }
}

/// This moment, as SQL says it: when the filter is read.
const NOW: &str = "now()";
