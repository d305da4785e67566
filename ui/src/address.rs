//! What stands in an address. A link must reproduce the view, whatever text is in it.

use std::{convert::Infallible, fmt, ops::Deref, str::FromStr};

/// A text in the query part of an address.
///
/// The router undoes percent encoding before it looks for `&`, so a `&` of the text is written in a
/// way that survives that: `%26`, and the few texts that would be taken for it are marked as well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Param(String);

impl Param {
    pub(crate) fn text(&self) -> String {
        self.0.clone()
    }
}

impl fmt::Display for Param {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut inner = String::with_capacity(self.0.len());
        for (at, char) in self.0.char_indices() {
            let rest = self.0.get(at + char.len_utf8()..).unwrap_or_default();
            match char {
                '&' => inner.push_str("%26"),
                '%' if rest.starts_with("25") || rest.starts_with("26") => inner.push_str("%25"),
                other => inner.push(other),
            }
        }
        f.write_str(&inner.replace('%', "%25"))
    }
}

impl FromStr for Param {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            let (before, from) = rest.split_at(at);
            out.push_str(before);
            rest = if let Some(after) = from.strip_prefix("%26") {
                out.push('&');
                after
            } else {
                out.push('%');
                match from.strip_prefix("%25") {
                    Some(after) if after.starts_with("25") || after.starts_with("26") => after,
                    _ => from.get(1..).unwrap_or_default(),
                }
            };
        }
        out.push_str(rest);
        Ok(Self(out))
    }
}

impl Deref for Param {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Param {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for Param {
    fn from(text: String) -> Self {
        Self(text)
    }
}

#[cfg(test)]
mod tests {
    use crate::Route;

    #[test]
    fn an_address_keeps_any_text() {
        for text in [
            "target like '%a&b=c%'",
            "a = '100%' and b = '%26' or c = '%25' and d = '%2526%20+#?'",
            "ünï = \"<x>\"",
            "%",
            "%%26&%2",
        ] {
            let route = Route::Sql { q: text.into(), view: "".into() };
            let address = route.to_string();
            assert_eq!(address.parse::<Route>().ok(), Some(route), "{address}");
        }
    }

    #[test]
    fn a_link_written_by_hand_is_read() {
        let route: Route = "/?filter=status%20%3E%3D%20500".parse().expect("it is an address");
        assert!(matches!(route, Route::Traffic { filter, .. } if &*filter == "status >= 500"));
    }
}
