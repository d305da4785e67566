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
                syntax: docs.syntax_example.clone(),
                doc: docs.description.clone(),
            })
        })
        .collect()
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
