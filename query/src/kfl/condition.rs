//! What must hold of a row, as SQL.
//!
//! KFL and SQL disagree about what is missing. In the newer KFL it is `""`, `0` or `false`, in the
//! older one it makes the expression false, and so does an error; in SQL it is null, which is
//! neither true nor false. So an expression is kept as two conditions, when it is true and when it
//! is false, and `!` swaps them. Both are made of atoms by `and` and `or` only: a row for which an
//! atom is null doesn't match, whatever stands around it.
use super::Problem;

/// When an expression is true, and when it is false. It is neither where it fails.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Truth {
    pub(super) holds: Condition,
    pub(super) fails: Condition,
    /// Whether it is always one of the two.
    pub(super) total: bool,
    /// Of a single comparison: what must hold for it to be one of the two.
    pub(super) known: Option<Condition>,
}

impl Truth {
    pub(super) const fn known(it: bool) -> Self {
        let (holds, fails) = if it {
            (Condition::True, Condition::False)
        } else {
            (Condition::False, Condition::True)
        };
        Self { holds, fails, total: true, known: None }
    }

    /// Neither true nor false: what it is about is not there.
    pub(super) const UNKNOWN: Self =
        Self { holds: Condition::False, fails: Condition::False, total: false, known: None };

    pub(super) fn problem(problem: Problem) -> Self {
        let it = Condition::Problem(Box::new(problem));
        Self { holds: it.clone(), fails: it, total: true, known: None }
    }

    pub(super) fn atom(atom: Atom) -> Self {
        let total = atom.nullable.is_empty();
        let there = atom.nullable.iter().map(|it| Condition::not_null(it));
        let known = there.fold(Condition::True, Condition::and);
        let fails = Condition::Atom(atom.flipped());
        Self { holds: Condition::Atom(atom), fails, total, known: Some(known) }
    }

    pub(super) fn not(self) -> Self {
        Self { holds: self.fails, fails: self.holds, ..self }
    }

    /// As CEL's `&&`: false beside an error is false.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            holds: self.holds.and(other.holds),
            fails: self.fails.or(other.fails),
            total: self.total && other.total,
            known: None,
        }
    }

    /// As CEL's `||`.
    pub(super) fn or(self, other: Self) -> Self {
        self.not().and(other.not()).not()
    }

    /// As the older KFL's `and`: what is missing on the left makes all of it neither.
    pub(super) fn and_then(self, other: Self) -> Self {
        let fails = self.fails.or(self.holds.clone().and(other.fails));
        let holds = self.holds.and(other.holds);
        Self { holds, fails, total: self.total && other.total, known: None }
    }

    /// As the older KFL's `or`, likewise.
    pub(super) fn or_else(self, other: Self) -> Self {
        let fails = self.fails.clone().and(other.fails);
        let total = self.total && other.total;
        let holds = match self.known {
            _ if self.total => self.holds.or(other.holds),
            Some(known) => {
                let holds = self.holds.without(&known);
                known.and(holds.or(other.holds))
            }
            None => self.holds.or(self.fails.and(other.holds)),
        };
        Self { holds, fails, total, known: None }
    }

    /// As the older KFL's parentheses: what is neither inside is false outside.
    pub(super) fn settled(self) -> Self {
        if self.total {
            return self;
        }
        Self { fails: self.holds.complement(), holds: self.holds, total: true, known: None }
    }

    /// The one if this is true, the other if it is false.
    pub(super) fn choose(self, yes: Self, no: Self) -> Self {
        Self {
            holds: self.holds.clone().and(yes.holds).or(self.fails.clone().and(no.holds)),
            fails: self.holds.and(yes.fails).or(self.fails.and(no.fails)),
            total: self.total && yes.total && no.total,
            known: None,
        }
    }
}

/// What must hold of a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Condition {
    True,
    False,
    /// It can't be said.
    Problem(Box<Problem>),
    Atom(Atom),
    All(Vec<Self>),
    Any(Vec<Self>),
}

/// A condition of SQL, and its opposite: both are null if any of `nullable` is. Columns are written
/// with a `$` before them, for whether their table is named shows only in the end.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Atom {
    pub(super) holds: String,
    pub(super) fails: String,
    pub(super) nullable: Vec<String>,
}

impl Atom {
    pub(super) fn null(sql: &str) -> Self {
        let (holds, fails) = (format!("{sql} is null"), format!("{sql} is not null"));
        Self { holds, fails, nullable: Vec::new() }
    }

    fn flipped(&self) -> Self {
        Self {
            holds: self.fails.clone(),
            fails: self.holds.clone(),
            nullable: self.nullable.clone(),
        }
    }

    /// Whether it is null, and so not true, where the table of its columns is another.
    fn names_its_table(&self) -> bool {
        // What makes something of null.
        let lenient = ["coalesce(", "case ", "concat", " is null", "array_to_string("];
        self.holds.contains('$') && !lenient.iter().any(|it| self.holds.contains(it))
    }
}

impl Condition {
    pub(super) fn null(sql: &str) -> Self {
        Self::Atom(Atom::null(sql))
    }

    pub(super) fn not_null(sql: &str) -> Self {
        Self::Atom(Atom::null(sql).flipped())
    }

    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::False, _) | (_, Self::False) => Self::False,
            (Self::True, it) | (it, Self::True) => it,
            (it @ Self::Problem(_), _) | (_, it @ Self::Problem(_)) => it,
            (a, b) => {
                let mut all = Vec::new();
                a.into_all(&mut all);
                b.into_all(&mut all);
                // `(a or b) and b` is `b`.
                let said = all.clone();
                all.retain(|it| match it {
                    Self::Any(any) => !any.iter().any(|it| said.contains(it)),
                    _ => true,
                });
                for it in &mut all {
                    it.drop_null(&said);
                }
                one_or(all, Self::All)
            }
        }
    }

    pub(super) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::True, _) | (_, Self::True) => Self::True,
            (Self::False, it) | (it, Self::False) => it,
            (it @ Self::Problem(_), _) | (_, it @ Self::Problem(_)) => it,
            (a, b) => {
                let mut any = Vec::new();
                a.into_any(&mut any);
                b.into_any(&mut any);
                let said = any.clone();
                any.retain(|it| match it {
                    Self::All(all) => !all.iter().any(|it| said.contains(it)),
                    _ => true,
                });
                one_or(any, Self::Any)
            }
        }
    }

    /// Drops that something is null from what may hold, beside what it can't be null for.
    fn drop_null(&mut self, beside: &[Self]) {
        let Self::Any(any) = self else { return };
        let is_there = |null: &Self| {
            beside.iter().any(|it| match it {
                Self::Atom(it) => it.nullable.iter().any(|it| *null == Self::null(it)),
                _ => false,
            })
        };
        if any.iter().any(|it| !is_there(it)) {
            any.retain(|it| !is_there(it));
        }
        if let [_] = any.as_slice() {
            *self = any.swap_remove(0);
        }
    }

    /// The same beside what holds anyway.
    fn without(self, known: &Self) -> Self {
        match self {
            Self::All(mut all) => {
                all.retain(|it| it != known);
                one_or(all, Self::All)
            }
            it => it,
        }
    }

    fn into_all(self, out: &mut Vec<Self>) {
        match self {
            Self::All(all) => all.into_iter().for_each(|it| it.into_all(out)),
            it if out.contains(&it) => {}
            it => out.push(it),
        }
    }

    fn into_any(self, out: &mut Vec<Self>) {
        match self {
            Self::Any(any) => any.into_iter().for_each(|it| it.into_any(out)),
            it if out.contains(&it) => {}
            it => out.push(it),
        }
    }

    /// What holds of exactly those rows of which this does not.
    pub(super) fn complement(&self) -> Self {
        match self {
            Self::True => Self::False,
            Self::False => Self::True,
            Self::Problem(it) => Self::Problem(it.clone()),
            Self::Atom(it) => {
                let flipped = Self::Atom(it.flipped());
                it.nullable.iter().fold(flipped, |any, it| any.or(Self::null(it)))
            }
            Self::All(all) => all.iter().fold(Self::False, |any, it| any.or(it.complement())),
            Self::Any(any) => any.iter().fold(Self::True, |all, it| all.and(it.complement())),
        }
    }

    /// The first part that can't be said.
    pub(super) fn unsaid(&self) -> Option<&Problem> {
        match self {
            Self::Problem(it) => Some(it),
            Self::All(parts) | Self::Any(parts) => parts.iter().find_map(Self::unsaid),
            Self::True | Self::False | Self::Atom(_) => None,
        }
    }

    /// How many atoms it has.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().map(Self::size).sum(),
            _ => 1,
        }
    }

    /// Whether it can only be true of rows of the table that its columns are named by.
    fn names_its_table(&self) -> bool {
        match self {
            Self::False => true,
            Self::True | Self::Problem(_) => false,
            Self::Atom(it) => it.names_its_table(),
            Self::All(all) => all.iter().any(Self::names_its_table),
            Self::Any(any) => any.iter().all(Self::names_its_table),
        }
    }

    /// The columns it names.
    pub(super) fn columns(&self) -> Vec<&str> {
        match self {
            Self::Atom(it) => columns(&it.holds).collect(),
            Self::All(parts) | Self::Any(parts) => parts.iter().flat_map(Self::columns).collect(),
            Self::True | Self::False | Self::Problem(_) => Vec::new(),
        }
    }

    /// What has to hold one of in order that this does.
    pub(super) fn any(&self) -> &[Self] {
        match self {
            Self::Any(any) => any,
            it => std::slice::from_ref(it),
        }
    }

    /// As a filter for rows of one table, or of every table if none is given.
    pub(super) fn sql(&self, table: Option<&str>) -> String {
        match (self, table) {
            (Self::True, Some(table)) => table.to_owned(),
            (it, Some(table)) if !it.names_its_table() => {
                format!("{table} and {}", it.part(Some(table)))
            }
            (it, table) => it.whole(table),
        }
    }

    /// As it stands beside an `and`.
    pub(super) fn part(&self, table: Option<&str>) -> String {
        match self {
            Self::Any(_) => format!("({})", self.whole(table)),
            it => it.whole(table),
        }
    }

    fn whole(&self, table: Option<&str>) -> String {
        match self {
            Self::True => "true".to_owned(),
            Self::False | Self::Problem(_) => "false".to_owned(),
            Self::Atom(it) => named(&it.holds, table),
            Self::All(all) => all.iter().map(|it| it.part(table)).collect::<Vec<_>>().join(" and "),
            Self::Any(any) => any.iter().map(|it| it.whole(table)).collect::<Vec<_>>().join(" or "),
        }
    }
}

fn one_or(mut parts: Vec<Condition>, many: fn(Vec<Condition>) -> Condition) -> Condition {
    match parts.len() {
        1 => parts.swap_remove(0),
        _ => many(parts),
    }
}

/// The columns that SQL of ours names, outside its texts.
pub(super) fn columns(sql: &str) -> impl Iterator<Item = &str> {
    pieces(sql).filter_map(|it| it.strip_prefix('$'))
}

/// SQL of ours with its columns named in full.
fn named(sql: &str, table: Option<&str>) -> String {
    let mut out = String::with_capacity(sql.len() + 16);
    for piece in pieces(sql) {
        match (piece.strip_prefix('$'), table) {
            (Some(column), Some(table)) => {
                out.push_str(table);
                out.push('.');
                out.push_str(column);
            }
            (Some(column), None) => out.push_str(column),
            (None, _) => out.push_str(piece),
        }
    }
    out
}

/// SQL cut before and after each `$column`; a `$` in a text is part of the text.
fn pieces(sql: &str) -> impl Iterator<Item = &str> {
    let mut rest = sql;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut quoted = false;
        let start = rest.find(|it: char| {
            quoted ^= it == '\'';
            it == '$' && !quoted
        });
        let end = match start {
            Some(0) => {
                let word = rest.get(1..).unwrap_or_default();
                let end = word.find(|it: char| !(it.is_ascii_alphanumeric() || it == '_'));
                1 + end.unwrap_or(word.len())
            }
            Some(start) => start,
            None => rest.len(),
        };
        let (piece, after) = rest.split_at_checked(end)?;
        rest = after;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn atom(name: &str) -> Truth {
        Truth::atom(Atom {
            holds: format!("${name} = 1"),
            fails: format!("${name} <> 1"),
            nullable: vec![format!("${name}")],
        })
    }

    #[test]
    fn columns_are_named_but_texts_are_left_alone() {
        assert_eq!(named("$a = 'it''s $b' and $c", Some("t")), "t.a = 'it''s $b' and t.c");
        assert_eq!(named("$a = '$'", None), "a = '$'");
        assert_eq!(columns("lower($a) = '$b'").collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn a_condition_says_nothing_twice() {
        let (a, b) = (atom("a"), atom("b"));
        let it = a.clone().or(b.clone()).and(b.clone()).holds;
        assert_eq!(it.sql(None), "b = 1");
        let it = a.clone().and(b.clone()).or(b).and(a).holds;
        assert_eq!(it.sql(Some("t")), "t.b = 1 and t.a = 1");
        // What is 1 is not null.
        let less = atom("a").not().holds.or(Condition::null("$a"));
        assert_eq!(atom("a").holds.and(less).sql(None), "a = 1 and a <> 1");
    }

    #[test]
    fn a_table_is_named_where_the_columns_do_not() {
        let missing = Condition::null("$a");
        assert_eq!(missing.sql(Some("t")), "t and t.a is null");
        assert_eq!(missing.or(atom("b").holds).sql(Some("t")), "t and (t.a is null or t.b = 1)");
        assert_eq!(Condition::True.sql(Some("t")), "t");
    }

    #[test]
    fn what_is_missing_is_neither_until_a_parenthesis_settles_it() {
        let it = atom("a").settled();
        assert_eq!(it.fails.sql(None), "a <> 1 or a is null");
        // On the left of an `or`, it must be there.
        let it = atom("a").or_else(atom("b"));
        assert_eq!(it.holds.sql(None), "a is not null and (a = 1 or b = 1)");
        let it = Truth::UNKNOWN.or_else(atom("b"));
        assert_eq!(it.holds, Condition::False);
        let it = Truth::UNKNOWN.or(atom("b"));
        assert_eq!(it.holds.sql(None), "b = 1");
    }
}
