//! `query_parameter(query, 'name')`: one parameter of a URL's query.
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, StringViewBuilder};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct QueryParameter {
    signature: Signature,
    documentation: Documentation,
}

impl QueryParameter {
    pub(super) fn new() -> Self {
        Self {
            signature: Signature::any(2, Volatility::Immutable),
            documentation: super::documentation(
                "The value of a parameter in a URL's query, without its percent signs; the first \
                 one, if there are several of that name, and null if there is none.",
                "query_parameter(query, 'id')",
                &[("query", "a URL's query, without its `?`"), ("name", "the parameter's name")],
            ),
        }
    }
}

impl ScalarUDFImpl for QueryParameter {
    fn name(&self) -> &str {
        "query_parameter"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        if types.iter().all(|it| it.is_string() || it.is_null()) {
            return Ok(DataType::Utf8View);
        }
        plan_err!(
            "query_parameter() takes a query and a name, as in query_parameter(http.query, 'id')"
        )
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let [query, name] = args.args.as_slice() else { return plan_err!("two arguments") };
        let queries = super::column(query, rows, &DataType::Utf8View)?;
        let names = super::column(name, rows, &DataType::Utf8View)?;
        let (queries, names) = (queries.as_string_view(), names.as_string_view());
        let mut found = StringViewBuilder::with_capacity(rows);
        for row in 0..rows {
            if queries.is_null(row) || names.is_null(row) {
                found.append_null();
                continue;
            }
            let name = names.value(row);
            let mut pairs = form_urlencoded::parse(queries.value(row).as_bytes());
            found.append_option(pairs.find(|it| it.0 == name).map(|it| it.1));
        }
        Ok(ColumnarValue::Array(Arc::new(found.finish())))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}
