//! The one place where DataFusion sessions are made, and where a user's SQL becomes a plan.
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringViewArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList,
    SchemaProvider, TableProvider,
};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{
    Result as DfResult, ScalarValue, TableReference, exec_err, not_impl_err, plan_err,
};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::execution::TaskContext;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, col, lit};
use datafusion::optimizer::Analyzer;
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, Tokenizer};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use segment::Store;
use url::Url;

use crate::bodies::TextOfBodies;
use crate::error::Error;
use crate::names;
use crate::table::{PLACE, Template};
use crate::tables::{COLUMNS, TABLE_NAME, TABLES, TRAFFIC, Tables};

/// How a place runs queries.
#[derive(Clone, Debug)]
pub struct Options {
    /// Streams a query runs in; two at least.
    pub partitions: usize,
    /// Bytes that all queries of this place may spill to disk together.
    pub spill_bytes: u64,
    /// Where they spill; the system's directory for temporary files if not given.
    pub spill_dir: Option<PathBuf>,
    /// Bytes of memory for what a node does for other places' queries together.
    pub node_memory_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
        Self {
            partitions: cores.clamp(2, 8),
            spill_bytes: 1 << 30,
            spill_dir: None,
            node_memory_bytes: 128 << 20,
        }
    }
}

/// Longer than any question a person writes; a bound on what the parser must read.
pub(crate) const SQL_BYTES: usize = 64 << 10;
/// How deep expressions and subqueries may nest.
const DEPTH: usize = 50; // the engine's own default as well

/// The settings of every session, here and on nodes.
pub(crate) fn config(partitions: usize) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_target_partitions(partitions.max(2))
        .with_batch_size(8192)
        // It would show the server's settings to whoever asks.
        .with_information_schema(false);
    let options = config.options_mut();
    // So that a mistake in a query can be shown where it is.
    options.sql_parser.collect_spans = true;
    // Late materialisation: what matters most for newest-first and for needles.
    options.execution.parquet.pushdown_filters = true;
    options.execution.parquet.reorder_filters = true;
    options.execution.collect_statistics = false;
    // Of each partition's share; the default of 10 MiB would not fit a small pool.
    options.execution.sort_spill_reservation_bytes = 2 << 20;
    // Templates have no bytes to divide.
    options.optimizer.repartition_file_scans = false;
    // Of several least or greatest values, one that has only seen nulls so far would have no say in what is
    // skipped, and rows of it would be (datafusion 55, `build_dynamic_filter_from_accumulator_bounds`).
    options.optimizer.enable_aggregate_dynamic_filter_pushdown = false;
    // Both sides of a join are scans on every node: neither can be collected at one of them.
    options.optimizer.hash_join_single_partition_threshold = 0;
    options.optimizer.hash_join_single_partition_threshold_rows = 0;
    config
}

/// Memory, disk, and no files.
pub(crate) fn runtime(options: &Options, memory: usize) -> DfResult<Arc<RuntimeEnv>> {
    let top = NonZeroUsize::new(3).unwrap_or(NonZeroUsize::MIN);
    let mode = match &options.spill_dir {
        Some(dir) => DiskManagerMode::Directories(vec![dir.clone()]),
        None => DiskManagerMode::OsTmpDirectory,
    };
    let disk = DiskManagerBuilder::default()
        .with_mode(mode)
        .with_max_temp_directory_size(options.spill_bytes);
    RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(TrackConsumersPool::new(FairSpillPool::new(memory), top)))
        .with_disk_manager_builder(disk)
        .with_object_store_registry(Arc::new(NoStores(Arc::new(InMemory::new()))))
        .build_arc()
}

/// A state with our functions and rules. `builder` brings the settings, and whatever else there is
/// to the session.
pub(crate) fn state(builder: SessionStateBuilder) -> SessionState {
    let base = bare();
    // By their own names: the maps have functions under each of their aliases, too.
    builder
        .with_expr_planners(base.expr_planners().to_vec())
        .with_scalar_functions(named(base.scalar_functions(), |it| it.name()))
        .with_higher_order_functions(named(base.higher_order_functions(), |it| it.name()))
        .with_aggregate_functions(named(base.aggregate_functions(), |it| it.name()))
        .with_window_functions(named(base.window_functions(), |it| it.name()))
        .with_file_formats(Vec::new())
        .with_table_factories(HashMap::new())
        .with_analyzer_rules(base.analyzer().rules.clone())
        .build()
}

fn named<F>(functions: &HashMap<String, Arc<F>>, name: impl Fn(&F) -> &str) -> Vec<Arc<F>> {
    functions.iter().filter(|it| it.0 == name(it.1)).map(|it| Arc::clone(it.1)).collect()
}

/// A state that knows no tables: enough to read expressions, and the origin of all others, for
/// there are hundreds of functions.
pub(crate) fn bare() -> &'static SessionState {
    static BARE: std::sync::OnceLock<SessionState> = std::sync::OnceLock::new();
    BARE.get_or_init(|| {
        let mut rules = Analyzer::new().rules;
        // Before types are made to agree, for bytes and text would never.
        rules.insert(0, Arc::new(TextOfBodies::default()));
        let mut state = SessionStateBuilder::new()
            .with_default_features()
            .with_file_formats(Vec::new())
            .with_table_factories(HashMap::new())
            .with_config(config(2))
            .with_analyzer_rules(rules)
            .build();
        crate::functions::register(&mut state)
            .expect("our functions have distinct names and need no resources");
        state
    })
}

/// A state that knows `tables`, `traffic` and the tables about them; it plans, and runs nothing.
/// `store` has the rows, if they are all here.
pub(crate) fn knowing(tables: &Tables, store: Option<&Store>, partitions: usize) -> SessionState {
    let mut state = bare().clone();
    *state.config_mut() = config(partitions);
    // `now()` is a moment that is decided here, whoever reads it, and however often.
    state.mark_start_execution();
    if store.is_some() {
        // Nothing is exchanged, so that the smaller side of a join may be collected.
        let defaults = ConfigOptions::default().optimizer;
        let optimizer = &mut state.config_mut().options_mut().optimizer;
        optimizer.hash_join_single_partition_threshold =
            defaults.hash_join_single_partition_threshold;
        optimizer.hash_join_single_partition_threshold_rows =
            defaults.hash_join_single_partition_threshold_rows;
    }
    let catalog = MemoryCatalogProvider::new();
    let known = Known { tables: tables.clone(), store: store.cloned(), partitions };
    let names = &state.config_options().catalog;
    let (name, schema) = (names.default_catalog.clone(), names.default_schema.clone());
    if let Err(error) = catalog.register_schema(&schema, Arc::new(known)) {
        tracing::error!(%error, "the tables are not known");
    }
    let catalogs = MemoryCatalogProviderList::new();
    catalogs.register_catalog(name, Arc::new(catalog));
    state.register_catalog_list(Arc::new(catalogs));
    state.mark_start_execution();
    state
}

/// What `state`'s plans run with.
pub(crate) fn task(state: &SessionState, runtime: Arc<RuntimeEnv>) -> Arc<TaskContext> {
    // Functions are looked up by name in plans from elsewhere only.
    Arc::new(TaskContext::new(
        None,
        state.session_id().to_owned(),
        state.config().clone(),
        HashMap::new(),
        HashMap::new(),
        HashMap::new(),
        HashMap::new(),
        runtime,
    ))
}

/// The tables, each made when a question names it.
#[derive(Debug)]
struct Known {
    tables: Tables,
    store: Option<Store>,
    partitions: usize,
}

#[async_trait]
impl SchemaProvider for Known {
    fn table_names(&self) -> Vec<String> {
        let all = self.tables.all();
        let all = all.iter().map(|it| it.name.to_string());
        all.chain([TABLES.to_owned(), COLUMNS.to_owned()]).collect()
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>> {
        Ok(match name {
            TABLES => Some(Arc::new(about_tables(&self.tables)?)),
            COLUMNS => Some(Arc::new(about_columns(&self.tables)?)),
            name => {
                let table = Template::find(name, &self.tables, self.partitions);
                let rows = self.store.as_ref().map(|it| rows(it, name));
                table.map(|it| Arc::new(it.with_rows(rows)) as Arc<dyn TableProvider>)
            }
        })
    }

    fn table_exist(&self, name: &str) -> bool {
        [TABLES, COLUMNS].contains(&name)
            || Template::find(name, &self.tables, self.partitions).is_some()
    }
}

/// How many rows the table has now.
fn rows(store: &Store, table: &str) -> u64 {
    let tables = store.state().tables;
    let counted = tables.iter().filter(|it| table == TRAFFIC || it.name == table);
    counted.map(|it| it.rows).sum()
}

/// A scan of that table.
pub(crate) fn scan(
    tables: &Tables,
    table: &str,
    partitions: usize,
) -> DfResult<LogicalPlanBuilder> {
    let Some(template) = Template::find(table, tables, partitions) else {
        return plan_err!("there is no table {table}");
    };
    LogicalPlanBuilder::scan(
        TableReference::bare(table),
        provider_as_source(Arc::new(template)),
        None,
    )
}

/// The envelope's columns and the name of the table, as expressions over a protocol table.
pub(crate) fn envelope(tables: &Tables, table: &str) -> Vec<Expr> {
    let columns = tables.envelope().iter().map(|it| col(it.name.as_ref()));
    let name = ScalarValue::Utf8View(Some(table.to_owned()));
    columns.chain([lit(name).alias(TABLE_NAME)]).collect()
}

/// A user's SQL as a plan that only reads.
pub(crate) async fn plan(
    state: &SessionState,
    tables: &Tables,
    sql: &str,
) -> Result<LogicalPlan, Error> {
    if sql.len() > SQL_BYTES {
        let message = format!("the query is longer than {} KiB", SQL_BYTES >> 10);
        return Err(Error::Invalid { message, at: None });
    }
    let mut statement = parse(sql)?;
    only_reads(&statement)?;
    names::resolve(&mut statement, tables);
    let plan = state.statement_to_plan(statement).await.map_err(|error| {
        let span = error.diagnostic().and_then(|it| it.span);
        let mut error = Error::planning(error);
        if let Error::Invalid { message, at } = &mut error {
            names::hint(message, tables);
            let start = span.map(|it| it.start).filter(|it| it.line > 0);
            *at = start
                .map(|it| crate::filter::place(sql, Location { line: it.line, column: it.column }));
        }
        error
    })?;
    // The statement was checked above; this checks what it became.
    SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false)
        .verify_plan(&plan)
        .map_err(|it| Error::Refused(crate::error::plain(&it)))?;
    Ok(plan)
}

fn parse(sql: &str) -> Result<Statement, Error> {
    let invalid = |error| {
        let message = crate::error::plain(&error);
        let (message, at) = crate::filter::position(sql, &message);
        Error::Invalid { message, at }
    };
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location();
    let tokens = tokens.map_err(|error| {
        let at = crate::filter::place(sql, error.location);
        Error::Invalid { message: error.message, at: Some(at) }
    })?;
    not_too_deep(tokens.iter().map(|it| &it.token))
        .map_err(|message| Error::Invalid { message, at: None })?;
    let mut parser = DFParserBuilder::new(tokens)
        .with_dialect(&GenericDialect {})
        .with_recursion_limit(DEPTH)
        .build()
        .map_err(invalid)?;
    let mut statements = parser.parse_statements().map_err(invalid)?;
    match (statements.pop_front(), statements.is_empty()) {
        (Some(statement), true) => Ok(statement),
        (None, _) => Err(Error::Invalid { message: "the query is empty".to_owned(), at: None }),
        (Some(_), false) => Err(Error::Refused("one query at a time".to_owned())),
    }
}

/// Refuses chains of operators that nest deeper than a stack can follow: `1 + 1 + …` is a tree as
/// deep as it is long, and the parser's own limit doesn't see it.
pub(crate) fn not_too_deep<'a>(tokens: impl Iterator<Item = &'a Token>) -> Result<(), String> {
    let operators = tokens.filter(|it| match it {
        Token::Word(it) => matches!(
            it.keyword,
            Keyword::AND
                | Keyword::OR
                | Keyword::NOT
                | Keyword::IS
                | Keyword::JOIN
                | Keyword::UNION
                | Keyword::EXCEPT
                | Keyword::INTERSECT
        ),
        Token::Comma | Token::LParen | Token::RParen | Token::Period | Token::Whitespace(_) => {
            false
        }
        Token::Number(..) | Token::SingleQuotedString(_) | Token::EOF | Token::SemiColon => false,
        _ => true,
    });
    match operators.count() {
        ..=OPERATORS => Ok(()),
        n => Err(format!("{n} operators are more than the {OPERATORS} one query may have")),
    }
}

/// More than a person writes, and than a page puts together.
const OPERATORS: usize = 1000;

fn only_reads(statement: &Statement) -> Result<(), Error> {
    match statement {
        Statement::Explain(it) => return only_reads(&it.statement),
        Statement::Statement(it) => match it.as_ref() {
            SqlStatement::Query(_) | SqlStatement::ExplainTable { .. } => return Ok(()),
            SqlStatement::Explain { statement, .. } => {
                return only_reads(&Statement::Statement(statement.clone()));
            }
            SqlStatement::ShowTables { .. } => {
                let text = "there is no SHOW TABLES: select * from tables";
                return Err(Error::Refused(text.to_owned()));
            }
            _ => {}
        },
        _ => {}
    }
    let text = statement.to_string();
    let verb = text.split_whitespace().next().unwrap_or_default().to_uppercase();
    Err(Error::Refused(format!("{verb} is not done here: queries only read (SELECT, EXPLAIN)")))
}

fn about_tables(tables: &Tables) -> DfResult<MemTable> {
    let all = tables.all();
    let texts = |f: &dyn Fn(&schema::Table) -> String| -> ArrayRef {
        Arc::new(StringViewArray::from_iter_values(all.iter().map(f)))
    };
    let protocol = all.iter().map(|it| Some(tables.is_protocol(&it.name)));
    let columns: Vec<(&str, ArrayRef)> = vec![
        (TABLE_NAME, texts(&|it| it.name.to_string())),
        ("doc", texts(&|it| it.doc.to_string())),
        ("is_protocol", Arc::new(protocol.collect::<BooleanArray>())),
    ];
    memory(columns)
}

fn about_columns(tables: &Tables) -> DfResult<MemTable> {
    let all = tables.all();
    let rows: Vec<_> =
        all.iter().flat_map(|table| table.fields.iter().map(move |it| (table, it))).collect();
    let texts = |f: &dyn Fn(&schema::Table, &schema::Field) -> String| -> ArrayRef {
        Arc::new(StringViewArray::from_iter_values(rows.iter().map(|(table, it)| f(table, it))))
    };
    let nullable = rows.iter().map(|(_, it)| Some(it.nullable));
    let columns: Vec<(&str, ArrayRef)> = vec![
        (TABLE_NAME, texts(&|table, _| table.name.to_string())),
        ("column_name", texts(&|_, it| it.name.to_string())),
        ("kind", texts(&|_, it| it.kind.name().to_owned())),
        ("type", texts(&|_, it| it.kind.data_type().to_string())),
        ("nullable", Arc::new(nullable.collect::<BooleanArray>())),
        ("doc", texts(&|_, it| it.doc.to_string())),
    ];
    memory(columns)
}

fn memory(columns: Vec<(&str, ArrayRef)>) -> DfResult<MemTable> {
    let fields: Vec<_> =
        columns.iter().map(|(name, it)| Field::new(*name, it.data_type().clone(), false)).collect();
    debug_assert!(fields.iter().all(|it| *it.data_type() != DataType::Null));
    let schema = Arc::new(Schema::new(fields));
    let batch =
        RecordBatch::try_new(Arc::clone(&schema), columns.into_iter().map(|it| it.1).collect())?;
    MemTable::try_new(schema, vec![vec![batch]])
}

/// No object store is known, so that no plan can read or write a file. Under the templates' URL
/// lies an empty one, for scans ask for a store before they read from segments.
#[derive(Debug)]
struct NoStores(Arc<dyn ObjectStore>);

impl ObjectStoreRegistry for NoStores {
    fn register_store(&self, _: &Url, _: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        None
    }

    fn deregister_store(&self, _: &Url) -> DfResult<Arc<dyn ObjectStore>> {
        not_impl_err!("stores are fixed")
    }

    fn get_store(&self, url: &Url) -> DfResult<Arc<dyn ObjectStore>> {
        if url.as_str().trim_end_matches('/').starts_with(PLACE) {
            return Ok(Arc::clone(&self.0));
        }
        exec_err!("nothing is read from {url}")
    }
}
