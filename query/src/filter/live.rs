//! A filter over rows as they come.
use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, RecordBatch, RecordBatchOptions, StringViewArray};
use datafusion::arrow::compute::{filter_record_batch, prep_null_mask_filter};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::PhysicalExpr;

use crate::rights::{Gate, Rights};
use crate::scan::adapt;
use crate::session;
use crate::tables::{TABLE_NAME, Tables};

/// A filter compiled for each table. It keeps nothing between batches.
#[derive(Clone, Debug)]
pub struct Live {
    output: SchemaRef,
    tables: HashMap<String, Branch>,
}

#[derive(Clone, Debug)]
struct Branch {
    schema: SchemaRef,
    condition: Option<Arc<dyn PhysicalExpr>>,
    /// Stands before the condition, if not everything may be seen.
    gate: Option<Gate>,
}

impl Live {
    pub(crate) fn compile(
        tables: &Tables,
        branches: &[(String, Option<Expr>)],
        rights: &Arc<Rights>,
    ) -> Result<Self> {
        let mut compiled = HashMap::new();
        for (table, condition) in branches {
            let Some(schema) = tables.schema(table) else { continue };
            let named = DFSchema::try_from(Arc::clone(schema))?;
            let condition = condition
                .as_ref()
                .map(|it| session::bare().create_physical_expr(it.clone(), &named))
                .transpose()?;
            let schema = Arc::clone(schema);
            let gate = (!rights.is_all()).then(|| Gate::new(rights, tables.get(table), &schema));
            compiled.insert(table.clone(), Branch { schema, condition, gate });
        }
        Ok(Self { output: output(tables), tables: compiled })
    }

    /// The columns of what [`Live::apply`] yields: those of `traffic`.
    pub fn schema(&self) -> &SchemaRef {
        &self.output
    }

    /// The tables that can match; batches of others need not be offered.
    pub fn tables(&self) -> impl Iterator<Item = &str> {
        self.tables.keys().map(String::as_str)
    }

    /// The rows of `batch`, which is of `table`, that match, as rows of `traffic`; `None` if none.
    pub fn apply(
        &self,
        table: &str,
        batch: &RecordBatch,
    ) -> Result<Option<RecordBatch>, crate::Error> {
        self.matching(table, batch).map_err(|it| crate::Error::running(&it))
    }

    fn matching(&self, table: &str, batch: &RecordBatch) -> Result<Option<RecordBatch>> {
        let Some(branch) = self.tables.get(table) else { return Ok(None) };
        let mut batch = adapt(batch, &branch.schema, None)?;
        if let Some(gate) = &branch.gate {
            batch = gate.pass(&batch, None)?;
        }
        if let Some(condition) = &branch.condition {
            let mask = condition.evaluate(&batch)?.into_array(batch.num_rows())?;
            let Some(mask) = mask.as_boolean_opt() else { return Ok(None) };
            if mask.true_count() == 0 {
                return Ok(None);
            }
            // Null is not true.
            batch = match mask.null_count() {
                0 => filter_record_batch(&batch, mask)?,
                _ => filter_record_batch(&batch, &prep_null_mask_filter(mask))?,
            };
        }
        if batch.num_rows() == 0 {
            return Ok(None);
        }
        let rows = batch.num_rows();
        let mut columns = adapt(&batch, &envelope(&self.output), None)?.columns().to_vec();
        columns.push(Arc::new(StringViewArray::from_iter_values(std::iter::repeat_n(table, rows))));
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let output = Arc::clone(&self.output);
        Ok(Some(RecordBatch::try_new_with_options(output, columns, &options)?))
    }
}

/// All but the table's name, which stands last.
fn envelope(output: &SchemaRef) -> SchemaRef {
    let fields = output.fields();
    let envelope = fields.iter().take(fields.len().saturating_sub(1));
    Arc::new(Schema::new(envelope.cloned().collect::<Vec<_>>()))
}

/// The columns of `traffic`, as a query yields them.
pub(super) fn output(tables: &Tables) -> SchemaRef {
    let mut fields: Vec<Field> = Vec::new();
    for it in tables.envelope() {
        let kind = [("kind".to_owned(), it.kind.name().to_owned())];
        let field = Field::new(it.name.as_ref(), it.kind.data_type(), true);
        fields.push(field.with_metadata(kind.into()));
    }
    fields.push(Field::new(TABLE_NAME, schema::Kind::Label.data_type(), false));
    Arc::new(Schema::new(fields))
}
