//! Values, and what comparing them means in SQL.
use super::Problem;
use super::condition::{Atom, Condition, Truth};
use super::read::Op;

/// A value that stands in the text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Literal {
    Text(String),
    Int(i64),
    Float(f64),
    Flag(bool),
    /// A regular expression, which the older KFL compares with.
    Regex(String),
    /// A moment, as RFC 3339 or as SQL that comes to one.
    Moment(String),
    /// A span of time in nanoseconds.
    Span(i128),
    List(Vec<Self>),
}

impl Literal {
    /// What it is, for people.
    pub(super) const fn what(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Flag(_) => "true or false",
            Self::Regex(_) => "a regular expression",
            Self::Moment(_) => "a moment",
            Self::Span(_) => "a span of time",
            Self::List(_) => "a list",
        }
    }

    /// As SQL.
    pub(super) fn sql(&self) -> String {
        match self {
            Self::Text(it) | Self::Regex(it) => text(it),
            Self::Int(it) => it.to_string(),
            Self::Float(it) => format!("{it:?}"),
            Self::Flag(it) => it.to_string(),
            Self::Moment(it) => it.clone(),
            Self::Span(it) => span(*it),
            Self::List(items) => {
                let items: Vec<_> = items.iter().map(Self::sql).collect();
                format!("({})", items.join(", "))
            }
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "compared with what was written")]
            Self::Int(it) => Some(*it as f64),
            Self::Float(it) => Some(*it),
            _ => None,
        }
    }

    /// How it compares with another of its kind.
    fn order(&self, other: &Self) -> Option<std::cmp::Ordering> {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => Some(a.cmp(b)),
            (Self::Flag(a), Self::Flag(b)) => Some(a.cmp(b)),
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(b)),
            (a, b) => a.number()?.partial_cmp(&b.number()?),
        }
    }
}

/// A text of SQL.
pub(super) fn text(it: &str) -> String {
    format!("'{}'", it.replace('\'', "''"))
}

/// Nanoseconds as the filter language writes them.
fn span(ns: i128) -> String {
    const UNITS: [(i128, &str); 5] = [
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
    ];
    if ns == 0 {
        return "0".to_owned();
    }
    let unit = UNITS.iter().find(|it| ns % it.0 == 0);
    // A person says 90s, not 1.5m; and 5s, not 5000ms.
    unit.map_or_else(|| format!("{ns}ns"), |(scale, unit)| format!("{}{unit}", ns / scale))
}

/// What a column of rows yields.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Column {
    /// What it is called in KFL.
    pub(super) name: String,
    pub(super) sql: String,
    pub(super) kind: Kind,
    pub(super) nullable: bool,
    /// What KFL has where it is null; if nothing, then an error.
    pub(super) default: Option<Literal>,
    /// SQL that must not be null, or else it is missing.
    pub(super) guard: Option<String>,
}

/// What values of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    /// Nanoseconds; in KFL so many of them are 1.
    Span(i64),
    Moment,
    /// The original has this before the column's text.
    Prefixed(&'static str),
    /// Case and underscores don't matter.
    Loose,
    /// The second column, for values in capitals.
    Either(&'static str),
    /// Only whether it is this text can be said; its SQL is that condition.
    Known(&'static str),
}

impl Kind {
    const fn what(self) -> &'static str {
        match self {
            Self::Number | Self::Span(_) => "a number",
            Self::Moment => "a moment",
            _ => "a text",
        }
    }
}

impl Column {
    /// Its value, with the default in it.
    pub(super) fn plain(&self) -> String {
        match &self.default {
            Some(default) if self.nullable => format!("coalesce({}, {})", self.sql, default.sql()),
            _ => self.sql.clone(),
        }
    }

    fn null(&self) -> Vec<String> {
        if self.nullable { vec![self.sql.clone()] } else { Vec::new() }
    }

    /// A test of it, and its opposite. `default` is what the test says of the default.
    pub(super) fn test(&self, holds: String, fails: String, default: Option<bool>) -> Truth {
        let mut truth = Truth::atom(Atom { holds, fails, nullable: self.null() });
        if self.nullable && default.is_some() {
            truth.known = Some(Condition::True);
        }
        if self.nullable {
            let null = Condition::null(&self.sql);
            match default {
                Some(true) => truth.holds = truth.holds.or(null),
                Some(false) => truth.fails = truth.fails.or(null),
                None => {}
            }
            truth.total = default.is_some();
        }
        match &self.guard {
            None => truth,
            Some(guard) => {
                let there = Condition::not_null(guard);
                Truth {
                    holds: there.clone().and(truth.holds),
                    fails: there.clone().and(truth.fails),
                    total: false,
                    known: Some(there),
                }
            }
        }
    }

    /// The same as a text, or else a number, that functions can be called on.
    pub(super) fn scalar(self) -> Self {
        let sql = match self.kind {
            Kind::Prefixed(before) => format!("concat({}, {})", text(before), self.sql),
            Kind::Span(unit) => format!("{} / {unit}", self.sql),
            _ => return self,
        };
        let kind = if matches!(self.kind, Kind::Span(_)) { Kind::Number } else { Kind::Text };
        Self { sql, kind, ..self }
    }
}

/// The operator of SQL, and its opposite's.
const fn sql_of(op: Op) -> Option<(&'static str, &'static str)> {
    Some(match op {
        Op::Eq => ("=", "<>"),
        Op::Ne => ("<>", "="),
        Op::Lt => ("<", ">="),
        Op::Le => ("<=", ">"),
        Op::Gt => (">", "<="),
        Op::Ge => (">=", "<"),
        _ => return None,
    })
}

/// The operator with its sides changed.
pub(super) const fn turned(op: Op) -> Op {
    match op {
        Op::Lt => Op::Gt,
        Op::Le => Op::Ge,
        Op::Gt => Op::Lt,
        Op::Ge => Op::Le,
        it => it,
    }
}

/// Whether two values of the text compare so; `None` if they can't be compared.
pub(super) fn fold(op: Op, a: &Literal, b: &Literal) -> Option<bool> {
    let order = a.order(b)?;
    Some(match op {
        Op::Eq => order.is_eq(),
        Op::Ne => order.is_ne(),
        Op::Lt => order.is_lt(),
        Op::Le => order.is_le(),
        Op::Gt => order.is_gt(),
        Op::Ge => order.is_ge(),
        _ => return None,
    })
}

/// A column compared with a value. `at` is where, for what can't be said.
pub(super) fn compare(
    op: Op,
    column: &Column,
    value: &Literal,
    at: &std::ops::Range<usize>,
) -> Truth {
    let Some((is, is_not)) = sql_of(op) else {
        return Truth::problem(Problem::new(at.clone(), "this is no comparison"));
    };
    let equality = matches!(op, Op::Eq | Op::Ne);
    let only_equality = |what: &str| {
        let message =
            format!("`{}` is {what}, so it can only be compared with == and !=", column.name);
        Truth::problem(Problem::new(at.clone(), message))
    };
    let default = column.default.as_ref().and_then(|it| fold(op, it, value));
    let plain = |sql: &str, value: &Literal| {
        let value = value.sql();
        column.test(format!("{sql} {is} {value}"), format!("{sql} {is_not} {value}"), default)
    };
    match (column.kind, value) {
        (Kind::Text, Literal::Text(_))
        | (Kind::Number, Literal::Int(_) | Literal::Float(_))
        | (Kind::Moment, Literal::Moment(_)) => plain(&column.sql, value),
        (Kind::Span(unit), Literal::Int(_) | Literal::Float(_)) => {
            let ns = match value {
                Literal::Int(it) => i128::from(*it) * i128::from(unit),
                #[expect(clippy::cast_possible_truncation, reason = "saturates, as a bound may")]
                #[expect(clippy::cast_precision_loss, reason = "a unit is far below 2^53")]
                it => (it.number().unwrap_or_default() * unit as f64).round() as i128,
            };
            plain(&column.sql, &Literal::Span(ns))
        }
        (Kind::Prefixed(before), Literal::Text(it)) if equality => {
            let head = it.get(..before.len()).filter(|it| it.eq_ignore_ascii_case(before));
            match head.and_then(|_| it.get(before.len()..)) {
                Some(rest) => plain(&column.sql, &Literal::Text(rest.to_owned())),
                // No row's text begins otherwise.
                None if it.is_empty() => {
                    let null = Truth::atom(Atom::null(&column.sql));
                    if op == Op::Eq { null } else { null.not() }
                }
                None => Truth::known(op == Op::Ne),
            }
        }
        (Kind::Loose, Literal::Text(it)) if equality => {
            let loose = it.replace('_', "").to_lowercase();
            plain(&format!("lower({})", column.sql), &Literal::Text(loose))
        }
        (Kind::Either(second), Literal::Text(it)) if equality => {
            let capitals =
                it.chars().any(char::is_uppercase) && !it.chars().any(char::is_lowercase);
            let sql = if capitals { second } else { &column.sql };
            let column = Column { sql: sql.to_owned(), ..column.clone() };
            compare(op, &Column { kind: Kind::Text, ..column }, value, at)
        }
        (Kind::Known(known), Literal::Text(it)) if equality => {
            if it != known {
                let message = format!("whether `{}` is {it:?} can't be said", column.name);
                let hint = format!("only whether it is {known:?}");
                return Truth::problem(Problem::new(at.clone(), message).hint(hint));
            }
            let truth = column.test(column.sql.clone(), format!("not {}", column.sql), None);
            if op == Op::Eq { truth } else { truth.not() }
        }
        (Kind::Prefixed(_) | Kind::Loose | Kind::Either(_) | Kind::Known(_), Literal::Text(_)) => {
            only_equality("a text of the original's own wording")
        }
        (Kind::Text, Literal::Regex(_)) if equality => {
            let (is, is_not) = if op == Op::Eq { ("~", "!~") } else { ("!~", "~") };
            let (sql, regex) = (column.plain(), value.sql());
            let column =
                Column { nullable: column.default.is_none() && column.nullable, ..column.clone() };
            column.test(format!("{sql} {is} {regex}"), format!("{sql} {is_not} {regex}"), None)
        }
        (Kind::Number, Literal::Regex(_)) if equality => {
            let sql = format!("cast({} as varchar)", column.plain());
            compare(
                op,
                &Column { sql, kind: Kind::Text, default: None, ..column.clone() },
                value,
                at,
            )
        }
        (kind, value) => {
            let message = format!(
                "`{}` is {}, and it is compared with {}",
                column.name,
                kind.what(),
                value.what()
            );
            Truth::problem(Problem::new(at.clone(), message))
        }
    }
}

/// Two columns compared.
pub(super) fn compare_columns(
    op: Op,
    a: &Column,
    b: &Column,
    at: &std::ops::Range<usize>,
) -> Truth {
    let Some((is, is_not)) = sql_of(op) else {
        return Truth::problem(Problem::new(at.clone(), "this is no comparison"));
    };
    let comparable =
        a.kind == b.kind && !matches!(a.kind, Kind::Loose | Kind::Either(_) | Kind::Known(_));
    if !comparable {
        let message = format!("`{}` and `{}` can't be compared here", a.name, b.name);
        return Truth::problem(Problem::new(at.clone(), message));
    }
    let (left, right) = (a.plain(), b.plain());
    let missing = [a, b].into_iter().filter(|it| it.nullable && it.default.is_none());
    Truth::atom(Atom {
        holds: format!("{left} {is} {right}"),
        fails: format!("{left} {is_not} {right}"),
        nullable: missing.map(|it| it.sql.clone()).collect(),
    })
}

/// Whether a text has a part: at its start, its end, or anywhere.
pub(super) fn has_part(column: &Column, place: Place, part: &str) -> Truth {
    let default = match &column.default {
        Some(Literal::Text(it)) => Some(place.fold(it, part)),
        _ => None,
    };
    let sql = &column.sql;
    let quoted = text(part);
    if part.contains(['%', '_', '\\']) {
        let call = match place {
            Place::Anywhere => {
                let at = format!("strpos({sql}, {quoted})");
                return column.test(format!("{at} > 0"), format!("{at} = 0"), default);
            }
            Place::Start => format!("starts_with({sql}, {quoted})"),
            Place::End => format!("ends_with({sql}, {quoted})"),
        };
        let fails = format!("not {call}");
        return column.test(call, fails, default);
    }
    let pattern = match place {
        Place::Anywhere => format!("%{part}%"),
        Place::Start => format!("{part}%"),
        Place::End => format!("%{part}"),
    };
    let pattern = text(&pattern);
    column.test(format!("{sql} like {pattern}"), format!("{sql} not like {pattern}"), default)
}

/// Where a part of a text may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Start,
    End,
    Anywhere,
}

impl Place {
    /// What the method of that name looks for.
    pub(super) fn of(method: &str) -> Option<Self> {
        Some(match method {
            "startsWith" => Self::Start,
            "endsWith" => Self::End,
            "contains" => Self::Anywhere,
            _ => return None,
        })
    }

    pub(super) fn fold(self, text: &str, part: &str) -> bool {
        match self {
            Self::Start => text.starts_with(part),
            Self::End => text.ends_with(part),
            Self::Anywhere => text.contains(part),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_written_as_people_do() {
        let check = |ns: i128, written: &str| assert_eq!(span(ns), written);
        check(5_000_000_000, "5s");
        check(90_000_000_000, "90s");
        check(120_000_000_000, "2m");
        check(1_500_000, "1500us");
        check(7, "7ns");
        check(0, "0");
    }

    #[test]
    fn a_default_decides_where_a_column_is_null() {
        let column = |default| Column {
            name: "status_code".to_owned(),
            sql: "$status".to_owned(),
            kind: Kind::Number,
            nullable: true,
            default,
            guard: None,
        };
        let with = column(Some(Literal::Int(0)));
        let it = compare(Op::Ne, &with, &Literal::Int(200), &(0..1));
        assert_eq!(it.holds.sql(None), "status <> 200 or status is null");
        assert_eq!(it.fails.sql(None), "status = 200");
        let it = compare(Op::Ge, &with, &Literal::Int(500), &(0..1));
        assert_eq!(it.holds.sql(None), "status >= 500");
        assert_eq!(it.fails.sql(None), "status < 500 or status is null");
        let it = compare(Op::Ne, &column(None), &Literal::Int(200), &(0..1));
        assert_eq!(it.holds.sql(None), "status <> 200");
    }

    #[test]
    fn signs_of_patterns_in_a_text_are_no_pattern() {
        let column = Column {
            name: "path".to_owned(),
            sql: "$path".to_owned(),
            kind: Kind::Text,
            nullable: false,
            default: None,
            guard: None,
        };
        let check = |place, part: &str, sql: &str| {
            assert_eq!(has_part(&column, place, part).holds.sql(None), sql);
        };
        check(Place::Start, "/api", "path like '/api%'");
        check(Place::Anywhere, "it's", "path like '%it''s%'");
        check(Place::Anywhere, "50%", "strpos(path, '50%') > 0");
        check(Place::End, "a_b", "ends_with(path, 'a_b')");
    }
}
