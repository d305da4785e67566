//! The one place where DataFusion sessions are made, and where a user's SQL becomes a plan.
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringViewArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::common::{Result as DfResult, exec_err, internal_err, not_impl_err};
use datafusion::datasource::{MemTable, ViewTable, provider_as_source};
use datafusion::execution::context::SQLOptions;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, col, lit};
use datafusion::optimizer::Analyzer;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, Tokenizer};
use object_store::ObjectStore;
use object_store::memory::InMemory;
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

/// A state of these settings with our functions and rules. `builder` may carry more.
pub(crate) fn state(builder: SessionStateBuilder) -> DfResult<SessionState> {
    let mut rules = Analyzer::new().rules;
    // Before types are made to agree, for bytes and text would never.
    rules.insert(0, Arc::new(TextOfBodies::default()));
    let mut state = builder
        .with_default_features()
        .with_file_formats(Vec::new())
        .with_table_factories(std::collections::HashMap::new())
        .with_analyzer_rules(rules)
        .build();
    crate::functions::register(&mut state)?;
    Ok(state)
}

/// A state that knows no tables: enough to read expressions.
pub(crate) fn bare() -> &'static SessionState {
    static BARE: std::sync::OnceLock<SessionState> = std::sync::OnceLock::new();
    BARE.get_or_init(|| {
        state(SessionStateBuilder::new().with_config(config(2)))
            .expect("our functions have distinct names and need no resources")
    })
}

/// Makes `tables`, the views over them and the tables about them known to a session.
pub(crate) fn register(
    context: &SessionContext,
    tables: &Tables,
    partitions: usize,
) -> DfResult<()> {
    let names = Names { tables: tables.clone(), partitions };
    let options = context.copied_config();
    let defaults = &options.options().catalog;
    let Some(catalog) = context.catalog(&defaults.default_catalog) else {
        return internal_err!("a session without a catalog");
    };
    catalog.register_schema(&defaults.default_schema, Arc::new(names))?;
    Ok(())
}

/// What tables are called in a session. A query names few of many: each is made when it is named.
#[derive(Debug)]
struct Names {
    tables: Tables,
    partitions: usize,
}

impl Names {
    fn template(&self, name: &str) -> Option<Arc<Template>> {
        let schema = Arc::clone(self.tables.schema(name)?);
        Some(Arc::new(Template::new(name, schema, self.partitions)))
    }

    /// The envelopes of every protocol, united. Each branch names its table, which is a constant the
    /// optimizer prunes by; `protocol` is not one, for a table may carry several.
    fn traffic(&self) -> DfResult<Option<LogicalPlan>> {
        let mut union: Option<LogicalPlanBuilder> = None;
        for table in self.tables.protocols() {
            let Some(template) = self.template(&table.name) else { continue };
            let source = provider_as_source(template);
            let branch = LogicalPlanBuilder::scan(table.name.as_ref(), source, None)?
                .project(envelope(&self.tables, &table.name))?;
            union = Some(match union {
                Some(it) => it.union(branch.build()?)?,
                None => branch,
            });
        }
        union.map(LogicalPlanBuilder::build).transpose()
    }
}

#[async_trait]
impl SchemaProvider for Names {
    fn table_names(&self) -> Vec<String> {
        let all = self.tables.all();
        let names = all.iter().map(|it| it.name.to_string());
        names.chain([TABLES.to_owned(), COLUMNS.to_owned()]).collect()
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>> {
        Ok(match name {
            TRAFFIC => self.traffic()?.map(|it| Arc::new(ViewTable::new(it, None)) as _),
            TABLES => Some(Arc::new(about_tables(&self.tables)?)),
            COLUMNS => Some(Arc::new(about_columns(&self.tables)?)),
            name => self.template(name).map(|it| it as _),
        })
    }

    fn table_exist(&self, name: &str) -> bool {
        match name {
            TABLES | COLUMNS => true,
            TRAFFIC => self.tables.protocols().next().is_some(),
            name => self.tables.get(name).is_some(),
        }
    }
}

/// The envelope's columns and the name of the table, as expressions over a protocol table.
pub(crate) fn envelope(tables: &Tables, table: &str) -> Vec<datafusion::logical_expr::Expr> {
    let columns = tables.envelope().iter().map(|it| col(it.name.as_ref()));
    columns.chain([table_name(table)]).collect()
}

fn table_name(table: &str) -> datafusion::logical_expr::Expr {
    lit(datafusion::common::ScalarValue::Utf8View(Some(table.to_owned()))).alias(TABLE_NAME)
}

/// A user's SQL as a plan that only reads.
pub(crate) async fn plan(
    context: &SessionContext,
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
    let state = context.state();
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
