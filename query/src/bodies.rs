//! Bytes where text is wanted are read as text: `request_body like '%error%'` needs no cast, and
//! never fails on bytes that are no UTF-8.
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Operator, ScalarUDF};
use datafusion::optimizer::AnalyzerRule;

/// The rule, for plans. What a function would not take at all is settled before there is a plan, in
/// `names`.
#[derive(Debug)]
pub(crate) struct TextOfBodies {
    text: Arc<ScalarUDF>,
}

impl Default for TextOfBodies {
    fn default() -> Self {
        Self { text: Arc::new(crate::functions::text()) }
    }
}

impl AnalyzerRule for TextOfBodies {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| {
            let schema = merge_schema(&plan.inputs());
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|expr| {
                let name = names.save(&expr);
                Ok(self.rewrite(expr, &schema)?.update_data(|it| name.restore(it)))
            })?
            .map_data(LogicalPlan::recompute_schema)
        })
        .map(|it| it.data)
    }

    fn name(&self) -> &str {
        "text_of_bodies"
    }
}

impl TextOfBodies {
    /// The expression with `text()` around bytes that meet text.
    pub(crate) fn rewrite(&self, expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
        expr.transform_up(|expr| {
            Ok(match expr {
                Expr::Like(mut it) => {
                    let changed =
                        self.wrap(&mut it.expr, schema) | self.wrap(&mut it.pattern, schema);
                    Transformed::new_transformed(Expr::Like(it), changed)
                }
                Expr::SimilarTo(mut it) => {
                    let changed =
                        self.wrap(&mut it.expr, schema) | self.wrap(&mut it.pattern, schema);
                    Transformed::new_transformed(Expr::SimilarTo(it), changed)
                }
                Expr::BinaryExpr(mut it) if meets_text(it.op) => {
                    let text = is_text(&it.left, schema) || is_text(&it.right, schema);
                    let text = text || it.op == Operator::StringConcat;
                    let changed = text
                        && (self.wrap(&mut it.left, schema) | self.wrap(&mut it.right, schema));
                    Transformed::new_transformed(Expr::BinaryExpr(it), changed)
                }
                Expr::InList(mut it) => {
                    let text = it.list.iter().all(|it| is_text(it, schema));
                    let changed = text && self.wrap(&mut it.expr, schema);
                    Transformed::new_transformed(Expr::InList(it), changed)
                }
                Expr::Cast(mut it) if it.field.data_type().is_string() => {
                    let changed = self.wrap(&mut it.expr, schema);
                    Transformed::new_transformed(Expr::Cast(it), changed)
                }
                Expr::TryCast(mut it) if it.field.data_type().is_string() => {
                    let changed = self.wrap(&mut it.expr, schema);
                    Transformed::new_transformed(Expr::TryCast(it), changed)
                }
                Expr::ScalarFunction(mut it) => {
                    let mut changed = false;
                    for i in self.read_as_text(&it, schema) {
                        changed |= it.args.get_mut(i).is_some_and(|it| self.wrap(it, schema));
                    }
                    Transformed::new_transformed(Expr::ScalarFunction(it), changed)
                }
                other => Transformed::no(other),
            })
        })
    }

    /// The arguments that are bytes, but that the function reads as text.
    fn read_as_text(&self, function: &ScalarFunction, schema: &DFSchema) -> Vec<usize> {
        let fields = function.args.iter().map(|it| Ok(it.to_field(schema)?.1));
        let Ok(fields) = fields.collect::<Result<Vec<_>>>() else { return Vec::new() };
        if !fields.iter().any(|it| it.data_type().is_binary()) {
            return Vec::new();
        }
        let bytes = |i: usize| fields.get(i).is_some_and(|it| it.data_type().is_binary());
        match fields_with_udf(&fields, function.func.as_ref()) {
            Ok(read) => {
                let texts = read.iter().enumerate().filter(|it| it.1.data_type().is_string());
                texts.map(|it| it.0).filter(|i| bytes(*i)).collect()
            }
            // It takes no bytes at all.
            Err(_) => (0..fields.len()).filter(|i| bytes(*i)).collect(),
        }
    }

    fn wrap(&self, expr: &mut Expr, schema: &DFSchema) -> bool {
        if !expr.get_type(schema).is_ok_and(|it| it.is_binary()) {
            return false;
        }
        let bytes = std::mem::take(expr);
        *expr = self.text.call(vec![bytes]);
        true
    }
}

fn is_text(expr: &Expr, schema: &DFSchema) -> bool {
    expr.get_type(schema).is_ok_and(|it: DataType| it.is_string())
}

fn meets_text(op: Operator) -> bool {
    matches!(
        op,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
            | Operator::StringConcat
            | Operator::RegexMatch
            | Operator::RegexIMatch
            | Operator::RegexNotMatch
            | Operator::RegexNotIMatch
            | Operator::LikeMatch
            | Operator::ILikeMatch
            | Operator::NotLikeMatch
            | Operator::NotILikeMatch
    )
}
