//! `octet_length(body)`: how many bytes. The engine's own reads text only.
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, Int64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct OctetLength {
    signature: Signature,
    documentation: Documentation,
}

impl OctetLength {
    pub(super) fn new() -> Self {
        Self {
            signature: Signature::any(1, Volatility::Immutable),
            documentation: super::documentation(
                "How many bytes the value has.",
                "octet_length(response_body)",
                &[("value", "bytes, or text")],
            ),
        }
    }
}

impl ScalarUDFImpl for OctetLength {
    fn name(&self) -> &str {
        "octet_length"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [it] if it.is_string() || it.is_binary() || it.is_null() => Ok(DataType::Int64),
            _ => plan_err!("octet_length() counts the bytes of bytes or text"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(value) = args.args.first() else {
            return plan_err!("octet_length() takes one value");
        };
        let array = value.to_array(args.number_rows)?;
        let array = match array.data_type() {
            it if it.is_binary() => cast(&array, &DataType::BinaryView)?,
            _ => cast(&cast(&array, &DataType::Utf8View)?, &DataType::BinaryView)?,
        };
        let bytes = array.as_binary_view();
        // The first 32 bits of a view are its length: no byte is read.
        let lengths = bytes.views().iter().map(|view| i64::from(*view as u32));
        let lengths = Int64Array::new(lengths.collect(), bytes.nulls().cloned());
        Ok(ColumnarValue::Array(Arc::new(lengths)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}
