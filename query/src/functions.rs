//! The functions of our own, one file each.
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::{ColumnarValue, Documentation, ScalarUDF};

mod cidr_match;
mod cookie;
mod header;
mod octet_length;
mod query_parameter;
mod text;

/// What a function of ours does, for help and completion.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Function {
    /// The name in SQL and in filters.
    pub name: String,
    /// `scalar`, `aggregate` or `window`.
    pub kind: &'static str,
    /// How it is called.
    pub syntax: String,
    /// What it yields.
    pub doc: String,
}

/// Every function of our own, with its docs.
pub fn functions() -> Vec<Function> {
    ours()
        .iter()
        .filter_map(|it| {
            let docs = it.documentation()?;
            Some(Function {
                name: it.name().to_owned(),
                kind: "scalar",
                syntax: docs.syntax_example.clone(),
                doc: docs.description.clone(),
            })
        })
        .collect()
}

/// Every function that a statement may call, of our own and of the engine, by name.
pub fn all_functions() -> Vec<Function> {
    let state = crate::session::bare();
    let function = |name: &str, kind, docs: Option<&Documentation>| Function {
        name: name.to_owned(),
        kind,
        syntax: docs.map(|it| it.syntax_example.clone()).unwrap_or_default(),
        doc: docs.map(|it| it.description.clone()).unwrap_or_default(),
    };
    let scalar = state.scalar_functions().values();
    let aggregate = state.aggregate_functions().values();
    let window = state.window_functions().values();
    let mut all: Vec<_> = scalar
        .map(|it| function(it.name(), "scalar", it.documentation()))
        .chain(aggregate.map(|it| function(it.name(), "aggregate", it.documentation())))
        .chain(window.map(|it| function(it.name(), "window", it.documentation())))
        .filter(|it| it.name.starts_with(|it: char| it.is_ascii_alphabetic()))
        .collect();
    // under each of their aliases they are the same
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all.dedup_by(|a, b| a.name == b.name);
    all
}

/// Makes our functions, and those over JSON, known to a session.
pub(crate) fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    for function in ours() {
        registry.register_udf(Arc::new(function))?;
    }
    datafusion_functions_json::register_all(registry)
}

/// The function that reads bytes as text.
pub(crate) fn text() -> ScalarUDF {
    ScalarUDF::from(text::Text::new())
}

fn ours() -> Vec<ScalarUDF> {
    vec![
        ScalarUDF::from(header::Header::new()),
        ScalarUDF::from(cookie::Cookie::new()),
        ScalarUDF::from(cidr_match::CidrMatch::new()),
        ScalarUDF::from(octet_length::OctetLength::new()),
        ScalarUDF::from(query_parameter::QueryParameter::new()),
        text(),
    ]
}

fn documentation(doc: &str, syntax: &str, arguments: &[(&str, &str)]) -> Documentation {
    let mut docs = Documentation::builder(
        datafusion::logical_expr::DocSection { include: true, label: "Traffic", description: None },
        doc,
        syntax,
    );
    for (name, doc) in arguments {
        docs = docs.with_argument(*name, *doc);
    }
    docs.build()
}

/// The argument as an array of `rows` values of that type.
fn column(value: &ColumnarValue, rows: usize, to: &DataType) -> Result<ArrayRef> {
    let array = value.to_array(rows)?;
    Ok(if array.data_type() == to { array } else { cast(&array, to)? })
}
