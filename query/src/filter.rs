//! The filter bar's language: a SQL condition over the columns of every protocol.
//!
//! `http.status >= 500 or redis.error is not null` asks two tables: in each, the other's columns
//! are null, and a table where the condition can't be true is never scanned. A protocol's name
//! alone says that the row is of that table; `client.namespace` is `client_namespace`; `100ms` and
//! `1.5s` are durations; texts stand in single or double quotes.
use std::collections::HashMap;
use std::fmt;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field as ArrowField};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result as DfResult, ScalarValue, TableReference};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{
    EmptyRelation, Expr, LogicalPlan, LogicalPlanBuilder, Operator, SortExpr, col, lit,
};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, ExprWithAlias, Ident, Query, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{
    Location, Span, Token, TokenWithSpan, Tokenizer, Word,
};
use schema::{Kind, Table};

use crate::bodies::TextOfBodies;
use crate::error::plain;
use crate::kfl;
use crate::names::read_bodies;
use crate::session;
use crate::tables::{TABLE_NAME, TRAFFIC, Tables, nearest};

mod complete;
mod live;

pub use complete::{Completion, CompletionKind, complete};
pub use live::Live;

/// A filter that doesn't read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    /// What is wrong.
    pub message: String,
    /// The bytes of the filter it is about.
    pub at: Range<usize>,
    /// What may have been meant.
    pub hint: Option<String>,
    /// The filter that it is, if the text is [KFL](crate::kfl).
    pub instead: Option<String>,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for FilterError {}

/// A filter that reads, for the tables it was read against.
#[derive(Clone, Debug)]
pub struct Filter {
    text: String,
    tables: Tables,
    /// The tables where it can be true, and the condition there; none for every row.
    branches: Vec<(String, Option<Expr>)>,
}

/// Reads a filter. An empty one holds for every row. What is no filter but KFL is refused with the
/// filter that it is.
pub fn parse(text: &str, tables: &Tables) -> Result<Filter, FilterError> {
    let kfl = || kfl::translate(text, tables).ok().map(|it| it.filter);
    match compile(text, tables) {
        // Both languages have `http && method == "GET"`, and here no table has all of that.
        Ok(filter) if filter.branches.is_empty() && !text.trim().is_empty() => {
            let Some(instead) = kfl() else { return Ok(filter) };
            let message = "no row can match this filter".to_owned();
            Err(FilterError { message, at: 0..text.len(), hint: None, instead: Some(instead) })
        }
        Ok(filter) => Ok(filter),
        Err(error) => Err(FilterError { instead: kfl(), ..error }),
    }
}

/// Reads a filter as it stands.
pub(crate) fn compile(text: &str, tables: &Tables) -> Result<Filter, FilterError> {
    let filter = |branches| Filter { text: text.to_owned(), tables: tables.clone(), branches };
    if text.trim().is_empty() {
        return Ok(filter(tables.protocols().map(|it| (it.name.to_string(), None)).collect()));
    }
    let mut ast = read(text)?;
    let mut resolver = Resolver { text, tables };
    if let ControlFlow::Break(error) = ast.visit(&mut resolver) {
        return Err(error);
    }
    let whole =
        |message: String| FilterError { message, at: 0..text.len(), hint: None, instead: None };
    let schema = schema_of_all(tables).map_err(|it| whole(plain(&it)))?;
    let condition = plan(ast, &schema).map_err(|it| whole(plain(&it)))?;
    let typed = session::bare()
        .create_physical_expr(condition.clone(), &schema)
        .and_then(|it| it.data_type(schema.as_arrow()))
        .map_err(|it| whole(readable(&plain(&it))))?;
    if !matches!(typed, DataType::Boolean | DataType::Null) {
        return Err(FilterError {
            message: "this is a value, not a condition".to_owned(),
            at: 0..text.len(),
            hint: Some("compare it with something, as in status >= 500".to_owned()),
            instead: None,
        });
    }
    let mut branches = Vec::new();
    for table in tables.protocols() {
        let branch = for_table(&condition, table, tables).map_err(|it| whole(plain(&it)))?;
        if outcomes(&branch) & TRUE != 0 {
            let always = matches!(branch, Expr::Literal(ScalarValue::Boolean(Some(true)), _));
            branches.push((table.name.to_string(), (!always).then_some(branch)));
        }
    }
    Ok(filter(branches))
}

impl Filter {
    /// The filter as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The tables where it can be true: only these are scanned.
    pub fn tables(&self) -> impl Iterator<Item = &str> {
        self.branches.iter().map(|it| it.0.as_str())
    }

    /// The filter for rows as they come, for whoever has these rights: the same condition, compiled once.
    pub fn live(&self, rights: &Arc<crate::Rights>) -> Result<Live, crate::Error> {
        Live::compile(&self.tables, &self.branches, rights).map_err(crate::Error::planning)
    }

    /// The newest rows that match, as a plan: the columns of `traffic`.
    pub(crate) fn plan(
        &self,
        partitions: usize,
        limit: Option<usize>,
        from: Option<i64>,
        to: Option<i64>,
    ) -> DfResult<LogicalPlan> {
        let at = |ns| lit(ScalarValue::TimestampNanosecond(Some(ns), Some("UTC".into())));
        let mut union: Option<LogicalPlanBuilder> = None;
        for (table, condition) in self.scans() {
            let mut branch = session::scan(&self.tables, &table, partitions)?;
            if let Some(from) = from {
                branch = branch.filter(col("ts").gt_eq(at(from)))?;
            }
            if let Some(to) = to {
                branch = branch.filter(col("ts").lt(at(to)))?;
            }
            if let Some(condition) = condition {
                branch = branch.filter(condition)?;
            }
            if table != TRAFFIC {
                branch = branch.project(session::envelope(&self.tables, &table))?;
            }
            union = Some(match union {
                Some(it) => it.union(branch.build()?)?,
                None => branch,
            });
        }
        let Some(union) = union else {
            let schema = live::output(&self.tables);
            let schema = Arc::new(DFSchema::try_from(schema)?);
            return Ok(LogicalPlan::EmptyRelation(EmptyRelation {
                produce_one_row: false,
                schema,
            }));
        };
        // The flow and the position in it make the order of equal times the same every time.
        let newest = |name: &str, ascending| SortExpr::new(col(name), ascending, false);
        let order = [newest("ts", false), newest("flow_id", false), newest("seq", false)];
        union.sort_with_limit(order, limit)?.build()
    }

    /// What to scan, and the condition there. Tables whose condition needs the envelope only are
    /// one scan of `traffic`; the others are scanned for themselves.
    fn scans(&self) -> Vec<(String, Option<Expr>)> {
        let enough = |condition: &Option<Expr>| {
            let columns = condition.iter().flat_map(Expr::column_refs);
            columns.into_iter().all(|it| self.tables.envelope_field(&it.name).is_some())
        };
        let (shared, mut scans): (Vec<_>, Vec<_>) =
            self.branches.iter().cloned().partition(|it| enough(&it.1));
        if shared.len() < 2 {
            return self.branches.clone();
        }
        let mut conditions: Vec<(Option<Expr>, Vec<Expr>)> = Vec::new();
        let everywhere = shared.len() == self.tables.protocols().count();
        for (table, condition) in shared {
            let name = lit(ScalarValue::Utf8View(Some(table)));
            match conditions.iter_mut().find(|it| it.0 == condition) {
                Some(it) => it.1.push(name),
                None => conditions.push((condition, vec![name])),
            }
        }
        let alike = everywhere && conditions.len() == 1;
        let conditions = conditions.into_iter().filter_map(|(condition, names)| {
            let named = (!alike).then(|| col(TABLE_NAME).in_list(names, false));
            [named, condition].into_iter().flatten().reduce(Expr::and)
        });
        scans.insert(0, (TRAFFIC.to_owned(), conditions.reduce(Expr::or)));
        scans
    }
}

/// The filter as syntax.
fn read(text: &str) -> Result<SqlExpr, FilterError> {
    if text.len() > session::SQL_BYTES {
        let message = format!("the filter is longer than {} KiB", session::SQL_BYTES >> 10);
        return Err(FilterError { message, at: 0..text.len(), hint: None, instead: None });
    }
    let dialect = GenericDialect {};
    let tokens = Tokenizer::new(&dialect, text).tokenize_with_location().map_err(|error| {
        let start = offset(text, error.location);
        FilterError {
            message: lower_first(&error.message),
            at: start..text.len(),
            hint: None,
            instead: None,
        }
    })?;
    let tokens = niceties(text, tokens)?;
    session::not_too_deep(tokens.iter().map(|it| &it.token)).map_err(|message| FilterError {
        message,
        at: 0..text.len(),
        hint: None,
        instead: None,
    })?;
    let mut parser =
        Parser::new(&dialect).with_tokens_with_locations(tokens).with_recursion_limit(50);
    let parsed = parser.parse_expr().map_err(|error| {
        let message = error.to_string();
        let message = message.strip_prefix("sql parser error: ").unwrap_or(&message);
        let (message, at) = position(text, message);
        let at = at.unwrap_or(text.len()..text.len());
        FilterError { message: readable(&message), hint: misread(text, &at), at, instead: None }
    })?;
    let rest = parser.peek_token();
    if rest.token != Token::EOF {
        let at = word_at(text, offset(text, rest.span.start));
        return Err(FilterError {
            message: format!("`{}` stands where and, or, or the end is expected", rest.token),
            hint: misread(text, &at),
            at,
            instead: None,
        });
    }
    Ok(parsed)
}

/// Durations, sizes, double quotes and C's operators, as SQL has them.
fn niceties(text: &str, tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>, FilterError> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    for mut it in tokens {
        // A column may be called like a word of SQL, as in `postgresql.user`.
        if let Token::Word(word) = &mut it.token
            && out.last().is_some_and(|it| it.token == Token::Period)
        {
            word.keyword = Keyword::NoKeyword;
        }
        if let Token::Word(word) = &it.token
            && let Some(TokenWithSpan { token: Token::Number(number, false), span }) =
                out.last_mut()
            && word.quote_style.is_none()
        {
            let Some(scale) = unit(&word.value) else {
                let start = offset(text, span.start);
                return Err(FilterError {
                    message: format!("`{number}{}` is no number", word.value),
                    at: start..start + number.len() + word.value.len(),
                    hint: Some(
                        "units are ns, us, ms, s, m, h, d and kb, mb, gb, kib, mib, gib".into(),
                    ),
                    instead: None,
                });
            };
            let value = number.parse::<f64>().unwrap_or(f64::NAN) * scale;
            if !value.is_finite() || value > i64::MAX as f64 {
                let start = offset(text, span.start);
                let at = start..start + number.len() + word.value.len();
                return Err(FilterError {
                    message: "this number is too large".into(),
                    at,
                    hint: None,
                    instead: None,
                });
            }
            *number = format!("{value:.0}");
            span.end = it.span.end;
            continue;
        }
        it.token = match it.token {
            Token::Word(Word { value, quote_style: Some('"'), .. }) => {
                Token::SingleQuotedString(value)
            }
            Token::DoubleQuotedString(value) => Token::SingleQuotedString(value),
            Token::DoubleEq => Token::Eq,
            Token::Overlap => keyword("AND", Keyword::AND),
            Token::StringConcat => keyword("OR", Keyword::OR),
            Token::ExclamationMark => keyword("NOT", Keyword::NOT),
            other => other,
        };
        out.push(it);
    }
    Ok(out)
}

fn keyword(value: &str, keyword: Keyword) -> Token {
    Token::Word(Word { value: value.to_owned(), quote_style: None, keyword })
}

/// What a unit after a number multiplies it by: nanoseconds, or bytes.
fn unit(name: &str) -> Option<f64> {
    Some(match name.to_lowercase().as_str() {
        "ns" => 1.0,
        "us" | "µs" | "μs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" | "min" => 60e9,
        "h" => 3600e9,
        "d" => 86400e9,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "kib" => 1024.0,
        "mib" => 1048576.0,
        "gib" => 1073741824.0,
        _ => return None,
    })
}

/// Puts for every name the column it means, qualified: by its table, by `traffic` for the
/// envelope, or by [`ANY`] for a column that whoever has it may answer for.
struct Resolver<'a> {
    text: &'a str,
    tables: &'a Tables,
}

/// The qualifier of a column named without its table.
const ANY: &str = "__any";
/// The column that says whether a row is of the table.
const IS: &str = "__is";

impl Resolver<'_> {
    fn error(&self, at: Range<usize>, message: String, hint: Option<String>) -> FilterError {
        let _ = self.text;
        FilterError { message, at, hint, instead: None }
    }

    fn at(&self, parts: &[Ident]) -> Range<usize> {
        let Some(first) = parts.first() else { return 0..self.text.len() };
        word_at(self.text, offset(self.text, first.span.start))
    }

    fn column(&self, parts: &[Ident]) -> Result<SqlExpr, FilterError> {
        let names: Vec<String> =
            parts
                .iter()
                .map(|it| {
                    if it.quote_style.is_some() {
                        it.value.clone()
                    } else {
                        it.value.to_lowercase()
                    }
                })
                .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let qualified = |table: &str, column: &str| {
            let ident = |name: &str| Ident {
                value: name.to_owned(),
                quote_style: Some('"'),
                span: Span::empty(),
            };
            SqlExpr::CompoundIdentifier(vec![ident(table), ident(column)])
        };
        if let [name] = names.as_slice()
            && self.tables.is_protocol(name)
            && self.tables.envelope_field(name).is_none()
        {
            return Ok(qualified(name, IS));
        }
        let joined = names.join("_");
        if self.tables.envelope_field(&joined).is_some() || joined == TABLE_NAME {
            return Ok(qualified(TRAFFIC, &joined));
        }
        if let [table, rest @ ..] = names.as_slice()
            && !rest.is_empty()
        {
            let column = rest.join("_");
            if *table == TRAFFIC {
                return match self.tables.envelope_field(&column) {
                    Some(_) => Ok(qualified(TRAFFIC, &column)),
                    None => Err(self.unknown(
                        parts,
                        &column,
                        self.tables.envelope().iter().map(|it| it.name.as_ref()),
                    )),
                };
            }
            if let Some(it) = self.tables.protocols().find(|it| it.name == *table) {
                return match it.field(&column) {
                    Some(_) => Ok(qualified(table, &column)),
                    None => {
                        let known: Vec<_> = it.fields.iter().map(|it| it.name.as_ref()).collect();
                        let hint = nearest(&column, known);
                        Err(self.error(
                            self.at(parts),
                            format!("{table} has no column {column}"),
                            hint.map(|it| format!("did you mean {table}.{it}?")),
                        ))
                    }
                };
            }
        }
        let owners: Vec<&Table> =
            self.tables.protocols().filter(|it| it.field(&joined).is_some()).collect();
        let kinds: Vec<Kind> =
            owners.iter().filter_map(|it| it.field(&joined)).map(|it| it.kind).collect();
        match kinds.as_slice() {
            [first, rest @ ..] if rest.iter().all(|it| it == first) => Ok(qualified(ANY, &joined)),
            [_, ..] => {
                let choices: Vec<_> =
                    owners.iter().map(|it| format!("{}.{joined}", it.name)).collect();
                Err(self.error(
                    self.at(parts),
                    format!("{joined} is in several tables, and differs"),
                    Some(format!("write {}", choices.join(" or "))),
                ))
            }
            [] => Err(self.unknown(parts, &joined, self.known())),
        }
    }

    fn known(&self) -> impl Iterator<Item = &str> {
        let columns = self.tables.protocols().flat_map(|it| it.fields.iter());
        let columns = columns.map(|it| it.name.as_ref());
        columns.chain(self.tables.protocols().map(|it| it.name.as_ref()))
    }

    fn unknown<'b>(
        &self,
        parts: &[Ident],
        joined: &str,
        known: impl IntoIterator<Item = &'b str>,
    ) -> FilterError {
        let written: Vec<_> = parts.iter().map(|it| it.value.as_str()).collect();
        let written = written.join(".");
        let first = written.split('.').next().unwrap_or_default();
        if let Some(it) = self.tables.get(first) {
            let table = &it.name;
            return self.error(
                self.at(parts),
                format!("{table} is no protocol, so a filter can't ask it"),
                Some(format!("ask it with SQL: select * from {table}")),
            );
        }
        let hint = nearest(joined, known).map(|it| format!("did you mean {it}?"));
        self.error(self.at(parts), format!("there is no column {written}"), hint)
    }
}

impl VisitorMut for Resolver<'_> {
    type Break = FilterError;

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<FilterError> {
        let message = "a filter can't contain a query".to_owned();
        let hint = Some("ask it as SQL instead".to_owned());
        ControlFlow::Break(self.error(0..self.text.len(), message, hint))
    }

    fn post_visit_expr(&mut self, expr: &mut SqlExpr) -> ControlFlow<FilterError> {
        let resolved = match expr {
            SqlExpr::Identifier(it) => self.column(std::slice::from_ref(it)),
            SqlExpr::CompoundIdentifier(parts) => self.column(parts),
            SqlExpr::Function(it) => match self.function(it) {
                Some(error) => return ControlFlow::Break(error),
                None => {
                    read_bodies(expr, &|name| self.tables.is_body(name));
                    return ControlFlow::Continue(());
                }
            },
            _ => {
                read_bodies(expr, &|name| self.tables.is_body(name));
                return ControlFlow::Continue(());
            }
        };
        match resolved {
            Ok(it) => {
                *expr = it;
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }
}

impl Resolver<'_> {
    fn function(
        &self,
        function: &datafusion::sql::sqlparser::ast::Function,
    ) -> Option<FilterError> {
        let ident = function.name.0.last()?.as_ident()?;
        let name = ident.value.to_lowercase();
        let state = session::bare();
        let at = self.at(std::slice::from_ref(ident));
        if function.over.is_some() || state.aggregate_functions().contains_key(&name) {
            let message = format!("a filter looks at one row at a time, so {name}() can't be used");
            return Some(self.error(at, message, Some("ask it as SQL instead".to_owned())));
        }
        if state.scalar_functions().contains_key(&name) {
            return None;
        }
        let known = state.scalar_functions().keys().map(String::as_str);
        let hint = nearest(&name, known).map(|it| format!("did you mean {it}()?"));
        Some(self.error(at, format!("there is no function {name}()"), hint))
    }
}

/// Every column that a resolved filter can name.
fn schema_of_all(tables: &Tables) -> DfResult<DFSchema> {
    let field = |name: &str, data_type| Arc::new(ArrowField::new(name, data_type, true));
    let mut fields: Vec<(Option<TableReference>, Arc<ArrowField>)> = Vec::new();
    let mut any: Vec<&str> = Vec::new();
    for it in tables.envelope() {
        let name = TableReference::bare(TRAFFIC);
        fields.push((Some(name), field(&it.name, it.kind.data_type())));
    }
    fields.push((Some(TableReference::bare(TRAFFIC)), field(TABLE_NAME, DataType::Utf8View)));
    for table in tables.protocols() {
        let name = TableReference::bare(table.name.as_ref());
        for it in table.fields.iter() {
            fields.push((Some(name.clone()), field(&it.name, it.kind.data_type())));
            if tables.envelope_field(&it.name).is_none() && !any.contains(&it.name.as_ref()) {
                any.push(&it.name);
                fields
                    .push((Some(TableReference::bare(ANY)), field(&it.name, it.kind.data_type())));
            }
        }
        fields.push((Some(name), field(IS, DataType::Boolean)));
    }
    DFSchema::new_with_metadata(fields, HashMap::new())
}

fn plan(ast: SqlExpr, schema: &DFSchema) -> DfResult<Expr> {
    let ast = ExprWithAlias { expr: ast, alias: None };
    let expr = session::bare().create_logical_expr_from_sql_expr(ast, schema)?;
    Ok(TextOfBodies::default().rewrite(expr, schema)?.data)
}

/// The condition as it stands for rows of one table, simplified.
fn for_table(condition: &Expr, table: &Table, tables: &Tables) -> DfResult<Expr> {
    let mut schema: Vec<(Option<TableReference>, Arc<ArrowField>)> = Vec::new();
    for it in table.fields.iter() {
        let field = ArrowField::new(it.name.as_ref(), it.kind.data_type(), true);
        schema.push((None, Arc::new(field)));
    }
    let schema = Arc::new(DFSchema::new_with_metadata(schema, HashMap::new())?);
    let expr = condition.clone().transform_up(|it| {
        let Expr::Column(Column { relation: Some(relation), name, .. }) = &it else {
            return Ok(Transformed::no(it));
        };
        let relation = relation.table();
        if name == IS {
            return Ok(Transformed::yes(lit(relation == table.name)));
        }
        if name == TABLE_NAME {
            let name = ScalarValue::Utf8View(Some(table.name.to_string()));
            return Ok(Transformed::yes(lit(name)));
        }
        let ours = [TRAFFIC, ANY, table.name.as_ref()].contains(&relation);
        if ours && table.field(name).is_some() {
            return Ok(Transformed::yes(Expr::Column(Column::from_name(name))));
        }
        let mut fields = tables.protocols().filter_map(|it| it.field(name).map(|f| (it, f)));
        let field = fields.find(|(it, _)| relation == ANY || it.name == relation);
        let kind = field.map_or(Kind::Text, |it| it.1.kind);
        Ok(Transformed::yes(lit(ScalarValue::try_new_null(&kind.data_type())?)))
    })?;
    let state = session::bare();
    let context = SimplifyContext::builder()
        .with_schema(Arc::clone(&schema))
        .with_config_options(Arc::clone(state.config_options()))
        .with_current_time()
        .build();
    let simplifier = ExprSimplifier::new(context);
    let mut expr = simplifier.coerce(expr.data, &schema)?;
    for it in state.analyzer().function_rewrites() {
        expr = expr.transform_up(|e| it.rewrite(e, &schema, state.config_options()))?.data;
    }
    simplifier.simplify(expr)
}

const TRUE: u8 = 1;
const FALSE: u8 = 2;
const NULL: u8 = 4;

/// What the condition can come to, so that a table where it can't be true is not scanned.
fn outcomes(expr: &Expr) -> u8 {
    match expr {
        Expr::Literal(it, _) if it.is_null() => NULL,
        Expr::Literal(ScalarValue::Boolean(Some(true)), _) => TRUE,
        Expr::Literal(ScalarValue::Boolean(Some(false)), _) => FALSE,
        Expr::Not(it) => {
            let it = outcomes(it);
            (it & NULL)
                | if it & TRUE != 0 { FALSE } else { 0 }
                | if it & FALSE != 0 { TRUE } else { 0 }
        }
        Expr::BinaryExpr(it) if matches!(it.op, Operator::And | Operator::Or) => {
            let (a, b) = (outcomes(&it.left), outcomes(&it.right));
            let decides = if it.op == Operator::And { FALSE } else { TRUE };
            let mut all = 0;
            for a in [TRUE, FALSE, NULL].into_iter().filter(|it| a & it != 0) {
                for b in [TRUE, FALSE, NULL].into_iter().filter(|it| b & it != 0) {
                    all |= match (a, b) {
                        (a, b) if a == decides || b == decides => decides,
                        (NULL, _) | (_, NULL) => NULL,
                        (a, _) => a,
                    };
                }
            }
            all
        }
        Expr::BinaryExpr(it) if it.op.returns_null_on_null() => {
            if is_null(&it.left) || is_null(&it.right) { NULL } else { TRUE | FALSE | NULL }
        }
        Expr::IsTrue(it) | Expr::IsNotFalse(it) if outcomes(it) == TRUE => TRUE,
        Expr::IsTrue(it) => {
            if outcomes(it) & TRUE == 0 {
                FALSE
            } else {
                TRUE | FALSE
            }
        }
        Expr::IsNotTrue(it) => {
            if outcomes(it) == TRUE {
                FALSE
            } else {
                TRUE | FALSE
            }
        }
        Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::IsFalse(_)
        | Expr::IsNotFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotUnknown(_) => TRUE | FALSE,
        Expr::Like(it) | Expr::SimilarTo(it) if is_null(&it.expr) || is_null(&it.pattern) => NULL,
        Expr::InList(it) if is_null(&it.expr) => NULL,
        Expr::Between(it) if is_null(&it.expr) => NULL,
        _ => TRUE | FALSE | NULL,
    }
}

fn is_null(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(it, _) => it.is_null(),
        Expr::Cast(it) => is_null(&it.expr),
        Expr::TryCast(it) => is_null(&it.expr),
        _ => false,
    }
}

/// Takes the place out of the parser's message, as bytes of `text`.
pub(crate) fn position(text: &str, message: &str) -> (String, Option<Range<usize>>) {
    let Some((message, place)) = message.rsplit_once(" at Line: ") else {
        let at = message.contains("found: EOF").then_some(text.len()..text.len());
        return (message.to_owned(), at);
    };
    let Some((line, column)) = place.split_once(", Column: ") else {
        return (message.to_owned(), None);
    };
    let digits = |it: &str| it.chars().take_while(char::is_ascii_digit).collect::<String>();
    let (line, column) = (digits(line).parse(), digits(column).parse());
    let at = match (line, column) {
        (Ok(line), Ok(column)) => Some(word_at(text, offset(text, Location { line, column }))),
        _ => None,
    };
    (message.to_owned(), at)
}

/// The word at the parser's place.
pub(crate) fn place(text: &str, place: Location) -> Range<usize> {
    word_at(text, offset(text, place))
}

/// Where in `text` the parser's place lies.
fn offset(text: &str, place: Location) -> usize {
    if place.line == 0 {
        return 0;
    }
    let mut start = 0;
    for _ in 1..place.line {
        match text.get(start..).and_then(|it| it.find('\n')) {
            Some(it) => start += it + 1,
            None => return text.len(),
        }
    }
    let column = usize::try_from(place.column.saturating_sub(1)).unwrap_or(usize::MAX);
    let rest = text.get(start..).unwrap_or_default();
    rest.char_indices().nth(column).map_or(text.len(), |it| start + it.0)
}

/// The word that begins at `start`, or the one character there.
fn word_at(text: &str, start: usize) -> Range<usize> {
    let rest = text.get(start..).unwrap_or_default();
    let word = rest.find(|it: char| !(it.is_alphanumeric() || it == '_' || it == '.'));
    let length = match word.unwrap_or(rest.len()) {
        0 => rest.chars().next().map_or(0, char::len_utf8),
        it => it,
    };
    start..start + length
}

/// The parser's message as a person would say it.
fn readable(message: &str) -> String {
    if let Some(rest) = message.strip_prefix("Expected: ") {
        return match rest.split_once(", found: ") {
            Some((wanted, "EOF")) => format!("the filter ends where {wanted} is expected"),
            Some((wanted, found)) => format!("`{found}` stands where {wanted} is expected"),
            None => format!("expected {rest}"),
        };
    }
    lower_first(message)
}

fn lower_first(message: &str) -> String {
    let mut chars = message.chars();
    let second_is_upper = message.chars().nth(1).is_some_and(char::is_uppercase);
    match chars.next() {
        Some(first) if !second_is_upper => first.to_lowercase().chain(chars).collect(),
        _ => message.to_owned(),
    }
}

/// A hint from what stands around the error.
fn misread(text: &str, at: &Range<usize>) -> Option<String> {
    let before = text.get(..at.end.min(text.len()))?;
    let start =
        before.rfind(|it: char| it.is_whitespace() || "=<>(,".contains(it)).map_or(0, |it| it + 1);
    let rest = text.get(start..)?;
    let word = rest.split(|it: char| it.is_whitespace() || it == ')').next().unwrap_or_default();
    let address = word.split('.').filter(|it| it.parse::<u8>().is_ok()).count() >= 2;
    (address || word.matches(':').count() >= 2)
        .then(|| format!("addresses stand in quotes: '{word}'"))
}

#[cfg(test)]
mod tests;
