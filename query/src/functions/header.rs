//! `header(headers, 'name')`: one header's value.
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, MapArray, StringArray, StringViewBuilder,
};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Header {
    signature: Signature,
    documentation: Documentation,
}

impl Header {
    pub(super) fn new() -> Self {
        Self {
            signature: Signature::any(2, Volatility::Immutable),
            documentation: super::documentation(
                "The value of a header, in any case of its name; null if there is none. A header \
                 that stands more than once has its values joined by a comma and a space.",
                "header(request_headers, 'user-agent')",
                &[("headers", "a column of headers"), ("name", "the header's name")],
            ),
        }
    }
}

impl ScalarUDFImpl for Header {
    fn name(&self) -> &str {
        "header"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        return_type("header", types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        lookup(&args, |headers, name| {
            let mut found: Option<String> = None;
            for value in headers.named(name) {
                match &mut found {
                    Some(it) => {
                        it.push_str(", ");
                        it.push_str(value);
                    }
                    None => found = Some(value.to_owned()),
                }
            }
            found
        })
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

/// The headers of one row.
pub(super) struct Headers<'a> {
    keys: &'a StringArray,
    values: &'a StringArray,
    range: std::ops::Range<usize>,
}

impl<'a> Headers<'a> {
    /// Every value of that header, in order.
    pub(super) fn named(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let (keys, values) = (self.keys, self.values);
        self.range
            .clone()
            .filter(move |i| keys.value(*i).eq_ignore_ascii_case(name))
            .filter(move |i| values.is_valid(*i))
            .map(move |i| values.value(i))
    }
}

pub(super) fn return_type(function: &str, types: &[DataType]) -> Result<DataType> {
    match types {
        [DataType::Map(..) | DataType::Null, name] if name.is_string() || name.is_null() => {
            Ok(DataType::Utf8View)
        }
        _ => plan_err!(
            "{function}() takes a column of headers and a name, as in {function}(request_headers, 'host')"
        ),
    }
}

/// Calls `find` for every row that has headers and a name.
pub(super) fn lookup(
    args: &ScalarFunctionArgs,
    find: impl Fn(&Headers<'_>, &str) -> Option<String>,
) -> Result<ColumnarValue> {
    let rows = args.number_rows;
    let [headers, name] = args.args.as_slice() else { return plan_err!("two arguments") };
    let headers: ArrayRef = headers.to_array(rows)?;
    let mut found = StringViewBuilder::with_capacity(rows);
    let Some(headers) = headers.as_any().downcast_ref::<MapArray>() else {
        (0..rows).for_each(|_| found.append_null());
        return Ok(ColumnarValue::Array(Arc::new(found.finish())));
    };
    let names = super::column(name, rows, &DataType::Utf8View)?;
    let names = names.as_string_view();
    let keys = datafusion::arrow::compute::cast(headers.keys(), &DataType::Utf8)?;
    let values = datafusion::arrow::compute::cast(headers.values(), &DataType::Utf8)?;
    let (keys, values) = (keys.as_string::<i32>(), values.as_string::<i32>());
    let offsets = headers.value_offsets();
    for row in 0..rows {
        if headers.is_null(row) || names.is_null(row) {
            found.append_null();
            continue;
        }
        let range = offsets[row] as usize..offsets[row + 1] as usize;
        found.append_option(find(&Headers { keys, values, range }, names.value(row)));
    }
    Ok(ColumnarValue::Array(Arc::new(found.finish())))
}
