//! `cookie(headers, 'name')`: one cookie's value, as sent or as set.
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use super::header::{lookup, return_type};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Cookie {
    signature: Signature,
    documentation: Documentation,
}

impl Cookie {
    pub(super) fn new() -> Self {
        Self {
            signature: Signature::any(2, Volatility::Immutable),
            documentation: super::documentation(
                "The value of a cookie: of the `cookie` header in a request's headers, of \
                 `set-cookie` in a response's. Null if there is none of that name.",
                "cookie(request_headers, 'session')",
                &[("headers", "a column of headers"), ("name", "the cookie's name")],
            ),
        }
    }
}

impl ScalarUDFImpl for Cookie {
    fn name(&self) -> &str {
        "cookie"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        return_type("cookie", types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        lookup(&args, |headers, name| {
            let sent = headers.named("cookie").flat_map(|it| it.split(';'));
            let set = headers.named("set-cookie").map(|it| it.split(';').next().unwrap_or(it));
            sent.chain(set).find_map(|pair| value_of(pair, name)).map(str::to_owned)
        })
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

/// The value in `name=value`, without the quotes it may stand in.
fn value_of<'a>(pair: &'a str, name: &str) -> Option<&'a str> {
    let (key, value) = pair.split_once('=')?;
    let value = value.trim();
    let bare = value.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
    (key.trim() == name).then_some(bare.unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        assert_eq!(value_of(" sid=abc", "sid"), Some("abc"));
        assert_eq!(value_of("xsid=abc", "sid"), None);
        assert_eq!(value_of("sid=\"a=b\"", "sid"), Some("a=b"));
        assert_eq!(value_of("sid", "sid"), None);
    }
}
