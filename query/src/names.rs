//! Spellings: `client.namespace` for `client_namespace`, `http.status` over `traffic`, and bytes
//! given to functions that read text.
use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, FunctionArguments, Ident, ObjectName, Query, TableFactor, Value,
    VisitMut, VisitorMut, helpers::attached_token::AttachedToken,
};

use crate::tables::{TABLE_NAME, TRAFFIC, Tables, nearest};

/// Puts columns' real names for every accepted spelling.
pub(crate) fn resolve(statement: &mut Statement, tables: &Tables) {
    match statement {
        Statement::Statement(it) => {
            let mut relations = Relations(BTreeSet::new());
            let ControlFlow::Continue(()) = it.visit(&mut relations);
            let mut resolver = Resolver { relations: relations.0, tables };
            let ControlFlow::Continue(()) = it.visit(&mut resolver);
        }
        Statement::Explain(it) => resolve(&mut it.statement, tables),
        _ => {}
    }
}

/// Adds to the engine's message the name that was most likely meant.
pub(crate) fn hint(message: &mut String, tables: &Tables) {
    let lower = message.to_lowercase();
    if let Some((_, rest)) = lower.split_once("table '") {
        let name = rest.split('\'').next().unwrap_or_default();
        let name = name.rsplit('.').next().unwrap_or_default();
        let all = tables.all();
        if let Some(it) = nearest(name, all.iter().map(|it| it.name.as_ref())) {
            message.push_str(&format!("; did you mean {it}?"));
        } else {
            let names: Vec<_> = all.iter().map(|it| it.name.as_ref()).collect();
            message.push_str(&format!("; there are {}", names.join(", ")));
        }
    } else if let Some((_, rest)) = lower.split_once("no field named ") {
        let name: String = rest.chars().take_while(|it| !" ,;\n".contains(*it)).collect();
        let name = name.trim_end_matches('.').replace('"', "");
        let column = name.rsplit('.').next().unwrap_or_default();
        let owners = tables.iter().filter(|it| it.field(column).is_some());
        let owners: Vec<_> = owners.map(|it| it.name.as_ref()).collect();
        let suggests = lower.contains("did you mean");
        *message = format!("there is no column {name} here");
        if tables.is_protocol(&name) {
            message.push_str(&format!("; {name} is a table: select from {name}"));
        } else if !owners.is_empty() {
            message.push_str(&format!("; it is in {}: select from there", owners.join(", ")));
        } else if suggests && let Some((_, meant)) = lower.split_once("did you mean ") {
            let meant: String = meant.chars().take_while(|it| !"?\n".contains(*it)).collect();
            message.push_str(&format!("; did you mean {}?", meant.replace('\'', "")));
        } else {
            let columns = tables.iter().flat_map(|it| it.fields.iter());
            if let Some(it) = nearest(column, columns.map(|it| it.name.as_ref())) {
                message.push_str(&format!("; did you mean {it}?"));
            }
        }
    }
}

/// The names that stand for relations somewhere in the statement.
struct Relations(BTreeSet<String>);

impl VisitorMut for Relations {
    type Break = std::convert::Infallible;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        for it in query.with.iter().flat_map(|it| &it.cte_tables) {
            self.0.insert(it.alias.name.value.to_lowercase());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Self::Break> {
        let (name, alias) = match factor {
            TableFactor::Table { name, alias, .. } => (Some(name), alias),
            TableFactor::Derived { alias, .. }
            | TableFactor::TableFunction { alias, .. }
            | TableFactor::UNNEST { alias, .. }
            | TableFactor::NestedJoin { alias, .. } => (None, alias),
            _ => return ControlFlow::Continue(()),
        };
        match alias {
            Some(it) => drop(self.0.insert(it.name.value.to_lowercase())),
            None => {
                if let Some(last) = name.and_then(|it| it.0.last()).and_then(|it| it.as_ident()) {
                    self.0.insert(last.value.to_lowercase());
                }
            }
        }
        ControlFlow::Continue(())
    }
}

struct Resolver<'a> {
    relations: BTreeSet<String>,
    tables: &'a Tables,
}

impl Resolver<'_> {
    fn column(&self, parts: &[Ident]) -> Option<Expr> {
        let names: Vec<String> = parts.iter().map(|it| it.value.to_lowercase()).collect();
        let ident = |name: String| Ident { value: name, quote_style: None, span: parts[0].span };
        match names.as_slice() {
            [first, rest @ ..] if self.relations.contains(first) => {
                // `t.client.namespace`
                let [a, b] = rest else { return None };
                let joined = format!("{a}_{b}");
                let known = self.tables.knows_column(&joined);
                known.then(|| Expr::CompoundIdentifier(vec![parts[0].clone(), ident(joined)]))
            }
            [a, b] if self.tables.knows_column(&format!("{a}_{b}")) => {
                Some(Expr::Identifier(ident(format!("{a}_{b}"))))
            }
            [table, rest @ ..] if self.tables.is_protocol(table) => {
                let column = rest.join("_");
                let shared = self.tables.envelope_field(&column).is_some();
                (shared && self.relations.contains(TRAFFIC)).then(|| {
                    let name = Expr::Identifier(ident(TABLE_NAME.to_owned()));
                    Expr::Case {
                        case_token: AttachedToken::empty(),
                        end_token: AttachedToken::empty(),
                        operand: None,
                        conditions: vec![CaseWhen {
                            condition: Expr::BinaryOp {
                                left: Box::new(name),
                                op: BinaryOperator::Eq,
                                right: Box::new(Expr::value(Value::SingleQuotedString(
                                    table.clone(),
                                ))),
                            },
                            result: Expr::Identifier(ident(column)),
                        }],
                        else_result: None,
                    }
                })
            }
            _ => None,
        }
    }
}

impl VisitorMut for Resolver<'_> {
    type Break = std::convert::Infallible;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        if let Expr::CompoundIdentifier(parts) = expr
            && let Some(column) = self.column(parts)
        {
            *expr = column;
        }
        read_bodies(expr, &|name| self.tables.is_body(name));
        ControlFlow::Continue(())
    }
}

/// Wraps bodies in `text()` where they are given to what reads text.
pub(crate) fn read_bodies(expr: &mut Expr, is_body: &dyn Fn(&str) -> bool) {
    let wrap = |it: &mut Expr| {
        let name = match &*it {
            Expr::Identifier(it) => &it.value,
            Expr::CompoundIdentifier(parts) => match parts.last() {
                Some(it) => &it.value,
                None => return,
            },
            _ => return,
        };
        if is_body(&name.to_lowercase()) {
            *it = text_of(it.clone());
        }
    };
    match expr {
        Expr::Like { expr, .. } | Expr::ILike { expr, .. } | Expr::SimilarTo { expr, .. } => {
            wrap(expr);
        }
        Expr::RLike { expr, .. } | Expr::InList { expr, .. } => wrap(expr),
        Expr::Position { expr, r#in } => {
            wrap(expr);
            wrap(r#in);
        }
        Expr::Substring { expr, .. } | Expr::Trim { expr, .. } => wrap(expr),
        Expr::BinaryOp { left, op, right }
            if *op == BinaryOperator::Arrow
                || *op == BinaryOperator::LongArrow
                || *op == BinaryOperator::Question =>
        {
            wrap(left);
            let _: &Expr = right;
        }
        Expr::Cast { expr, data_type, .. } if is_text(data_type) => wrap(expr),
        Expr::Function(function) => {
            let Some(name) = function.name.0.last().and_then(|it| it.as_ident()) else { return };
            let name = name.value.to_lowercase();
            if TAKES_BYTES.contains(&name.as_str()) {
                return;
            }
            let FunctionArguments::List(list) = &mut function.args else { return };
            for argument in &mut list.args {
                if let FunctionArg::Unnamed(FunctionArgExpr::Expr(it)) = argument {
                    wrap(it);
                }
            }
        }
        _ => {}
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Text
            | DataType::Varchar(_)
            | DataType::Nvarchar(_)
            | DataType::String(_)
            | DataType::Char(_)
            | DataType::CharVarying(_)
            | DataType::CharacterVarying(_)
    )
}

fn text_of(expr: Expr) -> Expr {
    let argument = FunctionArg::Unnamed(FunctionArgExpr::Expr(expr));
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new("text")]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: vec![argument],
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// What takes bytes as they are.
const TAKES_BYTES: [&str; 30] = [
    "any_value",
    "approx_distinct",
    "array_agg",
    "arrow_cast",
    "arrow_field",
    "arrow_metadata",
    "arrow_try_cast",
    "arrow_typeof",
    "coalesce",
    "count",
    "digest",
    "encode",
    "first_value",
    "greatest",
    "lag",
    "last_value",
    "lead",
    "least",
    "max",
    "md5",
    "min",
    "nth_value",
    "nullif",
    "nvl",
    "octet_length",
    "sha224",
    "sha256",
    "sha384",
    "sha512",
    "text",
];
