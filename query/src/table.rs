//! A table as the planner sees it.
//!
//! The planner plans on a template: a Parquet scan of files that don't exist, under a URL only we
//! know. Every rule of DataFusion works on it (projection, filter, limit, dynamic filters), and
//! wherever the plan ends up, here or on another node, [`crate::scan::bind`] puts that place's
//! rows where the template stood.
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{Field, SchemaRef};
use datafusion::catalog::memory::DataSourceExec;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{Result, ScalarValue, Statistics, exec_err, plan_err};
use datafusion::config::{ParquetOptions, TableParquetOptions};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfig, FileScanConfigBuilder, FileSource, ParquetSource,
};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::utils::{collect_columns, reassign_expr_columns};
use datafusion::physical_plan::ExecutionPlan;

use crate::tables::{TABLE_NAME, TRAFFIC, Tables};

/// Where templates lie. No store of files is ever registered under it, nor under any other URL:
/// a plan can't name a file.
pub(crate) const PLACE: &str = "node://fleet";

/// A real table, or `traffic`, wherever its rows are.
#[derive(Debug)]
pub(crate) struct Template {
    name: String,
    schema: TableSchema,
    partitions: usize,
    /// About how many rows there are, where that is known: which side of a join is the smaller one.
    rows: Option<usize>,
}

impl Template {
    /// The table of that name; `None` if there is none. `partitions` is how many streams each place
    /// contributes: two at least, for below that the planner leaves out the exchanges at which a
    /// plan is cut.
    pub(crate) fn find(name: &str, tables: &Tables, partitions: usize) -> Option<Self> {
        let schema = match name {
            // One scan, whatever the number of protocols: each place puts the tables under it that
            // it has rows of. Which table a row is from is not stored, but known of each file.
            TRAFFIC => {
                let table_name = Field::new(TABLE_NAME, schema::Kind::Label.data_type(), false);
                TableSchema::builder(tables.envelope_schema()?)
                    .with_table_partition_cols(vec![Arc::new(table_name)])
                    .build()
            }
            _ => TableSchema::from(Arc::clone(tables.schema(name)?)),
        };
        Some(Self { name: name.to_owned(), schema, partitions: partitions.max(2), rows: None })
    }

    /// The same, knowing about how many rows it has.
    pub(crate) fn with_rows(self, rows: Option<u64>) -> Self {
        Self { rows: rows.and_then(|it| usize::try_from(it).ok()), ..self }
    }
}

#[async_trait]
impl TableProvider for Template {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.schema.table_schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let global = state.config_options().execution.parquet.clone();
        let config = self.config(global, projection.cloned(), limit)?;
        Ok(DataSourceExec::from_data_source(config))
    }
}

impl Template {
    /// Where those columns are.
    pub(crate) fn places(&self, columns: &[&str]) -> Result<Vec<usize>> {
        let schema = self.schema.table_schema();
        columns.iter().map(|it| Ok(schema.index_of(it)?)).collect()
    }

    /// A scan of these columns.
    pub(crate) fn config(
        &self,
        global: ParquetOptions,
        projection: Option<Vec<usize>>,
        limit: Option<usize>,
    ) -> Result<FileScanConfig> {
        let options = TableParquetOptions { global, ..Default::default() };
        let source = ParquetSource::new(self.schema.clone()).with_table_parquet_options(options);
        let named = !self.schema.table_partition_cols().is_empty();
        let file = |i| {
            let mut file = PartitionedFile::new(format!("{}/{i}", self.name), 1);
            if named {
                file.partition_values = vec![ScalarValue::Utf8View(Some(String::new()))];
            }
            file
        };
        // Never exact: the planner would answer count(*) from it, and rows come all the time.
        let mut statistics = Statistics::new_unknown(self.schema.table_schema());
        statistics.num_rows = self.rows.map_or(Precision::Absent, Precision::Inexact);
        let groups = (0..self.partitions).map(|i| FileGroup::new(vec![file(i)])).collect();
        Ok(FileScanConfigBuilder::new(ObjectStoreUrl::parse(PLACE)?, Arc::new(source))
            .with_file_groups(groups)
            .with_projection_indices(projection)?
            .with_limit(limit)
            .with_statistics(statistics)
            .build())
    }
}

/// The same template with the columns only that it reads: what is sent to a node names no others.
pub(crate) fn narrow(config: &FileScanConfig) -> Result<Arc<dyn ExecutionPlan>> {
    let source = config.file_source();
    let Some(parquet) = source.downcast_ref::<ParquetSource>() else {
        return exec_err!("a scan of something other than segments");
    };
    let wide = source.table_schema();
    let (predicate, projection) = (source.filter(), source.projection());
    let Some(projection) = projection else {
        return Ok(DataSourceExec::from_data_source(config.clone()));
    };
    let mut needed = projection.column_indices();
    needed.extend(predicate.iter().flat_map(collect_columns).map(|it| it.index()));
    let files = wide.file_schema();
    let kept: Vec<usize> = (0..files.fields().len()).filter(|it| needed.contains(it)).collect();
    let schema = Arc::new(files.project(&kept)?);
    let constants = wide.table_partition_cols().clone();
    let schema = TableSchema::builder(schema).with_table_partition_cols(constants).build();
    let columns = schema.table_schema();

    let options = parquet.table_parquet_options().clone();
    let mut narrow = ParquetSource::new(schema.clone()).with_table_parquet_options(options);
    if let Some(predicate) = predicate {
        narrow = narrow.with_predicate(reassign_expr_columns(predicate, columns)?);
    }
    let projection = projection.clone().try_map_exprs(|it| reassign_expr_columns(it, columns))?;
    let Some(narrow) = narrow.try_pushdown_projection(&projection)? else {
        return exec_err!("a scan that can't be narrowed");
    };
    let config = FileScanConfigBuilder::new(config.object_store_url.clone(), narrow)
        .with_file_groups(config.file_groups.clone())
        .with_limit(config.limit)
        .with_statistics(Statistics::new_unknown(columns))
        .build();
    Ok(DataSourceExec::from_data_source(config))
}

/// The template in that plan node, if it is one.
pub(crate) fn template(plan: &dyn ExecutionPlan) -> Option<&FileScanConfig> {
    let config = plan.downcast_ref::<DataSourceExec>()?.data_source();
    let config = config.downcast_ref::<FileScanConfig>()?;
    let ours = config.object_store_url.as_str().trim_end_matches('/') == PLACE;
    (ours && config.file_source().is::<ParquetSource>()).then_some(config)
}

/// The table that the template stands for.
pub(crate) fn table_of(config: &FileScanConfig) -> Result<&str> {
    let file = config.file_groups.iter().flat_map(FileGroup::files).next();
    let path = file.map(|it| it.object_meta.location.as_ref());
    match path.and_then(|it| it.split_once('/')) {
        Some((table, _)) if !table.is_empty() => Ok(table),
        _ => plan_err!("a scan that names no table"),
    }
}
