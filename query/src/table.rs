//! A table as the planner sees it.
//!
//! The planner plans on a template: a Parquet scan of files that don't exist, under a URL only we
//! know. Every rule of DataFusion works on it (projection, filter, limit, dynamic filters), and
//! wherever the plan ends up, here or on another node, [`crate::scan::bind`] puts that place's
//! rows where the template stood.
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::memory::DataSourceExec;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, Statistics, plan_err};
use datafusion::config::TableParquetOptions;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfig, FileScanConfigBuilder, ParquetSource,
};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

/// Where templates lie. No store of files is ever registered under it, nor under any other URL:
/// a plan can't name a file.
pub(crate) const PLACE: &str = "node://fleet";

/// A real table, wherever its rows are.
#[derive(Debug)]
pub(crate) struct Template {
    name: String,
    schema: SchemaRef,
    partitions: usize,
}

impl Template {
    /// `partitions` is how many streams each place contributes: two at least, for below that the
    /// planner leaves out the exchanges at which a plan is cut.
    pub(crate) fn new(name: &str, schema: SchemaRef, partitions: usize) -> Self {
        Self { name: name.to_owned(), schema, partitions: partitions.max(2) }
    }
}

#[async_trait]
impl TableProvider for Template {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
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
        let options = TableParquetOptions { global, ..Default::default() };
        let source =
            ParquetSource::new(Arc::clone(&self.schema)).with_table_parquet_options(options);
        let groups = (0..self.partitions)
            .map(|i| FileGroup::new(vec![PartitionedFile::new(format!("{}/{i}", self.name), 1)]))
            .collect();
        let config = FileScanConfigBuilder::new(ObjectStoreUrl::parse(PLACE)?, Arc::new(source))
            .with_file_groups(groups)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            // Unknown, not absent: the planner would answer count(*) from them.
            .with_statistics(Statistics::new_unknown(&self.schema))
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
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
