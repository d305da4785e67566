//! `text(body)`: bytes read as text, whatever they are.
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, StringViewArray, StringViewBuilder};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Text {
    signature: Signature,
    documentation: Documentation,
}

impl Text {
    pub(super) fn new() -> Self {
        Self {
            signature: Signature::any(1, Volatility::Immutable),
            documentation: super::documentation(
                "The bytes as text. What is not UTF-8 becomes the replacement character, so that \
                 a body of any kind can be searched and compared.",
                "text(body)",
                &[("body", "bytes, or text")],
            ),
        }
    }
}

impl ScalarUDFImpl for Text {
    fn name(&self) -> &str {
        "text"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [it] if it.is_string() || it.is_binary() || it.is_null() => Ok(DataType::Utf8View),
            _ => plan_err!("text() reads bytes or text"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = matches!(args.args.first(), Some(ColumnarValue::Scalar(_)));
        let rows = if scalar { 1 } else { args.number_rows };
        let Some(value) = args.args.first() else { return plan_err!("text() takes one value") };
        let array = value.to_array(rows)?;
        let texts = match array.data_type() {
            it if it.is_binary() => lossy(array.as_ref())?,
            _ => cast(&array, &DataType::Utf8View)?.as_string_view().clone(),
        };
        if scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&texts, 0)?));
        }
        Ok(ColumnarValue::Array(Arc::new(texts)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

fn lossy(array: &dyn Array) -> Result<StringViewArray> {
    let bytes = cast(array, &DataType::BinaryView)?;
    let bytes = bytes.as_binary_view();
    // Nearly every batch is UTF-8 throughout: then no byte is copied.
    if let Ok(texts) = bytes.clone().to_string_view() {
        return Ok(texts);
    }
    let mut texts = StringViewBuilder::with_capacity(bytes.len());
    for value in bytes {
        texts.append_option(value.map(String::from_utf8_lossy));
    }
    Ok(texts.finish())
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::BinaryViewArray;

    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_read_all_the_same() {
        let bytes = BinaryViewArray::from(vec![Some(&b"ok"[..]), None, Some(&b"a\xff\xfeb"[..])]);
        let texts = lossy(&bytes).unwrap();
        assert_eq!(texts.value(0), "ok");
        assert!(texts.is_null(1));
        assert_eq!(texts.value(2), "a\u{fffd}\u{fffd}b");
    }
}
