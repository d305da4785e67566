//! Late fetch: of the first rows in some order, first the keys of the order, then the rows.
//!
//! Each of n nodes would send its own first k rows, whole, of which the Hub throws all but k away; and to find them, a
//! node would hold the whole batches that they stand in, which is more memory than a query may have where rows are wide.
//! So the nodes are asked for the keys of their first k rows; the last key of the first k of all is
//! then a condition on the rows. What is sent twice are keys and a plan; what is spared are the
//! wide columns of (n - 1) · k rows.
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::logical_plan::Sort;
use datafusion::logical_expr::{
    Expr, Filter, LogicalPlan, LogicalPlanBuilder, Operator, SortExpr, binary_expr, col, lit,
};
use std::sync::Arc;

/// A plan that is worth it.
pub(crate) struct Late {
    plan: LogicalPlan,
    /// How many rows there can be, at most.
    pub(crate) most: usize,
    /// The keys of the first rows, in their order.
    pub(crate) keys: LogicalPlan,
}

impl Late {
    /// The way to ask `nodes` nodes for that plan, which has been optimized; `None` if its rows are
    /// not the first ones in some order, or are so narrow or few that asking twice costs more.
    pub(crate) fn new(plan: LogicalPlan, nodes: usize) -> Result<Option<Self>> {
        let Some(sort) = sort(&plan) else { return Ok(None) };
        let Some(most) = sort.fetch.filter(|it| *it <= MOST_ROWS) else { return Ok(None) };
        let fields = sort.input.schema().fields().iter();
        let width: usize = fields.map(|it| width(it.data_type())).sum();
        let spared = nodes.saturating_sub(1) * most * width;
        let volatile = sort.expr.iter().any(|it| it.expr.is_volatile());
        let worth = width >= WIDE || spared >= nodes * ASKING_BYTES;
        if !worth || volatile || !streams(&sort.input)? {
            return Ok(None);
        }
        let key = |(i, it): (usize, &SortExpr)| it.expr.clone().alias(format!("key{i}"));
        let order = sort
            .expr
            .iter()
            .enumerate()
            .map(|(i, it)| SortExpr::new(col(format!("key{i}")), it.asc, it.nulls_first));
        let keys = LogicalPlanBuilder::from(sort.input.as_ref().clone())
            .project(sort.expr.iter().enumerate().map(key))?
            .sort_with_limit(order.collect::<Vec<_>>(), Some(most))?
            .build()?;
        Ok(Some(Self { plan, most, keys }))
    }

    /// The plan for the rows up to, and with, those that have the key `last`.
    pub(crate) fn rows(&self, last: &[ScalarValue]) -> Result<LogicalPlan> {
        let plan = self.plan.clone().transform_down(|node| {
            let LogicalPlan::Sort(sort) = node else { return Ok(Transformed::no(node)) };
            let input = Filter::try_new(until(&sort.expr, last), sort.input)?;
            let input = Arc::new(LogicalPlan::Filter(input));
            let sort = LogicalPlan::Sort(Sort { input, ..sort });
            Ok(Transformed::new(sort, true, TreeNodeRecursion::Stop))
        })?;
        Ok(plan.data)
    }
}

/// The sort whose first rows are the plan's rows.
fn sort(plan: &LogicalPlan) -> Option<&Sort> {
    match plan {
        LogicalPlan::Sort(it) => Some(it),
        LogicalPlan::Projection(it) => sort(&it.input),
        LogicalPlan::SubqueryAlias(it) => sort(&it.input),
        LogicalPlan::Limit(it) => sort(&it.input),
        _ => None,
    }
}

/// Whether the plan takes its rows from tables as they are, so that a condition on them costs the
/// nodes little: nothing is grouped or joined again.
fn streams(plan: &LogicalPlan) -> Result<bool> {
    let mut streams = true;
    plan.apply(|node| {
        streams &= matches!(
            node,
            LogicalPlan::TableScan(_)
                | LogicalPlan::Filter(_)
                | LogicalPlan::Projection(_)
                | LogicalPlan::SubqueryAlias(_)
                | LogicalPlan::Union(_)
        );
        Ok(if streams { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    Ok(streams)
}

/// The condition that a row stands before `last` in that order, or with it.
fn until(order: &[SortExpr], last: &[ScalarValue]) -> Expr {
    let mut condition = lit(true);
    for (it, last) in order.iter().zip(last).rev() {
        let same = binary_expr(it.expr.clone(), Operator::IsNotDistinctFrom, lit(last.clone()));
        condition = before(it, last).or(same.and(condition));
    }
    condition
}

fn before(it: &SortExpr, last: &ScalarValue) -> Expr {
    let expr = it.expr.clone();
    if last.is_null() {
        return if it.nulls_first { lit(false) } else { expr.is_not_null() };
    }
    let last = lit(last.clone());
    let before = if it.asc { expr.lt(last) } else { expr.gt(last) };
    if it.nulls_first { before.or(it.expr.clone().is_null()) } else { before }
}

/// About how many bytes a value takes when it is sent. Nobody knows; texts are taken for long ones.
fn width(data_type: &datafusion::arrow::datatypes::DataType) -> usize {
    if data_type.is_nested() {
        return 256;
    }
    match data_type.primitive_width() {
        Some(it) => it / 2,
        None if data_type.is_binary() => 512,
        None if data_type.is_string() => 16,
        None => 1,
    }
}

/// Longer answers are not for reading: they are not asked twice.
const MOST_ROWS: usize = 1000;
/// From that width on, rows have a body in them.
const WIDE: usize = 512;
/// About what asking a node once more moves: a plan, and keys.
const ASKING_BYTES: usize = 2 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_condition_holds_up_to_the_last_key() {
        let order = [col("a").sort(false, true), col("b").sort(true, false)];
        let text = |last: [ScalarValue; 2]| until(&order, &last).to_string();
        assert_eq!(
            text([ScalarValue::from(3), ScalarValue::from(5)]),
            "a > Int32(3) OR a IS NULL OR a IS NOT DISTINCT FROM Int32(3) AND \
             (b < Int32(5) OR b IS NOT DISTINCT FROM Int32(5) AND Boolean(true))"
        );
        assert_eq!(
            text([ScalarValue::Int32(None), ScalarValue::Int32(None)]),
            "Boolean(false) OR a IS NOT DISTINCT FROM Int32(NULL) AND \
             (b IS NOT NULL OR b IS NOT DISTINCT FROM Int32(NULL) AND Boolean(true))"
        );
    }
}
